"""The tables of the report that have no drawing: four cells, faults, code, hypotheses, controls, rejected runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

from msgspec.structs import asdict

from actors.compare.code_table import Counts, code_table
from actors.compare.figures.cells import cells_table
from actors.compare.figures.house import Table, Value
from actors.compare.outcomes import outcomes
from actors.compare.records import Cell, Fault, Isolation, Run
from actors.compare.results import (
    ELECTED,
    MEASURES,
    P50,
    P99,
    THROUGHPUT,
    UNAVAILABLE,
    Results,
    conditions_of,
    four_of,
    name_of,
)
from actors.compare.words import verdict_of
from actors.spec import RuntimeName

CODE_WORDS = {
    "modules": "modules that only this design has",
    "lines": "lines of code in them",
    "primitives": "locks, conditions, events, queues and pipes made",
    "lock_sites": "places where a lock is taken or demanded",
    "threads_started": "places where a thread or an actor is started",
    "shared_fields": "fields that more than one thread uses",
    "lines_that_must_be_right": "lines that must be right together",
}
assert tuple(CODE_WORDS) == Counts._fields


class Faults(NamedTuple):
    """The fault matrix, with the runs that each row is of."""

    table: Table
    runs: list[list[Run]]


def runs(results: Results) -> Table:
    """Each run with its figures, in the planned order; of rejected ones, what it was alone."""
    heads = ("run", *Cell.__struct_fields__, "load before", "seconds", "sound", *(each.title for each in MEASURES))
    every = sorted([*results.runs, *results.rejected], key=lambda run: run.number)
    return Table(heads, [_run_row(results, run) for run in every])


def _run_row(results: Results, run: Run) -> tuple[Value, ...]:
    found = (each.of(results, run) if run.is_sound else None for each in MEASURES)
    figures = [
        None if value is None else float(f"{value * each.scale:.6g}")
        for value, each in zip(found, MEASURES, strict=True)
    ]
    conditions = ("on" if value is True else "off" if value is False else value for value in asdict(run.cell).values())
    return run.number, *conditions, run.load_before, run.seconds, "yes" if run.is_sound else "no", *figures


def four_cells(results: Results) -> Table:
    """The baseline."""
    return cells_table(results, results.four().values(), (THROUGHPUT, P50, P99))


def faults(results: Results) -> Faults:
    """A row for each fault and cell: the gates, throughput against no fault, time without a result."""
    rows: list[tuple[Value, ...]] = []
    runs: list[list[Run]] = []
    none = results.four()
    for fault in get_args(Fault):
        for key, cell in _measured(results, fault):
            mine = [run for run in [*results.runs, *results.rejected] if run.cell == cell]
            rows.append(_fault_row(results, cell, none.get(key), mine))
            runs.append(mine)
    heads = ("fault", "design", "isolation", "gates", THROUGHPUT.title, "of that without a fault")
    return Faults(Table((*heads, P99.title, ELECTED.title, UNAVAILABLE.title, "runs"), rows), runs)


def _measured(results: Results, fault: Fault) -> list[tuple[tuple[RuntimeName, Isolation], Cell]]:
    """The four cells with this fault, those of which every run was rejected among them."""
    measured = {run.cell for run in [*results.runs, *results.rejected]}
    return [(key, cell) for key, cell in four_of(results.baseline, fault=fault).items() if cell in measured]


def _fault_row(results: Results, cell: Cell, none: Cell | None, mine: Sequence[Run]) -> tuple[Value, ...]:
    sound = sum(run.is_sound for run in mine)
    gates = "all held" if sound == len(mine) else f"{len(mine) - sound} of {len(mine)} runs rejected"
    measures = (THROUGHPUT, P99, ELECTED, UNAVAILABLE)
    throughput, p99, elected, unavailable = (
        None if (found := results.summary(cell, measure)) is None else found.median * measure.scale
        for measure in measures
    )
    base = results.summary(none, THROUGHPUT) if none is not None else None
    share = f"{throughput / base.median:.0%}" if throughput is not None and base is not None and base.median else None
    return (
        cell.fault, cell.runtime, cell.isolation, gates, throughput, share, p99, elected, unavailable, len(mine),
    )  # fmt: skip


def code() -> Table:
    """Both designs, counted in the source that is installed here."""
    counts = code_table()
    rows: list[tuple[Value, ...]] = [
        (words, getattr(counts["actors"], field), getattr(counts["locks"], field))
        for field, words in CODE_WORDS.items()
    ]
    return Table(("counted", "actors", "locks"), rows)


def hypotheses(results: Results) -> Table:
    """What was expected, and what became of it."""
    rows: list[tuple[Value, ...]] = [
        (outcome.hypothesis.statement, outcome.hypothesis.reason, outcome.judgement, outcome.evidence)
        for outcome in outcomes(results)
    ]
    return Table(("written down before the first run", "because", "outcome", "the data"), rows)


def controls(results: Results) -> Table:
    """What must come out, if anything is to be believed."""
    rows: list[tuple[Value, ...]] = []
    for control in results.controls():
        estimate, low, high = control.difference[:3]
        runs, said = min(control.difference.runs), verdict_of(control)
        rows.append((control.name, estimate, low, high, f"{control.relative:+.1%}", runs, said))
    heads = ("control", "difference (commits/s)", "low", "high", "relative", "runs of each side", "verdict")
    return Table(heads, rows)


def differences(results: Results) -> Table:
    """Actors less locks in every condition in which both were measured; p corrected for how many these are."""
    rows: list[tuple[Value, ...]] = []
    for measure in (THROUGHPUT, P50, P99):
        for pair in results.pairs(measure):
            found = pair.difference
            estimate, low, high, spread = (value * measure.scale for value in (*found[:3], found.spread))
            where = conditions_of(pair.actors, results.baseline) or "the usual ones"
            row = (measure.title, pair.actors.isolation, where, estimate, low, high, spread, found.p, min(found.runs))
            rows.append((*row, found.verdict))
    heads = ("of", "isolation", "conditions", "actors less locks", "low", "high", "spread of runs", "p", "runs")
    return Table((*heads, "actors are"), rows)


def null_core(results: Results) -> Table:
    """The runtimes without a core: what they cost themselves."""
    cells = [*results.four().values(), *results.four(control="null core").values()]
    return cells_table(results, cells, (THROUGHPUT, P50, P99), ("control",))


def rejected(results: Results) -> Table:
    """Runs whose speed is not reported."""
    rows: list[tuple[Value, ...]] = []
    for run in results.rejected:
        failed = [gate for gate in run.gates if not gate.passed]
        said = "; ".join(f"{gate.name}: {gate.detail}" for gate in failed) or "no gate was tried"
        rows.append((run.number, name_of(run.cell), conditions_of(run.cell, results.baseline), said))
    return Table(("run", "cell", "conditions", "gates that failed"), rows)


def manifest(results: Results) -> Table:
    """What the experiment is."""
    known = results.manifest
    rows: list[tuple[Value, ...]] = [("experiment", known.name), ("seed", str(known.seed))]
    rows += [("seconds of each measurement", f"{known.seconds:g}"), ("runs", str(len(known.plan)))]
    loads = [run.load_before for run in [*results.runs, *results.rejected]]
    if loads:
        rows.append(("load before a run", f"from {min(loads):.2f} to {max(loads):.2f}"))
    return Table(("of", "value"), [*rows, *known.machine.items(), *known.versions.items()])
