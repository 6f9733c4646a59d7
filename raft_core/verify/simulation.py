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
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import count
from random import Random
from typing import NamedTuple, TypeAlias

from msgspec import Struct, msgpack

from raft_core.effects import Effect, Send
from raft_core.events import Event, Received
from raft_core.state import Leader, Server
from raft_core.types import ServerId
from raft_core.verify.adversary import Adversary, drawn
from raft_core.verify.history import NotLinearizable, Undecided
from raft_core.verify.invariants import Oracle, Violation
from raft_core.verify.misfortunes import Misfortunes
from raft_core.verify.simulated_clients import Client, Request, verdict_on
from raft_core.verify.simulated_server import SimulatedServer

MILLISECOND = 1_000
PATIENCE = 60
"""Election timeouts that the cluster has, once all faults have ended, to elect, serve and agree (liveness)."""
CALM = 6
"""Election timeouts during which, after that, nothing may change (stability)."""
RETRY = 400
"""Milliseconds after which a client asks again."""

_encode = msgpack.Encoder().encode


class Turn(NamedTuple):
    """What one server did in one go."""

    at: int
    server_id: ServerId
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    after: Server
    happening: str = ""
    """"falls" or "starts" if it is no turn, but the end or the beginning of a life; `simulate` does not show those."""


Watcher: TypeAlias = Callable[[Turn], object]
"""Somebody who sees every turn."""


class Report(Struct, frozen=True, kw_only=True):
    """What became of one seed."""

    seed: int
    servers: int
    steps: int
    """Calls of `step`."""
    milliseconds: float
    """Simulated time."""
    digest: str
    """Hash of every event of every server, in order."""
    violation: Violation | None
    operations: int
    """What clients asked for and was answered."""
    committed: int
    leaders: int
    """Terms that had a leader."""
    misfortunes: dict[str, int]
    cells: dict[tuple[str, str], int]
    """How often each kind of event met each role."""
    is_decided: bool
    """The question whether the history is linearizable was decided; false: the search was given up."""


class Simulation:
    """The cluster, its network and its clients."""

    def __init__(
        self, seed: int, servers: int = 3, *, adversary: Adversary | None = None, watcher: Watcher | None = None
    ) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.adversary = adversary or drawn(self.random)
        self.names = tuple(f"n{number}" for number in range(1, servers + 1))
        self.now = 0
        self.steps = 0
        self.servers = {name: self.new_server(name) for name in self.names}
        self.oracle = Oracle({name: server.disk for name, server in self.servers.items()})
        self.cut: set[tuple[ServerId, ServerId]] = set()
        """Directed links that carry nothing."""
        self.misfortunes = Misfortunes(self)
        self.cells: Counter[tuple[str, str]] = Counter()
        self.clients = [Client(number, self.random, only_reads=number == 4) for number in range(1, 5)]
        self._targets = dict.fromkeys(range(1, 5), self.names[0])
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count(1)
        self._hash = blake2b(digest_size=16)
        self._watcher = watcher
        self._at_peace = False

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """A number that was never given before."""
        return next(self._numbers)

    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Do `action` in `delay` microseconds."""
        heapq.heappush(self._agenda, (self.now + delay, next(self._numbers), action))

    def duration(self, longest: float) -> int:
        """A random time of at most `longest` milliseconds; short ones are the most likely."""
        return 1 + int(self.random.random() ** 2 * longest * MILLISECOND)

    def run(self, steps: int) -> None:
        """The world with all its faults, until `step` has been called `steps` times."""
        for name in self.names:
            self.servers[name].start()
        for client in self.clients:
            self._think(client)
        self.misfortunes.begin()
        while self.steps < steps:
            self._next()

    def _next(self) -> None:
        self.now, _, action = heapq.heappop(self._agenda)
        action()

    # --- servers ------------------------------------------------------------------------------------------------------

    def new_server(self, name: ServerId) -> SimulatedServer:
        """One that has never run."""
        return SimulatedServer(name, self)

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

    def send(self, sender: SimulatedServer, effect: Send) -> None:
        """A message leaves; it may be lost, doubled, or late."""
        name, to = sender.name, effect.to
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

    # --- clients ------------------------------------------------------------------------------------------------------

    def _think(self, client: Client) -> None:
        self.after(self.duration(self.adversary.think_takes), lambda: self._ask(client))

    def _ask(self, client: Client) -> None:
        if client.only_reads:
            self._targets[client.number] = self.random.choice(self.names)
        if not self._at_peace:
            self._say(client.ask(self.now))

    def _say(self, request: Request) -> None:
        """Send a request, and look after it later."""
        server = self.servers[self._targets[request.client]]
        self.after(self.duration(5), lambda: server.ask(request))
        patience = RETRY // 8 if self.clients[request.client - 1].only_reads else RETRY
        self.after(patience * MILLISECOND, lambda: self._heard_nothing(request))

    def _heard_nothing(self, request: Request) -> None:
        self._try_again(request, self.random.choice(self.names))

    def refuse(self, request: Request, leader_id: ServerId | None) -> None:
        """A server could not help."""
        target = leader_id or self.random.choice(self.names)
        self.after(self.duration(20), lambda: self._try_again(request, target))

    def _try_again(self, request: Request, target: ServerId) -> None:
        client = self.clients[request.client - 1]
        if client.request != request:
            return
        self._targets[client.number] = target
        if not self._at_peace and self.random.random() < 0.05:
            client.give_up()
            self._think(client)
        else:
            self._say(client.again())

    def answer(self, request: Request, results: Sequence[object]) -> None:
        """A server has the answer; it may get lost on its way."""
        if self.random.random() >= self.adversary.loss:
            self.after(self.duration(5), lambda: self._answered(request, results))

    def _answered(self, request: Request, results: Sequence[object]) -> None:
        client = self.clients[request.client - 1]
        if client.request is None or client.request.number != request.number:
            return
        client.answered(self.now, results)
        if not self._at_peace:
            self._think(client)

    # --- the end ------------------------------------------------------------------------------------------------------

    def end_in_peace(self) -> None:
        """All faults end.  Within bounded time there must be a leader who serves, and all must agree."""
        self._at_peace = True
        self.adversary = self.adversary.at_peace()
        self.misfortunes.end()
        end = self.now + PATIENCE * self.adversary.settings.election_timeout * MILLISECOND
        self._run_until(lambda: not any(client.has_work for client in self.clients), end, "clients wait for answers")
        for client in self.clients:
            self._say(client.ask(self.now))
        self._run_until(lambda: not any(client.has_work for client in self.clients), end, "new requests wait")
        self._run_until(self._agrees, end, "servers do not agree")
        self._must_stay_calm()

    def _must_stay_calm(self) -> None:
        """A healthy leader is not disturbed (paper 5.6: broadcast time is far below the election timeout)."""
        term = max(server.server.current_term for server in self.servers.values() if server.server)
        end = self.now + CALM * self.adversary.settings.election_timeout * MILLISECOND
        while self._agenda[0][0] < end:
            self._next()
        if any(server.server and server.server.current_term != term for server in self.servers.values()):
            raise Violation("Stability", f"a leader of term {term} was replaced although all was well")

    def _run_until(self, done: Callable[[], bool], end: int, otherwise: str) -> None:
        while not done():
            if not self._agenda or self._agenda[0][0] > end:
                raise Violation("Progress", f"{PATIENCE} election timeouts after all faults had ended, {otherwise}")
            self._next()

    def _agrees(self) -> bool:
        servers = list(self.servers.values())
        last = {server.server.log.last_index for server in servers if server.server}
        applied = {server.applied_index for server in servers}
        leads = sum(1 for server in servers if server.server and isinstance(server.server.role, Leader))
        return leads == 1 and len(last) == 1 and applied == last

    def judge(self) -> bool:
        """Replicas are equal, and the clients' history is linearizable.  False if that could not be decided."""
        if len({server.machine.fingerprint() for server in self.servers.values()}) > 1:
            raise Violation("State Machine Safety", "replicas that applied the same differ")
        verdict = verdict_on(self.clients)
        if isinstance(verdict, NotLinearizable):
            raise Violation("Linearizability", str(verdict))
        return not isinstance(verdict, Undecided)

    def report(self, violation: Violation | None, *, is_decided: bool) -> Report:
        """What there is to say of the run, up to now."""
        return Report(
            seed=self.seed,
            servers=len(self.names),
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
    """Run it to its end; see `simulate`."""
    try:
        simulation.run(steps)
        simulation.end_in_peace()
        return simulation.report(None, is_decided=simulation.judge())
    except Violation as violation:
        return simulation.report(violation, is_decided=True)
