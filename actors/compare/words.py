"""What the figures say, in words: the table and the sentences in the terminal and at the top of the report.

No sentence says more than its interval: where no difference was detected, that is the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from actors.compare.plan import ISOLATIONS
from actors.compare.records import Isolation, Manifest
from actors.compare.results import P50, P99, THROUGHPUT, UNAVAILABLE, Control, Measure, Results
from actors.compare.statistics import FEWEST, Difference, Summary

TURNS = {"actors": "actors (one mailbox)", "locks": "locks (one lock)"}


def host_line(manifest: Manifest) -> str:
    """What it ran on, in a line."""
    lock = "GIL" if manifest.machine["interpreter lock"] == "yes" else "no GIL"
    return (
        f"host: {manifest.machine['processors']} cpu, {manifest.versions['python']} ({lock}), "
        f"SQLite {manifest.versions['sqlite']}; same core, codec, timers, storage: only concurrency differs; "
        f"seed {manifest.seed}"
    )


def rows(results: Results) -> list[dict[str, object]]:
    """The table of the four cells."""
    return [
        {
            "design": TURNS[row.cell.runtime],
            "isolation": row.cell.isolation,
            "commits/s": with_interval(row.throughput, 1),
            "p50 ms": with_interval(row.p50, 1e3),
            "p99 ms": with_interval(row.p99, 1e3),
            "failover ms": with_interval(row.failover, 1e3) if row.failover is not None else None,
            "safety": "held" if not row.rejected else f"{row.rejected} runs rejected",
        }
        for row in results.table()
    ]


def sentences(results: Results) -> list[str]:
    """The differences between the designs, and what the controls showed."""
    return [*_differences(results), *_controls(results)]


def _differences(results: Results) -> Iterator[str]:
    four = results.four()
    isolations: tuple[Isolation, ...] = ("threads", "processes")
    for isolation in isolations:
        for measure in (THROUGHPUT, P50, P99):
            first, second = four.get(("actors", isolation)), four.get(("locks", isolation))
            if first is not None and second is not None:
                between = results.between(first, second, measure)
                if between is not None:
                    yield difference_line(between, measure, isolation)
    killed = results.four(fault="leader killed")
    for isolation in isolations:
        first, second = killed.get(("actors", isolation)), killed.get(("locks", isolation))
        if first is not None and second is not None:
            between = results.between(first, second, UNAVAILABLE)
            if between is not None:
                yield difference_line(between, UNAVAILABLE, isolation)


def _controls(results: Results) -> Iterator[str]:
    for control in results.controls():
        said = verdict_of(control)
        yield f"control {control.name}: {interval(control.difference, THROUGHPUT)} ({control.relative:+.1%}): {said}"


def verdict_of(control: Control) -> str:
    """What a control says."""
    if control.is_as_it_should_be is None:
        return "too few runs to say"
    return "as it should be" if control.is_as_it_should_be else "NOT as it should be: trust nothing here"


def difference_line(between: Difference, measure: Measure, isolation: str) -> str:
    """One difference, with its interval and what may be concluded."""
    return (
        f"difference actors-locks, {isolation}, {measure.name}: {interval(between, measure)} "
        f"(n={between.runs[0]} and {between.runs[1]} runs, ABBA order, p={between.p:.3f}): {between.verdict}"
    )


def interval(between: Difference, measure: Measure) -> str:
    """The estimate and its interval, in the unit that people read."""
    estimate, low, high = (number(value * measure.scale, sign=True) for value in between[:3])
    unit = f" {measure.shown}" if measure.shown else ""
    return f"{estimate}{unit} [{low}, {high}]"


class Said(NamedTuple):
    """A difference with where it was found, and by which part of the twin's median it is one."""

    where: str
    measure: Measure
    difference: Difference
    relative: float | None


def found_between(results: Results, measures: Sequence[Measure], where: str = "", **factors: object) -> list[Said]:
    """Actors less locks by these measures, in the baseline's conditions but for `factors`, as far as measured.

    `where`: what these conditions are called."""
    four = results.four(**factors)
    found: list[Said] = []
    for isolation, measure in product(ISOLATIONS, measures):
        first, second = four.get(("actors", isolation)), four.get(("locks", isolation))
        if first is not None and second is not None:
            between = results.between(first, second, measure)
            if between is not None:
                place = ", ".join(filter(None, (where, isolation, measure.name)))
                found.append(Said(place, measure, between, results.relative(first, second, measure)))
    return found


def verdicts(found: Sequence[Said]) -> list[str]:
    """Clauses: each difference that was detected; then where none was, and of what there are too few runs to say."""
    clauses = []
    for verdict in ("higher", "lower"):
        clauses += [f"actors {verdict}: {_with_numbers(said)}" for said in found if said.difference.verdict == verdict]
    none = [said for said in found if said.difference.verdict == "no difference detected"]
    if none:
        clauses.append(f"no difference detected: {'; '.join(map(_with_numbers, none))}")
    few = [said.where for said in found if said.difference.verdict == "too few runs"]
    if few:
        fewest = min(min(said.difference.runs) for said in found if said.difference.verdict == "too few runs")
        clauses.append(f"too few runs to say ({fewest} where at least {FEWEST} are needed): {'; '.join(few)}")
    return clauses


def _with_numbers(said: Said) -> str:
    part = "" if said.relative is None else f", {said.relative:+.0%}"
    return f"{said.where} ({interval(said.difference, said.measure)}{part})"


def reading(found: Sequence[Said]) -> str:
    """One sentence of what was found."""
    if not found:
        return "There is nothing to set one design against the other by."
    clauses = ". ".join(clause[0].upper() + clause[1:] for clause in verdicts(found))
    return f"{clauses}."


def with_interval(found: Summary, scale: float) -> str:
    """Median and 95 % interval."""
    return f"{number(found.median * scale)} [{number(found.low * scale)}, {number(found.high * scale)}]"


def number(value: float, *, sign: bool = False) -> str:
    """Three or four digits that mean something; thousands apart."""
    plus = "+" if sign else ""
    if abs(value) >= 1000:
        return f"{value:{plus},.0f}".replace(",", " ")
    if abs(value) >= 10:
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.2f}"
