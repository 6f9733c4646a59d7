"""The page on traces, of which most is a table of what the code says of itself: see `generate.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import get_args

import msgspec

import raft_core
from actors.cli.replay_runs import Verdict
from raft_core.verify import moments, replay


def trace_page() -> str:
    """The format of a trace, and of the events that are told to other programs."""
    parts = [TRACE_HEAD.format(format=replay.FORMAT), "## The records of a trace\n", RECORDS_HEAD]
    parts += [_structure(kind, binary=True) for kind in (replay.Started, replay.Turn, replay.Outline)]
    parts += ["## A line for each event: `actorum check replay FILE -o jsonl`\n", LINES_HEAD, *_lines()]
    parts += ["### State\n", STATE_HEAD, _table(_fields_of(raft_core.Server, without="settings"))]
    for kind in get_args(raft_core.roles.Role):
        parts += [f"`role` of type `{kind.__struct_config__.tag}`:\n", _table(_fields_of(kind))]
    parts += [_structure(kind) for kind in (raft_core.roles.Progress, raft_core.roles.PendingRead)]
    parts += ["## Values in both\n", _structure(raft_core.Entry), _structure(raft_core.Settings)]
    for title, union in (("Events", raft_core.Event), ("Effects", raft_core.Effect), ("Messages", raft_core.Message)):
        parts += [f"## {title}\n", EVENTS_HEAD[title], *(_structure(kind) for kind in get_args(union))]
    return "\n".join(parts)


def _structure(kind: type[msgspec.Struct], *, binary: bool = False) -> str:
    head = f"### {kind.__name__}\n\n{_docstring(kind)}\n"
    return f"{head}\n{_table(_fields_of(kind, binary=binary))}" if kind.__struct_fields__ else head


def _fields_of(kind: type[msgspec.Struct], *, without: str = "", binary: bool = False) -> dict[str, tuple[str, str]]:
    """Type and meaning of each field."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    described = described_fields(kind)
    fields = [field for field in info.fields if field.name != without]
    return {
        field.name: (_type_name(field.type, binary), described.get(field.name, MEANINGS.get(field.name, "")))
        for field in fields
    }


def _table(rows: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in rows.items()]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *lines, ""])


def _lines() -> Iterator[str]:
    """The fields of each kind of line; those that are described must be those that are there."""
    server = raft_core.follower("n1", ["n1"])
    events = (raft_core.ElectionTimeout(0),)
    turn = replay.turn(1, 0.0, events, server, *raft_core.step_all(server, events))
    told = [moments.as_record(one) for one in moments.moments([replay.started(server), turn])]
    ends = {"record": "end", **dict.fromkeys(Verdict.__struct_fields__)}
    for line, described in zip([*told, ends], LINES.values(), strict=True):
        assert list(line) == ["record", *described], line
    for name, described in LINES.items():
        yield f"### `record`: `{name}`\n"
        yield _table(described)


def _type_name(info: msgspec.inspect.Type, binary: bool) -> str:
    """How a value of this type is written."""
    match info:
        case msgspec.inspect.UnionType(types=types):
            structures = [one for one in types if isinstance(one, msgspec.inspect.StructType)]
            return _union_name(structures) if structures else " or ".join(_type_name(one, binary) for one in types)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"array of {_type_name(item, binary).removeprefix('one of the ')}"
        case msgspec.inspect.TupleType(item_types=items):
            return f"[{', '.join(_type_name(item, binary) for item in items)}]"
        case msgspec.inspect.FrozenSetType(item_type=item):
            return f"array of {_type_name(item, binary)}, sorted"
        case msgspec.inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case msgspec.inspect.EnumType(cls=cls):
            words = [f"`{one.value if issubclass(cls, str) else one.name}`" for one in cls]
            numbers = "" if issubclass(cls, str) else f" (in a trace: {', '.join(str(one.value) for one in cls)})"
            return f"{' or '.join(words)}{numbers}"
        case msgspec.inspect.CustomType():
            return "map: `last_included_index`, `last_included_term`, `last_index`, `last_term`"
        case _:
            return TYPE_NAMES[type(info).__name__] if not (binary and "Bytes" in type(info).__name__) else "binary"


def _union_name(structures: list[msgspec.inspect.StructType]) -> str:
    classes = {one.cls for one in structures}
    for name in ("Event", "Effect", "Message"):
        if classes == set(get_args(getattr(raft_core, name))):
            return f"one of the [{name.lower()}s](#{name.lower()}s)"
    return "map: `type` and the fields of that role, below"


def _docstring(kind: type) -> str:
    """All of it, a line for each paragraph."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def described_fields(kind: type) -> dict[str, str]:
    """The string that stands behind each field in the class body."""
    source = inspect.getsource(kind)
    found = re.findall(r'^    (\w+): [^\n]+\n    """(.*?)"""', source, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


MEANINGS = {
    "after": "After the turn.",
    "before": "Before the turn.",
    "commit_index": "Highest index known to be committed.",
    "current_term": "Latest term it has seen.",
    "digest": "Of the state.",
    "effects": "What it led to, merged, in order.",
    "events": "What was taken together.",
    "format": "Version of the trace.",
    "granted": "Who said yes.",
    "index": "Last log index that is meant.",
    "last_applied": "Highest index that the state machine has applied.",
    "last_index": "Index of the last entry: the length of the log.",
    "leader_commit": "The leader's `commit_index`.",
    "leader_id": "Who leads, as far as it is known.",
    "log": "The boundaries of the log; what is in it comes with `AppendToLog`, on top of the `entries` of the start.",
    "number": "Counted from 1 in each incarnation.",
    "prev_log_index": "Index of the entry before `entries`.",
    "prev_log_term": "Term of that entry.",
    "refused": "Who said no.",
    "sender": "Who sent it.",
    "server_id": "The server's name.",
    "time": "Seconds of the runtime's clock; only differences mean anything.",
    "to": "Who gets it.",
    "voted_for": "Whom it voted for in that term.",
    "voters": "The configuration: all voting servers.",
}
"""Fields that say nothing of themselves in the code, because the paper does (Figure 2)."""

TYPE_NAMES = {
    "IntType": "integer",
    "FloatType": "number",
    "StrType": "string",
    "BoolType": "boolean",
    "NoneType": "null",
    "BytesType": "bytes (base64 in JSON, binary in a trace)",
}

TRACE_HEAD = """# The format of a trace

A trace is what `--record DIR` (or `Machine.cluster(record=DIR)`) writes: one file for each server, `n1.trace`, with
everything that happened to it. [Replay a failure](../how-to/replay-a-failure.md) says what to do with one.

There are two ways to read it: the file itself, and the lines that `actorum check replay FILE -o jsonl` makes of it. The
lines say more, for they are computed by replaying: a checker in another language is better off with them.

## The file

A file is a sequence of frames:

| bytes | content |
|---|---|
| 4 | length of the record |
| 4 | CRC-32 of the record |
| 4 | CRC-32 of the eight bytes before |
| length | the record |

Numbers are big-endian. A frame is written by one `write` before anything that the turn decided is carried out. So a
killed writer leaves at most the beginning of a frame at the end, the *torn end*: it is no damage, and nothing in it was
seen by anybody. Everything else whose checksums do not hold is damage. A file has one writer at a time.

Turns are numbered, so none can be missing between two others or change its place. Nothing is fsynced: a loss of power
may cost the end of a trace. A server that then starts again with more than its trace explains gives that away: a *gap*.

## Versions

This is format {format}; the number is the `format` of every start. A reader skips fields it does not know, so fields
may be added within a format. Any other change raises the number, and a reader refuses numbers it does not know, with
`TRACE-FORMAT-UNKNOWN`: a trace is replayed by the version that recorded it, or by one of the same format whose core
decides alike.
"""

RECORDS_HEAD = """\
Each record is a msgpack map with its name in `type`. The first one is a start; each restart of the server appends
another one, and turns follow. Events and effects are maps with their name in `type`; messages and entries are arrays,
messages with their name in front, then the fields in the order given here.
"""

LINES_HEAD = """\
One JSON object a line: a start, the events of that incarnation, the next start, ..., the end; a directory gives one
server after the other. Turns are taken apart into their events. Each line has been replayed; where a turn does not
come out as recorded, the lines end behind it, the error is on stderr and the exit code is 6. All names of the core are
kept: maps say in `type` what they are, commands are base64. Lines only ever get more fields.
"""

STATE_HEAD = """\
The whole state of the server (Figure 2), without the settings, which never change. `voters` is the configuration.
"""

EVENTS_HEAD = {
    "Events": "What happened: one of these, with its name in `type`.\n",
    "Effects": "What was to be done, by [the order contract](events-and-effects.md#the-order-contract).\n",
    "Messages": "What servers say to each other, in `Received` and `Send`.\n",
}

INCARNATION = ("integer", "Counts the starts of the server, from 1.")
STATE = "map, see [State](#state)"
LINES: dict[str, dict[str, tuple[str, str]]] = {
    "start": {
        "server": ("string", "Its name."),
        "incarnation": INCARNATION,
        "format": ("integer", "Version of the trace."),
        "settings": ("[Settings](#settings)", ""),
        "entries": ("array of [Entry](#entry)", "The log that it found in its storage; the first has index 1."),
        "state": (STATE, "As it starts."),
        "digest": ("string", "Of that state."),
    },
    "event": {
        "server": ("string", "Its name."),
        "number": ("integer", "Of the event, from 1, over all incarnations."),
        "incarnation": INCARNATION,
        "turn": ("integer", "Turn it was part of, from 1 in each incarnation."),
        "position": ("integer", "Its place in that turn, from 1."),
        "time": ("number", "Seconds of the runtime's clock, when the turn was taken; only differences mean anything."),
        "event": ("one of the [events](#events)", ""),
        "before": (STATE, "Before the event."),
        "after": (STATE, "After it."),
        "digest": ("string", "Of the state after it."),
        "effects": ("array of [effects](#effects)", "What the event led to."),
        "carried_out": (
            "array of [effects](#effects) or null",
            "With the last event of a turn: what all its events led to, merged, as it was carried out. Else null.",
        ),
    },
    "end": {
        "server": ("string", "Its name."),
        "incarnations": ("integer", "Starts in all."),
        "turns": ("integer", "Turns in all."),
        "events": ("integer", "Events in all."),
        "digest": ("string", "Of the state at the end."),
        "whole_bytes": ("integer", "Length of all whole records."),
        "torn_bytes": ("integer", "Length of the torn end; 0 if there is none."),
        "gaps": ("array of integer", "Incarnations that begin with more than what stands before them explains."),
    },
}
"""Each field of each line; the page is not written if one is missing here."""
