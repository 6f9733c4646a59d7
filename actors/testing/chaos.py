"""`ChaosCluster`: a simulated cluster of somebody's machine, trouble that follows from a seed, and the verdict.

Crashes leave a majority, for otherwise nothing happens; cuts, losses, repetitions and delays may stop everything for a
while.  `check` ends all trouble, waits for every answer, and then judges (`verdict`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any, Generic, TypeVar

from actors.network import Faults
from actors.protocol import Digest
from actors.replicated import Replicated
from actors.sim import SimCluster
from actors.testing.history import Asked, RecordingHandle
from actors.testing.values import Arguments, arguments_for
from actors.testing.verdict import Violation, judge, sequences_of_code
from raft_core import Entry, ServerId

M = TypeVar("M", bound=Replicated)
Makers = Mapping[str, Callable[[Random], Arguments]]
ROWS = 12
"""So many of the latest happenings are shown."""
PATIENCE = 120.0
"""Virtual seconds for a cluster without faults to answer everything."""


class ChaosCluster(Generic[M]):
    """A running simulation.  `machine` is the bound instance, `cluster` its cluster; both may be used in between."""

    def __init__(self, kind: type[M], bound: M, seed: int, arguments: Makers) -> None:
        cluster = bound.cluster
        assert isinstance(cluster, SimCluster)
        self.cluster = cluster
        self.seed = seed
        self._kind = kind
        self._arguments = arguments
        self._random = Random(seed)
        self._handle = RecordingHandle(cluster)
        self.machine: M = kind._bound(self._handle)
        self._rows: deque[tuple[float, str, str]] = deque(maxlen=ROWS)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def chaos(self, steps: int = 200) -> None:
        """Make calls, crash, restart, cut, lose, repeat and delay: so many things, in an order the seed gives."""
        for _ in range(steps):
            match self._random.randrange(14):
                case 0 | 1 | 2 | 3 | 4:
                    self._call()
                case 5:
                    self._crash()
                case 6 | 7:
                    self._restart()
                case 8 | 9 | 10:
                    self._trouble_the_network()
                case _:
                    self.cluster.run_for(self._random.choice((0.0005, 0.003, 0.05, 0.4)))

    def _call(self) -> None:
        operation = self._random.choice(list(self._kind._operations.values()))
        maker = self._arguments.get(operation.name)
        by_position, by_keyword = (maker(self._random), {}) if maker else arguments_for(operation, self._random)
        shown = [*map(repr, by_position), *(f"{name}={value!r}" for name, value in by_keyword.items())]
        self._note("client", f"{operation.name}({', '.join(shown)})")
        getattr(self.machine, operation.name).submit(*by_position, **by_keyword)

    def _down(self) -> list[ServerId]:
        return [name for name, (state, _, _) in self.cluster.supervisor.members().items() if state != "up"]

    def _crash(self) -> None:
        down = self._down()
        if len(down) < (len(self.cluster.nodes) - 1) // 2:
            name = self._random.choice([name for name in self.cluster.nodes if name not in down])
            self._note(name, "crashes")
            self.cluster.kill(name)

    def _restart(self) -> None:
        if down := self._down():
            name = self._random.choice(down)
            self._note(name, "restarts")
            self.cluster.restart(name)

    def _trouble_the_network(self) -> None:
        network, random = self.cluster.network, self._random
        if len(network.names) < 2 or random.random() < 0.4:
            self._note("network", "heals")
            network.heal()
            return
        one, other = random.sample(network.names, 2)
        match random.randrange(3):
            case 0:
                self._note("network", f"{one} no longer reaches {other}")
                network.cut(one, other)
            case 1:
                self._note("network", f"{one} is cut off")
                network.disconnect(one)
            case _:
                self._note("network", "loses, doubles and reorders")
                faults = Faults(drop=0.1, duplicate=0.2, delay=(0.0, 0.05))
                network.set(requests=faults, results=faults)

    def _note(self, who: str, what: str) -> None:
        self._rows.append((self.cluster.now, who, what))

    # --- verdict ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """End all trouble, wait for every answer, and raise `Violation` unless everything is as it must be."""
        self.cluster.network.heal()
        for name in self._down():
            self.cluster.restart(name)
        answered = [
            (number, asked) for number, asked in enumerate(self._handle.commands) if asked.acknowledged(PATIENCE)
        ]
        replicas = self._settled()
        log = self._log()
        numbers = _sequences(len(self._handle.commands), sequences_of_code(log))
        acknowledged: dict[int, Asked] = {numbers[number]: asked for number, asked in answered}
        judge(self._kind, log, acknowledged, replicas)

    def _settled(self) -> dict[ServerId, Digest]:
        """Fingerprints of replicas that have applied the same entries."""
        deadline = self.cluster.now + PATIENCE
        while self.cluster.now < deadline:
            ends = {
                status.last_index for status in self.cluster.status().values() if status and status.role == "leader"
            }
            digests = {name: digest for name, digest in self.cluster.digests().items() if digest is not None}
            if len(digests) == len(self.cluster.nodes) and {d.applied_index for d in digests.values()} == ends:
                return digests
            self.cluster.run_for(0.1)
        raise Violation(f"without faults for {PATIENCE:.0f} s, and the replicas have not applied the same entries")

    def _log(self) -> tuple[Entry, ...]:
        server = self.cluster.peers.peer(self.cluster.leader()).interpreter.server  # type: ignore[attr-defined]
        log: tuple[Entry, ...] = server.log.entries(1, server.commit_index)
        return log

    def table(self) -> str:
        """The latest happenings: virtual time, who, what."""
        return "\n".join(f"{time:10.4f}  {who:<8}  {what}" for time, who, what in self._rows)


def _sequences(count: int, taken: set[int]) -> list[int]:
    """The sequence numbers of so many commands, those of code commands left out."""
    free: list[Any] = [number for number in range(1, count + len(taken) + 1) if number not in taken]
    return free


@contextmanager
def chaos_cluster(
    machine: type[M], *, nodes: int = 3, seed: int, arguments: Makers | None = None
) -> Iterator[ChaosCluster[M]]:
    """Start a simulated cluster of `machine`; `arguments` makes those of the operations it names."""
    with machine.cluster(nodes=nodes, engine="sim", seed=seed, timeout=PATIENCE, allow_code=False) as bound:
        yield ChaosCluster(machine, bound, seed, arguments or {})
