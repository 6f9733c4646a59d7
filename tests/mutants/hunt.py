"""Run inside a broken tree: look for a violation by simulation, for a limited time, and say what was found as JSON.

    python -m tests.mutants.hunt core SECONDS
    python -m tests.mutants.hunt peers SECONDS

`core` is the simulation of `raft_core.verify`; its seeds take turns with three, four and five servers, and now and then
one or two.  `peers` is that
of whole peers (`tests.mutants.peers`).  The code that runs is whatever stands first on the path.  Time is that of the
processor: a busy machine finds what an idle one finds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import count
from time import process_time
from typing import NamedTuple

from raft_core.verify.simulation import simulate

STEPS = 4_000
"""Of one seed of the core's simulation: many short runs find more than few long ones."""

SIZES = (3, 5, 3, 4, 3, 5, 1, 2)
"""Of clusters, in turn."""


class Run(NamedTuple):
    """What one seed came to."""

    caught: str
    """The broken rule, if any."""
    steps: int


def run_core(seed: int) -> Run:
    """One seed of the core's simulation."""
    report = simulate(seed, SIZES[seed % len(SIZES)], STEPS)
    return Run("" if report.violation is None else report.violation.rule, report.steps)


def run_peers(seed: int) -> Run:
    """One seed of that of whole peers."""
    from tests.mutants.peers import play  # it brings the runtimes with it, which the core's simulation does not need

    outcome = play(seed)
    return Run("" if outcome.violation is None else outcome.violation.rule, outcome.steps)


RUNS: dict[str, Callable[[int], Run]] = {"core": run_core, "peers": run_peers}


def hunt(run: Callable[[int], Run], seconds: float) -> dict[str, object]:
    """What was found, by which seed, after how many steps of all seeds together."""
    steps = 0
    for seed in count():
        try:
            caught, more = run(seed)
        except Exception as error:  # what is broken may fall over its own state: that is a find, too
            caught, more = type(error).__name__, 0
        steps += more
        if caught or process_time() > seconds:
            return {"caught": caught, "seed": seed, "steps": steps, "seconds": process_time()}
    raise AssertionError("seeds never end")


if __name__ == "__main__":
    print(json.dumps(hunt(RUNS[sys.argv[1]], float(sys.argv[2]))))
