"""An experiment from its first run to its last: begun, continued after a break, or read again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import time

from actors.compare import plan
from actors.compare.environment import machine, versions
from actors.compare.own_process import RunFailed, run_in_process
from actors.compare.records import Cell, Experiment, Fault, Manifest, Planned, RecordError, Run

SECONDS = {"quick": 0.5, "star": 1.0, "full": 3.0}
"""Of each measurement, by plan."""
AT_LEAST: dict[Fault, float] = {"leader killed": 1.8, "follower paused": 3.0}
"""Seconds of a measurement in whose middle something happens: one must see how it goes on."""
SAME_MACHINE = ("processors", "model", "interpreter lock")
"""What must not change while an experiment is broken off."""
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


def missing(experiment: Experiment) -> list[Planned]:
    """The runs that are still to be carried out, in the planned order.

    Raises `RecordError` if this program, or this machine, is not the one that the experiment was begun with."""
    manifest = experiment.manifest()
    there = experiment.complete(manifest)
    left = [planned for planned in manifest.plan if planned.number not in there]
    if left:
        _refuse_another_world(experiment, manifest)
    return left


def _refuse_another_world(experiment: Experiment, manifest: Manifest) -> None:
    ours, here = versions(), machine(Path(tempfile.gettempdir()))
    then = {**manifest.versions, **{name: manifest.machine.get(name, "") for name in SAME_MACHINE}}
    now = {**ours, **{name: here[name] for name in SAME_MACHINE}}
    changed = [f"{name} was {then.get(name, '')}, is {now[name]}" for name in now if then.get(name, "") != now[name]]
    if changed:
        raise RecordError(
            f"{experiment.directory} was begun in another world: {'; '.join(changed)}",
            why="runs of two programs, or of two machines, cannot be compared with each other",
            fix="go on with what it was begun with, or begin a new experiment in another directory",
        )


def carry_on(experiment: Experiment, told: Callable[[int], None]) -> None:
    """Carry out what is missing, in the planned order; `told` how many of these are done, after each.

    Raises `RunFailed`, `RecordError`."""
    seconds = experiment.manifest().seconds
    for done, planned in enumerate(missing(experiment), start=1):
        _carry_out(planned, experiment, seconds)
        told(done)


def expected_seconds(runs: Sequence[Planned], seconds: float) -> float:
    """About how long they take: the measurements, and what is around them on an ordinary machine."""
    around = {"threads": 0.9, "processes": 1.3}
    return sum(_seconds_of(planned, seconds) + around[planned.cell.isolation] for planned in runs)


def _seconds_of(planned: Planned, seconds: float) -> float:
    return max(seconds, AT_LEAST.get(planned.cell.fault, 0.0))


def _carry_out(planned: Planned, experiment: Experiment, seconds: float) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            return run_in_process(planned, experiment.directory, _seconds_of(planned, seconds))
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
