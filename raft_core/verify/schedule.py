"""A simulated run as data: the list of everything its adversary decided.

`simulate` draws what happens from a generator.  Here the same run is written down as *decisions*: this message arrives,
this timer runs out, that disk is done, this server falls and so much of what it was writing is there.  `rerun` carries
a list of them out again without any generator; so decisions can be left out of it, and what is left is a run, too.

A decision says as little as possible about the state it meets, or it would fit no other.  A message is named by where
it comes from: the decision that made a server send it, the receiver, and a number.  So it stays the same message when
an election before it is left out, and its term is one less.  Rejected: naming messages by what is in them (nothing can
be left out any more without changing terms), or counting them on their link (leave out one, and all later names are
those of others).

What is not a decision has no effect but on times: links that are cut, pauses, slow disks, clocks.  In a list of
decisions a message that does not arrive is lost.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raft_core.effects import AppendToLog, Effect, PersistEffect, Send
from raft_core.events import (
    Applied,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LogPersisted,
    PeerRestarted,
    Proposed,
    ReadRequested,
    Received,
)
from raft_core.messages import Message
from raft_core.types import ServerId
from raft_core.verify.adversary import Adversary
from raft_core.verify.simulated_clients import Request
from raft_core.verify.simulated_disk import SimulatedDisk
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulation import Report, Simulation, ended

Packet: TypeAlias = tuple[int, ServerId, int]
"""A message: the number of the decision that made somebody send it, the receiver, and how many went there before it."""


class Fall(Struct, frozen=True):
    """How a server falls: what of the writes under way reaches its disk."""

    writes: int = 0
    entries: int = 0
    """Of the last of these writes, if it appends entries."""
    after: int = 0
    """If it falls in the middle of a turn: effects that it still carries out."""


class _Decision(Struct, frozen=True, kw_only=True):
    number: int
    """Its place in the run it was made in."""
    server_id: ServerId


class _Happens(_Decision, frozen=True, kw_only=True):
    """Something happens to a server, and it takes a turn."""

    waits: bool = False
    """It takes no turn yet: what happens next is part of the same turn."""
    fall: Fall | None = None
    """It does not survive this turn."""


class Arrives(_Happens, frozen=True, kw_only=True, tag=True):
    """A message arrives."""

    packet: Packet


class RunsOut(_Happens, frozen=True, kw_only=True, tag=True):
    """One of the server's timers runs out."""

    event: ElectionTimeout | HeartbeatTimeout | LeaderContactExpired


class IsTold(_Happens, frozen=True, kw_only=True, tag=True):
    """The server hears from its own disk (true) or its own state machine."""

    is_disk: bool


class Reconnects(_Happens, frozen=True, kw_only=True, tag=True):
    """The link to a peer was replaced."""

    peer: ServerId


class Asks(_Happens, frozen=True, kw_only=True, tag=True):
    """A client's request arrives."""

    request: Request


class Writes(_Decision, frozen=True, kw_only=True, tag=True):
    """The disk has done what it was busy with."""


class Applies(_Decision, frozen=True, kw_only=True, tag=True):
    """The state machine does its next piece of work."""


class Falls(_Decision, frozen=True, kw_only=True, tag=True):
    """The server falls between two turns."""

    fall: Fall


class Starts(_Decision, frozen=True, kw_only=True, tag=True):
    """The server comes back."""


Happens: TypeAlias = Arrives | RunsOut | IsTold | Reconnects | Asks
Decision: TypeAlias = Happens | Writes | Applies | Falls | Starts


class NamedMessages:
    """Gives messages their names when a turn decides to send them, and finds them again as they leave."""

    def __init__(self) -> None:
        self._waiting: dict[ServerId, dict[Send, deque[Packet]]] = {}
        """Equal messages of one server leave in the order in which they were decided on."""
        self._counts: Counter[tuple[int, ServerId]] = Counter()

    def name(self, sender: ServerId, effect: Send, decision: int) -> None:
        """The next message to this receiver that the decision is the cause of."""
        packet = (decision, effect.to, self._counts[decision, effect.to])
        self._counts[decision, effect.to] += 1
        self._waiting.setdefault(sender, {}).setdefault(effect, deque()).append(packet)

    def leaves(self, sender: ServerId, effect: Send) -> Packet:
        """The name it was given."""
        return self._waiting[sender][effect].popleft()

    def forget(self, sender: ServerId) -> None:
        """The sender falls: what has not left never will."""
        self._waiting.pop(sender, None)


class _RecordedDisk(SimulatedDisk):
    """Remembers what reached it although its server fell."""

    survived = Fall()

    def lose(self, *arguments: object, **named: object) -> Sequence[PersistEffect]:
        there = super().lose(*arguments, **named)  # type: ignore[arg-type]
        last = there[-1] if there else None
        self.survived = Fall(len(there), len(last.entries) if isinstance(last, AppendToLog) else 0)
        return there


class _RecordedServer(SimulatedServer):
    """Says what is decided about it."""

    simulation: Recording
    disk: _RecordedDisk

    def __init__(self, name: ServerId, simulation: Recording) -> None:
        super().__init__(name, simulation)
        self.disk = _RecordedDisk()
        self._carried_out = 0
        self._is_in_turn = False

    def start(self) -> None:
        if self.life:
            self.simulation.note(Starts(number=self.simulation.next_place, server_id=self.name))
        super().start()

    def fall(self) -> None:
        decisions = self.simulation.decisions
        place = self.simulation.next_place
        if not self._is_in_turn:
            self.simulation.note(Falls(number=place, server_id=self.name, fall=Fall()))
        super().fall()
        self.simulation.messages.forget(self.name)
        survived = replace(self.disk.survived, after=self._carried_out if self._is_in_turn else 0)
        decisions[-1] = replace(decisions[-1], fall=survived)
        self._is_in_turn = False

    def _turn(self, events: list[Event]) -> None:
        for event in events[:-1]:
            self.simulation.note(self._decision(event, waits=True))
        self.simulation.note(self._decision(events[-1], waits=False))
        self._carried_out, self._is_in_turn = 0, True
        super()._turn(events)
        self._is_in_turn = False

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.simulation.messages.name(self.name, effect, self.simulation.decisions[-1].number)
        self._carried_out += 1
        super()._carry_out(effect)

    def _decision(self, event: Event, *, waits: bool) -> Decision:
        number, name = self.simulation.next_place, self.name
        match event:
            case Received(sender=sender, message=message):
                packet = self.simulation.packet(sender, name, message)
                return Arrives(number=number, server_id=name, waits=waits, packet=packet)
            case ElectionTimeout() | HeartbeatTimeout() | LeaderContactExpired():
                return RunsOut(number=number, server_id=name, waits=waits, event=event)
            case LogPersisted() | Applied():
                return IsTold(number=number, server_id=name, waits=waits, is_disk=isinstance(event, LogPersisted))
            case PeerRestarted(server_id=peer):
                return Reconnects(number=number, server_id=name, waits=waits, peer=peer)
            case Proposed(proposal_id=asked) | ReadRequested(read_ids=(asked,)):
                return Asks(number=number, server_id=name, waits=waits, request=self._requests[asked])
        raise AssertionError(f"no simulation posts {event}")

    def _written(self) -> None:
        self.simulation.note(Writes(number=self.simulation.next_place, server_id=self.name))
        super()._written()

    def _do_work(self) -> None:
        self.simulation.note(Applies(number=self.simulation.next_place, server_id=self.name))
        super()._do_work()


class Recording(Simulation):
    """A simulation that writes down what is decided."""

    def __init__(self, seed: int, servers: int, adversary: Adversary | None) -> None:
        self.decisions: list[Decision] = []
        self.messages = NamedMessages()
        self._sent: dict[tuple[ServerId, ServerId, Message], Packet] = {}
        self.peace: int | None = None
        """The number of decisions before all faults ended."""
        super().__init__(seed, servers, adversary=adversary)

    def end_in_peace(self) -> None:
        """From here on nothing goes wrong."""
        self.peace = len(self.decisions)
        super().end_in_peace()

    @property
    def next_place(self) -> int:
        """The number of the next decision."""
        return len(self.decisions)

    def note(self, decision: Decision) -> None:
        """This is decided now."""
        self.decisions.append(decision)

    def new_server(self, name: ServerId) -> SimulatedServer:
        """One that is watched."""
        return _RecordedServer(name, self)

    def send(self, sender: SimulatedServer, effect: Send) -> None:
        """Of several messages that say the same the first stands for all: the network may be as late as it likes."""
        self._sent.setdefault((sender.name, effect.to, effect.message), self.messages.leaves(sender.name, effect))
        super().send(sender, effect)

    def packet(self, sender: ServerId, to: ServerId, message: Message) -> Packet:
        """The name of a message that was sent."""
        return self._sent[sender, to, message]


class Recorded(NamedTuple):
    """A run, and all that was decided in it."""

    report: Report
    decisions: tuple[Decision, ...]
    before_peace: tuple[Decision, ...]
    """Those up to the end of all faults."""


def recorded(seed: int, servers: int = 3, steps: int = 10_000, *, adversary: Adversary | None = None) -> Recorded:
    """What `simulate` finds, and how it came to that."""
    recording = Recording(seed, servers, adversary)
    report = ended(recording, steps)
    return Recorded(report, tuple(recording.decisions), tuple(recording.decisions[: recording.peace]))
