"""An experiment from its first run to its last: begun, continued after a break, or read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple

from actors.compare import plan
from actors.compare.environment import machine, versions
from actors.compare.records import Cell, Experiment, Manifest, Planned, Run
from actors.compare.running import RunFailed, run_in_process

QUICK_SECONDS = 0.6
FULL_SECONDS = 3.0
"""Of each measurement."""
TRIES = 2
"""A run whose process ends without a result is tried so often."""


class Going(NamedTuple):
    """How far it is."""

    done: int
    total: int
    latest: Run
    seconds_left: float


def begin(
    directory: Path,
    name: str,
    cells: Sequence[tuple[Cell, int]],
    *,
    seed: int,
    seconds: float,
) -> Experiment:
    """Write the manifest of a new experiment.  Raises `RecordError` if one is there."""
    experiment = Experiment(directory)
    experiment.begin(
        Manifest(
            name=name,
            seed=seed,
            began=time(),
            seconds=seconds,
            versions=versions(),
            machine=machine(Path(tempfile.gettempdir())),
            hypotheses=plan.HYPOTHESES,
            plan=plan.ordered(cells, seed),
        )
    )
    return experiment


def carry_on(experiment: Experiment, told: Callable[[Going], None]) -> None:
    """Carry out what is missing, in the planned order; `told` after each run.  Raises `RunFailed`, `RecordError`."""
    manifest = experiment.manifest()
    complete = experiment.complete()
    missing = [planned for planned in manifest.plan if planned.number not in complete]
    began = monotonic()
    for count, planned in enumerate(missing, start=1):
        _carry_out(planned, experiment, manifest.seconds)
        pace = (monotonic() - began) / count
        done = len(manifest.plan) - len(missing) + count
        told(Going(done, len(manifest.plan), experiment.run(planned.number), pace * (len(missing) - count)))


def _carry_out(planned: Planned, experiment: Experiment, seconds: float) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            return run_in_process(planned, experiment.directory, seconds)
        except RunFailed:
            if attempt == TRIES:
                raise
    raise AssertionError("a try returns or raises")


def sound(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """The runs that passed every gate, and the others: their speed is not reported."""
    passed: list[Run] = []
    rejected: list[Run] = []
    for run in runs:
        (passed if run.is_sound else rejected).append(run)
    return passed, rejected
