"""Schedules tried until a mistake was caught, and the deadlock of the naive design as a graph of who waits for whom.

The data is `search.json` beside the runs: a list of what each mistake came to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from math import cos, pi, sin
from typing import Literal

import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from msgspec import Struct

from actors.compare.figures.house import COLOURS, Lacking, Shown, Table, Value, canvas, plain_log
from actors.compare.records import RecordError
from actors.compare.results import Results

FILE = "search.json"
COMMAND = "python -m actors.compare.search"
_HELD = re.compile(
    r"\s*(?:thread )?(?P<who>[^;]+?) holds (?P<held>[^;]+?),? (?:and )?wait(?:s|ing)(?: for)? (?P<wanted>[^;]+)"
)
"""A clause of a cycle: "thread a holds A waits B"."""

_GAP = 0.8
"""Between the bars of two mistakes, in bars."""
_BEND = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.35", "shrinkA": 40, "shrinkB": 40, "linewidth": 1.6}
_PAPER = {"facecolor": "white", "edgecolor": "none"}


class Found(Struct, frozen=True):
    """What the search for one mistake in one design came to."""

    mistake: str
    design: Literal["actors", "locks", "naive"]
    schedules: int
    """Tried."""
    found_after: int | None
    """How many it took; None: it was not caught."""
    how: str
    """What caught it."""
    cycle: str | None = None
    """Who holds what and waits for what, of a deadlock."""


class Wait(Struct, frozen=True):
    """An edge of the graph."""

    who: str
    held: str
    wanted: str


def searched(results: Results) -> list[Found]:
    """All of them; none if nobody searched.  Raises `RecordError` if the file cannot be used."""
    path = results.experiment.directory / FILE
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Found])
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(
            f"the file {path} cannot be used: {error}",
            why="what was searched is drawn whole, or not at all",
            fix=f"search again, or remove the file: rm {path}",
        ) from error


def waits_of(cycle: str) -> list[Wait]:
    """The edges that the words of a cycle name."""
    return [Wait(*(part.strip() for part in found.group("who", "held", "wanted"))) for found in _HELD.finditer(cycle)]


def bugs(results: Results) -> Shown | Lacking:
    """A bar for each mistake in each design."""
    name, title = "schedules", "Schedules tried until a mistake was caught"
    found = searched(results)
    if not found:
        return Lacking(name, title, "no schedules were searched for this report", COMMAND)
    clauses = []
    for design in dict.fromkeys(each.design for each in found):
        mine = [each for each in found if each.design == design]
        caught = [each.found_after for each in mine if each.found_after is not None]
        most = f", the last after {max(caught)} schedules" if caught else ""
        clauses.append(f"{len(caught)} of {len(mine)} mistakes in {design} were caught{most}")
    said = "; ".join(clauses) + "."
    words = f"A bar for each mistake in each design, on a logarithmic scale; hatched: not caught. {said}"
    return Shown(name, title, said, words, _table(found), partial(_drawn, found))


def deadlock(results: Results) -> Shown | Lacking:
    """Who holds what, and waits for what."""
    name, title = "deadlock", "A deadlock of the naive design: who holds what, and waits for whom"
    cycles = [each for each in searched(results) if each.cycle and waits_of(each.cycle)]
    if not cycles:
        return Lacking(name, title, "no deadlock was found for this report", COMMAND)
    shown = next((each for each in cycles if each.design == "naive"), cycles[0])
    waits = waits_of(shown.cycle or "")
    title = f"A deadlock of the {shown.design} design: who holds what, and waits for whom"
    put_in = f'With "{shown.mistake}" put in' if shown.mistake else "With nothing put in"
    said = f"{put_in}, in schedule {shown.found_after}: {shown.cycle}."
    table = Table(("thread", "holds", "waits for"), [(wait.who, wait.held, wait.wanted) for wait in waits])
    return Shown(
        name, title, said, f"A ring of {len(waits)} threads. {said}", table, partial(_draw_cycle, shown, waits)
    )


def _table(found: Sequence[Found]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (each.mistake, each.design, each.found_after, each.schedules, each.how, each.cycle) for each in found
    ]
    return Table(("mistake", "design", "caught after (schedules)", "tried", "how", "cycle"), rows)


def _drawn(found: Sequence[Found]) -> Figure:
    """The bars of a mistake stand together, with a gap to the next one."""
    groups: dict[str, list[Found]] = {}
    for each in sorted(found, key=lambda each: list(COLOURS).index(each.design)):
        groups.setdefault(each.mistake, []).append(each)
    mistakes = list(dict.fromkeys(each.mistake for each in found))
    figure, (panel,) = canvas(1.3 + 0.22 * (len(found) + _GAP * len(mistakes)))
    ticks, place = [], 0.0
    for mistake in mistakes:
        bars = groups[mistake]
        ticks.append(place + (len(bars) - 1) / 2)
        for number, each in enumerate(bars):
            _bar(panel, each, place + number)
        place += len(bars) + _GAP
    panel.set_yticks(ticks, mistakes)
    panel.set(xlabel="schedules", ylim=(place - _GAP, -1), xlim=(0.8, None))
    plain_log(panel, "x")
    panel.grid(visible=False, axis="y")
    designs = [design for design in COLOURS if any(each.design == design for each in found)]
    handles = [Patch(color=COLOURS[design], label=design) for design in designs]
    handles.append(Patch(facecolor="white", edgecolor="#333333", hatch="////", label="not caught by so many"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _bar(panel: Axes, found: Found, place: float) -> None:
    colour, caught = COLOURS[found.design], found.found_after
    if caught is None:
        panel.barh(place, found.schedules, 0.9, color="white", edgecolor=colour, hatch="////", linewidth=1)
        return
    end = max(caught, 1)
    panel.barh(place, end, 0.9, color=colour)
    panel.annotate(str(caught), (end, place), (3, 0), textcoords="offset points", va="center", fontsize=9)


def _draw_cycle(found: Found, waits: Sequence[Wait]) -> Figure:
    """Threads on a ring; an arrow from each to the one that holds what it waits for."""
    figure, (panel,) = canvas(2.4 if len(waits) == 2 else 3.8)
    count = len(waits)
    places = [(1.7 * cos(pi - 2 * pi * k / count), sin(pi - 2 * pi * k / count)) for k in range(count)]
    holders = {wait.held: number for number, wait in enumerate(waits)}
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": COLOURS[found.design], "linewidth": 1.8}
    for number, (wait, (x, y)) in enumerate(zip(waits, places, strict=True)):
        panel.text(x, y, f"{wait.who}\nholds {wait.held}", ha="center", va="center", bbox=box, zorder=3)
        to = holders.get(wait.wanted, (number + 1) % count)
        bend = {
            "arrowstyle": "-|>",
            "connectionstyle": "arc3,rad=-0.35",
            "shrinkA": 40,
            "shrinkB": 40,
            "linewidth": 1.6,
        }
        panel.annotate("", places[to], (x, y), arrowprops=bend | {"color": COLOURS[found.design]})
        middle = ((x + places[to][0]) / 2, (y + places[to][1]) / 2)
        away = (places[to][1] - y, x - places[to][0])
        spot = (middle[0] - 0.2 * away[0], middle[1] - 0.2 * away[1])
        panel.text(
            *spot,
            f"waits for {wait.wanted}",
            ha="center",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none"},
        )
    high = 0.9 if count == 2 else 1.6
    panel.set(xlim=(-2.8, 2.8), ylim=(-high, high))
    panel.set_axis_off()
    return figure
