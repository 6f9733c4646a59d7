"""Events, effects and states of a recorded run in words, for people.

Everything is told by the names that the core's definitions give it, so nothing is left out and nothing needs to be
added here when the core grows.  Commands are opaque bytes; of entries and commands it is said how many and how large.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeAlias

import click
from msgspec import Struct

from actors.cli.output import table
from raft_core import Entry, Received, Send, Server
from raft_core.log import Log
from raft_core.roles import Progress
from raft_core.verify.moments import Beginning, Happening, Moment
from raft_core.verify.replay import Difference

Parts: TypeAlias = Mapping[str, str]
"""What a field says, in parts that can change by themselves; the name of the only part is empty."""

_INDENT = "  "
_ABSENT: Parts = {"": "-"}


def described(value: object) -> str:
    """An event, an effect or any part of one, on one line."""
    match value:
        case Received():
            return f"from {value.sender}: {described(value.message)}"
        case Send():
            return f"to {value.to}: {described(value.message)}"
        case Struct():
            fields = ", ".join(f"{name} {_short(getattr(value, name))}" for name in value.__struct_fields__)
            return f"{type(value).__name__} {fields}".rstrip()
        case _:
            return _short(value)


def _short(value: object) -> str:
    match value:
        case None | () | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case Enum():
            return str(value.value) if isinstance(value, str) else value.name
        case tuple():
            return _several(value)
        case frozenset():
            return " ".join(sorted(value)) or "none"
        case Log():
            return f"up to {value.last_index}, last term {value.last_term}"
        case Struct():
            return f"({described(value)})"
        case _:
            return str(value)


def _several(values: tuple[object, ...]) -> str:
    entries = [value for value in values if isinstance(value, Entry)]
    if entries:
        first, last = entries[0].term, entries[-1].term
        terms = f"term {first}" if first == last else f"terms {first}-{last}"
        return f"{len(entries)} of {terms} ({_size([entry.command for entry in entries])})"
    commands = [value for value in values if isinstance(value, bytes)]
    return f"{len(commands)} ({_size(commands)})" if commands else " ".join(_short(value) for value in values)


def _size(commands: Sequence[bytes]) -> str:
    size = sum(map(len, commands))
    return "1 byte" if size == 1 else f"{size} bytes"


# --- A list of events.


def listed(happenings: Sequence[Happening], width: int | None) -> list[str]:
    """A line for each, with the state after it, under a head; cut at `width` characters, if given."""
    lines = table([_row(happening) for happening in happenings])
    return [line if width is None or len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _row(happening: Happening) -> dict[str, object]:
    server = happening.server if isinstance(happening, Beginning) else happening.after
    stands = {
        "role": server.role_name,
        "term": server.current_term,
        "log": server.log.last_index,
        "commit": server.commit_index,
    }
    if isinstance(happening, Beginning):
        starts = f"{server.server_id} starts, incarnation {happening.incarnation}"
        return {"event": None, "turn": None, "time": None, **stands, "what": starts}
    seconds = f"{happening.time:.3f}"
    return {
        "event": happening.number,
        "turn": happening.turn,
        "time": seconds,
        **stands,
        "what": described(happening.event),
    }


# --- One event.


def shown(moment: Moment, width: int) -> list[str]:
    """One event, the state before and after it, and its effects."""
    place = f"turn {moment.turn} of incarnation {moment.incarnation}, event {moment.position} of {moment.size} in it"
    head = f"event {moment.number} of {moment.after.server_id}"
    return [
        click.style(head, bold=True),
        f"{_INDENT}{place}, at {moment.time:.3f} s",
        *_wrapped(described(moment.event), width),
        "",
        click.style("state", bold=True),
        *_states(moment.before, moment.after, width),
        "",
        click.style("effects", bold=True),
        *_effects(moment, width),
    ]


def _states(before: Server, after: Server, width: int) -> Iterator[str]:
    """Each field once, those that changed with a mark and with what they were."""
    old, new = dict(_fields(before)), dict(_fields(after))
    label = max(map(len, {**new, **old}))
    for name in {**new, **old}:
        was, now = old.get(name, _ABSENT), new.get(name, _ABSENT)
        lines = textwrap.wrap(_change(was, now), max(width - label - 4, 20)) or [""]
        yield f"{'*' if was != now else ' '} {name:<{label}}  {lines[0]}"
        yield from (f"{'':<{label + 4}}{line}" for line in lines[1:])


def _fields(server: Server) -> Iterator[tuple[str, Parts]]:
    for name in server.__struct_fields__:
        if name not in ("settings", "role"):
            yield name, {"": _short(getattr(server, name))}
    yield "role", {"": server.role_name}
    for name in server.role.__struct_fields__:
        value = getattr(server.role, name)
        if name == "followers":
            yield from ((f"follower {progress.server_id}", _progress(progress)) for progress in value)
        else:
            yield name, {"": _short(value)}


def _progress(progress: Progress) -> Parts:
    names = [name for name in progress.__struct_fields__ if name != "server_id"]
    return {f"{name} ": _short(getattr(progress, name)) for name in names}


def _change(was: Parts, now: Parts) -> str:
    if was.keys() != now.keys():
        return f"{_change(was, was)} -> {_change(now, now)}"
    texts = (text if was[name] == text else f"{was[name]} -> {text}" for name, text in now.items())
    return ", ".join(f"{name}{text}" for name, text in zip(now, texts, strict=True))


def _effects(moment: Moment, width: int) -> Iterator[str]:
    yield from _numbered(moment.effects, width)
    if moment.size == 1:
        return
    if moment.carried_out is None:
        last = moment.number + moment.size - moment.position
        yield from _wrapped(
            f"carried out at the end of the turn, with those of its other events: see event {last}", width
        )
        return
    yield ""
    yield click.style("carried out at the end of this turn, for all its events", bold=True)
    yield from _numbered(moment.carried_out, width)


def _numbered(effects: Sequence[object], width: int) -> Iterator[str]:
    for number, effect in enumerate(effects, start=1):
        yield from _wrapped(described(effect), width, f"{number}  ")
    if not effects:
        yield f"{_INDENT}none"


def _wrapped(text: str, width: int, mark: str = "") -> list[str]:
    first = _INDENT + mark
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first) + _INDENT)


# --- Differences.


def compared(differences: Sequence[Difference], names: tuple[str, str], width: int) -> Iterator[str]:
    """What is different, both sides below each other."""
    label = max(map(len, names)) + 2
    for difference in differences:
        yield f"{_INDENT}{difference.what}"
        for name, text in zip(names, (difference.recorded, difference.replayed), strict=True):
            first = f"{_INDENT * 2}{name + ':':<{label}}"
            yield from textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * (len(first) + 2))
