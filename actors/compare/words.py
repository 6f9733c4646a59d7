"""What the figures say, in words: the table and the sentences in the terminal and at the top of the report.

No sentence says more than its interval: where no difference was detected, that is the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from actors.compare.plan import ISOLATIONS
from actors.compare.records import Cell, Isolation, Manifest
from actors.compare.results import P50, P99, THROUGHPUT, UNAVAILABLE, Measure, Results
from actors.compare.statistics import Difference, Summary

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
        verdict = "as it should be" if control.is_as_it_should_be else "NOT as it should be: trust nothing here"
        yield f"control {control.name}: {interval(control.difference, THROUGHPUT)} ({control.relative:+.1%}): {verdict}"


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


def compared(results: Results, first: Cell, second: Cell, measure: Measure) -> str | None:
    """What may be said of the first against the second; None if one of them was not measured."""
    between, relative = results.between(first, second, measure), results.relative(first, second, measure)
    if between is None:
        return None
    found = interval(between, measure) + ("" if relative is None else f", {relative:+.0%}")
    match between.verdict:
        case "too few runs":
            return f"too few runs to say ({between.runs[0]} and {between.runs[1]}; {found})"
        case "no difference detected":
            return f"no difference detected ({found})"
        case "higher" | "lower":
            return f"{first.runtime} {between.verdict} ({found})"
        case _:
            assert_never(between.verdict)


def reading(results: Results, measures: Sequence[Measure], **factors: object) -> str:
    """Actors against locks by these measures, in the baseline's conditions but for `factors`: one sentence."""
    four = results.four(**factors)
    clauses: list[str] = []
    for isolation in ISOLATIONS:
        first, second = four.get(("actors", isolation)), four.get(("locks", isolation))
        if first is not None and second is not None:
            said = ((measure.name, compared(results, first, second, measure)) for measure in measures)
            words = [f"{name} {what}" for name, what in said if what is not None]
            if words:
                clauses.append(f"{isolation}: {', '.join(words)}")
    if not clauses:
        return "There is nothing to set one design against the other by."
    return f"Actors against locks, medians over runs - {'; '.join(clauses)}."


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
