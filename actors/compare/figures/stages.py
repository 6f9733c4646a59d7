"""Where an operation waits: its way cut into stages, at the median and at the 99th percentile of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from actors.compare.figures.cells import command_for
from actors.compare.figures.house import Lacking, Shown, Table, Value, canvas
from actors.compare.records import STAGES, Cell
from actors.compare.results import Results
from actors.compare.words import number

NAME, TITLE = "stages", "Where an operation waits"
_LOOKS = (
    ("#bdbdbd", ""),
    ("#E69F00", "//"),
    ("#000000", ""),
    ("#F0E442", ""),
    ("#56B4E9", ".."),
    ("#CC79A7", "\\\\"),
    ("#ffffff", "xx"),
)
"""Colour and hatching of each stage; the two colours of the designs are not among them."""


def stages(results: Results) -> Shown | Lacking:
    """A bar for each cell, in pieces; medians over runs."""
    cells = [cell for cell in results.four().values() if _of(results, cell, 0)]
    if not cells:
        return Lacking(NAME, TITLE, "no run followed its operations on their way", command_for())
    return Shown(
        NAME,
        TITLE,
        _reading(results, cells),
        f"Bars in pieces, one bar for each cell, left for p50 and right for p99. {_reading(results, cells)}",
        _table(results, cells),
        partial(_drawn, results, cells),
    )


def _of(results: Results, cell: Cell, percentile: int) -> list[float]:
    """Milliseconds in each stage, the median over runs; nothing if no run has them."""
    runs = [run.stages for run in results.runs_of(cell) if run.stages]
    return [1e3 * float(np.median([run[stage][percentile] for run in runs])) for stage in STAGES] if runs else []


def _reading(results: Results, cells: Sequence[Cell]) -> str:
    """The longest stage of each cell; of p99s nobody may take the sum."""
    clauses = []
    for cell in cells:
        longest = []
        for percentile, name in enumerate(("p50", "p99")):
            times = _of(results, cell, percentile)
            longest.append(f"{name} {STAGES[times.index(max(times))]} ({number(max(times))} ms)")
        clauses.append(f"{cell.runtime}, {cell.isolation}: {', '.join(longest)}")
    return f"The longest stage at each percentile - {'; '.join(clauses)}."


def _table(results: Results, cells: Sequence[Cell]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for cell in cells:
        halves, tails = _of(results, cell, 0), _of(results, cell, 1)
        for stage, half, tail in zip(STAGES, halves, tails, strict=True):
            rows.append((cell.runtime, cell.isolation, stage, half, tail))
    return Table(("design", "isolation", "stage", "p50 (ms)", "p99 (ms)"), rows)


def _drawn(results: Results, cells: Sequence[Cell]) -> Figure:
    figure, panels = canvas(3.4, 2, sharey=True)
    for percentile, panel in enumerate(panels):
        left = np.zeros(len(cells))
        for stage, (colour, hatch) in enumerate(_LOOKS):
            widths = np.array([_of(results, cell, percentile)[stage] for cell in cells])
            panel.barh(
                range(len(cells)),
                widths,
                left=left,
                color=colour,
                hatch=hatch,
                edgecolor="#333333",
                linewidth=0.6,
                label=STAGES[stage] if not percentile else None,
                height=0.6,
            )
            left += widths
        panel.set(title=("p50", "p99")[percentile] + " of each stage", xlabel="ms, stages laid end to end")
        panel.grid(visible=False, axis="y")
    panels[0].set_yticks(range(len(cells)), [f"{cell.runtime}, {cell.isolation}" for cell in cells])
    panels[0].invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(STAGES), handlelength=1.6, columnspacing=1.2)
    return figure
