"""Throughput through a fault: what clients get, tenth of a second by tenth of a second, before, during and after."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from actors.compare.figures.cells import command_for
from actors.compare.figures.house import COLOURS, GREY, LINES, Lacking, Shown, Table, Value, canvas, from_zero, legend
from actors.compare.plan import ISOLATIONS
from actors.compare.records import Cell, Fault, Run
from actors.compare.results import UNAVAILABLE, Results
from actors.compare.words import found_between, reading

TENTH = 0.1
"""Seconds: what `Run.timeline` counts in."""


def through(fault: Fault, results: Results) -> Shown | Lacking:
    """Completions per second around the moment of `fault`."""
    name, title = f"through-{fault.replace(' ', '-')}", f"Throughput through a fault: {fault}"
    cells = [cell for cell in results.four(fault=fault).values() if _aligned(results.runs_of(cell))]
    if not cells:
        return Lacking(name, title, "no run with this fault is there", command_for(fault=fault))
    return Shown(
        name,
        title,
        f"The longest time without a result. {reading(found_between(results, (UNAVAILABLE,), fault=fault))}",
        "Completions per second against the time since the fault, a panel for each isolation, a line for each design "
        "with a band from the lower to the upper quartile of its runs.",
        _table(results, cells),
        partial(_drawn, results, cells),
    )


def _aligned(runs: Sequence[Run]) -> dict[int, list[float]]:
    """Completions per second in each tenth, counted from the one in which the fault was; a value of each run."""
    tenths: dict[int, list[float]] = {}
    for run in runs:
        if run.fault_at is not None:
            fault = int(run.fault_at / TENTH)
            for place, count in enumerate(run.timeline):
                tenths.setdefault(place - fault, []).append(count / TENTH)
    return dict(sorted(tenths.items()))


def _table(results: Results, cells: Sequence[Cell]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for cell in cells:
        for place, rates in _aligned(results.runs_of(cell)).items():
            low, middle, high = (float(value) for value in np.quantile(rates, (0.25, 0.5, 0.75)))
            rows.append((cell.runtime, cell.isolation, round(place * TENTH, 1), middle, low, high, len(rates)))
    heads = ("design", "isolation", "since the fault (s)", "commits/s", "lower quartile", "upper quartile", "runs")
    return Table(heads, rows)


def _drawn(results: Results, cells: Sequence[Cell]) -> Figure:
    figure, panels = canvas(3.4, len(ISOLATIONS), sharey=True)
    for panel, isolation in zip(panels, ISOLATIONS, strict=True):
        for cell in cells:
            if cell.isolation == isolation:
                tenths = _aligned(results.runs_of(cell))
                edges = [place * TENTH for place in [*tenths, max(tenths) + 1]]
                low, middle, high = np.array([np.quantile(r, (0.25, 0.5, 0.75)) for r in tenths.values()]).T
                colour = COLOURS[cell.runtime]
                panel.stairs(middle, edges, baseline=None, color=colour, linestyle=LINES[isolation], linewidth=1.8)
                panel.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.15, linewidth=0)
        panel.axvline(0, color=GREY, linewidth=1.2, linestyle=":")
        panel.set(xlabel="seconds since the tenth of the fault (dotted)", title=isolation)
    panels[0].set_ylabel("commits/s")
    from_zero(*panels)
    legend(figure, cells, markers=False)
    return figure
