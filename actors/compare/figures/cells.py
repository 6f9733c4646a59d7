"""What the figures of cells share: their tables, and the command that would measure what is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.compare.figures.house import Table, Value
from actors.compare.records import Cell
from actors.compare.results import Measure, Results
from actors.compare.words import with_interval

_USUAL = {
    "peers": "3",
    "storage": "memory",
    "payload": "16",
    "clients": "16",
    "batching": "on",
    "load": "closed",
    "fault": "none",
    "control": "",
}


def command_for(**factors: str) -> str:
    """What measures the four cells in the usual conditions but for `factors`."""
    only = (f"--only {name}={_quoted(value)}" for name, value in (_USUAL | factors).items())
    return " ".join(["actorum compare --full", *only])


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value or not value else value


def cells_table(
    results: Results, cells: Iterable[Cell], measures: Sequence[Measure], factors: Sequence[str] = ()
) -> Table:
    """A row for each cell: its value of `factors`, then each measure with its interval, and how many runs."""
    heads = ["design", "isolation", *factors]
    for measure in measures:
        heads += [measure.title, f"{measure.name} low", f"{measure.name} high"]
    rows: list[tuple[Value, ...]] = []
    for cell in cells:
        row: list[Value] = [cell.runtime, cell.isolation, *(_value(cell, name) for name in factors)]
        for measure in measures:
            found = results.summary(cell, measure)
            row += [None] * 3 if found is None else [value * measure.scale for value in found[:3]]
        rows.append((*row, len(results.runs_of(cell))))
    return Table((*heads, "runs"), rows)


def _value(cell: Cell, factor: str) -> Value:
    value: object = getattr(cell, factor)
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, int | float | str) else str(value)


def in_words(results: Results, cells: Iterable[Cell], measure: Measure) -> str:
    """The medians, for those who do not see them."""
    said = (
        f"{cell.runtime}, {cell.isolation}: {with_interval(found, measure.scale)} {measure.shown}".rstrip()
        for cell in cells
        if (found := results.summary(cell, measure)) is not None
    )
    return "; ".join(said)
