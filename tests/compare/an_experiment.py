"""Experiments that were never carried out: every number in them is chosen, so what a report says of them is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random

from msgspec.structs import replace

from actors.compare.plan import HYPOTHESES, ISOLATIONS, RATE, RUNTIMES, ordered
from actors.compare.records import STAGES, Cell, Experiment, Gate, Manifest, PeerUse, Planned, Run, Waiting
from actors.compare.results import Results

GATES = ("history is linearizable", "replicas are equal", "one leader a term", "traces replay")
OPERATIONS = 200
FOUR = tuple(Cell(runtime=runtime, isolation=isolation) for isolation, runtime in product(ISOLATIONS, RUNTIMES))
EVERYTHING: Sequence[Mapping[str, object]] = (
    {},
    *({"fault": fault} for fault in ("leader killed", "follower paused", "slow apply", "slow fsync", "link delay")),
    *({"clients": clients} for clients in (1, 64)),
    *({"peers": peers} for peers in (5, 7)),
    {"payload": 1024},
    {"storage": "sqlite"},
    {"batching": False},
    {"load": "open", "rate": RATE},
    {"control": "null core"},
    {"control": "a/a", "label": "A"},
    {"control": "a/a", "label": "B"},
    {"control": "planted slowdown"},
)
Change = Callable[[Run], Run]


def as_it_was(run: Run) -> Run:
    """No change."""
    return run


def cells_of(variants: Sequence[Mapping[str, object]], repetitions: int = 6) -> tuple[tuple[Cell, int], ...]:
    """The four cells in each of these conditions."""
    return tuple((replace(cell, **variant), repetitions) for variant in variants for cell in FOUR)


def experiment_in(
    directory: Path, cells: Sequence[tuple[Cell, int]], change: Change = as_it_was, seed: int = 1
) -> Experiment:
    """An experiment with these cells and repetitions, whose runs are as `change` makes them."""
    manifest = Manifest(
        name="invented",
        seed=seed,
        began=0.0,
        seconds=1.0,
        versions={"actorum": "0", "python": "CPython 3", "sqlite": "3"},
        machine={"processors": "2", "interpreter lock": "yes", "model": '<none> & "none"'},
        hypotheses=HYPOTHESES,
        plan=ordered(cells, seed),
    )
    experiment = Experiment(directory)
    experiment.begin(manifest)
    for planned in manifest.plan:
        run = change(run_of(planned))
        latencies = latencies_of(run)
        experiment.save(run, latencies, [number / OPERATIONS for number in range(len(latencies))])
    return experiment


def results_in(directory: Path, cells: Sequence[tuple[Cell, int]], change: Change = as_it_was) -> Results:
    """What such an experiment found."""
    return Results(experiment_in(directory, cells, change))


def latencies_of(run: Run) -> list[float]:
    """About a millisecond each, or as long as the first stage's p50 says, in seconds."""
    randomness = Random(run.number)
    middle = run.stages["client"][0] if run.stages else 1e-3
    return [middle * randomness.uniform(0.9, 1.1) for _ in range(run.completed)]


def run_of(planned: Planned) -> Run:
    """A sound run with everything in it; runs of a cell differ a little, cells do not."""
    cell, randomness = planned.cell, Random(planned.repetition)
    is_hurt = cell.fault in ("leader killed", "follower paused")
    return Run(
        number=planned.number,
        cell=cell,
        repetition=planned.repetition,
        seed=planned.seed,
        began=0.0,
        load_before=0.5,
        seconds=1.0,
        completed=OPERATIONS,
        refused=0,
        unknown=0,
        throughput=1000.0 * randomness.uniform(0.98, 1.02),
        timeline=(20, 20, 20, 20, 0, 0, 20, 20, 20, 40) if is_hurt else (20,) * 10,
        fault_at=0.35 if is_hurt else None,
        elected=0.2 * randomness.uniform(0.9, 1.1) if cell.fault == "leader killed" else None,
        unavailable=0.25 * randomness.uniform(0.9, 1.1) if is_hurt else None,
        entries_per_append=8.0 * randomness.uniform(0.9, 1.1),
        stages={stage: (1e-3 / (place + 1), 3e-3 / (place + 1)) for place, stage in enumerate(STAGES)},
        waiting=_waiting(cell, randomness),
        peers=(
            PeerUse(
                peer="n1",
                was_leader=True,
                processor=0.5 * randomness.uniform(0.9, 1.1),
                voluntary=300,
                involuntary=100 + planned.repetition,
                fsyncs=50 if cell.storage == "sqlite" else 0,
                resident=50_000_000,
            ),
        ),
        gates=tuple(Gate(name, True) for name in GATES),
    )


def _waiting(cell: Cell, randomness: Random) -> Waiting:
    rate, residence = 1000.0, 1e-3 * randomness.uniform(0.8, 1.2)
    return Waiting(
        kind="mailbox" if cell.runtime == "actors" else "lock",
        depth=rate * residence,
        rate=rate,
        residence=residence,
        wait_p50=2e-4,
        wait_p99=9e-4,
        service_p50=1e-4,
        service_p99=4e-4,
    )


def faster(runtime: str, factor: float) -> Change:
    """Of one design, so much more throughput, and so much less of everything that takes time."""

    def change(run: Run) -> Run:
        if run.cell.runtime != runtime:
            return run
        return replace(
            run,
            throughput=run.throughput * factor,
            elected=run.elected / factor if run.elected is not None else None,
            unavailable=run.unavailable / factor if run.unavailable is not None else None,
            stages={stage: (half / factor, tail / factor) for stage, (half, tail) in run.stages.items()},
            peers=tuple(replace(use, voluntary=int(use.voluntary / factor)) for use in run.peers),
        )

    return change
