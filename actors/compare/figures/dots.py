"""A dot for each run, a box for each cell: failover, costs, and the counts that guard against unequal batching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actors.compare.figures.cells import cells_table, command_for, in_words
from actors.compare.figures.house import COLOURS, MARKERS, Lacking, Shown, canvas, from_zero
from actors.compare.records import Cell
from actors.compare.results import (
    ELECTED,
    ENTRIES,
    FSYNCS,
    INVOLUNTARY,
    PROCESSOR,
    RESIDENT,
    SPURIOUS,
    SWITCHES,
    UNAVAILABLE,
    VOLUNTARY,
    Measure,
    Results,
    name_of,
)
from actors.compare.words import found_between, reading


class Question(NamedTuple):
    """What is asked of the four cells in some conditions."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    factors: Mapping[str, str] = {}
    """In which conditions, as cells have them."""


QUESTIONS = (
    Question(
        "failover",
        "After the leader is killed: until the next one leads, and until clients get results again",
        (ELECTED, UNAVAILABLE),
        {"fault": "leader killed"},
    ),
    Question(
        "costs",
        "What a commit costs: processor time and context switches",
        (PROCESSOR, SWITCHES, VOLUNTARY, INVOLUNTARY),
    ),
    Question("guards", "Does one side batch more: entries per message, fsyncs per commit", (ENTRIES, FSYNCS)),
    Question("durable", "On a disk: fsyncs per commit, entries per message", (FSYNCS, ENTRIES), {"storage": "sqlite"}),
    Question(
        "memory", "Memory, and elections nobody needed, while a follower stands still", (RESIDENT, SPURIOUS),
        {"fault": "follower paused"},
    ),
)  # fmt: skip
_BESIDE = 0.09
"""How far dots of one cell lie apart, so that equal ones are seen."""


def of_cells(question: Question, results: Results) -> Shown | Lacking:
    """Each measure in a panel of its own."""
    cells = list(results.four(**question.factors).values())
    measures = [each for each in question.measures if any(results.values(cell, each) for cell in cells)]
    if not measures:
        missing = "no run in these conditions has these figures"
        return Lacking(question.name, question.title, missing, command_for(**question.factors))
    words = ". ".join(f"{measure.title}: {in_words(results, cells, measure)}" for measure in measures)
    return Shown(
        question.name,
        question.title,
        " ".join([reading(found_between(results, measures, **question.factors)), *_doubts(results, cells, measures)]),
        f"A dot for each run and a box from the lower to the upper quartile for each cell. Medians: {words}.",
        cells_table(results, cells, measures),
        partial(_drawn, results, cells, measures),
    )


def _doubts(results: Results, cells: Sequence[Cell], measures: Sequence[Measure]) -> list[str]:
    """A disk that answers without one fsync was not counted right."""
    uncounted = [
        name_of(cell)
        for cell in cells
        if FSYNCS in measures and cell.storage == "sqlite" and not any(results.values(cell, FSYNCS))
    ]
    if not uncounted:
        return []
    return [f"Not one fsync was counted of: {'; '.join(uncounted)}. They had a disk, so this count lost them."]


def _drawn(results: Results, cells: Sequence[Cell], measures: Sequence[Measure]) -> Figure:
    rows = (len(measures) + 1) // 2
    figure, panels = canvas(2.9 * rows, min(2, len(measures)), rows=rows)
    for panel, measure in zip(panels, measures, strict=False):
        for place, cell in enumerate(cells):
            _cell(panel, place, cell, [value * measure.scale for value in results.values(cell, measure)])
        panel.set_xticks(range(len(cells)), [f"{cell.runtime}\n{cell.isolation}" for cell in cells])
        from_zero(panel)
        panel.set(ylabel=measure.title, xlim=(-0.6, len(cells) - 0.4))
        panel.grid(visible=False, axis="x")
    for panel in panels[len(measures) :]:
        panel.set_visible(False)
    return figure


def _cell(panel: Axes, place: int, cell: Cell, values: Sequence[float]) -> None:
    if not values:
        return
    colour = COLOURS[cell.runtime]
    panel.boxplot(
        [list(values)],
        positions=[place],
        widths=0.5,
        showfliers=False,
        whis=(0, 100),
        boxprops={"color": colour},
        medianprops={"color": colour, "linewidth": 2.5},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )
    beside = [place + _BESIDE * ((number * 3) % 5 - 2) for number in range(len(values))]
    panel.plot(beside, values, MARKERS[cell.isolation], color=colour, alpha=0.5, markersize=4.5, markeredgewidth=0)
