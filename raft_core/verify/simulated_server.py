"""One server of a simulation: `step`, and whatever carries out its effects, in simulated time.

The effects are carried out as `raft_core.effects` allows and no better: AppendEntries leave at once, other messages
wait in the disk's stream for what stands before them, work for the state machine is done in order and in its own time.
A server can fall between any two effects of a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from raft_core.batching import step_all
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    Effect,
    Ignored,
    PersistEffect,
    PersistTermAndVote,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RoleChanged,
    Send,
    StopHeartbeatTimer,
)
from raft_core.events import (
    Applied,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LogPersisted,
    Proposed,
    ReadRequested,
    Received,
)
from raft_core.messages import AppendEntries
from raft_core.quorum import majority
from raft_core.state import Leader, Server, restore
from raft_core.step import step
from raft_core.types import LogIndex, ServerId, Term
from raft_core.verify.invariants import Violation
from raft_core.verify.simulated_clients import Request, SimulatedMachine
from raft_core.verify.simulated_disk import SimulatedDisk

if TYPE_CHECKING:
    from raft_core.verify.simulation import Simulation

Work: TypeAlias = ApplyCommitted | ReadReady
ELECTION, CONTACT, HEARTBEAT = "election", "contact", "heartbeat"


class Fallen(Exception):
    """The server fell in the middle of a turn."""


class SimulatedServer:
    """A server with its disk, its clock, its state machine and what waits for each."""

    def __init__(self, name: ServerId, simulation: Simulation) -> None:
        self.name = name
        self.disk = SimulatedDisk()
        self.simulation = simulation
        self.server: Server | None = None
        self.life = 0
        self.clock_rate = 1.0
        self.slowness = 1.0
        self.paused_until = 0
        self.falls_in = 0
        """The number of effects it still lives for; 0: it is not doomed."""
        self._reset()

    def _reset(self) -> None:
        self.inbox: list[Event] = []
        self.timers: dict[str, tuple[int, int]] = {}
        self.machine = SimulatedMachine()
        self.applied_index: LogIndex = 0
        self._work: deque[Work] = deque()
        self._requests: dict[int, Request] = {}
        self._expected: dict[LogIndex, tuple[Term, Request, int]] = {}
        self._results: dict[Request, dict[int, object]] = {}
        self._writing: list[PersistEffect] = []
        """What the disk is busy with; empty: it is idle."""
        self._open_reads: set[int] = set()
        self._heard: set[ServerId] | None = None
        self.slowness, self.paused_until, self.falls_in = 1.0, 0, 0

    # --- life and death -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Come up, with what is on the disk."""
        simulation, disk = self.simulation, self.disk
        self.life += 1
        self._reset()
        self.server = restore(
            self.name,
            simulation.names,
            simulation.adversary.settings,
            randomness=simulation.random.getrandbits(16),
            current_term=disk.current_term,
            voted_for=disk.voted_for,
            entries=disk.entries,
        )
        simulation.oracle.started(self.server)
        self._set_timer(ELECTION, self.server.election_timeout)

    def fall(self) -> None:
        """Lose everything but what is on the disk."""
        self.server = None
        for change in self.disk.lose(self.simulation.random, tears=self.simulation.adversary.tears):
            self.simulation.oracle.written(self.name, change)
        self._reset()
        self.simulation.oracle.stopped(self.name)

    # --- events -------------------------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Something happens to this server; if it is down, nobody notices."""
        if self.server is None:
            return
        self.inbox.append(event)
        if len(self.inbox) == 1:
            self._later(self.simulation.adversary.turn_takes * self.slowness, self.take_turn)

    def _later(self, longest: float, action: Callable[[], None]) -> None:
        """After at most `longest` milliseconds, if it is still alive by then."""
        life = self.life

        def happens() -> None:
            if self.life == life and self.server is not None:
                action()

        self.simulation.after(self.simulation.duration(longest), happens)

    def take_turn(self) -> None:
        """Deal with what waits: all at once, or one event after the other."""
        wait = self.paused_until - self.simulation.now
        if wait > 0:
            life = self.life
            self.simulation.after(wait, lambda: self.take_turn() if self.life == life and self.server else None)
            return
        events, self.inbox = self.inbox, []
        try:
            if self.simulation.adversary.batched:
                self._turn(events)
            else:
                for event in events:
                    self._turn([event])
        except Fallen:
            self.simulation.falls(self)

    def _turn(self, events: list[Event]) -> None:
        before = self.server
        assert before is not None
        self._open_reads.update(*(event.read_ids for event in events if isinstance(event, ReadRequested)))
        self.server, effects = step_all(before, events) if len(events) > 1 else step(before, events[0])
        self.simulation.noted(self, before, events, effects)
        self.simulation.oracle.moved(before, self.server)
        if len(events) == 1:
            self.simulation.oracle.stepped(self.server, events[0], effects)
        self._count_heads(before, self.server, events)
        for effect in effects:
            self._carry_out(effect)
            if self.falls_in:
                self.falls_in -= 1
                if not self.falls_in:
                    raise Fallen
        if self._open_reads and not isinstance(self.server.role, Leader):
            raise Violation("One Answer", f"{self.name} leads no more and does not answer reads {self._open_reads}")

    def _count_heads(self, before: Server, after: Server, events: list[Event]) -> None:
        """Who leads from one election timeout to the next has heard from a majority meanwhile (thesis 6.2)."""
        if not (isinstance(before.role, Leader) and before.current_term == after.current_term):
            self._heard = None
            return
        for event in events:
            if isinstance(event, Received) and self._heard is not None:
                self._heard.add(event.sender)
            elif isinstance(event, ElectionTimeout):
                heard, self._heard = self._heard, set()
                if heard is None or not after.settings.check_quorum or not isinstance(after.role, Leader):
                    continue
                if len(heard) + 1 < majority(after.voters):
                    raise Violation("Check Quorum", f"{self.name} leads on, and heard from {sorted(heard)} only")

    # --- effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(message=AppendEntries()):
                self.simulation.send(self, effect)
            case Send() | PersistTermAndVote() | AppendToLog():
                self.disk.stream.append(effect)
                self._write_on()
            case ResetElectionTimer(timeout=timeout, contact_timeout=contact_timeout):
                self._set_timer(ELECTION, timeout)
                self._set_timer(CONTACT, contact_timeout)
            case ResetHeartbeatTimer(interval=interval):
                self._set_timer(HEARTBEAT, interval)
            case StopHeartbeatTimer():
                self._set_timer(HEARTBEAT, 0)
            case ApplyCommitted():
                self.simulation.oracle.applied(self.name, effect.first_index, effect.entries)
                self._hand_on(effect)
            case ReadReady():
                self._open_reads.difference_update(effect.read_ids)
                self._hand_on(effect)
            case ProposalAccepted():
                self._accepted(effect)
            case ProposalRefused(proposal_id=number, leader_id=leader_id):
                self.simulation.refuse(self._requests.pop(number), leader_id)
            case ReadRefused(read_ids=numbers, leader_id=leader_id):
                self._open_reads.difference_update(numbers)
                for number in numbers:
                    self.simulation.refuse(self._take(number), leader_id)
            case RoleChanged(role=role):
                if role == "leader":
                    self.simulation.misfortunes.elected(self)
                else:
                    self._expected.clear()
            case Ignored():
                pass

    def _take(self, number: int) -> Request:
        request = self._requests.pop(number, None)
        if request is None:
            raise Violation("One Answer", f"{self.name} answers read {number} twice")
        return request

    def _write_on(self) -> None:
        """Let go what waits for no write; then give the disk its next transaction."""
        disk = self.disk
        if self._writing:
            return
        while disk.stream and isinstance(disk.stream[0], Send):
            item = disk.stream.popleft()
            assert isinstance(item, Send)
            self.simulation.send(self, item)
        if disk.stream:
            self._writing = disk.next_transaction()
            self._later(self.simulation.adversary.write_takes * self.slowness, self._written)

    def _written(self) -> None:
        changes, self._writing = self._writing, []
        for change in changes:
            self.disk.stream.popleft()
            self.disk.make_durable(change)
            self.simulation.oracle.written(self.name, change)
            if isinstance(change, AppendToLog):
                self.post(LogPersisted(change.prev_log_index + len(change.entries), change.current_term))
        self._write_on()

    # --- clocks -------------------------------------------------------------------------------------------------------

    def _set_timer(self, name: str, milliseconds: int) -> None:
        """0: never."""
        if not milliseconds:
            self.timers.pop(name, None)
            return
        self._arm(name, self.simulation.now + int(milliseconds * 1_000 / self.clock_rate))

    def _arm(self, name: str, due: int) -> None:
        number = self.simulation.next_number()
        self.timers[name] = (number, due)
        self.simulation.after(max(0, due - self.simulation.now), lambda: self._expires(name, number))

    def _expires(self, name: str, number: int) -> None:
        if self.server is None or self.timers.get(name, (0, 0))[0] != number:
            return
        del self.timers[name]
        match name:
            case "election":
                self.post(ElectionTimeout(self.simulation.random.getrandbits(16)))
            case "contact":
                self.post(LeaderContactExpired())
            case _:
                self.post(HeartbeatTimeout())

    def clock_jumps(self, milliseconds: float) -> None:
        """Forwards, or backwards if negative."""
        for name, (_, due) in list(self.timers.items()):
            self._arm(name, due - int(milliseconds * 1_000))

    # --- the state machine --------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """A client asks."""
        if self.server is None:
            return
        number = self.simulation.next_number()
        self._requests[number] = request
        if request.commands:
            self.post(Proposed(number, request.commands))
        else:
            self.post(ReadRequested((number,)))

    def _accepted(self, effect: ProposalAccepted) -> None:
        request = self._requests.pop(effect.proposal_id)
        for place, index in enumerate(range(effect.first_index, effect.last_index + 1)):
            self._expected[index] = (effect.term, request, place)
        self._results[request] = {}

    def _hand_on(self, work: Work) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._later(self.simulation.adversary.apply_takes * self.slowness, self._do_work)

    def _do_work(self) -> None:
        work = self._work.popleft()
        if isinstance(work, ApplyCommitted):
            self._apply(work)
        else:
            if self.applied_index < work.read_index:
                raise Violation("Read Index", f"{self.name} reads at {self.applied_index}, not at {work.read_index}")
            for number in work.read_ids:
                request = self._take(number)
                self.simulation.answer(request, [self.machine.read(request.key)])
        if self._work:
            self._later(self.simulation.adversary.apply_takes * self.slowness, self._do_work)

    def _apply(self, work: ApplyCommitted) -> None:
        for index, entry in enumerate(work.entries, start=work.first_index):
            result = self.machine.apply(entry)
            self.applied_index = index
            term, request, place = self._expected.pop(index, (0, None, 0))
            if request is None or term != entry.term:
                continue
            results = self._results[request]
            results[place] = result
            if len(results) == len(request.commands):
                self.simulation.answer(request, [results[place] for place in range(len(results))])
                del self._results[request]
        self.post(Applied(self.applied_index))
