"""A whole cluster in simulated time: the functions that decide in production, under everything that may go wrong.

One seed is one run: it draws an adversary, and from then on every delay, loss, crash and client from one generator.
So two runs of a seed are the same, event for event (`Report.digest` is a hash of all of them).  After every step the
`Oracle` checks what must never be; at the end, after all faults, the cluster must elect, serve and agree within bounded
simulated time, and what the clients saw must be linearizable.

    >>> report = simulate(seed=1, servers=3, steps=500)
    >>> report.violation is None, report.steps >= 500
    (True, True)

Times are whole microseconds of simulated time.  Alternatives rejected: a thread or a coroutine for each server (slower,
and their interleaving would have to be tamed); choosing the next event at random without times (a time-out that always
may happen makes elections without end, and hides what depends on timers).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import count
from random import Random

from msgspec import msgpack

from raft_core.effects import Effect, Send
from raft_core.events import Event, Received
from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.adversary import Adversary, drawn
from raft_core.verify.history import NotLinearizable, Undecided
from raft_core.verify.invariants import Oracle, Violation
from raft_core.verify.misfortunes import Misfortunes
from raft_core.verify.simulated_clients import verdict_on
from raft_core.verify.simulated_conversations import MILLISECOND, Conversations
from raft_core.verify.simulated_members import Administrator
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulation_report import Report, Turn, Watcher
from raft_core.verify.violation import fallen_over

PATIENCE = 60
"""Election timeouts that the cluster has, once all faults have ended, to elect, serve and agree (liveness)."""
PREFERRED = 120
"""Election timeouts within which, after that, one of the preferred leads, if messages take less than a heartbeat."""
CALM = 6
"""Election timeouts during which, after that, nothing may change (stability)."""

_encode = msgpack.Encoder().encode


__all__ = ["Report", "Simulation", "Turn", "Watcher", "ended", "simulate"]


class Simulation(Conversations):
    """The cluster, its network and its clients."""

    def __init__(
        self, seed: int, servers: int = 3, *, adversary: Adversary | None = None, watcher: Watcher | None = None
    ) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.adversary = adversary or drawn(self.random)
        self.founders = tuple(f"n{number}" for number in range(1, servers + 1))
        self.now = 0
        self.steps = 0
        self.servers = {name: self.new_server(name, self.founders) for name in self.founders}
        """All that ever were: members, and those who left."""
        self.oracle = Oracle({name: server.disk for name, server in self.servers.items()})
        self.cut: set[tuple[ServerId, ServerId]] = set()
        """Directed links that carry nothing."""
        self.misfortunes = Misfortunes(self)
        self.administrator = Administrator(self)
        self.cells: Counter[tuple[str, str]] = Counter()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count(1)
        self._begin_clients(self.founders[0])
        self._hash = blake2b(digest_size=16)
        self._watcher = watcher

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """A number that was never given before."""
        return next(self._numbers)

    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Do `action` in `delay` microseconds."""
        heapq.heappush(self._agenda, (self.now + delay, next(self._numbers), action))

    def run(self, steps: int) -> None:
        """The world with all its faults, until `step` has been called `steps` times."""
        for name in self.founders:
            self.servers[name].start()
        for client in self.clients:
            self._think(client)
        self.misfortunes.begin()
        self.administrator.begin()
        self.go_on(steps)

    def go_on(self, steps: int) -> None:
        """Until `step` has been called so often, from the beginning."""
        while self.steps < steps:
            self._next()

    def _next(self) -> None:
        self.now, _, action = heapq.heappop(self._agenda)
        action()

    # --- servers ------------------------------------------------------------------------------------------------------

    def new_server(self, name: ServerId, voters: tuple[ServerId, ...]) -> SimulatedServer:
        """One that has never run."""
        return SimulatedServer(name, self, voters)

    def noted(self, server: SimulatedServer, before: Server, events: list[Event], effects: tuple[Effect, ...]) -> None:
        """`server` took a turn."""
        self.steps += len(events)
        role = before.role_name
        for event in events:
            happened = event.message if isinstance(event, Received) else event
            self.cells[role, type(happened).__name__] += 1
        self._hash.update(_encode((self.now, server.name, events)))
        if self._watcher is not None:
            assert server.server is not None
            self._watcher(Turn(self.now, server.name, tuple(events), effects, server.server))

    def joins(self, name: ServerId) -> None:
        """A new server starts, empty, and waits to be told who else there is."""
        server = self.servers[name] = self.new_server(name, ())
        self.oracle.disks[name] = server.disk
        server.start()

    def falls(self, server: SimulatedServer) -> None:
        """`server` falls, and comes back some time later."""
        if server.server is None:
            return
        server.fall()
        self.after(self.duration(3 * self.adversary.settings.election_timeout), lambda: self.comes_back(server))

    def comes_back(self, server: SimulatedServer) -> None:
        """`server` starts anew, unless it has done so already."""
        if server.server is None:
            server.start()
            self.misfortunes.links_replaced(server)

    # --- the network --------------------------------------------------------------------------------------------------

    def send(self, name: ServerId, effect: Send) -> None:
        """A message leaves; it may be lost, doubled, or late."""
        to = effect.to
        self.oracle.sent(name, to, effect.message)
        random, adversary = self.random, self.adversary
        event = Received(name, effect.message)
        receiver = self.servers[to]
        for is_repeated in range(2 if random.random() < adversary.repetition else 1):
            if random.random() >= adversary.loss:
                slowest = max(adversary.slowest, adversary.latest) if is_repeated else adversary.slowest
                self.after(self.duration(slowest), lambda: self._arrives((name, to), receiver, event))

    def _arrives(self, link: tuple[ServerId, ServerId], receiver: SimulatedServer, event: Received) -> None:
        if link not in self.cut:
            receiver.post(event)

    # --- the end ------------------------------------------------------------------------------------------------------

    def end_in_peace(self) -> None:
        """All faults end.  Within bounded time there must be a leader who serves, and all must agree, also when what
        was sent before has arrived: it may bring a higher term from who has left."""
        self._at_peace = True
        late = self.now + int(max(self.adversary.latest, self.adversary.slowest) * MILLISECOND)
        self.adversary = self.adversary.at_peace()
        self.misfortunes.end()
        self.administrator.end()
        end = self.now + PATIENCE * self.adversary.settings.election_timeout * MILLISECOND + self._catching_up()
        self._run_until(self._are_answered, end, "clients wait for answers")
        for client in self.clients:
            self._say(client.ask(self.now))
        self._run_until(self._are_answered, end, "new requests wait")
        self._run_until(lambda: self.now >= late and self._agrees(), end, "servers do not agree")
        if self._can_prefer():
            end = self.now + PREFERRED * self.adversary.settings.election_timeout * MILLISECOND
            self._run_until(lambda: self._agrees() and not self._better(), end, "others shall lead", "Preferred Leader")
        self._must_stay_calm()

    def _catching_up(self) -> int:
        """The time it takes to send a learner what it lacks, one entry after the other: nobody waits for learners."""
        adversary, members = self.adversary, [self.servers[name] for name in self.administrator.members()]
        lag = len(self.oracle.committed) - min(server.disk.last_index for server in members)
        return int(lag * (adversary.write_takes + 2 * adversary.slowest + 2 * adversary.turn_takes) * MILLISECOND)

    def _must_stay_calm(self) -> None:
        """A healthy leader is not disturbed (paper 5.6: broadcast time is far below the election timeout)."""
        members = [self.servers[name] for name in self.administrator.members()]
        term = max(server.server.current_term for server in members if server.server)
        end = self.now + CALM * self.adversary.settings.election_timeout * MILLISECOND
        handed_over = self.misfortunes.counts["preferred"]
        while self._agenda[0][0] < end:
            self._next()
        if self.misfortunes.counts["preferred"] > handed_over:
            return
        if any(server.server and server.server.current_term != term for server in members):
            raise Violation("Stability", f"a leader of term {term} was replaced although all was well")

    def _run_until(self, done: Callable[[], bool], end: int, otherwise: str, rule: str = "Progress") -> None:
        while not done():
            if not self._agenda or self._agenda[0][0] > end:
                timeouts = PATIENCE if rule == "Progress" else PREFERRED
                raise Violation(rule, f"{timeouts} election timeouts after all faults had ended, {otherwise}")
            self._next()

    def _agrees(self) -> bool:
        """One leader, whose members have and have applied the same, in its term; no change of members is under way."""
        if not self.administrator.is_done:
            return False
        names = self.administrator.members()
        servers = [self.servers[name] for name in names]
        leaders = self._leaders(servers)
        if len(leaders) != 1 or leaders[0].configuration.is_joint or _hands_over(leaders[0]):
            return False
        last = {server.server.log.last_index for server in servers if server.server}
        terms = {server.server.current_term for server in servers if server.server}
        return len(last) == len(terms) == 1 and {server.replica.applied_index for server in servers} == last

    def _leaders(self, among: Iterable[SimulatedServer]) -> list[Server]:
        return [server.server for server in among if server.server and isinstance(server.server.role, Leader)]

    def _better(self) -> set[ServerId]:
        """Voters who shall lead rather than the leader."""
        leader = max(self._leaders(self.servers.values()), key=lambda leader: leader.current_term)
        members, own = leader.configuration, leader.configuration.priority(leader.server_id)
        return {name for name in members.voters if members.priority(name) > own}

    def _can_prefer(self) -> bool:
        """Does whoever leads hear from the others between two heartbeats, and has it not failed too often?"""
        leader = max(self._leaders(self.servers.values()), key=lambda leader: leader.current_term)
        wish = leader.role.preference if isinstance(leader.role, Leader) else None
        takes = 2 * self.adversary.slowest + 3 * self.adversary.turn_takes
        return takes < leader.settings.heartbeat_interval and (wish is None or wish.failures < 3)

    def judge(self) -> bool:
        """Replicas are equal, and the clients' history is linearizable.  False if that could not be decided."""
        members = [self.servers[name] for name in self.administrator.members()]
        if len({server.replica.machine.fingerprint() for server in members}) > 1:
            raise Violation("State Machine Safety", "replicas that applied the same differ")
        verdict = verdict_on(self.clients)
        if isinstance(verdict, NotLinearizable):
            raise Violation("Linearizability", str(verdict))
        return not isinstance(verdict, Undecided)

    def report(self, violation: Violation | None, *, is_decided: bool) -> Report:
        """What there is to say of the run, up to now."""
        return Report(
            seed=self.seed,
            servers=len(self.founders),
            steps=self.steps,
            milliseconds=self.now / MILLISECOND,
            digest=self._hash.hexdigest(),
            violation=violation,
            operations=sum(len(client.operations) for client in self.clients),
            committed=len(self.oracle.committed),
            leaders=len(self.oracle.leaders),
            misfortunes=dict(self.misfortunes.counts),
            cells=dict(self.cells),
            is_decided=is_decided,
        )


def _hands_over(leader: Server) -> bool:
    return isinstance(leader.role, Leader) and leader.role.transfer is not None


def simulate(
    seed: int,
    servers: int = 3,
    steps: int = 10_000,
    *,
    adversary: Adversary | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Run one seed: `steps` steps under its adversary (or this one), then the end in peace, then the verdict.

    A broken rule ends the run and is in the report.  `watcher` sees every turn.
    """
    return ended(Simulation(seed, servers, adversary=adversary, watcher=watcher), steps)


def ended(simulation: Simulation, steps: int) -> Report:
    """Run it to its end; see `simulate`.  Whatever is raised meanwhile is a finding."""
    try:
        simulation.run(steps)
        simulation.end_in_peace()
        return simulation.report(None, is_decided=simulation.judge())
    except Violation as violation:
        return simulation.report(violation, is_decided=True)
    except Exception as error:
        return simulation.report(fallen_over(error), is_decided=True)
