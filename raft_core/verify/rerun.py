"""Decisions carried out again, without any generator.

Whatever no longer applies is passed over: a message that nobody sent, a write that nobody asked for, whatever befalls a
server that is down.  So any part of a schedule is a schedule, and every one of them is a run that real networks, disks
and clocks may produce: messages may be late, doubled and lost, disks take their time, and a timer that was set may run
out early or late.  Rules of *times* (`Progress`, `Stability`, `Preferred Leader`) have no meaning meanwhile.  They are
looked at when the schedule is over: then all faults end, what is under way is lost, and the servers live on by
themselves.

Reads by lease are the exception: they trust in clocks.  Where the settings allow for them, a decision happens at its
own time, clocks run as fast as they did, and no timer runs out before its time.

Clients are simpler than in a simulation.  A call begins when its request first arrives somewhere, and an answer is
heard at once: what contradicts itself with longer calls does so with shorter ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from random import Random

from raft_core.effects import Effect, Send
from raft_core.events import ConfigurationProposed, Event, Received
from raft_core.state import Server
from raft_core.types import ServerId, Settings
from raft_core.verify.adversary import Adversary
from raft_core.verify.history import NotLinearizable, Operation
from raft_core.verify.invariants import Violation
from raft_core.verify.rerun_server import RerunServer, Said
from raft_core.verify.schedule import Decision, NamedMessages, Packet, Wants
from raft_core.verify.simulated_clients import Client, Request, commands_of, verdict_on
from raft_core.verify.simulated_conversations import MILLISECOND
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulation import Simulation, Turn, Watcher
from raft_core.verify.violation import fallen_over


class _Caller(Client):
    """A client that asks what it is told to ask."""

    def __init__(self, number: int) -> None:
        super().__init__(number, Random(0))
        self._begun: set[int] = set()

    def asks(self, request: Request, now: int) -> None:
        """Its request arrives: a new one, or one that it has asked before."""
        is_new = request.number not in self._begun
        self._begun.add(request.number)
        if is_new and request.number < self._requests:
            self._asked_before(request, now)
        elif is_new:
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

    def _asked_before(self, request: Request, now: int) -> None:
        """It has asked for more since, and never hears what becomes of this."""
        for command in commands_of(request):
            self.operations.append(
                Operation(self.number, command.name, command.arguments, None, now, None, command.key)
            )


def _named_in(decisions: Iterable[Decision]) -> set[ServerId]:
    """The servers that something happens to, or that somebody wants for members."""
    names = {decision.server_id for decision in decisions}
    for decision in decisions:
        if isinstance(decision, Wants) and isinstance(decision.wish, ConfigurationProposed):
            names.update(decision.wish.voters, decision.wish.learners)
    return names


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
        self._numbers = count(1 << 40)
        """Requests have those of the schedule; what comes after it has others."""
        self.callers = [_Caller(number) for number in range(1, 5)]
        self.clients = list[Client](self.callers)
        self.is_over = False

    def new_server(self, name: ServerId, voters: tuple[ServerId, ...]) -> RerunServer:
        """One that waits for decisions."""
        return RerunServer(name, self, voters)

    def outcome(self, decisions: Iterable[Decision], *, ends_in_peace: bool = False) -> Violation | None:
        """The violation, if a rule is broken."""
        try:
            self.carry_out(decisions)
            if ends_in_peace:
                self.end_in_peace()
            self.judge()
        except Violation as violation:
            return violation
        except Exception as error:
            return fallen_over(error)
        return None

    def carry_out(self, decisions: Iterable[Decision]) -> None:
        """All of them, as far as they apply; raises the violation."""
        decisions = list(decisions)
        for server in self.servers.values():
            server.start()
        for name in sorted(_named_in(decisions) - set(self.servers)):
            server = self.servers[name] = self.new_server(name, ())
            self.oracle.disks[name] = server.disk
        for decision in decisions:
            self.now = self.now + MILLISECOND if decision.at is None else decision.at
            self.cause = decision.number
            server = self.servers[decision.server_id]
            assert isinstance(server, RerunServer)
            server.does(decision)

    def end_in_peace(self) -> None:
        """Nothing is decided any more; see `Simulation.end_in_peace`."""
        self.is_over, self._watcher, self.random = True, None, Random(0)
        for server in self.servers.values():
            assert isinstance(server, RerunServer)
            server.lives_on()
        for caller in self.callers:
            if caller.request is not None:
                self._say(caller.again())
        super().end_in_peace()

    def caller(self, request: Request) -> _Caller:
        """Whose request it is."""
        return self.callers[request.client - 1]

    def judge(self) -> bool:
        """What servers and clients say at the end.  What is not answered by then has an unknown outcome."""
        replicas = [server.replica for server in self.servers.values()]
        applied = {replica.applied_index: replica.machine.fingerprint() for replica in replicas}
        if any(applied[replica.applied_index] != replica.machine.fingerprint() for replica in replicas):
            raise Violation("State Machine Safety", "replicas that applied the same differ")
        for caller in self.callers:
            if caller.request is not None:
                caller.give_up()
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

    def send(self, name: ServerId, effect: Send) -> None:
        """It is under way, for ever."""
        packet = self.messages.leaves(name, effect)
        if self.is_over:
            super().send(name, effect)
            return
        self.oracle.sent(name, effect.to, effect.message)
        self.packets[packet] = Received(name, effect.message)

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
