"""Latency: how many operations were done within which time, and how long the slowest take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from actors.compare.figures.cells import cells_table, command_for, in_words
from actors.compare.figures.house import COLOURS, LINES, Lacking, Shown, canvas, legend, plain_log
from actors.compare.records import Cell
from actors.compare.results import P50, P90, P99, P999, Results
from actors.compare.words import found_between, reading

NAME, TITLE = "latency", "Latency of an operation, from its intended send time to its result"
_SHARES = np.concatenate([np.linspace(0, 0.99, 100), 1 - np.logspace(-2, -3, 20)])
"""Of operations: the curve is drawn through their quantiles, which every run has."""


def latency(results: Results) -> Shown | Lacking:
    """Two views of the same distribution: all of it, and its tail."""
    cells = list(results.four().values())
    if not cells:
        return Lacking(NAME, TITLE, "no sound run of the four cells is there", command_for())
    return Shown(
        NAME,
        TITLE,
        reading(found_between(results, (P50, P99))),
        "Left, the share of operations done within a time, a curve for each cell; right, the share that took longer, "
        f"on a logarithmic scale. Medians of p50: {in_words(results, cells, P50)}.",
        cells_table(results, cells, (P50, P90, P99, P999)),
        lambda: _drawn(results, cells),
    )


def _drawn(results: Results, cells: Sequence[Cell]) -> Figure:
    figure, (whole, tail) = canvas(3.9, 2)
    for cell in cells:
        low, middle, high = np.quantile(_quantiles(results, cell), (0.25, 0.5, 0.75), axis=0)
        colour, line = COLOURS[cell.runtime], LINES[cell.isolation]
        whole.plot(middle, 100 * _SHARES, color=colour, linestyle=line)
        whole.fill_betweenx(100 * _SHARES, low, high, color=colour, alpha=0.15, linewidth=0)
        tail.plot(middle, 100 * (1 - _SHARES), color=colour, linestyle=line)
    whole.set(xlabel="latency (ms)", ylabel="operations done within it (%)", title="all operations", ylim=(0, 100))
    tail.set(xlabel="latency (ms)", ylabel="operations that took longer (%)", title="the tail")
    for panel in (whole, tail):
        plain_log(panel, "x")
    plain_log(tail, "y")
    legend(figure, cells, markers=False)
    return figure


def _quantiles(results: Results, cell: Cell) -> NDArray[np.float64]:
    """In milliseconds, a row for each run."""
    runs = [results.experiment.latencies(run) for run in results.runs_of(cell) if run.completed]
    return np.array([1e3 * np.quantile(np.asarray(each), _SHARES, method="inverted_cdf") for each in runs])
