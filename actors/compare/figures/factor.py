"""Throughput and latency against one factor: clients, peers, bytes of a command, storage, batching, kind of load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actors.compare.figures.cells import cells_table, command_for, in_words
from actors.compare.figures.house import COLOURS, LINES, MARKERS, Lacking, Shown, canvas, from_zero, legend
from actors.compare.plan import CLIENTS, PAYLOADS, PEERS, RATE
from actors.compare.records import Cell, Load, Storage
from actors.compare.results import P99, THROUGHPUT, Measure, Results
from actors.compare.words import found_between, reading


class Level(NamedTuple):
    """One value of a factor."""

    label: str
    factors: Mapping[str, object]
    """What makes a cell of the baseline have it."""


class Factor(NamedTuple):
    """What is varied, everything else being as in the baseline."""

    name: str
    title: str
    axis: str
    levels: tuple[Level, ...]
    values: str
    """As `--only` takes them."""


def _levels(name: str, values: Sequence[object]) -> tuple[Level, ...]:
    return tuple(Level(str(value), {name: value}) for value in values)


_LOADS = (Level("closed", {"load": "closed", "rate": 0.0}), Level("open", {"load": "open", "rate": RATE}))
assert {level.label for level in _LOADS} == set(get_args(Load))

FACTORS = (
    Factor(
        "clients", "Throughput and p99 against commands under way", "commands under way", _levels("clients", CLIENTS),
        "1,16,64",
    ),
    Factor("peers", "Throughput and p99 against the size of the cluster", "peers", _levels("peers", PEERS), "3,5,7"),
    Factor(
        "payload", "Throughput and p99 against the size of a command", "bytes of a command",
        _levels("payload", PAYLOADS), "16,1024,16384",
    ),
    Factor(
        "storage", "Throughput and p99 with and without an fsync on every write", "storage",
        _levels("storage", get_args(Storage)), "memory,sqlite",
    ),
    Factor(
        "batching", "Throughput and p99 with and without batching", "batching",
        (Level("on", {"batching": True}), Level("off", {"batching": False})), "on,off",
    ),
    Factor("load", "Throughput and p99 in closed and in open loop", "load", _LOADS, "closed,open"),
)  # fmt: skip


def against(factor: Factor, results: Results) -> Shown | Lacking:
    """Throughput and p99 at the values of `factor` that were measured."""
    found = [(level, four) for level in factor.levels if (four := results.four(**level.factors))]
    if len(found) < 2:
        why = f"fewer than two values of {factor.axis} were measured"
        return Lacking(factor.name, factor.title, why, command_for(**{factor.name: factor.values}))
    cells = [cell for _, four in found for cell in four.values()]
    said = [
        each
        for level, _ in found
        for each in found_between(results, (THROUGHPUT,), f"{factor.axis} {level.label}", **level.factors)
    ]
    words = [f"{factor.axis} {level.label}: {in_words(results, four.values(), THROUGHPUT)}" for level, four in found]
    return Shown(
        factor.name,
        factor.title,
        reading(said),
        f"Two panels, throughput and p99, a line for each cell, with 95 % intervals. {'. '.join(words)}.",
        cells_table(results, cells, (THROUGHPUT, P99), (factor.name,)),
        partial(_drawn, factor, results, [level for level, _ in found]),
    )


def _drawn(factor: Factor, results: Results, levels: Sequence[Level]) -> Figure:
    figure, panels = canvas(3.6, 2)
    lines = _lines(results, levels)
    for panel, measure in zip(panels, (THROUGHPUT, P99), strict=True):
        for shift, cells in zip((-0.06, -0.02, 0.02, 0.06), lines, strict=False):
            _line(panel, results, cells, measure, shift)
        from_zero(panel)
        panel.set_xticks(range(len(levels)), [level.label for level in levels])
        panel.set(xlabel=factor.axis, ylabel=measure.title, xlim=(-0.3, len(levels) - 0.7))
    legend(figure, [next(cell for cell in line if cell) for line in lines])
    return figure


def _lines(results: Results, levels: Sequence[Level]) -> list[list[Cell | None]]:
    """For each design and isolation, its cells at the levels."""
    fours = [results.four(**level.factors) for level in levels]
    keys = list(dict.fromkeys(key for four in fours for key in four))
    return [[four.get(key) for four in fours] for key in keys]


def _line(panel: Axes, results: Results, cells: Sequence[Cell | None], measure: Measure, shift: float) -> None:
    found = [
        (place + shift, cell, summary)
        for place, cell in enumerate(cells)
        if cell is not None and (summary := results.summary(cell, measure)) is not None
    ]
    if not found:
        return
    cell, scale = found[0][1], measure.scale
    places = [place for place, _, _ in found]
    middles = [summary.median * scale for _, _, summary in found]
    colour = COLOURS[cell.runtime]
    panel.plot(places, middles, color=colour, linestyle=LINES[cell.isolation], marker=MARKERS[cell.isolation])
    lows, highs = ([summary[end] * scale for _, _, summary in found] for end in (1, 2))
    panel.fill_between(places, lows, highs, color=colour, alpha=0.12, linewidth=0)
    panel.vlines(places, lows, highs, color=colour, linewidth=1)
