"""The figures of the comparison: one function for each, from what an experiment found to what is shown.

No figure knows of clusters, and none reads anything but `Results`.  What the data has no cells for is `Lacking`, with
the command that would measure it: a figure is never drawn from a smaller question than its title asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from actors.compare.figures.dots import QUESTIONS, of_cells
from actors.compare.figures.factor import FACTORS, against
from actors.compare.figures.house import Lacking, Shown, Table
from actors.compare.figures.latency import latency
from actors.compare.figures.stages import stages
from actors.compare.figures.timeline import through
from actors.compare.figures.turns import little, turns
from actors.compare.results import Results

__all__ = ["FIGURES", "Lacking", "Shown", "Table"]

Draw: TypeAlias = Callable[[Results], Shown | Lacking]

_ASKED = {question.name: partial(of_cells, question) for question in QUESTIONS}
_VARIED = {factor.name: partial(against, factor) for factor in FACTORS}

FIGURES: Sequence[Draw] = (
    latency,
    _VARIED["clients"],
    partial(through, "leader killed"),
    partial(through, "follower paused"),
    _ASKED["failover"],
    stages,
    turns,
    little,
    _VARIED["peers"],
    _VARIED["payload"],
    _VARIED["storage"],
    _VARIED["batching"],
    _VARIED["load"],
    _ASKED["costs"],
    _ASKED["guards"],
    _ASKED["durable"],
    _ASKED["memory"],
)
"""In the order of the report."""
