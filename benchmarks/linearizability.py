"""How long the checker takes: 10,000 operations of 10 clients, valid and with a planted violation, for every object.

    python benchmarks/linearizability.py [--runs 3] [--operations 10000] [--json FILE]

A valid history is the easy case: one order is enough, and guesses are good.  A violation is the hard one, since all
orders have to be refuted up to the place where it is, here nine tenths of the way; the table shows the slowest of the
kinds that are planted.  `explained` is the time to find the few operations that contradict each other, and includes
finding the violation.  Each figure is the median over the runs, of different seeds, in seconds of processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TypedDict

from raft_core.verify.explanation import explain
from raft_core.verify.generator import WORKLOADS, Workload, valid_history
from raft_core.verify.history import Operation
from raft_core.verify.linearizability import check
from raft_core.verify.planted import PLANTS, spoiled_history

CLIENTS = 10
LIMIT = 2_000_000
"""Configurations for each key, so that the benchmark ends; a verdict that was not reached is an error."""


class Figure(TypedDict):
    """One line of the table, in seconds."""

    workload: str
    keys: int
    unknown: float
    valid: float
    violation: float
    explained: float


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def judged(history: Sequence[Operation], workload: Workload, expected: bool) -> float:
    """Time for a verdict, which must be the right one."""

    def judge() -> None:
        verdict = check(history, workload.model, limit=LIMIT)
        if bool(verdict) != expected:
            raise SystemExit(f"{workload.name}: {verdict}")

    return seconds(judge)


def measured(workload: Workload, keys: int, unknown: float, operations: int, runs: int) -> Figure:
    """All figures for one workload."""
    valid, violation, explained = [], [], []
    plants = [plant for plant in PLANTS if plant.workload is workload]
    for seed in range(runs):
        history = valid_history(
            workload, Random(seed), operations=operations, clients=CLIENTS, keys=keys, unknown=unknown
        )
        valid.append(judged(history, workload, True))
        spoiled = [
            # Dequeues of unknown outcome could excuse a lost item: no unknown outcomes where the plant is an edit.
            spoiled_history(p, Random(seed), operations=operations, keys=keys, unknown=0 if p.edit else unknown, at=0.9)
            for p in plants
        ]
        violation.append(max(judged(history, workload, False) for history in spoiled))
        explained.append(seconds(partial(explain, spoiled[0], workload.model)))
    return Figure(
        workload=workload.name,
        keys=keys,
        unknown=unknown,
        valid=statistics.median(valid),
        violation=statistics.median(violation),
        explained=statistics.median(explained),
    )


def main() -> None:
    """Measure and print, line by line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--json", metavar="FILE", type=Path)
    options = parser.parse_args()
    print(f"{options.operations:,} operations of {CLIENTS} clients; medians of {options.runs} runs, seconds")
    print(f"{'object':34} {'keys':>4} {'unknown':>7} {'valid':>7} {'violation':>9} {'explained':>9}")
    figures = []
    for workload in WORKLOADS:
        for keys, unknown in ((10, 0.0), (10, 0.01), (1, 0.0), (1, 0.01)):
            figure = measured(workload, keys, unknown, options.operations, options.runs)
            figures.append(figure)
            times = f"{figure['valid']:7.2f} {figure['violation']:9.2f} {figure['explained']:9.2f}"
            print(f"{workload.name:34} {keys:4} {unknown:7.0%} {times}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"python": sys.version.split()[0], "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
