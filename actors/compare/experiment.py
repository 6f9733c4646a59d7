"""An experiment from its first run to its last: begun, continued after a break, or read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import time

from actors.compare import plan
from actors.compare.environment import machine, versions
from actors.compare.records import Cell, Experiment, Manifest, Planned, Run
from actors.compare.running import RunFailed, run_in_process

QUICK_SECONDS = 0.6
FULL_SECONDS = 3.0
"""Of each measurement."""
TRIES = 2
"""A run whose process ends without a result is tried so often."""


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


def carry_on(experiment: Experiment, told: Callable[[int], None]) -> None:
    """Carry out what is missing, in the planned order; `told` how many runs are there, after each.

    Raises `RunFailed`, `RecordError`."""
    manifest = experiment.manifest()
    complete = experiment.complete()
    for planned in manifest.plan:
        if planned.number not in complete:
            _carry_out(planned, experiment, manifest.seconds)
            complete.add(planned.number)
            told(len(complete))


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
