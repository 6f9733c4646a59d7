"""Decisions carried out again, without any generator.

Whatever no longer applies is passed over: a message that nobody sent, a write that nobody asked for, whatever befalls a
server that is down.  So any part of a schedule is a schedule, and every one of them is a run that real networks, disks
and clocks may produce: messages may be late, doubled and lost, disks take their time, and a timer that was set may run
out early or late.  Rules of *times* (`Progress`, `Stability`) have no meaning meanwhile.  They are looked at when the
schedule is over: then all faults end, what is under way is lost, and the servers live on by themselves.

Clients are simpler than in a simulation.  A call begins when its request first arrives somewhere, and an answer is
heard at once: what contradicts itself with longer calls does so with shorter ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import assert_never

from raft_core.effects import Effect, Send
from raft_core.events import Applied, Event, LogPersisted, PeerRestarted, Received
from raft_core.state import Server
from raft_core.types import ServerId, Settings
from raft_core.verify.adversary import Adversary
from raft_core.verify.history import NotLinearizable
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
    NamedMessages,
    Packet,
    Reconnects,
    RunsOut,
    Starts,
    Writes,
)
from raft_core.verify.simulated_clients import Client, Request, commands_of, verdict_on
from raft_core.verify.simulated_server import CONTACT, ELECTION, HEARTBEAT, Fallen, SimulatedServer
from raft_core.verify.simulation import MILLISECOND, Simulation, Turn, Watcher

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


class _Server(SimulatedServer):
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


class _Caller(Client):
    """A client that asks what it is told to ask."""

    def __init__(self, number: int) -> None:
        super().__init__(number, Random(0))

    def asks(self, request: Request, now: int) -> None:
        """Its request arrives: a new one, or one that it has asked before."""
        if request.number > self._requests:
            if self.request is not None:
                self.give_up()
            self.request, self.invoked, self._requests = request, now, request.number
            self._commands = commands_of(request)
            self._sequence = max([self._sequence, *(command.sequence for command in self._commands)])
        elif self.request is not None and (self.request.number, self.request.attempt) < (
            request.number,
            request.attempt,
        ):
            self.request = request


class Rerun(Simulation):
    """A cluster to which happens what is decided, and nothing else."""

    def __init__(self, servers: int, settings: Settings, watcher: Watcher | None = None) -> None:
        self.messages = NamedMessages()
        self.packets: dict[Packet, Received] = {}
        """All that were sent: whether and when they arrive is decided elsewhere."""
        self.cause = 0
        self.said = Said()
        super().__init__(0, servers, adversary=Adversary(settings=settings, tears=True), watcher=watcher)
        self.random = self.said
        self.callers = [_Caller(number) for number in range(1, 5)]
        self.clients = list[Client](self.callers)
        self.is_over = False

    def new_server(self, name: ServerId) -> _Server:
        """One that waits for decisions."""
        return _Server(name, self)

    def outcome(self, decisions: Iterable[Decision], *, ends_in_peace: bool = False) -> Violation | None:
        """The violation, if a rule is broken."""
        try:
            self.carry_out(decisions)
            if ends_in_peace:
                self.end_in_peace()
            self.judge()
        except Violation as violation:
            return violation
        return None

    def carry_out(self, decisions: Iterable[Decision]) -> None:
        """All of them, as far as they apply; raises the violation."""
        for server in self.servers.values():
            server.start()
        for decision in decisions:
            self.now += MILLISECOND
            self.cause = decision.number
            server = self.servers[decision.server_id]
            assert isinstance(server, _Server)
            server.does(decision)

    def end_in_peace(self) -> None:
        """Nothing is decided any more; see `Simulation.end_in_peace`."""
        self.is_over, self._watcher, self.random = True, None, Random(0)
        for server in self.servers.values():
            assert isinstance(server, _Server)
            server.lives_on()
        for caller in self.callers:
            if caller.request is not None:
                self._say(caller.again())
        super().end_in_peace()

    def caller(self, request: Request) -> _Caller:
        """Whose request it is."""
        return self.callers[request.client - 1]

    def judge(self) -> bool:
        """What servers and clients say at the end."""
        servers = self.servers.values()
        applied = {server.applied_index: server.machine.fingerprint() for server in servers}
        if any(applied[server.applied_index] != server.machine.fingerprint() for server in servers):
            raise Violation("State Machine Safety", "replicas that applied the same differ")
        verdict = verdict_on(self.callers)
        if isinstance(verdict, NotLinearizable):
            raise Violation("Linearizability", str(verdict))
        return True

    # --- what a simulation would leave to chance ----------------------------------------------------------------------

    def noted(self, server: SimulatedServer, before: Server, events: list[Event], effects: tuple[Effect, ...]) -> None:
        """Nobody wants a hash."""
        self.steps += len(events)
        if self._watcher is not None:
            assert server.server is not None
            self._watcher(Turn(self.now, server.name, tuple(events), effects, server.server))

    def shown(self, server: SimulatedServer, happening: str) -> None:
        """A life ends or begins."""
        if self._watcher is not None:
            assert server.server is not None
            self._watcher(Turn(self.now, server.name, (), (), server.server, happening))

    def send(self, sender: SimulatedServer, effect: Send) -> None:
        """It is under way, for ever."""
        packet = self.messages.leaves(sender.name, effect)
        if self.is_over:
            super().send(sender, effect)
            return
        self.oracle.sent(sender.name, effect.to, effect.message)
        self.packets[packet] = Received(sender.name, effect.message)

    def _think(self, client: Client) -> None:
        """Its next request is decided elsewhere."""

    def refuse(self, request: Request, leader_id: ServerId | None) -> None:
        """The caller asks again if that is decided."""
        if self.is_over:
            super().refuse(request, leader_id)

    def answer(self, request: Request, results: Sequence[object]) -> None:
        """The caller hears it at once."""
        self._answered(request, results)


def rerun(
    decisions: Sequence[Decision],
    servers: int,
    settings: Settings,
    *,
    watcher: Watcher | None = None,
    ends_in_peace: bool = False,
) -> Violation | None:
    """Carry the decisions out; the violation, if a rule is broken.  `watcher` does not see the peace at the end."""
    return Rerun(servers, settings, watcher).outcome(decisions, ends_in_peace=ends_in_peace)
