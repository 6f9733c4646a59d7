"""A recorded run, event by event: what was asked, what the server was before and after it, and what it decided.

A trace is written turn by turn, because that is how a server runs: a turn takes all events that had arrived, and the
effects of all of them are carried out together, merged.  Whoever looks at a run, be it a person or a checker with a
specification of its own, wants it finer: one event at a time, through `step`.  That is what `moments` gives.  Nothing
of it is in the file; it is computed, and proven on the way: each turn is compared with what was recorded (see `replay`)
as soon as its last event has been shown, so that what does not replay can still be looked at.

`as_record` is the same for other programs: values as plain maps, lists, strings and numbers, each field under its own
name.  It is written from the definitions of the values, so a field that is added to the core is in there.

Rejected: writing moments into the trace (a turn would cost several times as much, in production, for what a replay
gives at any later time).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct, to_builtins

from raft_core.effects import Effect
from raft_core.events import Event
from raft_core.log import Log
from raft_core.state import Server
from raft_core.step import step
from raft_core.verify.replay import Record, ReplayReport, Started, Turn, advance, state_digest


class Beginning(Struct, frozen=True):
    """An incarnation begins."""

    incarnation: int
    """Counted from 1."""
    record: Started
    server: Server


class Moment(Struct, frozen=True, kw_only=True):
    """One event and what it did."""

    number: int
    """Of the event in the whole trace, counted from 1."""
    incarnation: int
    turn: int
    """The turn it is part of; counted from 1 in each incarnation."""
    position: int
    """Its place in that turn, counted from 1."""
    size: int
    """Events in that turn."""
    time: float
    """Of the turn, in seconds of the runtime's clock."""
    event: Event
    before: Server
    after: Server
    effects: tuple[Effect, ...]
    """What the event led to."""
    carried_out: tuple[Effect, ...] | None
    """After the last event of a turn: what all its events led to, merged, as it was carried out."""


Happening: TypeAlias = Beginning | Moment


def moments(records: Iterable[Record]) -> Iterator[Happening]:
    """Each event of a recorded run.  Raises `Divergence` behind the last event of a turn that does not replay."""
    report: ReplayReport | None = None
    for record in records:
        match record:
            case Started():
                report = advance(report, record)
                yield Beginning(report.incarnations, record, report.server)
            case Turn():
                if report is not None:
                    yield from _of_turn(report, record)
                report = advance(report, record)
            case _:
                assert_never(record)


def _of_turn(report: ReplayReport, record: Turn) -> Iterator[Moment]:
    server = report.server
    for position, event in enumerate(record.events, start=1):
        before, (server, effects) = server, step(server, event)
        yield Moment(
            number=report.events + position,
            incarnation=report.incarnations,
            turn=record.number,
            position=position,
            size=len(record.events),
            time=record.time,
            event=event,
            before=before,
            after=server,
            effects=effects,
            carried_out=record.effects if position == len(record.events) else None,
        )


# --- For other programs.


def as_record(happening: Happening) -> dict[str, object]:
    """One line of `actorum check replay -o jsonl`."""
    match happening:
        case Beginning():
            return _beginning(happening)
        case Moment():
            return _moment(happening)
        case _:
            assert_never(happening)


def _beginning(beginning: Beginning) -> dict[str, object]:
    return {
        "record": "start",
        "server": beginning.server.server_id,
        "incarnation": beginning.incarnation,
        "format": beginning.record.format,
        "settings": plain(beginning.record.settings),
        "entries": plain(beginning.record.entries),
        "state": state(beginning.server),
        "digest": beginning.record.digest,
    }


def _moment(moment: Moment) -> dict[str, object]:
    return {
        "record": "event",
        "server": moment.after.server_id,
        "number": moment.number,
        "incarnation": moment.incarnation,
        "turn": moment.turn,
        "position": moment.position,
        "time": moment.time,
        "event": plain(moment.event),
        "before": state(moment.before),
        "after": state(moment.after),
        "digest": state_digest(moment.after),
        "effects": plain(moment.effects),
        "carried_out": plain(moment.carried_out),
    }


def state(server: Server) -> dict[str, object]:
    """Everything `server` is, without its settings, which never change, and with the boundaries of its log alone."""
    names = [name for name in server.__struct_fields__ if name != "settings"]
    return {name: plain(getattr(server, name)) for name in names}


def plain(value: object) -> object:
    """`value` in maps, lists, strings and numbers: what has a tag says it in `type`, bytes are base64."""
    match value:
        case Log():
            names = ("last_included_index", "last_included_term", "last_index", "last_term")
            return {name: getattr(value, name) for name in names}
        case Struct():
            tag = value.__struct_config__.tag
            fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            return fields if tag is None else {"type": tag, **fields}
        case Enum():
            return value.value if isinstance(value, StrEnum) else value.name
        case bytes():
            return to_builtins(value)
        case tuple():
            return [plain(one) for one in value]
        case frozenset():
            return sorted(value)
        case _:
            return value
