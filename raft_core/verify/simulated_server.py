"""One server of a simulation: `step`, and whatever carries out its effects, in simulated time.

The effects are carried out as `raft_core.effects` allows and no better: AppendEntries and TimeoutNow leave at once,
other messages wait in the disk's stream for what stands before them, work for the state machine is done in order and in
its own time (see `simulated_writing` and `simulated_service`).
A server can fall between any two effects of a turn.

Where reads by lease are allowed, clocks are *looked at*, as a runtime has to: an expiry is never stale, what has
arrived is heard before any timer is, and a lease that is over is noticed before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias, assert_never

from raft_core.batching import step_all
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    Effect,
    PersistTermAndVote,
    ReadReady,
    ReceiveSnapshotChunk,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RestoreSnapshot,
    RoundConfirmed,
    RoundSent,
    Send,
    SendSnapshotChunk,
    StopHeartbeatTimer,
)
from raft_core.events import Event, SettingsChanged
from raft_core.messages import AppendEntries, TimeoutNow
from raft_core.roles import Follower
from raft_core.state import restore
from raft_core.step import step
from raft_core.types import ServerId
from raft_core.verify.simulated_clock import CONTACT, ELECTION, HEARTBEAT, TIMERS, SimulatedClock
from raft_core.verify.simulated_conduct import Conduct, check_timers
from raft_core.verify.simulated_writing import SimulatedWriting

if TYPE_CHECKING:
    from raft_core.verify.simulation import Simulation

Timed: TypeAlias = ResetElectionTimer | ResetHeartbeatTimer | StopHeartbeatTimer | RoundSent | RoundConfirmed
"""What needs a clock."""


class Fallen(Exception):
    """The server fell in the middle of a turn."""


class SimulatedServer(SimulatedWriting):
    """A server with its disk, its clock, its state machine and what waits for each."""

    def __init__(self, name: ServerId, simulation: Simulation, voters: tuple[ServerId, ...]) -> None:
        super().__init__(name, simulation, voters)
        self.life = 0
        self.clock = self._new_clock()
        self._reset()

    def _new_clock(self) -> SimulatedClock:
        return SimulatedClock(self)

    def _reset(self) -> None:
        super()._reset()
        self.inbox: list[Event] = []
        self.clock.stop()
        self.conduct = Conduct(self.name)
        self._at_once: list[Event] = []
        """What an effect of the turn is answered with."""
        self.slowness, self.paused_until = 1.0, 0
        self.falls_in = 0
        """The number of effects it still lives for; 0: it is not doomed."""

    # --- life and death -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Come up, with what is on the disk."""
        simulation, disk = self.simulation, self.disk
        self.life += 1
        self._reset()
        incoming = disk.open()
        self.server = restore(
            self.name,
            self.voters,
            simulation.adversary.settings,
            randomness=simulation.random.getrandbits(16),
            current_term=disk.current_term,
            voted_for=disk.voted_for,
            entries=disk.entries,
            snapshot=disk.snapshot,
            last_included=(disk.last_included_index, disk.last_included_term),
            incoming=incoming,
        )
        if disk.snapshot is not None:
            self.replica.restore(*self.opened(disk.snapshot))
        simulation.oracle.started(self.server)
        self.clock.set(ELECTION, self.server.election_timeout)
        if isinstance(self.server.role, Follower) and self.server.role.leader_is_recent:
            self.clock.set(CONTACT, self.server.settings.election_timeout)

    def fall(self) -> None:
        """Lose everything but what is on the disk."""
        self.server = None
        for change in self.disk.lose(self.simulation.random, tears=self.simulation.adversary.tears):
            self.simulation.oracle.written(self.name, change)
        self._reset()
        self.simulation.oracle.stopped(self.name)

    def stop(self) -> None:
        """For good."""
        if self.server is not None:
            self.fall()

    @property
    def expects_settings(self) -> bool:
        """Others were asked for, and it has not dealt with that yet."""
        return any(isinstance(event, SettingsChanged) for event in self.inbox)

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
            for some in self._turns(events):
                self._turn(some)
        except Fallen:
            self.simulation.falls(self)

    def _turns(self, events: list[Event]) -> Iterator[list[Event]]:
        timeouts: list[Event] = []
        if self.simulation.adversary.settings.lease_reads:
            timeouts = [event for event in events if type(event) in TIMERS]
            events = [event for event in events if type(event) not in TIMERS]
        if self.simulation.adversary.batched and events:
            yield events
        else:
            yield from ([event] for event in events)
        yield from ([event] for event in timeouts if self.clock.is_due(event))

    def _turn(self, events: list[Event]) -> None:
        """These happen, and whatever the clock has to say before and after."""
        over = [*self.clock.look()]
        if over:
            self._steps(over)
        self._steps(events)
        while self._at_once:
            events, self._at_once = self._at_once, []
            self._steps(events)

    def _steps(self, events: list[Event]) -> None:
        before = self.server
        assert before is not None
        self.duties.asked(events)
        self.server, effects = step_all(before, events) if len(events) > 1 else step(before, events[0])
        self.simulation.noted(self, before, events, effects)
        self.simulation.oracle.moved(before, self.server)
        if len(events) == 1:
            self.simulation.oracle.stepped(self.server, events[0], effects)
        self.duties.count_heads(before, self.server, events)
        if self.conduct.turned(before, self.server, events):
            self.simulation.misfortunes.counts["preferred"] += 1
        for effect in effects:
            self._carry_out(effect)
            if self.falls_in:
                self.falls_in -= 1
                if not self.falls_in:
                    raise Fallen
        self.duties.check(self.server)
        check_timers(self.server, self.clock.lasting)

    # --- effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(message=AppendEntries() | TimeoutNow()):
                self._leaves(effect)
            case Send() | PersistTermAndVote() | AppendToLog() | CompactLog() | ReceiveSnapshotChunk():
                self.disk.stream.append(effect)
                self._write_on()
            case SendSnapshotChunk():
                self._send_part(effect)
            case ResetElectionTimer() | ResetHeartbeatTimer() | StopHeartbeatTimer() | RoundSent() | RoundConfirmed():
                self._set_clock(effect)
            case ApplyCommitted():
                self.simulation.oracle.applied(self.name, effect.first_index, effect.entries)
                self._hand_on(effect)
            case RestoreSnapshot():
                self.simulation.oracle.restored(self.name, effect.snapshot)
                self._hand_on(self.opened(effect.snapshot))
            case ReadReady():
                self.duties.answered_reads(effect.read_ids)
                self._hand_on(effect)
            case _:
                self._tell(effect)

    def _set_clock(self, effect: Timed) -> None:
        match effect:
            case ResetElectionTimer(timeout=timeout, contact_timeout=contact_timeout):
                self.clock.set(ELECTION, timeout)
                self.clock.set(CONTACT, contact_timeout)
            case ResetHeartbeatTimer(interval=interval):
                self.clock.set(HEARTBEAT, interval)
            case StopHeartbeatTimer():
                self.clock.set(HEARTBEAT, 0)
            case RoundSent(round=number):
                self.clock.sends(number)
            case RoundConfirmed():
                self._at_once.extend(self.clock.confirmed(effect))
            case _:
                assert_never(effect)
