"""`actorum check simulate`: thousands of seeds of simulated clusters, on all processors.

What a seed does is in `raft_core.verify.simulation`; here it is decided which seeds run where, what is told meanwhile,
and what is kept.  A violation ends with exit code 6 and the line that repeats it; before that the run is shrunk to the
turns that the violation needs, and these are shown.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import click
from msgspec import json

from actors.cli.check_schedule import figure_option, show_schedule
from actors.cli.output import Output, output_option, say
from actors.cli.progress import Progress
from actors.errors import SafetyViolation
from raft_core.verify.counterexample import counterexample
from raft_core.verify.simulation import Report, Turn
from raft_core.verify.simulation import simulate as simulate_seed

EXAMPLES = """
Examples:

\b
  actorum check simulate --seeds 10000              a hundred million steps, on all processors
  actorum check simulate --seed 17 --servers 5      one seed again
  actorum check simulate --figure broken.html       if a rule is broken, a drawing of how

Exit code: 6 if any seed breaks a rule.
"""

_LAST = 30
"""Turns that are shown before a violation that cannot be shrunk."""
_PORTION = 10
"""Seeds that a processor takes at a time."""


@click.command(epilog=EXAMPLES)
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many seeds.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seed", type=click.IntRange(0), help="This seed only.")
@click.option("--servers", default="3,5", show_default=True, help="Sizes of clusters; seeds take turns.")
@click.option("--steps", type=click.IntRange(1), default=10_000, show_default=True, help="Steps of each seed.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes.  [default: processors]")
@click.option(
    "--archive",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a line of JSON for each seed to this file: what it did, and what it broke.",
)
@figure_option
@output_option
def simulate(
    seeds: int,
    first_seed: int,
    seed: int | None,
    servers: str,
    steps: int,
    jobs: int,
    archive: Path | None,
    figure: Path | None,
    output: Output,
) -> None:
    """Run simulated clusters under lost and doubled messages, cuts, crashes, torn writes, pauses, wrong clocks.

    After every step Raft's safety properties are checked; at the end of each seed the faults end, the cluster must
    serve again, and what its clients saw must be linearizable.
    """
    sizes = _sizes(servers)
    if seed is not None:
        _one_seed(seed, sizes[seed % len(sizes)], steps, archive, figure, output)
        return
    began = perf_counter()
    tally = _Tally()
    with Progress("seeds", seeds) as progress:
        for report in _reports(range(first_seed, first_seed + seeds), sizes, steps, jobs):
            tally.add(report)
            if archive is not None:
                _keep(archive, report)
            progress.show(tally.seeds)
    output.record(tally.record(perf_counter() - began))
    if tally.violations:
        raise _violation(tally.violations[0], steps, len(tally.violations), _place(figure, archive), output)


def _sizes(servers: str) -> list[int]:
    try:
        sizes = [int(size) for size in servers.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(1 <= size <= 9 for size in sizes):
        raise click.BadParameter(f"{servers!r} is no list of numbers of servers from 1 to 9, such as 3,5")
    return sizes


def _reports(seeds: range, sizes: list[int], steps: int, jobs: int) -> Iterator[Report]:
    """In the order in which they are done."""
    portions = iter([seeds[start : start + _PORTION] for start in range(0, len(seeds), _PORTION)])
    if jobs == 1:
        for portion in portions:
            yield from _run(portion, sizes, steps)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:

        def submitted(some: Iterable[range]) -> set[Future[list[Report]]]:
            return {pool.submit(_run, portion, sizes, steps) for portion in some}

        running = submitted(islice(portions, 2 * jobs))
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= submitted(islice(portions, len(done)))
            for future in done:
                yield from future.result()


def _run(seeds: range, sizes: list[int], steps: int) -> list[Report]:
    return [simulate_seed(seed, sizes[seed % len(sizes)], steps) for seed in seeds]


class _Tally:
    """Sums over all seeds."""

    def __init__(self) -> None:
        self.seeds = self.steps = self.operations = self.leaders = self.undecided = 0
        self.misfortunes: Counter[str] = Counter()
        self.cells: Counter[tuple[str, str]] = Counter()
        self.violations: list[Report] = []

    def add(self, report: Report) -> None:
        """One more."""
        self.seeds += 1
        self.steps += report.steps
        self.operations += report.operations
        self.leaders += report.leaders
        self.undecided += not report.is_decided
        self.misfortunes.update(report.misfortunes)
        self.cells.update(report.cells)
        if report.violation is not None:
            self.violations.append(report)

    def record(self, seconds: float) -> dict[str, object]:
        """What there is to say."""
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "seconds": round(seconds, 1),
            "steps_per_second": round(self.steps / seconds),
            "elections_won": self.leaders,
            "misfortunes": self.misfortunes.total(),
            "role_and_event_cells": len(self.cells),
            "client_operations": self.operations,
            "histories_undecided": self.undecided,
            "violations": len(self.violations),
        }


def _keep(archive: Path, report: Report) -> None:
    kept = {
        "seed": report.seed,
        "servers": report.servers,
        "steps": report.steps,
        "digest": report.digest,
        "violation": None if report.violation is None else str(report.violation),
    }
    with archive.open("ab") as file:
        file.write(json.encode(kept) + b"\n")


def _one_seed(seed: int, servers: int, steps: int, archive: Path | None, figure: Path | None, output: Output) -> None:
    report = simulate_seed(seed, servers, steps)
    if archive is not None:
        _keep(archive, report)
    output.record({"seed": seed, "servers": servers, "steps": report.steps, "digest": report.digest})
    if report.violation is not None:
        raise _violation(report, steps, 1, _place(figure, archive), output)


def _place(figure: Path | None, archive: Path | None) -> Callable[[Report], Path | None]:
    """Where the drawing goes: where it was asked for, or beside the archive."""
    beside = archive.parent if archive is not None else None

    def place(report: Report) -> Path | None:
        return figure or (beside / f"seed-{report.seed}-of-{report.servers}-servers.html" if beside else None)

    return place


def _violation(
    report: Report, steps: int, count: int, place: Callable[[Report], Path | None], output: Output
) -> SafetyViolation:
    _show(report, steps, place(report), output)
    again = f"actorum check simulate --seed {report.seed} --servers {report.servers} --steps {steps}"
    return SafetyViolation(
        f"seed {report.seed} with {report.servers} servers: {report.violation}",
        why=f"{count} of the seeds broke a rule" if count > 1 else "a rule that must always hold does not",
        fix=again,
    )


def _show(report: Report, steps: int, figure: Path | None, output: Output) -> None:
    """What the violation needs; or what came last, should nothing less than the whole run break the rule."""
    found = counterexample(report.seed, report.servers, steps)
    if found is None:
        last: deque[Turn] = deque(maxlen=_LAST)
        simulate_seed(report.seed, report.servers, steps, watcher=last.append)
        title = f"Seed {report.seed}: the last turns"
        show_schedule(list(last), report.servers, report.violation, title=title, figure=figure, output=output)
        return
    say(f"shrunk from {found.decided:,} decisions to {len(found.decisions)}, in {len(found.turns)} turns")
    title = f"Seed {report.seed}, shrunk" + (": then all faults end" if found.is_of_times else "")
    show_schedule(
        found.turns,
        report.servers,
        found.violation,
        title=title,
        figure=figure,
        output=output,
        is_last_to_blame=not found.is_of_times,
    )
