"""How all figures of the comparison look, and what each of them is: a drawing, a sentence, a table, a description.

The colour tells the design and nothing else, in every figure; how a design's cells are isolated is told by the line
and the marker, so nothing is told by colour alone.  The palette is that of Okabe and Ito.  No text is smaller than 9
points.  Units stand at the axes, a legend stands outside of the data.

Figures are objects: matplotlib's `pyplot` with its global list of open figures and its windows is not used.  What could
make two drawings of the same data differ (dates, versions, drawn identifiers) is left out, so a redraw is the same,
byte for byte.

Rejected: SVG text as text.  It would be measured with one font and shown with another, and labels would be cut.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import writer
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.style import context
from matplotlib.ticker import LogLocator

from actors.compare.records import Cell, Isolation
from raft_core.verify.markup import escaped

COLOURS = {"actors": "#0072B2", "locks": "#D55E00", "naive": "#767676"}
Dashes: TypeAlias = tuple[float, Sequence[float]]
LINES: Mapping[Isolation, Dashes] = {"threads": (0, ()), "processes": (0, (4, 2))}
MARKERS: Mapping[Isolation, str] = {"threads": "o", "processes": "s"}
GREY = "#595959"
PALE = "#d9d9d9"
WIDTH = 8.0
"""Inches, of every figure: what fits on a page."""
DOTS = 144
"""Per inch, of a PNG."""
_SHORT = 200
"""From the first to the last value of a logarithmic axis that has room for more than powers of ten."""
_HOUSE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
}

Value: TypeAlias = str | int | float | None


class Table(NamedTuple):
    """The data of a figure; units stand in the heads."""

    heads: tuple[str, ...]
    rows: list[tuple[Value, ...]]

    def csv(self) -> str:
        """As a file; figures are not rounded."""
        text = io.StringIO()
        lines = writer(text, lineterminator="\n")
        lines.writerow(self.heads)
        lines.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Shown:
    """A figure; drawn once, when it is asked for."""

    name: str
    """Of its files."""
    title: str
    """What is measured."""
    reading: str
    """What it says, derived from the data."""
    alternative: str
    """What there is to see, for those who do not."""
    table: Table
    drawn: Callable[[], Figure]

    @cached_property
    def svg(self) -> str:
        """The drawing with its title and description; its identifiers begin with its name."""
        with _house(self.name):
            text = io.StringIO()
            figure = self.drawn()
            FigureCanvasSVG(figure)
            figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _accessible(text.getvalue(), self)

    @cached_property
    def png(self) -> bytes:
        """The drawing."""
        with _house(self.name):
            data = io.BytesIO()
            figure = self.drawn()
            FigureCanvasAgg(figure)
            figure.savefig(data, format="png", dpi=DOTS, metadata={"Software": None, "Title": self.title})
        return data.getvalue()

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_png_(self) -> bytes:
        return self.png


class Lacking(NamedTuple):
    """A figure that this experiment has no data for."""

    name: str
    title: str
    why: str
    command: str
    """That would measure it."""


@contextmanager
def _house(name: str) -> Iterator[None]:
    with context(["default", _HOUSE]), matplotlib.rc_context({"svg.hashsalt": name}):
        yield


def _accessible(svg: str, shown: Shown) -> str:
    """Only what is drawn, with words for those who do not see it."""
    begins = svg.index("<svg")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[begins:], flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{shown.name}-", body)
    opening, _, rest = body.partition(">")
    names = f'role="img" aria-labelledby="{shown.name}-title {shown.name}-words"'
    words = (
        f'<title id="{shown.name}-title">{escaped(shown.title)}</title>'
        f'<desc id="{shown.name}-words">{escaped(shown.alternative)}</desc>'
    )
    return f"{opening} {names}>\n{words}{rest}"


# --- what figures have in common --------------------------------------------------------------------------------------


def canvas(height: float, columns: int = 1, *, rows: int = 1, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure so many inches high, with its panels from left to right and down."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    panels = [panel for line in axes for panel in line]
    for panel in panels:
        panel.yaxis.set_major_formatter(lambda value, _: _apart(value))
    return figure, panels


def _apart(value: float) -> str:
    """Thousands apart."""
    return f"{value:,.0f}".replace(",", "\u2009") if abs(value) >= 1000 else f"{value:g}"


def from_zero(*panels: Axes) -> None:
    """Quantities are shown from zero, in all panels to the same end; what is drawn does not touch it."""
    top = max(panel.dataLim.y1 for panel in panels)
    for panel in panels:
        panel.set_ylim(0, 1.08 * top if top > 0 else 1)


def legend(figure: Figure, cells: Sequence[Cell], *, lines: bool = True, markers: bool = True) -> None:
    """The cells' colours, and their lines or markers or both, below the panels."""
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[cell.runtime],
            linestyle=LINES[cell.isolation] if lines else "none",
            marker=MARKERS[cell.isolation] if markers else "none",
            label=f"{cell.runtime}, {cell.isolation}",
        )
        for cell in cells
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=3)


def plain_log(panel: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers as people write them; on a short one 2 and 5 are labelled, too."""
    axis = panel.xaxis if which == "x" else panel.yaxis
    (panel.set_xscale if which == "x" else panel.set_yscale)("log")

    def between(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        return _apart(value) if high / low < _SHORT else ""

    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_major_formatter(lambda value, _: _apart(value))
    axis.set_minor_formatter(between)
    panel.tick_params(axis=which, which="minor", labelsize=9)
