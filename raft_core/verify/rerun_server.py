"""A server to which nothing happens by itself: it waits for decisions (see `rerun`).

Its disk writes, its state machine applies, its timers run out when that is decided, and only if there is something to
write or to apply, or if the timer was set.  Once the schedule is over, it lives on as any simulated server does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, assert_never

from raft_core.effects import Effect, PersistEffect, ReceiveSnapshotChunk, Send
from raft_core.events import Event, PeerRestarted
from raft_core.verify.invariants import Violation
from raft_core.verify.schedule import (
    NEWS,
    Applies,
    Arrives,
    Asks,
    Decision,
    Fall,
    Falls,
    Hangs,
    Happens,
    IsTold,
    Joins,
    Jumps,
    Keeps,
    Reconnects,
    RunsOut,
    SendsPart,
    Starts,
    Takes,
    Teller,
    Ticks,
    Wants,
    Works,
    Writes,
)
from raft_core.verify.simulated_clock import TIMERS, SimulatedClock
from raft_core.verify.simulated_server import Fallen, SimulatedServer
from raft_core.verify.simulated_snapshots import Spoil

if TYPE_CHECKING:
    from raft_core.verify.rerun import Rerun


class Said(Random):
    """No generator at all: says what it was told to say, at most what is asked for, and otherwise nought."""

    def __init__(self) -> None:
        super().__init__(0)
        self.says: deque[int] = deque()

    def randint(self, a: int, b: int) -> int:
        return max(a, min(self.says.popleft() if self.says else 0, b))

    def getrandbits(self, k: int, /) -> int:
        return 0


class _RerunClock(SimulatedClock):
    """No timer runs out by itself."""

    _server: RerunServer

    def stop(self) -> None:
        super().stop()
        self._were_set: set[str] = set()

    def arm(self, name: str, due: int) -> None:
        if self._server.simulation.is_over:
            super().arm(name, due)
        else:
            self.timers[name] = (0, due)
            self._were_set.add(name)

    def runs_out(self, name: str) -> bool:
        """It may have been set anew meanwhile, but it must have been set.  Where leases hang on it, no timer runs out
        before its time."""
        simulation = self._server.simulation
        if simulation.adversary.settings.lease_reads:
            is_due = name in self.timers and self.timers[name][1] <= simulation.now
        else:
            is_due = name in self._were_set
        if is_due:
            self.timers.pop(name, None)
        return is_due

    def goes_on(self) -> None:
        """From now on they run out by themselves."""
        for name, (_, due) in list(self.timers.items()):
            self.arm(name, due)


class RerunServer(SimulatedServer):
    """A server to which nothing happens by itself."""

    simulation: Rerun
    clock: _RerunClock

    def _new_clock(self) -> _RerunClock:
        return _RerunClock(self)

    def _reset(self) -> None:
        super()._reset()
        self._news: list[Event] = []
        self._spoils: deque[Spoil | None] = deque()

    def post(self, event: Event) -> None:
        """It is told later."""
        if self.simulation.is_over:
            super().post(event)
        else:
            self._news.append(event)

    def _later(self, longest: float, action: Callable[[], None]) -> None:
        """When is decided elsewhere."""
        if self.simulation.is_over:
            super()._later(longest, action)

    def _watch_disk(self, writing: list[PersistEffect]) -> None:
        """What takes too long is decided elsewhere."""
        if self.simulation.is_over:
            super()._watch_disk(writing)

    def lives_on(self) -> None:
        """The schedule is over: what waits goes on by itself."""
        waits, self.inbox = [*self.inbox, *self._news], []
        self.clock.goes_on()
        for event in waits:
            self.post(event)
        adversary = self.simulation.adversary
        if self._writing:
            self._later(adversary.write_takes, self._written)
        if self._work:
            self._later(adversary.apply_takes, self._do_work)
        for taken in self._taking:
            self._later(adversary.write_takes, partial(self._keep, taken))
        for part in self._parts:
            self._later(adversary.apply_takes, partial(self._part_read, part))

    def does(self, decision: Decision) -> None:
        """Carry the decision out, if it applies."""
        match decision:
            case Ticks(rate=rate):
                self.clock.runs(rate)
            case Jumps(milliseconds=milliseconds):
                self.clock.jump(milliseconds)
            case Starts() | Joins():
                if self.server is None and isinstance(decision, Joins) == (self.life == 0):
                    self.start()
                    self.simulation.shown(self, "starts")
            case _ if self.server is None:
                pass
            case Falls(fall=fall):
                self.falls(fall)
            case Writes() | Hangs() | Applies() | Takes() | Keeps() | SendsPart():
                self._works(decision)
            case _:
                self._happens(decision)

    def _works(self, decision: Works) -> None:
        """What the disk and the state machine do in their own time."""
        match decision:
            case Writes(spoils=spoils):
                if self._writing:
                    self._spoils = deque(spoils)
                    self._shows("writes", self._written)
            case Hangs():
                if self._writing and not self._is_overdue:
                    self._shows("hangs", self._overdue)
            case Applies():
                if self._work:
                    self._shows("applies", self._do_work)
            case Takes():
                if self.replica.is_due(1):
                    self._shows("takes a snapshot", self._take_snapshot)
            case Keeps(place=place):
                for taken in self._taking[place:][:1] or self._taking[-1:]:
                    self._shows("keeps a snapshot", partial(self._keep, taken))
            case SendsPart(place=place):
                for part in self._parts[place:][:1] or self._parts[-1:]:
                    self._shows("sends a part", partial(self._part_read, part))
            case _:
                assert_never(decision)

    def _spoil(self, part: ReceiveSnapshotChunk) -> Spoil | None:
        """As it was decided with the write."""
        return self._spoils.popleft() if self._spoils else None

    def _part_leaves(self, effect: Send) -> None:
        self.simulation.messages.name(self.name, effect, self.simulation.cause)
        super()._part_leaves(effect)

    def _shows(self, happening: str, action: Callable[[], None]) -> None:
        """What is no turn is shown only if it breaks a rule."""
        try:
            action()
        except Violation:
            self.simulation.shown(self, happening)
            raise

    def falls(self, fall: Fall) -> None:
        """Down, with so much of what was under way on its disk."""
        self.simulation.said.says.extend((fall.writes, fall.entries))
        self.simulation.shown(self, "falls")
        self.fall()
        self.simulation.messages.forget(self.name)
        self.simulation.said.says.clear()

    def _happens(self, decision: Happens) -> None:
        event = self._event(decision)
        if event is None:
            return
        self.inbox.append(event)
        if decision.waits:
            return
        events, self.inbox = self.inbox, []
        if decision.fall is None:
            self._turn(events)
        else:
            self._last_turn(events, decision.fall)

    def _steps(self, events: list[Event]) -> None:
        """What makes the server fall over is shown, too."""
        before = self.server
        assert before is not None
        try:
            super()._steps(events)
        except (Violation, Fallen):
            raise
        except Exception:
            if self.server is before:
                self.simulation.noted(self, before, events, ())
            raise

    def _last_turn(self, events: list[Event], fall: Fall) -> None:
        """It falls after so many effects, or at the latest when there are no more."""
        self.falls_in = fall.after
        try:
            self._turn(events)
        except Fallen:
            self.falls_in = 0
        self.falls(fall)

    def _event(self, decision: Happens) -> Event | None:
        """What happens; `None` if it cannot."""
        match decision:
            case Arrives(packet=packet):
                return self.simulation.packets.get(packet)
            case RunsOut(event=event):
                return event if self.clock.runs_out(TIMERS[type(event)]) else None
            case IsTold(by=teller):
                return self._next_news(teller)
            case Reconnects(peer=peer):
                return PeerRestarted(peer) if self.simulation.servers[peer].life > 1 else None
            case Asks(request=request, asked=asked):
                self.simulation.caller(request).asks(request, self.simulation.now)
                return self._asked(request, asked)
            case Wants(wish=wish):
                return wish
        assert_never(decision)

    def _next_news(self, teller: Teller) -> Event | None:
        news = next((event for event in self._news if isinstance(event, NEWS[teller])), None)
        if news is not None:
            self._news.remove(news)
        return news

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.simulation.messages.name(self.name, effect, self.simulation.cause)
        super()._carry_out(effect)
