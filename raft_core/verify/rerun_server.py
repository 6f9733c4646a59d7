"""A server to which nothing happens by itself: it waits for decisions (see `rerun`).

Its disk writes, its state machine applies, its timers run out when that is decided, and only if there is something to
write or to apply, or if the timer was set.  Once the schedule is over, it lives on as any simulated server does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, assert_never

from raft_core.effects import Effect, Send
from raft_core.events import Applied, Event, LogPersisted, PeerRestarted
from raft_core.verify.invariants import Violation
from raft_core.verify.schedule import (
    Applies,
    Arrives,
    Asks,
    Decision,
    Fall,
    Falls,
    Happens,
    IsTold,
    Reconnects,
    RunsOut,
    Starts,
    Writes,
)
from raft_core.verify.simulated_server import CONTACT, ELECTION, HEARTBEAT, Fallen, SimulatedServer

if TYPE_CHECKING:
    from raft_core.verify.rerun import Rerun

_TIMERS = {"ElectionTimeout": ELECTION, "HeartbeatTimeout": HEARTBEAT, "LeaderContactExpired": CONTACT}


class Said(Random):
    """No generator at all: says what it was told to say, at most what is asked for, and otherwise nought."""

    def __init__(self) -> None:
        super().__init__(0)
        self.says: deque[int] = deque()

    def randint(self, a: int, b: int) -> int:
        return max(a, min(self.says.popleft() if self.says else 0, b))

    def getrandbits(self, k: int, /) -> int:
        return 0


class RerunServer(SimulatedServer):
    """A server to which nothing happens by itself."""

    simulation: Rerun

    def _reset(self) -> None:
        super()._reset()
        self._news: list[Event] = []
        self._set: set[str] = set()

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

    def _arm(self, name: str, due: int) -> None:
        if self.simulation.is_over:
            super()._arm(name, due)
        else:
            self.timers[name] = (0, due)
            self._set.add(name)

    def lives_on(self) -> None:
        """The schedule is over: what waits goes on by itself."""
        waits, self.inbox = [*self.inbox, *self._news], []
        for name, (_, due) in list(self.timers.items()):
            self._arm(name, due)
        for event in waits:
            self.post(event)
        if self._writing:
            self._later(self.simulation.adversary.write_takes, self._written)
        if self._work:
            self._later(self.simulation.adversary.apply_takes, self._do_work)

    def does(self, decision: Decision) -> None:
        """Carry the decision out, if it applies."""
        if self.server is None:
            if isinstance(decision, Starts):
                self.start()
                self.simulation.shown(self, "starts")
            return
        match decision:
            case Starts():
                pass
            case Falls(fall=fall):
                self.falls(fall)
            case Writes():
                if self._writing:
                    self._shows("writes", self._written)
            case Applies():
                if self._work:
                    self._shows("applies", self._do_work)
            case _:
                self._happens(decision)

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
                return self._runs_out(event)
            case IsTold(is_disk=is_disk):
                return self._next_news(LogPersisted if is_disk else Applied)
            case Reconnects(peer=peer):
                return PeerRestarted(peer) if self.simulation.servers[peer].life > 1 else None
            case Asks(request=request):
                self.simulation.caller(request).asks(request, self.simulation.now)
                self.ask(request)
                return self._news.pop()
        assert_never(decision)

    def _runs_out(self, event: Event) -> Event | None:
        """It may have been set anew meanwhile, but it must have been set."""
        name = _TIMERS[type(event).__name__]
        self.timers.pop(name, None)
        return event if name in self._set else None

    def _next_news(self, kind: type[LogPersisted] | type[Applied]) -> Event | None:
        news = next((event for event in self._news if isinstance(event, kind)), None)
        if news is not None:
            self._news.remove(news)
        return news

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.simulation.messages.name(self.name, effect, self.simulation.cause)
        super()._carry_out(effect)
