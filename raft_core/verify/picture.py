"""A picture of a violation: one page of HTML that needs no network, no script and no other file.

One row for each client, time from left to right, a bar from invocation to return.  A call of unknown outcome has no
right end: its bar fades.  The operations of the explanation are numbered as in its text and have a heavy frame, the one
that found no place a dashed one; nothing is told by colour alone.  Around them are the calls that came nearest in time,
thin, so that one can see what else went on.

Time is drawn as an order of instants, not to scale: between two neighbouring instants, of whatever distance, there is
one step.  Histories have long pauses and crowded moments, and only before and after count.

Who cannot see the picture has its title and description, the text of every bar, and the table below it with the same
operations.  Colours follow the reader's choice of light or dark.  Whatever comes from the history is escaped: values
are text, whatever they look like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from raft_core.verify.explanation import Explanation
from raft_core.verify.markup import escaped, page, shortened
from raft_core.verify.operations import Operation

_MOST = 24
"""Operations beside those of the explanation."""

_STEP, _ROW, _BAR, _LEFT, _TOP = 26, 38, 20, 110, 20
"""Sizes in pixels."""

_KEY = """One row for each client, time from left to right, not to scale. Heavy frames: the operations that contradict
each other; dashed: the one without a place. A bar that fades: nobody knows whether, or when, the call took effect."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --thin: #8a8f98; --fill: #dfe6f2; --mark: #ffe08a;
  --bad: #b3261e; --line: #d7d9de; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17181c; --thin: #868b95; --fill: #2c3444;
  --mark: #5c4a08; --bad: #ff8a80; --line: #34363d; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem; }
h1 { font-size: 1.3rem; } p { max-width: 60rem; } .scroll { overflow-x: auto; }
svg text { font: 12px ui-monospace, monospace; fill: var(--ink); } svg .client { font-weight: bold; }
svg line { stroke: var(--line); } svg rect { fill: var(--fill); stroke: var(--thin); }
svg .fade { stroke: none; } svg stop { stop-color: var(--fill); } svg .kept stop { stop-color: var(--mark); }
svg .kept rect { fill: var(--mark); stroke: var(--ink); stroke-width: 2; } svg .kept text { font-weight: bold; }
svg .culprit rect { stroke: var(--bad); stroke-width: 3; stroke-dasharray: 6 3; }
caption { text-align: left; font-weight: bold; } table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem .8rem; border-bottom: 1px solid var(--line); }
li { font: 14px/1.7 ui-monospace, monospace; } li.culprit { font-weight: bold; }
td { font: 14px ui-monospace, monospace; } tr.kept td { font-weight: bold; }
"""


_Name: TypeAlias = tuple[str, str, int, int | None]


class _Bar(Struct, frozen=True):
    """Where an operation is drawn, in steps and lanes."""

    operation: Operation
    left: int
    right: int
    lane: int


def picture(history: Iterable[Operation], explanation: Explanation, *, title: str = "Not linearizable") -> str:
    """The page.  Writing it to a file is up to the caller."""
    shown = _shown(history, explanation)
    numbers = {_name(op): number for number, op in enumerate(explanation.operations, 1)}
    body = [
        f"<h1>{escaped(title)}</h1>",
        f"<p>{escaped(explanation.sentence)}</p>",
        _list(explanation),
        f'<div class="scroll">{_drawing(shown, numbers, explanation)}</div>',
        f"<p>{_KEY}</p>",
        _table(shown, numbers, explanation),
    ]
    return page(title, _STYLE, body)


def _name(op: Operation) -> _Name:
    """What tells an operation from all others of its history, near enough for a drawing."""
    return str(op.client), op.name, op.invoked, op.returned


def _shown(history: Iterable[Operation], explanation: Explanation) -> list[Operation]:
    """The explanation, and what of the same key was nearest to its last operation."""
    focus = explanation.culprit.invoked
    kept = {_name(op) for op in explanation.operations}
    others = [op for op in history if op.key == explanation.key and _name(op) not in kept]
    others.sort(key=lambda op: _distance(op, focus))
    return sorted([*explanation.operations, *others[:_MOST]], key=lambda op: op.invoked)


def _distance(op: Operation, focus: int) -> int:
    """Unknown outcomes pend for ever; what counts for them is when they began."""
    end = op.invoked if op.returned is None else op.returned
    return max(op.invoked - focus, focus - end, 0)


def _bars(shown: Sequence[Operation]) -> tuple[list[_Bar], dict[str, int], int]:
    """The bars, the first lane of every client, and the number of lanes."""
    instants = sorted({instant for op in shown for instant in (op.invoked, op.returned) if instant is not None})
    step = {instant: place for place, instant in enumerate(instants)}
    bars: list[_Bar] = []
    first: dict[str, int] = {}
    lanes = 0
    for client in sorted({str(op.client) for op in shown}, key=lambda name: (len(name), name)):
        first[client] = lanes
        ends: list[int] = []
        for op in (op for op in shown if str(op.client) == client):
            left, right = step[op.invoked], len(instants) if op.returned is None else step[op.returned]
            lane = next((lane for lane, end in enumerate(ends) if end < left), len(ends))
            ends[lane : lane + 1] = [right]
            bars.append(_Bar(op, left, right, lanes + lane))
        lanes += len(ends)
    return bars, first, lanes


def _list(explanation: Explanation) -> str:
    items = []
    for op in explanation.operations:
        culprit = op == explanation.culprit
        note = " — no place for this" if culprit else ""
        items.append(f'<li class="{"culprit" if culprit else ""}">{escaped(f"{op}{note}")}</li>')
    return f"<ol>{''.join(items)}</ol>"


def _drawing(shown: Sequence[Operation], numbers: Mapping[_Name, int], explanation: Explanation) -> str:
    bars, first, lanes = _bars(shown)
    width = _LEFT + (max(bar.right for bar in bars) + 2) * _STEP
    height = 2 * _TOP + lanes * _ROW
    parts = [
        f'<svg role="img" aria-labelledby="what how" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' xmlns="http://www.w3.org/2000/svg">',
        f'<title id="what">{len(shown)} operations of {len(first)} clients</title>',
        f'<desc id="how">{escaped(str(explanation))}</desc>',
        "<defs>" + _gradient("fade", "") + _gradient("fade-kept", "kept") + "</defs>",
    ]
    for client, lane in first.items():
        y = _TOP + lane * _ROW
        parts.append(f'<line x1="0" y1="{y - 5}" x2="{width}" y2="{y - 5}"/>')
        parts.append(f'<text class="client" x="4" y="{y + 15}">{escaped(shortened("client " + client, 14))}</text>')
    parts += [_bar(bar, numbers.get(_name(bar.operation)), explanation) for bar in bars]
    return "\n".join([*parts, "</svg>"])


def _gradient(name: str, style: str) -> str:
    stops = '<stop offset="0"/><stop offset="1" stop-opacity="0"/>'
    return f'<linearGradient id="{name}" class="{style}">{stops}</linearGradient>'


def _bar(bar: _Bar, number: int | None, explanation: Explanation) -> str:
    op, x, y = bar.operation, _LEFT + bar.left * _STEP, _TOP + bar.lane * _ROW
    width = max((bar.right - bar.left) * _STEP, _STEP // 2)
    style = _style(op, number, explanation)
    fading = f' style="fill:url(#{"fade-kept" if number else "fade"});stroke:none"' if op.returned is None else ""
    label = f"{number}. {_call(op)}" if number else _call(op)
    room = width // 8
    text = label if number else shortened(label, room) if room > 6 else ""
    return (
        f'<g class="{style}"><title>{escaped(label if number is None else f"{number}. {op}")}</title>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{_BAR}" rx="3"{fading}/>'
        f'<text x="{x + 4}" y="{y + 14}">{escaped(text)}</text></g>'
    )


def _style(op: Operation, number: int | None, explanation: Explanation) -> str:
    if number is None:
        return "other"
    return "kept culprit" if op == explanation.culprit else "kept"


def _call(op: Operation) -> str:
    call = f"{op.name}({', '.join(map(repr, op.arguments))})"
    return f"{call} ?" if op.returned is None else call if op.result is None else f"{call} = {op.result!r}"


def _table(shown: Sequence[Operation], numbers: Mapping[_Name, int], explanation: Explanation) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "client", "call", "result", "invoked", "returned"))
    rows = [_line(op, numbers.get(_name(op)), explanation) for op in shown]
    return f"<table><caption>The same operations</caption><tr>{heads}</tr>\n" + "\n".join(rows) + "</table>"


def _line(op: Operation, number: int | None, explanation: Explanation) -> str:
    mark = "" if number is None else f"{number}." + (" no place" if op == explanation.culprit else "")
    result, returned = ("unknown", "") if op.returned is None else (repr(op.result), str(op.returned))
    call = f"{op.name}({', '.join(map(repr, op.arguments))})"
    cells = (mark, str(op.client), call, result, str(op.invoked), returned)
    return (
        f'<tr class="{_style(op, number, explanation)}">' + "".join(f"<td>{escaped(c)}</td>" for c in cells) + "</tr>"
    )
