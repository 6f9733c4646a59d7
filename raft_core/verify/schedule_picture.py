"""A picture of a schedule: one page of HTML that needs no network, no script and no other file.

A lifeline for each server, time runs downwards, an arrow for each message that arrives.  A lifeline's colour and width
are the server's role; where the server is down it is broken.  Beside it stands what the space-time table says: what
happened, and how role, term, vote, log and commit index changed.  What was sent and has not arrived is one line with a
short arrow that ends in a cross.  The last turn, the one that broke the rule, is framed.

Every turn has a strip of the page's height for itself, so texts never cover each other, however many servers there are;
time is not drawn to scale.  Rejected: time from left to right as in the picture of a history.  The labels of messages
are what one reads, they are long, and there they would have to stand on slanted lines.

Who cannot see the picture has its title, its description and the table below it; nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from raft_core.effects import Send
from raft_core.events import Received
from raft_core.messages import Message
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.markup import escaped, page, shortened
from raft_core.verify.simulation import Turn
from raft_core.verify.spacetime import happened_words, message_words, state_words

_COLUMN, _LEFT, _TOP, _LINE, _GAP = 300, 310, 46, 16, 16
"""Sizes in pixels."""
_MOST = 34
"""Characters that a label may have."""

_KEY = """A lifeline for each server, time runs downwards, not to scale. Thin: follower; dashed frame: candidate or
pre-candidate; broad: leader; dotted: down. A short arrow with a cross: sent, and it has not arrived. A dashed arrow: it
arrived once more. Framed: where the rule broke."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --thin: #6d727b; --line: #d7d9de; --bad: #b3261e;
  --follower: #9db2d6; --candidate: #ffe08a; --leader: #3d9a57; --band: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17181c; --thin: #9a9fa9; --line: #34363d;
  --bad: #ff8a80; --follower: #48618e; --candidate: #8a7010; --leader: #4fb56d; --band: #3a1f1e; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem; }
h1 { font-size: 1.3rem; } p { max-width: 60rem; } .scroll { overflow-x: auto; }
svg text { font: 12px ui-monospace, monospace; fill: var(--ink); stroke: var(--paper); stroke-width: 4px;
  paint-order: stroke; stroke-linejoin: round; }
svg .name { font-weight: bold; font-size: 14px; text-anchor: middle; } svg .left text { text-anchor: end; }
svg .state { font-weight: bold; } svg .lost { fill: var(--thin); } svg .left .number, svg .number {
  fill: var(--thin); text-anchor: start; }
svg .message, svg .cross { stroke: var(--ink); stroke-width: 1.2; fill: none; } svg .again { stroke-dasharray: 5 4; }
svg .cross { stroke: var(--thin); } svg .head { fill: var(--ink); } svg .turn { fill: var(--ink); }
svg .follower { fill: var(--follower); } svg .leader { fill: var(--leader); }
svg .candidate, svg .pre-candidate { fill: var(--candidate); stroke: var(--thin); stroke-dasharray: 3 2; }
svg .down { stroke: var(--thin); stroke-width: 2; stroke-dasharray: 1 5; }
svg .band { fill: var(--band); stroke: var(--bad); stroke-width: 2; } svg .violating .turn { fill: var(--bad); }
caption { text-align: left; font-weight: bold; } table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem; border-bottom: 1px solid var(--line); }
td { font: 14px ui-monospace, monospace; white-space: pre-line; } tr.violating td { font-weight: bold; }
p.violation { color: var(--bad); font-weight: bold; }
"""

_WIDTHS = {"follower": 4, "pre-candidate": 10, "candidate": 10, "leader": 14}


class _Flight(Struct, frozen=True):
    """A message on its way from turn to turn."""

    sent: int
    arrived: int
    line: int
    """Of the events of that turn."""
    is_again: bool


class _Strip(Struct, frozen=True):
    """A turn with its place on the page, and what stands beside it."""

    turn: Turn
    y: int
    happened: list[str]
    states: list[str]
    lost: list[str]
    side: int
    """Where all that stands: to the right (1) or to the left (-1), wherever fewer arrows are."""

    @property
    def height(self) -> int:
        """Of all its lines."""
        return _LINE * (len(self.happened) + len(self.states) + len(self.lost))


def schedule_page(
    turns: Sequence[Turn],
    names: Sequence[ServerId],
    *,
    title: str = "A schedule",
    violation: str = "",
    is_last_to_blame: bool = True,
) -> str:
    """The page.  Writing it to a file is up to the caller.

    With a violation the last turn is framed as the one that broke the rule, unless it is not to blame.
    """
    flights = _flights(turns)
    strips = _strips(turns, flights, names)
    is_framed = bool(violation) and is_last_to_blame
    said = [f'<p class="violation">{escaped(violation)}</p>'] if violation else []
    body = [
        f"<h1>{escaped(title)}</h1>",
        *said,
        f'<div class="scroll">{_drawing(strips, flights, names, violation, is_framed=is_framed)}</div>',
        f"<p>{_KEY}</p>",
        _table(strips, is_framed=is_framed),
    ]
    return page(title, _STYLE, body)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _flights(turns: Sequence[Turn]) -> list[_Flight]:
    """Which sending each arrival belongs to: the first that has not arrived yet, or else the last one once more."""
    sent: dict[tuple[ServerId, ServerId, Message], list[int]] = {}
    flights = []
    for number, turn in enumerate(turns):
        for line, event in enumerate(turn.events):
            if isinstance(event, Received):
                places = sent.get((event.sender, turn.server_id, event.message), [])
                if places:
                    flights.append(_Flight(abs(places[0]) - 1, number, line, places[0] < 0))
                    places[:] = places[1:] or [-abs(places[0])]
        for effect in turn.effects:
            if isinstance(effect, Send):
                places = sent.setdefault((turn.server_id, effect.to, effect.message), [])
                places[:] = [place for place in places if place > 0] + [number + 1]
    return flights


def _strips(turns: Sequence[Turn], flights: Sequence[_Flight], names: Sequence[ServerId]) -> list[_Strip]:
    arrived = {(flight.sent, turns[flight.arrived].server_id, _message(turns, flight)) for flight in flights}
    sides = _sides(turns, flights, names)
    before: dict[ServerId, Server] = {}
    strips: list[_Strip] = []
    y = _TOP + _GAP
    for number, turn in enumerate(turns):
        changed = [words.removeprefix("= ") for words in state_words(before.get(turn.server_id), turn.after)]
        before[turn.server_id] = turn.after
        gone = [effect for effect in turn.effects if isinstance(effect, Send)]
        gone = [effect for effect in gone if (number, effect.to, effect.message) not in arrived]
        states = [words for words in changed if words != "follower, term 0"]
        strips.append(_Strip(turn, y, happened_words(turn), states, list(_lost_words(gone)), sides[number]))
        y += strips[-1].height + _GAP
    return strips


def _sides(turns: Sequence[Turn], flights: Sequence[_Flight], names: Sequence[ServerId]) -> list[int]:
    """For each turn, the side with fewer arrows."""
    arrows = [0] * len(turns)
    for flight in flights:
        sent, arrived = names.index(turns[flight.sent].server_id), names.index(turns[flight.arrived].server_id)
        direction = 1 if arrived > sent else -1
        arrows[flight.sent] += direction
        arrows[flight.arrived] -= direction
    return [-1 if balance > 0 else 1 for balance in arrows]


def _message(turns: Sequence[Turn], flight: _Flight) -> Message:
    event = turns[flight.arrived].events[flight.line]
    assert isinstance(event, Received)
    return event.message


def _lost_words(gone: Sequence[Send]) -> Iterator[str]:
    """A line for each thing that was said, to however many."""
    said: dict[str, list[ServerId]] = {}
    for effect in gone:
        said.setdefault(message_words(effect.message), []).append(effect.to)
    for words, receivers in said.items():
        yield f"{','.join(receivers)}: {words}"


# --- the drawing ------------------------------------------------------------------------------------------------------


def _drawing(
    strips: Sequence[_Strip], flights: Sequence[_Flight], names: Sequence[ServerId], violation: str, *, is_framed: bool
) -> str:
    places = {name: _LEFT + number * _COLUMN for number, name in enumerate(names)}
    width = _LEFT + len(names) * _COLUMN + 20
    bottom = strips[-1].y + strips[-1].height + _GAP if strips else _TOP
    how = f"{violation}. " if violation else ""
    parts = [
        f'<svg role="img" aria-labelledby="what how" width="{width}" height="{bottom + 30}"'
        f' viewBox="0 0 {width} {bottom + 30}" xmlns="http://www.w3.org/2000/svg">',
        f'<title id="what">{len(strips)} turns of {len(names)} servers</title>',
        f'<desc id="how">{escaped(how)}The table below says the same.</desc>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
        _band(strips[-1], width) if strips and is_framed else "",
    ]
    for name, x in places.items():
        parts += [f'<text class="name" x="{x}" y="{y}">{escaped(name)}</text>' for y in (20, bottom + 22)]
        parts += _lifeline([strip for strip in strips if strip.turn.server_id == name], x, bottom)
    parts += [_arrow(strips, flight, places) for flight in flights]
    for number, strip in enumerate(strips, 1):
        is_violating = is_framed and number == len(strips)
        parts += _texts(strip, number, places[strip.turn.server_id], is_violating=is_violating)
    return "\n".join([*parts, "</svg>"])


def _band(strip: _Strip, width: int) -> str:
    top, height = strip.y - _GAP // 2 - 2, strip.height + _GAP
    return f'<rect class="band" x="1" y="{top}" width="{width - 2}" height="{height}" rx="4"/>'


def _lifeline(strips: Sequence[_Strip], x: int, bottom: int) -> list[str]:
    """Pieces of one role each; a dotted line where the server is down."""
    parts, role, since = [], "follower", _TOP - 14
    for strip in strips:
        turn = strip.turn
        falls = not turn.events and turn.happening in ("", "falls")
        after = "" if turn.happening == "falls" else turn.after.role_name
        if after != role or falls:
            parts.append(_piece(role, x, since, strip.y))
            since = strip.y + (_LINE if falls and after else 0)
            role = after
    return [*parts, _piece(role, x, since, bottom)]


def _piece(role: str, x: int, top: int, bottom: int) -> str:
    if not role:
        return f'<line class="down" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
    width = _WIDTHS[role]
    return f'<rect class="{role}" x="{x - width // 2}" y="{top}" width="{width}" height="{max(bottom - top, 0)}"/>'


def _arrow(strips: Sequence[_Strip], flight: _Flight, places: dict[ServerId, int]) -> str:
    sent, arrived = strips[flight.sent], strips[flight.arrived]
    x1, x2 = places[sent.turn.server_id], places[arrived.turn.server_id]
    y2 = arrived.y + flight.line * _LINE
    x2 += -5 if x1 < x2 else 5
    style = "message again" if flight.is_again else "message"
    return f'<path class="{style}" marker-end="url(#head)" d="M{x1} {sent.y}L{x2} {y2}"/>'


def _texts(strip: _Strip, number: int, x: int, *, is_violating: bool) -> Iterator[str]:
    """What stands beside a turn, line by line."""
    y, side = strip.y, strip.side
    yield f'<g class="{"right" if side > 0 else "left"}{" violating" if is_violating else ""}">'
    yield f'<text class="number" x="6" y="{y + 12}">{number}</text>'
    for words in strip.happened:
        yield _mark(strip.turn, x, y)
        yield _text(words.removeprefix("<- "), x + 12 * side, y, "happened")
        y += _LINE
    for words in strip.states:
        yield _text(words, x + 12 * side, y, "state")
        y += _LINE
    for words in strip.lost:
        yield f'<path class="cross" d="M{x} {y + 8}h{24 * side}m-4 -4l8 8m0 -8l-8 8"/>'
        yield _text(words, x + 34 * side, y, "lost")
        y += _LINE
    yield "</g>"


def _mark(turn: Turn, x: int, y: int) -> str:
    """A dot, or a cross if the server falls."""
    if turn.events or turn.happening not in ("", "falls"):
        return f'<circle class="turn" cx="{x}" cy="{y}" r="4"/>'
    return f'<path class="message" d="M{x - 5} {y - 5}l10 10m0 -10 -10 10"/>'


def _text(words: str, x: int, y: int, style: str) -> str:
    short = shortened(words, _MOST - (style == "lost"))
    more = f"<title>{escaped(words)}</title>" if short != words else ""
    return f'<text class="{style}" x="{x}" y="{y + 12}">{more}{escaped(short)}</text>'


# --- the same in words ------------------------------------------------------------------------------------------------


def _table(strips: Sequence[_Strip], *, is_framed: bool) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "server", "what happened", "changes", "lost"))
    rows = []
    for number, strip in enumerate(strips, 1):
        style = ' class="violating"' if is_framed and number == len(strips) else ""
        lines = map("\n".join, (strip.happened, strip.states, strip.lost))
        cells = (str(number), strip.turn.server_id, *lines)
        rows.append(f"<tr{style}>" + "".join(f"<td>{escaped(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><caption>The same turns</caption><tr>{heads}</tr>\n" + "\n".join(rows) + "</table>"
