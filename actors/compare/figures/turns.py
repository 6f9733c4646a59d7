"""Waiting one's turn: the mailbox and the lock are duals, and Little's law holds at both or something was lost.

Little: the mean number that waits or is served is the arrival rate times the mean time of stay.  The figures come from
the times of the same visits (`actors.compare.waiting`), so their agreement is a check of the measurement, and says
nothing about the designs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actors.compare.figures.cells import command_for
from actors.compare.figures.house import COLOURS, GREY, MARKERS, Lacking, Shown, Table, Value, canvas, legend, plain_log
from actors.compare.plan import ISOLATIONS, RUNTIMES
from actors.compare.records import Cell, Run, Waiting
from actors.compare.results import Results
from actors.compare.words import number

TOLERANCE = 0.1
"""By which the two sides of Little's law may differ: what was there at the beginning, or still at the end."""
_TIMES = (("wait_p50", "wait_p99", "waiting for it"), ("service_p50", "service_p99", "having it"))


def little(results: Results) -> Shown | Lacking:
    """Depth against rate times residence, a dot for each run."""
    name, title = "little", "Mailbox depth against lock queue, and the check of Little's law"
    found = list(_waitings(results))
    if not found:
        return Lacking(name, title, "no run looked at its mailbox or its lock", command_for())
    ratios = [_ratio(waiting) for _, waiting in found]
    good = sum(abs(ratio - 1) <= TOLERANCE for ratio in ratios)
    said = (
        f"In {good} of {len(ratios)} runs the measured depth is within {TOLERANCE:.0%} of rate times residence "
        f"(the ratio is from {number(min(ratios))} to {number(max(ratios))})."
    )
    if good < len(ratios):
        said += " In the others more was under way at the edges of the measurement, or it lost something."
    alternative = f"Left, depth against rate times residence, with the diagonal of equality; right, their ratio. {said}"
    return Shown(name, title, said, alternative, _little_table(found), partial(_draw_little, found))


def turns(results: Results) -> Shown | Lacking:
    """How long one waits for the turn, and how long it takes."""
    name, title = "turns", "Mailbox wait against lock wait: how long one waits for the turn, and how long one has it"
    found = {cell: waits for cell in results.four().values() if (waits := _of(results, cell))}
    if not found:
        return Lacking(name, title, "no run looked at its mailbox or its lock", command_for())
    clauses = []
    for cell, waits in found.items():
        half, tail = (_median(waits, which) for which in _TIMES[0][:2])
        clauses.append(f"{cell.runtime}, {cell.isolation}, {waits[0].kind}: {number(half)} µs and {number(tail)} µs")
    said = f"The wait at p50 and p99, medians over runs - {'; '.join(clauses)}."
    alternative = f"For each cell a line from p50 to p99 of the wait (left) and of the turn itself (right). {said}"
    return Shown(name, title, said, alternative, _turns_table(found), partial(_draw_turns, found))


def _of(results: Results, cell: Cell) -> list[Waiting]:
    return [run.waiting for run in results.runs_of(cell) if run.waiting is not None]


def _waitings(results: Results) -> Iterator[tuple[Run, Waiting]]:
    for run in results.runs:
        if run.waiting is not None and run.waiting.rate and run.waiting.residence and not run.cell.control:
            yield run, run.waiting


def _ratio(waiting: Waiting) -> float:
    return waiting.depth / (waiting.rate * waiting.residence)


def _median(waits: Sequence[Waiting], which: str) -> float:
    """Microseconds."""
    return 1e6 * float(np.median([getattr(waiting, which) for waiting in waits]))


# --- Little's law -----------------------------------------------------------------------------------------------------


def _little_table(found: Sequence[tuple[Run, Waiting]]) -> Table:
    heads = ("run", "design", "isolation", "fault", "place", "depth", "rate (1/s)", "residence (ms)", "ratio")
    rows: list[tuple[Value, ...]] = [
        (
            run.number,
            run.cell.runtime,
            run.cell.isolation,
            run.cell.fault,
            waiting.kind,
            waiting.depth,
            waiting.rate,
            1e3 * waiting.residence,
            _ratio(waiting),
        )
        for run, waiting in found
    ]
    return Table(heads, rows)


def _draw_little(found: Sequence[tuple[Run, Waiting]]) -> Figure:
    figure, (scatter, ratios) = canvas(3.9, 2)
    groups: dict[tuple[int, int], list[tuple[Run, Waiting]]] = {}
    for run, waiting in found:
        key = (ISOLATIONS.index(run.cell.isolation), RUNTIMES.index(run.cell.runtime))
        groups.setdefault(key, []).append((run, waiting))
    cells = [groups[key][0][0].cell for key in sorted(groups)]
    for place, (cell, key) in enumerate(zip(cells, sorted(groups), strict=True)):
        waits = [waiting for _, waiting in groups[key]]
        beside = [place + 0.08 * (number * 3 % 5 - 2) for number in range(len(waits))]
        _dots(scatter, cell, [w.rate * w.residence for w in waits], [w.depth for w in waits])
        _dots(ratios, cell, beside, [_ratio(w) for w in waits])
    _diagonal(scatter, found)
    ratios.axhline(1, color=GREY, linewidth=1, linestyle=":")
    ratios.axhspan(1 - TOLERANCE, 1 + TOLERANCE, color="#000000", alpha=0.06, linewidth=0)
    ratios.set_xticks(range(len(cells)), [f"{cell.runtime}\n{cell.isolation}" for cell in cells])
    ratios.set(ylabel="depth / (rate x residence)", title=f"each run; grey: within {TOLERANCE:.0%}")
    ratios.set(xlim=(-0.6, len(cells) - 0.4))
    legend(figure, cells, lines=False)
    return figure


def _dots(panel: Axes, cell: Cell, across: Sequence[float], up: Sequence[float]) -> None:
    look = MARKERS[cell.isolation]
    panel.plot(across, up, look, color=COLOURS[cell.runtime], alpha=0.6, markersize=5, markeredgewidth=0)


def _diagonal(panel: Axes, found: Sequence[tuple[Run, Waiting]]) -> None:
    ends = [end for _, w in found for end in (w.depth, w.rate * w.residence)]
    line = [min(ends) * 0.8, max(ends) * 1.25]
    panel.plot(line, line, color=GREY, linewidth=1, linestyle=":", zorder=0)
    plain_log(panel, "x")
    plain_log(panel, "y")
    panel.set(xlabel="rate x residence", ylabel="measured depth", title="dotted: equal, as Little's law says")


# --- the wait ---------------------------------------------------------------------------------------------------------


def _turns_table(found: dict[Cell, list[Waiting]]) -> Table:
    heads = ["design", "isolation", "place", "depth"]
    heads += [f"{words} {end} (µs)" for *_, words in _TIMES for end in ("p50", "p99")]
    rows: list[tuple[Value, ...]] = []
    for cell, waits in found.items():
        times = [_median(waits, which) for low, high, _ in _TIMES for which in (low, high)]
        depth = float(np.median([waiting.depth for waiting in waits]))
        rows.append((cell.runtime, cell.isolation, waits[0].kind, depth, *times, len(waits)))
    return Table((*heads, "runs"), rows)


def _draw_turns(found: dict[Cell, list[Waiting]]) -> Figure:
    figure, panels = canvas(2.9, 2, sharey=True)
    for panel, (low, high, words) in zip(panels, _TIMES, strict=True):
        for place, (cell, waits) in enumerate(found.items()):
            half, tail = _median(waits, low), _median(waits, high)
            colour, marker = COLOURS[cell.runtime], MARKERS[cell.isolation]
            panel.plot([half, tail], [place, place], color=colour, linewidth=1.5)
            panel.plot([half], [place], marker, color=colour, markersize=7)
            panel.plot([tail], [place], marker, color=colour, markersize=7, markerfacecolor="white")
        panel.set(xlabel="µs; filled: p50, hollow: p99", title=words, ylim=(len(found) - 0.5, -0.5))
        plain_log(panel, "x")
        panel.grid(visible=False, axis="y")
    names = [f"{cell.runtime}, {cell.isolation}\n({waits[0].kind})" for cell, waits in found.items()]
    panels[0].set_yticks(range(len(found)), names)
    return figure
