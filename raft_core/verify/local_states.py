"""One server of an exploration: what it has in memory and on disk, and what any event makes of it.

A search meets the same local situation again and again, in ever new company.  So situations and messages are given
numbers, and each is stepped once: the `Atlas` remembers what came of it.  `step` itself is the one that runs in
production; what surrounds it here carries its effects out at once and in order: writes reach the disk before what
stands behind them leaves, and what the disk and the state machine have done is told to the server in the same go.

A crash can come between two effects as well.  Only where something leaves *before* a write does that make a difference
(a write behind which nothing was heard of is a crash that came a little later): these are the `Outcome.cuts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raft_core.configuration import Snapshot
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    Effect,
    PersistEffect,
    PersistTermAndVote,
    ReadReady,
    ReceiveSnapshotChunk,
    RestoreSnapshot,
    Send,
    SendSnapshotChunk,
)
from raft_core.events import Applied, Event, LogPersisted, SnapshotReceived, SnapshotTaken, SnapshotUnreadable
from raft_core.messages import InstallSnapshot, Message
from raft_core.roles import Leader
from raft_core.state import Server, restore
from raft_core.step import step
from raft_core.types import Entry, LogIndex, ServerId, Settings, Term
from raft_core.verify.exploration_cells import Cell, cell_of

LocalNumber: TypeAlias = int
EventNumber: TypeAlias = int
PacketNumber: TypeAlias = int


class LocalState(Struct, frozen=True):
    """One server: its memory, and its disk."""

    server: Server
    current_term: Term
    voted_for: ServerId | None
    entries: tuple[Entry, ...]
    founders: tuple[ServerId, ...]
    """With whom the cluster began, as far as this server was told."""
    last_included: tuple[LogIndex, Term] = (0, 0)
    """The log on disk begins behind this."""
    snapshot: Snapshot | None = None
    """The latest on disk."""

    def has(self, index: LogIndex, entry: Entry) -> bool:
        """Is this committed entry on disk, or in a snapshot?"""
        if self.snapshot is not None and index <= self.snapshot.last_included_index:
            return True
        position = index - self.last_included[0] - 1
        return 0 <= position < len(self.entries) and self.entries[position] == entry


class Packet(NamedTuple):
    """A message under way."""

    sender: ServerId
    to: ServerId
    message: Message


class Outcome(NamedTuple):
    """What an event made of a server."""

    after: LocalNumber
    sent: frozenset[PacketNumber]
    reads: tuple[tuple[int, LogIndex], ...]
    """Reads that were answered, and the index they were answered at."""
    cuts: tuple[tuple[LocalNumber, frozenset[PacketNumber]], ...]
    """A crash in the middle: the server as it restarts, and what had left by then."""


class Atlas:
    """All situations and messages that were met, by number."""

    def __init__(
        self, names: Sequence[ServerId], settings: Settings, founders: Sequence[ServerId] | None = None
    ) -> None:
        self.names = tuple(names)
        self.founders = tuple(names if founders is None else founders)
        self.settings = settings
        self.locals: list[LocalState] = []
        self.packets: list[Packet] = []
        self.events: list[Event] = []
        self.steps = 0
        """Calls of `step`."""
        self.cells: Counter[Cell] = Counter()
        """What those were: in how many situations a role met a kind of event."""
        self._local_numbers: dict[LocalState, LocalNumber] = {}
        self._packet_numbers: dict[Packet, PacketNumber] = {}
        self._event_numbers: dict[Event, EventNumber] = {}
        self._outcomes: dict[tuple[LocalNumber, EventNumber], Outcome] = {}
        self._restarts: dict[LocalNumber, LocalNumber] = {}

    def local(self, state: LocalState) -> LocalNumber:
        """The number of a situation."""
        number = self._local_numbers.setdefault(state, len(self.locals))
        if number == len(self.locals):
            self.locals.append(state)
        return number

    def packet(self, packet: Packet) -> PacketNumber:
        """The number of a message under way."""
        number = self._packet_numbers.setdefault(packet, len(self.packets))
        if number == len(self.packets):
            self.packets.append(packet)
        return number

    def event(self, event: Event) -> EventNumber:
        """The number of an event."""
        number = self._event_numbers.setdefault(event, len(self.events))
        if number == len(self.events):
            self.events.append(event)
        return number

    def fresh(self, name: ServerId) -> LocalNumber:
        """A server that starts for the first time."""
        founders = self.founders if name in self.founders else ()
        server = restore(name, founders, self.settings, randomness=0)
        return self.local(LocalState(server, 0, None, (), founders))

    def restarted(self, number: LocalNumber) -> LocalNumber:
        """The same server after a crash: what is on its disk, and nothing else."""
        again = self._restarts.get(number)
        if again is None:
            again = self._restarts[number] = self.local(self._from_disk(self.locals[number]))
        return again

    def _from_disk(self, state: LocalState) -> LocalState:
        state = _opened(state)
        server = restore(
            state.server.server_id,
            state.founders,
            self.settings,
            randomness=0,
            current_term=state.current_term,
            voted_for=state.voted_for,
            entries=state.entries,
            snapshot=state.snapshot,
            last_included=state.last_included,
        )
        return replace(state, server=server)

    def outcome(self, number: LocalNumber, event: EventNumber) -> Outcome:
        """What `event` makes of the server; it is tried once."""
        key = (number, event)
        known = self._outcomes.get(key)
        if known is None:
            known = self._outcomes[key] = _Turn(self, self.locals[number]).take(self.events[event])
        return known


class _Turn:
    """One event, and all that follows from it at once."""

    def __init__(self, atlas: Atlas, state: LocalState) -> None:
        self._atlas = atlas
        self._server = state.server
        self._disk = state
        self._sent: list[PacketNumber] = []
        self._reads: list[tuple[int, LogIndex]] = []
        self._cuts: list[tuple[LocalNumber, frozenset[PacketNumber]]] = []

    def take(self, event: Event) -> Outcome:
        """Step until nothing more follows."""
        waiting = [event]
        if isinstance(event, SnapshotTaken):
            self._disk = replace(self._disk, snapshot=event.snapshot)
        while waiting:
            event = waiting.pop(0)
            self._atlas.steps += 1
            self._atlas.cells[cell_of(self._server, event)] += 1
            self._server, effects = step(self._server, event)
            for effect in effects:
                waiting.extend(self._carry_out(effect))
        number = self._atlas.local(replace(self._disk, server=self._server))
        return Outcome(number, frozenset(self._sent), tuple(self._reads), tuple(self._cuts))

    def _carry_out(self, effect: Effect) -> list[Event]:
        """Do it; what it makes happen."""
        match effect:
            case Send(to=to, message=message):
                self._sent.append(self._atlas.packet(Packet(self._server.server_id, to, message)))
            case PersistTermAndVote() | AppendToLog() | CompactLog() | ReceiveSnapshotChunk():
                self._may_crash()
                return self._write(effect)
            case SendSnapshotChunk(to=to, snapshot=snapshot):
                if snapshot != self._disk.snapshot:
                    return [SnapshotUnreadable(snapshot)]
                part = InstallSnapshot(effect.term, self._server.server_id, snapshot, 0, b"." * snapshot.size)
                self._sent.append(self._atlas.packet(Packet(self._server.server_id, to, part)))
            case RestoreSnapshot(snapshot=snapshot):
                return [Applied(snapshot.last_included_index)]
            case ApplyCommitted(first_index=first, entries=entries):
                return [Applied(first + len(entries) - 1)]
            case ReadReady(read_ids=numbers, read_index=index):
                self._reads.extend((number, index) for number in numbers)
            case _:
                pass
        return []

    def _write(self, change: PersistEffect) -> list[Event]:
        disk = self._disk
        match change:
            case PersistTermAndVote(current_term=term, voted_for=vote):
                self._disk = replace(disk, current_term=term, voted_for=vote)
            case AppendToLog(prev_log_index=prev, entries=entries):
                kept = disk.entries[: max(0, prev - disk.last_included[0])]
                self._disk = replace(disk, entries=(*kept, *entries))
                return [LogPersisted(prev + len(entries), change.current_term)]
            case CompactLog(last_included_index=index, last_included_term=term, discards_all=discards_all):
                entries = () if discards_all else disk.entries[index - disk.last_included[0] :]
                self._disk = replace(disk, entries=entries, last_included=(index, term))
            case ReceiveSnapshotChunk(snapshot=snapshot):
                self._disk = replace(disk, snapshot=snapshot)
                return [SnapshotReceived(snapshot)]
        return []

    def _may_crash(self) -> None:
        if self._sent:
            restarted = self._atlas.local(self._atlas._from_disk(self._disk))
            self._cuts.append((restarted, frozenset(self._sent)))


def _opened(state: LocalState) -> LocalState:
    """What a server finds when it starts: if a snapshot replaces what the log has, so be it."""
    snapshot, (base, _) = state.snapshot, state.last_included
    if snapshot is None or snapshot.last_included_index <= base:
        return state
    position = snapshot.last_included_index - base - 1
    if position < len(state.entries) and state.entries[position].term == snapshot.last_included_term:
        return state
    return replace(state, entries=(), last_included=(snapshot.last_included_index, snapshot.last_included_term))


def is_leader(state: LocalState) -> bool:
    """Does it lead, as far as it knows?"""
    return isinstance(state.server.role, Leader)
