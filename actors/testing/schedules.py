"""Schedules of a whole cluster: which server meets which event, in which order, as plain data.

A `Schedule` holds the events themselves, messages with all they carry, so it can be run again without whatever drew it,
by this core or by another: `schedule.run()` gives the turns, which `raft_core.verify.spacetime` shows as a table.

The `World` says what can happen next while a schedule is drawn.  It does with effects what a runtime does, at once:
writes are durable when they are asked for, messages stay under way until they are delivered, which may be never, or
twice.  A crash takes the memory; the server comes back in the same moment with what is on its disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from raft_core import (
    AppendToLog,
    Applied,
    ApplyCommitted,
    Effect,
    Entry,
    Event,
    Leader,
    LogPersisted,
    PersistTermAndVote,
    Received,
    Send,
    Server,
    ServerId,
    Settings,
    Term,
    Transition,
    restore,
    step,
)
from raft_core.verify.simulation import Turn
from raft_core.verify.spacetime import space_time_table

Stepper: TypeAlias = Callable[[Server, Event], Transition]
"""`step`, or what is to take its place."""


class Act(NamedTuple):
    """Something happens to a server; without an event: it crashes and comes back."""

    server_id: ServerId
    event: Event | None


class Disk(NamedTuple):
    """What survives a crash (Figure 2, persistent state)."""

    current_term: Term = 0
    voted_for: ServerId | None = None
    entries: tuple[Entry, ...] = ()


class World:
    """Servers, their disks, and what is under way."""

    def __init__(self, size: int, settings: Settings, stepper: Stepper = step) -> None:
        self.names = tuple(f"n{number}" for number in range(1, size + 1))
        self.settings = settings
        self.messages: list[Act] = []
        """Under way, oldest first: the receiver and what it will meet."""
        self.due: deque[Act] = deque()
        """What disks and state machines have to say."""
        self.disks = dict.fromkeys(self.names, Disk())
        self.servers = {name: self._started(name) for name in self.names}
        self._step = stepper

    def _started(self, name: ServerId) -> Server:
        disk = self.disks[name]
        return restore(
            name,
            self.names,
            self.settings,
            randomness=0,
            current_term=disk.current_term,
            voted_for=disk.voted_for,
            entries=disk.entries,
        )

    @property
    def leaders(self) -> tuple[ServerId, ...]:
        """Who believes to lead, in whatever term."""
        return tuple(name for name, server in self.servers.items() if isinstance(server.role, Leader))

    def act(self, act: Act) -> tuple[Effect, ...]:
        """Let it happen, and carry out what follows at this server."""
        name, event = act
        if event is None:
            self.due = deque(waiting for waiting in self.due if waiting.server_id != name)
            self.servers[name] = self._started(name)
            return ()
        self.servers[name], effects = self._step(self.servers[name], event)
        for effect in effects:
            self._carry_out(name, effect)
        return effects

    def _carry_out(self, name: ServerId, effect: Effect) -> None:
        disk = self.disks[name]
        match effect:
            case PersistTermAndVote():
                self.disks[name] = disk._replace(current_term=effect.current_term, voted_for=effect.voted_for)
            case AppendToLog(prev_log_index=prev_log_index, entries=entries):
                self.disks[name] = disk._replace(entries=disk.entries[:prev_log_index] + entries)
                self.due.append(Act(name, LogPersisted(prev_log_index + len(entries), effect.current_term)))
            case Send(to=to, message=message):
                self.messages.append(Act(to, Received(name, message)))
            case ApplyCommitted(first_index=first_index, entries=entries):
                self.due.append(Act(name, Applied(first_index + len(entries) - 1)))
            case _:
                pass  # timers run out when the schedule says so; nobody waits for an answer


class Schedule(NamedTuple):
    """A cluster, and what happens to it."""

    size: int
    settings: Settings
    acts: tuple[Act, ...]

    @property
    def names(self) -> tuple[ServerId, ...]:
        """The servers."""
        return tuple(f"n{number}" for number in range(1, self.size + 1))

    def run(self, stepper: Stepper = step) -> Iterator[Turn]:
        """Let it all happen; what each server did, in order.  Times are the numbers of the acts, as milliseconds."""
        world = World(self.size, self.settings, stepper)
        for number, act in enumerate(self.acts, 1):
            effects = world.act(act)
            events = () if act.event is None else (act.event,)
            yield Turn(number * 1_000, act.server_id, events, effects, world.servers[act.server_id])

    def table(self, stepper: Stepper = step) -> str:
        """The run as a space-time table."""
        return space_time_table(self.run(stepper), self.names)
