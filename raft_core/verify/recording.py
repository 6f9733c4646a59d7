"""A simulation that writes down what is decided (see `schedule`), without changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from msgspec.structs import replace

from raft_core.effects import AppendToLog, Effect, PersistEffect, ReceiveSnapshotChunk, Send, SendSnapshotChunk
from raft_core.events import (
    ConfigurationProposed,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    PeerRestarted,
    Proposed,
    ReadRequested,
    Received,
    SettingsChanged,
    TransferRequested,
)
from raft_core.messages import Message
from raft_core.types import ServerId
from raft_core.verify.adversary import Adversary
from raft_core.verify.schedule import (
    NEWS,
    Applies,
    Arrives,
    Asks,
    Decision,
    Fall,
    Falls,
    Hangs,
    IsTold,
    Joins,
    Jumps,
    Keeps,
    NamedMessages,
    Packet,
    Reconnects,
    RunsOut,
    SendsPart,
    Starts,
    Takes,
    Ticks,
    Wants,
    Writes,
)
from raft_core.verify.simulated_clock import SimulatedClock
from raft_core.verify.simulated_disk import SimulatedDisk
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulated_snapshots import Restoration, Spoil
from raft_core.verify.simulation import Report, Simulation, ended


class _Here(TypedDict):
    number: int
    server_id: ServerId
    at: int


class _RecordedDisk(SimulatedDisk):
    """Remembers what reached it although its server fell."""

    survived = Fall()

    def lose(self, *arguments: object, **named: object) -> Sequence[PersistEffect]:
        there = super().lose(*arguments, **named)  # type: ignore[arg-type]
        last = there[-1] if there else None
        match last:
            case AppendToLog(entries=part) | ReceiveSnapshotChunk(data=part):
                self.survived = Fall(len(there), len(part))
            case _:
                self.survived = Fall(len(there))
        return there


class _RecordedClock(SimulatedClock):
    """Says how it goes, where that matters."""

    _server: _RecordedServer

    def runs(self, rate: float) -> None:
        simulation = self._server.simulation
        if rate != self.rate and simulation.adversary.settings.lease_reads:
            simulation.note(Ticks(**simulation.here(self._server.name), rate=rate))
        super().runs(rate)

    def jump(self, milliseconds: float) -> None:
        simulation = self._server.simulation
        if simulation.adversary.settings.lease_reads:
            simulation.note(Jumps(**simulation.here(self._server.name), milliseconds=milliseconds))
        super().jump(milliseconds)


class _RecordedServer(SimulatedServer):
    """Says what is decided about it."""

    simulation: Recording
    disk: _RecordedDisk

    def __init__(self, name: ServerId, simulation: Recording, voters: tuple[ServerId, ...]) -> None:
        super().__init__(name, simulation, voters)
        self.disk = _RecordedDisk()
        self._carried_out = 0
        self._is_in_turn = False

    def _new_clock(self) -> SimulatedClock:
        return _RecordedClock(self)

    def start(self) -> None:
        if self.life:
            self.simulation.note(Starts(**self._here))
        super().start()

    def fall(self) -> None:
        decisions = self.simulation.decisions
        if not self._is_in_turn:
            self.simulation.note(Falls(**self._here, fall=Fall()))
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

    @property
    def _here(self) -> _Here:
        return self.simulation.here(self.name)

    def _decision(self, event: Event, *, waits: bool) -> Decision:
        here = self._here
        match event:
            case Received(sender=sender, message=message):
                return Arrives(**here, waits=waits, packet=self.simulation.packet(sender, self.name, message))
            case ElectionTimeout() | HeartbeatTimeout() | LeaderContactExpired():
                return RunsOut(**here, waits=waits, event=event)
            case PeerRestarted(server_id=peer):
                return Reconnects(**here, waits=waits, peer=peer)
            case Proposed(proposal_id=asked) | ReadRequested(read_ids=(asked,)):
                return Asks(**here, waits=waits, request=self._requests[asked], asked=asked)
            case ConfigurationProposed() | TransferRequested() | SettingsChanged():
                return Wants(**here, waits=waits, wish=event)
        by = next(teller for teller, kinds in NEWS.items() if isinstance(event, kinds))
        return IsTold(**here, waits=waits, by=by)

    def _overdue(self) -> None:
        self.simulation.note(Hangs(**self._here))
        super()._overdue()

    def _written(self) -> None:
        self.simulation.note(Writes(**self._here))
        super()._written()

    def _spoil(self, part: ReceiveSnapshotChunk) -> Spoil | None:
        spoil, decisions = super()._spoil(part), self.simulation.decisions
        writes = decisions[-1]
        assert isinstance(writes, Writes)
        decisions[-1] = replace(writes, spoils=(*writes.spoils, spoil))
        return spoil

    def _do_work(self) -> None:
        self.simulation.note(Applies(**self._here))
        super()._do_work()

    def _take_snapshot(self) -> None:
        self.simulation.note(Takes(**self._here))
        super()._take_snapshot()

    def _keep(self, taken: Restoration) -> None:
        self.simulation.note(Keeps(**self._here, place=self._taking.index(taken)))
        super()._keep(taken)

    def _part_read(self, effect: SendSnapshotChunk) -> None:
        self.simulation.note(SendsPart(**self._here, place=self._parts.index(effect)))
        super()._part_read(effect)

    def _part_leaves(self, effect: Send) -> None:
        self.simulation.messages.name(self.name, effect, self.simulation.decisions[-1].number)
        super()._part_leaves(effect)


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

    def here(self, server_id: ServerId) -> _Here:
        """What every decision begins with."""
        return {"number": len(self.decisions), "server_id": server_id, "at": self.now}

    def note(self, decision: Decision) -> None:
        """This is decided now."""
        self.decisions.append(decision)

    def new_server(self, name: ServerId, voters: tuple[ServerId, ...]) -> SimulatedServer:
        """One that is watched."""
        return _RecordedServer(name, self, voters)

    def joins(self, name: ServerId) -> None:
        """A decision, too."""
        self.note(Joins(**self.here(name)))
        super().joins(name)

    def send(self, name: ServerId, effect: Send) -> None:
        """Of several messages that say the same the first stands for all: the network may be as late as it likes."""
        self._sent.setdefault((name, effect.to, effect.message), self.messages.leaves(name, effect))
        super().send(name, effect)

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
