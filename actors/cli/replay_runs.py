"""What `actorum check replay` finds out, apart from its words: does a run come out again, which events are in it, are
two runs the same.

A *run* is the trace of one server.  It is read as a stream: a trace may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, assert_never

from msgspec import Struct

from actors.cli.progress import Progress
from actors.cli.replay_words import described
from actors.errors import ActorumError, ExitCode, SafetyViolation
from actors.storage.trace import read_whole_trace
from raft_core import Server
from raft_core.verify.gaps import Gaps
from raft_core.verify.moments import Beginning, Happening, Moment, moments, state
from raft_core.verify.replay import Difference, Divergence, Record, ReplayReport, Turn, advance, state_digest

_AROUND = 40
"""Characters before and behind a difference that are shown."""


class ReplayDiverged(SafetyViolation):
    """A recorded run does not come out again: the core decided otherwise, or the trace is not what happened.

    Replay it with the version that recorded it; if that diverges as well, keep the trace and report it as a bug.
    """

    code = "REPLAY-DIVERGED"


class RunsDiffer(ActorumError):
    """Two recorded runs are not the same; what differs first is in the output.  Nothing is wrong with either."""

    code = "RUNS-DIFFER"
    exit_code = ExitCode.CONDITION_FALSE


class NoSuchEvent(ActorumError):
    """The recorded run ends before the event that was asked for.  A retry fails alike."""

    code = "NO-SUCH-EVENT"
    exit_code = ExitCode.USAGE


class Verdict(Struct, frozen=True):
    """A run that comes out again."""

    server: str
    incarnations: int
    turns: int
    events: int
    digest: str
    """Of the state at the end."""
    whole_bytes: int
    """Length of all records that are whole."""
    torn_bytes: int
    """Length of a last one that its writer had no time to finish."""
    gaps: tuple[int, ...]
    """Incarnations that begin with more than what stands before them explains: turns are missing there."""


# --- Does it come out again?


def verdict(path: Path, *, quiet: bool = False) -> Verdict:
    """Replay the whole run.  Raises `ReplayDiverged`; errors of the file are those of `read_whole_trace`."""
    run = RunReader(path, quiet=quiet)
    report: ReplayReport | None = None
    for record in run:
        report = _one_further(path, report, record)
    assert report is not None, "there is a start"
    return run.verdict(report.server, report.incarnations, report.turns, report.events)


class RunReader:
    """The records of a run, once, with a bar that shows how far they have been taken."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self.path = path
        self._reader = read_whole_trace(path)
        self._quiet = quiet
        self._gaps = Gaps()

    def __iter__(self) -> Iterator[Record]:
        with Progress(f"replaying {self.path.name}", self._reader.size, quiet=self._quiet) as progress:
            for record in self._reader:
                progress.show(self._reader.position)
                self._gaps.take(record)
                yield record

    def verdict(self, server: Server, incarnations: int, turns: int, events: int) -> Verdict:
        """On the run, when it was read to its end, and replaying it left `server`."""
        return Verdict(
            server=server.server_id,
            incarnations=incarnations,
            turns=turns,
            events=events,
            digest=state_digest(server),
            whole_bytes=self._reader.position,
            torn_bytes=self._reader.torn_bytes,
            gaps=tuple(self._gaps.found),
        )


def _one_further(path: Path, report: ReplayReport | None, record: Record) -> ReplayReport:
    try:
        return advance(report, record)
    except Divergence as divergence:
        first = report.events + 1 if report is not None else 1
        count = len(record.events) if isinstance(record, Turn) else 0
        raise diverged(path, divergence, range(first, first + count)) from None


def diverged(path: Path, divergence: Divergence, events: range) -> ReplayDiverged:
    """The error for a turn with these events, or for a start, which has none."""
    look = f"`actorum check replay {path} --at {events[-1]}` shows what this program makes of it; " if events else ""
    return ReplayDiverged(
        f"{path} does not replay: {_place_of(divergence, events)} came out otherwise",
        why="\n       ".join(line for difference in divergence.differences for line in _both_sides(difference)),
        fix=f"{look}replay it with the version that recorded it; if that diverges too, keep the file and report it",
    )


def _place_of(divergence: Divergence, events: range) -> str:
    if not divergence.turn:
        return f"the start of incarnation {divergence.incarnation}"
    place = f"turn {divergence.turn} of incarnation {divergence.incarnation}"
    if not events:
        return place
    return f"{place} (event {events[0]})" if len(events) == 1 else f"{place} (events {events[0]} to {events[-1]})"


def _both_sides(difference: Difference) -> list[str]:
    return [f"{difference.what}:", f"  recorded: {difference.recorded}", f"  replayed: {difference.replayed}"]


# --- Which events are in it?


def happenings(run: RunReader) -> Iterator[Happening]:
    """The events of a run.  `ReplayDiverged` comes behind the last event of a turn that does not replay."""
    latest: Moment | None = None
    try:
        for happening in moments(run):
            latest = happening if isinstance(happening, Moment) else None
            yield happening
    except Divergence as divergence:
        events = range(0)
        if divergence.turn and latest is not None:
            events = range(latest.number - latest.position + 1, latest.number + 1)
        raise diverged(run.path, divergence, events) from None


class Stretch(NamedTuple):
    """Events by number, both ends included."""

    first: int
    last: int | None
    """None: to the end."""


def stretch_of(run: Iterable[Happening], stretch: Stretch) -> Iterator[Happening]:
    """The events in `stretch`, with the starts among them.  What is behind it is not read."""
    number = 0
    for happening in run:
        if isinstance(happening, Moment):
            number = happening.number
        if number + isinstance(happening, Beginning) >= stretch.first:
            yield happening
        if number == stretch.last:
            return


def event_of(run: Iterable[Happening], number: int, path: Path) -> Moment:
    """The event with that number.  Raises `NoSuchEvent` if the run ends before it."""
    last = 0
    for happening in run:
        if isinstance(happening, Moment):
            last = happening.number
            if last == number:
                return happening
    raise no_such_event(path, number, last)


def no_such_event(path: Path, number: int, last: int) -> NoSuchEvent:
    """A run of `last` events was asked for one behind them."""
    return NoSuchEvent(
        f"{path} has no event {number}",
        why=f"its last one is event {last}" if last else "nothing happened in it",
        fix=f"actorum check replay {path} --show -10:",
    )


# --- Are two the same?


class Comparison(Struct, frozen=True):
    """Two runs of a server, side by side."""

    server: str
    equal_events: int
    """Events from the start that are the same, with the same states and effects."""
    where: str
    """What is the first that differs; empty if nothing is."""
    differences: tuple[Difference, ...]
    """`recorded` is of the first run, `replayed` of the second."""


def compare(one: Path, other: Path) -> Comparison:
    """Find the first event, or start, at which two runs differ.

    The times of events and how they were taken together in turns are no difference.
    """
    equal = 0
    server = one.stem
    left, right = happenings(RunReader(one)), happenings(RunReader(other, quiet=True))
    for first, second in zip_longest(left, right):
        if differences := tuple(_differences(first, second)):
            return Comparison(server, equal, _place(first or second), differences)
        equal += isinstance(first, Moment)
    return Comparison(server, equal, "", ())


def _place(happening: Happening | None) -> str:
    match happening:
        case Moment():
            return f"event {happening.number}"
        case Beginning():
            return f"the start of incarnation {happening.incarnation}"
        case None:
            raise AssertionError("one of the two is there")
        case _:
            assert_never(happening)


def _differences(one: Happening | None, other: Happening | None) -> Iterator[Difference]:
    if isinstance(one, Moment) and isinstance(other, Moment):
        yield from _unequal("event", one.event, other.event)
        yield from _states_differ(one, other)
        for number, (left, right) in enumerate(zip_longest(one.effects, other.effects), start=1):
            yield from _unequal(f"effect {number}", left, right)
    elif isinstance(one, Beginning) and isinstance(other, Beginning):
        for name in one.record.__struct_fields__:
            if name != "digest":
                yield from _unequal(name, getattr(one.record, name), getattr(other.record, name))
    else:
        yield Difference("what happens", _kind(one), _kind(other))


def _states_differ(one: Moment, other: Moment) -> Iterator[Difference]:
    if state_digest(one.after) == state_digest(other.after):
        return
    left, right = flat(state(one.after)), flat(state(other.after))
    for name in {**left, **right}:
        yield from _unequal(f"state after it, {name}", left.get(name), right.get(name))


def _unequal(what: str, left: object, right: object) -> Iterator[Difference]:
    if left != right:
        words = described(left), described(right)
        yield Difference(what, *(words if words[0] != words[1] else _apart(repr(left), repr(right))))


def _apart(left: str, right: str) -> tuple[str, str]:
    """Two long texts around the first character that is not the same."""
    same = next(number for number, pair in enumerate(zip_longest(left, right)) if pair[0] != pair[1])
    first = max(same - _AROUND, 0)
    return left[first : same + _AROUND], right[first : same + _AROUND]


def _kind(happening: Happening | None) -> str:
    match happening:
        case None:
            return "nothing: the run ends here"
        case Beginning():
            return f"incarnation {happening.incarnation} starts"
        case Moment():
            return described(happening.event)
        case _:
            assert_never(happening)


def flat(value: object, name: str = "") -> dict[str, object]:
    """Every leaf of nested maps and lists under its path, such as `role.followers.0.next_index`."""
    parts = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) and value else None
    if parts is None:
        return {name: value}
    named = {f"{name}.{key}" if name else str(key): part for key, part in parts.items()}
    return {path: leaf for name, part in named.items() for path, leaf in flat(part, name).items()}
