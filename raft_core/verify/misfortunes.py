"""What befalls a simulated cluster: falls, cuts, pauses, slow spells, disks that hang, clocks that jump.

The leader is struck more often than chance would have it: most of what Raft has to get right happens when it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from raft_core.events import PeerRestarted
from raft_core.roles import Leader
from raft_core.types import ServerId
from raft_core.verify.simulated_server import SimulatedServer

if TYPE_CHECKING:
    from raft_core.verify.simulation import Simulation


class Misfortunes:
    """Strikes a simulation at random times, as its adversary says."""

    def __init__(self, simulation: Simulation) -> None:
        self.counts: Counter[str] = Counter()
        self._simulation = simulation
        self._random = simulation.random
        self._is_over = False

    def begin(self) -> None:
        """From now on they happen."""
        drift = self._simulation.adversary.clock_drift
        for server in self._simulation.servers.values():
            server.clock.runs(self._random.uniform(1 - drift, 1 + drift))
        self._wait()

    def end(self) -> None:
        """All faults end: links are whole, all servers are up, awake and quick, clocks go right."""
        self._is_over = True
        self._simulation.cut.clear()
        for server in self._simulation.servers.values():
            server.falls_in, server.slowness = 0, 1.0
            server.clock.runs(1.0)
            server.disk_goes_on()
            server.paused_until = self._simulation.now
            self._simulation.comes_back(server)

    def links_replaced(self, server: SimulatedServer) -> None:
        """`server` came back: the others may be told that its links are new."""
        for other in self._simulation.servers.values():
            if other is not server and self._random.random() < 0.5:
                other.post(PeerRestarted(server.name))

    def elected(self, name: ServerId) -> None:
        """`name` has won an election."""
        server = self._simulation.servers[name]
        if self._is_over or not self._simulation.adversary.short_reigns or self._random.random() < 0.2:
            return
        self.counts["short_reign"] += 1
        is_cut = self._random.random() < 0.3
        delay = self._simulation.duration(self._random.choice((10, 50, 200)))
        self._simulation.after(delay, lambda: self._ends_reign(server, is_cut))

    def _ends_reign(self, server: SimulatedServer, is_cut: bool) -> None:
        if self._is_over:
            return
        if is_cut:
            self._cut_between({server.name}, set(self._simulation.names) - {server.name})
            self._simulation.after(1 + int(self._election_timeouts(6) * 1_000), self._heal)
        else:
            self._simulation.falls(server)

    def _wait(self) -> None:
        mean = self._simulation.adversary.misfortune_every
        if mean:
            self._simulation.after(1 + int(self._random.expovariate(1 / mean) * 1_000), self._strike)

    def _strike(self) -> None:
        if self._is_over:
            return
        adversary = self._simulation.adversary
        kinds: list[Callable[[], None]] = []
        if adversary.crashes:
            kinds += [self._fall, self._fall, self._fall_in_the_middle, self._all_fall]
        if adversary.cuts:
            kinds += [self._isolate, self._halve, self._bridge, self._one_way, self._heal, self._heal]
        if adversary.pauses:
            kinds.append(self._pause)
        if adversary.slow_spells:
            kinds.append(self._slow)
        if adversary.stalls:
            kinds.append(self._stall)
        if adversary.clock_jumps:
            kinds.append(self._clock_jumps)
        if kinds:
            kind = self._random.choice(kinds)
            self.counts[kind.__name__.strip("_")] += 1
            kind()
        self._wait()

    def _victim(self) -> SimulatedServer:
        servers = list(self._simulation.servers.values())
        leaders = [server for server in servers if server.server and isinstance(server.server.role, Leader)]
        if leaders and self._random.random() < 0.5:
            return self._random.choice(leaders)
        return self._random.choice(servers)

    def _election_timeouts(self, most: float) -> float:
        return self._random.random() * most * self._simulation.adversary.settings.election_timeout

    # --- what happens -------------------------------------------------------------------------------------------------

    def _fall(self) -> None:
        self._simulation.falls(self._victim())

    def _fall_in_the_middle(self) -> None:
        self._victim().falls_in = self._random.randint(1, 12)

    def _all_fall(self) -> None:
        for server in self._simulation.servers.values():
            if self._random.random() < 0.8:
                self._simulation.falls(server)

    def _pause(self) -> None:
        victim = self._victim()
        victim.paused_until = self._simulation.now + int(self._election_timeouts(4) * 1_000)

    def _slow(self) -> None:
        victim, life = self._victim(), 0
        life = victim.life
        victim.slowness = self._random.choice((5.0, 50.0))

        def recovers() -> None:
            if victim.life == life:
                victim.slowness = 1.0

        self._simulation.after(int(self._election_timeouts(8) * 1_000) + 1, recovers)

    def _stall(self) -> None:
        """One disk, or several that are full at the same time."""
        victims = [self._victim()]
        if self._random.random() < 0.4:
            victims = [server for server in self._simulation.servers.values() if self._random.random() < 0.7]
        for victim in victims:
            victim.disk_hangs()
            self._simulation.after(int(self._election_timeouts(8) * 1_000) + 1, victim.disk_goes_on)

    def _clock_jumps(self) -> None:
        self._victim().clock.jump(self._election_timeouts(4) - self._election_timeouts(2))

    def _heal(self) -> None:
        self._simulation.cut.clear()

    def _isolate(self) -> None:
        victim = self._victim().name
        self._cut_between({victim}, set(self._simulation.names) - {victim})

    def _halve(self) -> None:
        names = list(self._simulation.names)
        self._random.shuffle(names)
        middle = len(names) // 2
        self._cut_between(set(names[:middle]), set(names[middle:]))

    def _bridge(self) -> None:
        """Two halves, and one server that reaches both."""
        names = list(self._simulation.names)
        self._random.shuffle(names)
        middle = len(names) // 2
        self._cut_between(set(names[:middle]), set(names[middle + 1 :]))

    def _one_way(self) -> None:
        links = [(a, b) for a in self._simulation.names for b in self._simulation.names if a != b]
        self._simulation.cut = {link for link in links if self._random.random() < 0.3}

    def _cut_between(self, here: set[ServerId], there: set[ServerId]) -> None:
        links = {(a, b) for a in here for b in there} | {(b, a) for a in here for b in there}
        self._simulation.cut = links
