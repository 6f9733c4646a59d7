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

from raft_core.effects import AppendToLog, ApplyCommitted, Effect, PersistTermAndVote, ReadReady, Send
from raft_core.events import Applied, Event, LogPersisted
from raft_core.messages import Message
from raft_core.state import Leader, Server, restore
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

    def __init__(self, names: Sequence[ServerId], settings: Settings) -> None:
        self.names = tuple(names)
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
        server = restore(name, self.names, self.settings, randomness=0)
        return self.local(LocalState(server, 0, None, ()))

    def restarted(self, number: LocalNumber) -> LocalNumber:
        """The same server after a crash: what is on its disk, and nothing else."""
        again = self._restarts.get(number)
        if again is None:
            again = self._restarts[number] = self.local(self._from_disk(self.locals[number]))
        return again

    def _from_disk(self, state: LocalState) -> LocalState:
        server = restore(
            state.server.server_id,
            self.names,
            self.settings,
            randomness=0,
            current_term=state.current_term,
            voted_for=state.voted_for,
            entries=state.entries,
        )
        return LocalState(server, state.current_term, state.voted_for, state.entries)

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
        while waiting:
            event = waiting.pop(0)
            self._atlas.steps += 1
            self._atlas.cells[cell_of(self._server, event)] += 1
            self._server, effects = step(self._server, event)
            for effect in effects:
                waiting.extend(self._carry_out(effect))
        after = LocalState(self._server, self._disk.current_term, self._disk.voted_for, self._disk.entries)
        number = self._atlas.local(after)
        return Outcome(number, frozenset(self._sent), tuple(self._reads), tuple(self._cuts))

    def _carry_out(self, effect: Effect) -> list[Event]:
        """Do it; what it makes happen."""
        match effect:
            case Send(to=to, message=message):
                self._sent.append(self._atlas.packet(Packet(self._server.server_id, to, message)))
            case PersistTermAndVote(current_term=term, voted_for=vote):
                self._may_crash()
                self._disk = LocalState(self._server, term, vote, self._disk.entries)
            case AppendToLog(prev_log_index=prev, entries=entries):
                self._may_crash()
                kept = self._disk.entries[:prev]
                self._disk = LocalState(self._server, self._disk.current_term, self._disk.voted_for, (*kept, *entries))
                return [LogPersisted(prev + len(entries), effect.current_term)]
            case ApplyCommitted(first_index=first, entries=entries):
                return [Applied(first + len(entries) - 1)]
            case ReadReady(read_ids=numbers, read_index=index):
                self._reads.extend((number, index) for number in numbers)
            case _:
                pass
        return []

    def _may_crash(self) -> None:
        if self._sent:
            restarted = self._atlas.local(self._atlas._from_disk(self._disk))
            self._cuts.append((restarted, frozenset(self._sent)))


def is_leader(state: LocalState) -> bool:
    """Does it lead, as far as it knows?"""
    return isinstance(state.server.role, Leader)
