"""A recorded run, and its proof: the same events through the same core give the same states and the same effects.

A runtime that records gives each `step_all` call its *turn*: the events that went in, the effects that came out, a
digest of the state after it.  `replay` takes the recorded events through `step_all` again and compares.  Equal turns
prove that what ran was this core and nothing beside it, whichever runtime called it, on whichever machine.

The format (version 1)
----------------------
A trace is of one server: a sequence of records, each of them one msgpack map with the record's name in `type`.

* `Started` opens an incarnation: all that `restore` needs to make the server again, and its digest.  Each restart
  appends another one; what memory held is gone with the incarnation before.
* `Turn` is one call of `step_all`: `number` (1, 2, ... in each incarnation), `time` (seconds of the runtime's clock,
  for people: nothing depends on it), `events`, `effects`, `digest` of the state after it, and an `Outline` of the
  state `before` and `after` it: what a checker in another language wants to know without a core of its own.

Events and effects are maps as well, named in `type`; messages are arrays that begin with their name; commands are
binary.  Unknown fields are skipped on reading, so fields may be added; any other change raises `FORMAT`.  That a
restart finds what was durable before it is not the trace's claim: it is the storage's.

The digest
----------
`state_digest` covers every field of `Server`, those of later versions included, in a canonical encoding: sets sorted,
structures in the order of their definition.  Of the log it takes the boundaries alone, so that a turn costs the same
whatever the length; the content is covered by the `AppendToLog` effects, compared beside it one by one, on top of the
entries in `Started`.

Rejected: digests in place of the effects (a difference could be stated, but not shown); the state in full after each
turn (its size grows with the log, and it says nothing that the events do not); pickles (the reader must trust the
writer); a verdict as a value, as `linearizability` has it (here "no divergence" is the only answer one can go on with,
and a caller who forgot to look would take the proof as given).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import TypeAlias, assert_never

from msgspec import Struct, ValidationError, msgpack

from raft_core.batching import step_all
from raft_core.configuration import Configured, Snapshot
from raft_core.effects import Effect
from raft_core.events import Event
from raft_core.log import Log
from raft_core.state import Incoming, Server, restore
from raft_core.types import Entry, LogIndex, ServerId, Settings, Term

FORMAT = 2
"""Version of the records; written into each `Started`."""

_SHOWN = 600
"""Characters of a value that a divergence shows."""


class Outline(Struct, frozen=True):
    """A server as an outside checker sees it."""

    role: str
    """'follower', 'pre-candidate', 'candidate' or 'leader'."""
    current_term: Term
    voted_for: ServerId | None
    last_index: LogIndex
    commit_index: LogIndex


class Started(Struct, frozen=True, kw_only=True, tag="Started"):
    """An incarnation begins: the server as it came from stable storage."""

    format: int = FORMAT
    server_id: ServerId
    configured: Configured
    """The members it began with: those of the snapshot, or of the cluster's beginning."""
    snapshot: Snapshot | None = None
    incoming: Incoming | None = None
    last_included_index: LogIndex = 0
    last_included_term: Term = 0
    settings: Settings
    election_timeout: int
    """Length of its first election timeout, milliseconds."""
    current_term: Term
    voted_for: ServerId | None
    entries: tuple[Entry, ...]
    """Its whole log; the first one has index `last_included_index` + 1."""
    digest: str


class Turn(Struct, frozen=True, kw_only=True, tag="Turn"):
    """One call of `step_all`."""

    number: int
    time: float
    events: tuple[Event, ...]
    before: Outline
    after: Outline
    digest: str
    """Of the state after it."""
    effects: tuple[Effect, ...]


Record: TypeAlias = Started | Turn


class ReplayReport(Struct, frozen=True):
    """What was replayed, all of it equal to what was recorded."""

    incarnations: int
    turns: int
    events: int
    server: Server
    """The server after the last turn."""
    turn: int = 0
    """Number of that turn in its incarnation."""


class Difference(Struct, frozen=True):
    """One thing that was recorded and did not come out again, in words."""

    what: str
    recorded: str
    replayed: str


class Divergence(Exception):
    """The trace does not replay.  `incarnation` counts the starts from 1; `turn` is 0 for the start itself."""

    def __init__(self, incarnation: int, turn: int, differences: Sequence[Difference], events: str = "") -> None:
        self.incarnation = incarnation
        self.turn = turn
        self.differences = tuple(differences)
        place = f"turn {turn} of incarnation {incarnation}" if turn else f"the start of incarnation {incarnation}"
        lines = [f"{place} does not replay", *([f"  events: {events}"] if events else [])]
        for difference in self.differences:
            lines.append(f"  {difference.what}:")
            lines.append(f"    recorded: {difference.recorded}")
            lines.append(f"    replayed: {difference.replayed}")
        super().__init__("\n".join(lines))


# --- Recording.


def state_digest(server: Server) -> str:
    """A canonical digest of everything `server` is, the content of its log excepted; O(1) in the log's length.

    Equal states have equal digests in every process, whatever the seed of its hashes.
    """
    return blake2b(_CANONICAL.encode(server), digest_size=16).hexdigest()


def _boundaries(value: object) -> tuple[int, ...]:
    if isinstance(value, Log):
        return value.last_included_index, value.last_included_term, value.last_index, value.last_term
    raise NotImplementedError(f"a {type(value).__name__} in a server has no canonical form")


_CANONICAL = msgpack.Encoder(enc_hook=_boundaries, order="deterministic")


def outline(server: Server) -> Outline:
    """`server` as an outside checker sees it."""
    return Outline(server.role_name, server.current_term, server.voted_for, server.log.last_index, server.commit_index)


def started(server: Server) -> Started:
    """The record of a server that `restore` has just made."""
    return Started(
        server_id=server.server_id,
        configured=server.configurations[0],
        snapshot=server.snapshot,
        incoming=server.incoming,
        last_included_index=server.log.last_included_index,
        last_included_term=server.log.last_included_term,
        settings=server.settings,
        election_timeout=server.election_timeout,
        current_term=server.current_term,
        voted_for=server.voted_for,
        entries=tuple(server.log),
        digest=state_digest(server),
    )


def turn(
    number: int, time: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
) -> Turn:
    """The record of `step_all(before, events)`, which gave `after` and `effects`, `time` in seconds."""
    return Turn(
        number=number,
        time=time,
        events=tuple(events),
        before=outline(before),
        after=outline(after),
        digest=state_digest(after),
        effects=tuple(effects),
    )


_ENCODER = msgpack.Encoder()
_DECODER: msgpack.Decoder[Record] = msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """One record as msgpack."""
    return _ENCODER.encode(record)


def decode_record(encoded: bytes) -> Record:
    """The record again, checked field by field.

    Raises `msgspec.DecodeError` on bytes that are no record (`ValidationError`, one of them, on another format).
    """
    record = _DECODER.decode(encoded)
    if isinstance(record, Started) and record.format != FORMAT:
        raise ValidationError(f"the record has format {record.format}; this program reads format {FORMAT}")
    return record


# --- Replaying.


def replay(records: Iterable[Record]) -> ReplayReport:
    """Take the recorded events through `step_all` again.

    Raises `Divergence` at the first turn whose state or effects do not come out as recorded, at a turn that is
    missing, and on a trace without a start, which would prove nothing.
    """
    report: ReplayReport | None = None
    for record in records:
        report = advance(report, record)
    if report is None:
        raise Divergence(1, 0, [Difference("the trace", "nothing", "needs a start")])
    return report


def advance(report: ReplayReport | None, record: Record) -> ReplayReport:
    """`replay`, one record further; `report` is None before the first one."""
    match record:
        case Started():
            return _restart(report, record)
        case Turn():
            return _take(report, record)
        case _:
            assert_never(record)


def _restart(report: ReplayReport | None, record: Started) -> ReplayReport:
    incarnation = report.incarnations + 1 if report else 1
    server = _restored(record)
    differences = list(_differ("digest", record.digest, state_digest(server)))
    if report:
        differences.extend(_differ("server", record.server_id, report.server.server_id))
    if differences:
        raise Divergence(incarnation, 0, differences)
    return ReplayReport(incarnation, report.turns if report else 0, report.events if report else 0, server)


def _restored(record: Started) -> Server:
    return restore(
        record.server_id,
        record.configured.configuration.voters,
        record.settings,
        randomness=record.election_timeout - record.settings.election_timeout,
        current_term=record.current_term,
        voted_for=record.voted_for,
        entries=record.entries,
        learners=record.configured.configuration.learners,
        snapshot=record.snapshot,
        last_included=(record.last_included_index, record.last_included_term),
        incoming=record.incoming,
    )


def _take(report: ReplayReport | None, record: Turn) -> ReplayReport:
    if report is None:
        raise Divergence(1, record.number, [Difference("the trace", "a turn", "needs a start before it")])
    number = report.turn + 1
    if record.number != number:
        misplaced = Difference("number of the turn", str(record.number), str(number))
        raise Divergence(report.incarnations, number, [misplaced])
    after, effects = step_all(report.server, record.events)
    differences = [*_states_differ(record, report.server, after), *_effects_differ(record.effects, effects)]
    if differences:
        raise Divergence(report.incarnations, number, differences, _shown(record.events))
    return ReplayReport(report.incarnations, report.turns + 1, report.events + len(record.events), after, number)


def _states_differ(record: Turn, before: Server, after: Server) -> Iterator[Difference]:
    yield from _differ("state before", record.before, outline(before))
    yield from _differ("state after", record.after, outline(after))
    yield from _differ("digest of the state after", record.digest, state_digest(after))


def _effects_differ(recorded: Sequence[Effect], replayed: Sequence[Effect]) -> Iterator[Difference]:
    """The first effect that differs; those behind it seldom say more."""
    for position, (one, other) in enumerate(zip_longest(recorded, replayed), start=1):
        if one != other:
            yield Difference(f"effect {position}", _shown(one), _shown(other))
            return


def _differ(what: str, recorded: object, replayed: object) -> Iterator[Difference]:
    if recorded != replayed:
        yield Difference(what, _shown(recorded), _shown(replayed))


def _shown(value: object) -> str:
    if isinstance(value, Outline):
        vote = f"voted for {value.voted_for}" if value.voted_for else "no vote"
        reach = f"log up to {value.last_index}, committed up to {value.commit_index}"
        return f"{value.role} in term {value.current_term}, {vote}, {reach}"
    text = "nothing" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
