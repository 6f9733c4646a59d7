"""`ChaosCluster`: a simulated cluster of somebody's machine, trouble that follows from a seed, and the verdict.

Everything that is done to it is kept as a step (`steps`), also the calls that a test makes itself, and the time that
passes meanwhile: so a run can be done again, with parts left out (`failure`).  `check` ends all trouble, waits for all
answers, and then judges (`verdict`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from random import Random
from typing import Generic, TypeVar

from actors.interpreter import Recorder
from actors.replicated import Replicated
from actors.sim import SimCluster, start_sim_cluster
from actors.testing.elsewhere import Elsewhere
from actors.testing.history import Asked, RecordingHandle, arguments_of
from actors.testing.steps import Ask, Heal, Makers, Restart, Step, Wait, down, drawn, perform
from actors.testing.verdict import Violation, judge, judge_elsewhere, settled
from raft_core import Entry, LogIndex, Server, ServerId, Settings

M = TypeVar("M", bound=Replicated)
RecorderOf = Callable[[ServerId], Recorder | None]
PATIENCE = 120.0
"""Virtual seconds for a cluster without faults to answer everything."""


class ChaosCluster(Generic[M]):
    """A running simulation.  `machine` is the bound instance, `cluster` its cluster; both may be used in between."""

    def __init__(self, kind: type[M], bound: M, seed: int, arguments: Makers, elsewhere: Elsewhere) -> None:
        cluster = bound.cluster
        assert isinstance(cluster, SimCluster)
        self.kind = kind
        self.cluster = cluster
        self.seed = seed
        self.steps: list[tuple[float, Step]] = []
        """What was done, and when."""
        self.violation: Violation | None = None
        """What `check` found last."""
        self._arguments = arguments
        self._elsewhere = elsewhere
        self._random = Random(seed)
        self._handle = RecordingHandle(cluster, self._asked)
        self.machine: M = kind._bound(self._handle)
        self._now = 0.0

    @property
    def commands(self) -> list[Asked]:
        """All that were submitted, in that order."""
        return self._handle.commands

    @property
    def is_quiet(self) -> bool:
        """Every command has been answered."""
        return all(asked.call.done() for asked in self.commands)

    def committed_after(self, index: LogIndex) -> tuple[Entry, ...]:
        """What those servers that run know to be committed behind an index."""
        servers = [_server(self.cluster, name) for name in self.cluster.nodes if name not in down(self.cluster)]
        server = max(servers, key=lambda server: server.commit_index)
        return server.log.entries(index + 1, server.commit_index)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def chaos(self, steps: int = 200) -> None:
        """Make calls, crash, restart, cut, lose, repeat and delay: so many things, in an order the seed gives."""
        self.perform(drawn(steps, self.kind, self.cluster.nodes, self._random, self._arguments))

    def perform(self, steps: Iterable[Step], told: Callable[[Step], None] = lambda step: None) -> None:
        """Do all this; `told` hears of what applied."""
        for step in steps:
            if not perform(step, self.cluster, self.machine):
                continue
            if not isinstance(step, Ask | Wait):  # a call notes itself; time is noted when something happens after it
                self._note(step)
            told(step)

    def _asked(self, name: str, arguments: bytes) -> None:
        """An operation was called, by whomever."""
        self._note(Ask(name, *arguments_of(self.kind, name, arguments)))

    def _note(self, step: Step) -> None:
        if (passed := self.cluster.now - self._now) > 0:
            self.steps.append((self._now, Wait(passed)))
        self._now = self.cluster.now
        self.steps.append((self._now, step))

    def calm(self) -> None:
        """End all trouble, and wait until every call has been answered."""
        self.perform([Heal(), *(Restart(name) for name in down(self.cluster))])
        for asked in self.commands:
            asked.acknowledged(PATIENCE)

    # --- verdict ------------------------------------------------------------------------------------------------------

    def check(self, *, processes: bool = True) -> None:
        """End all trouble, wait for every answer, and raise `Violation` unless everything is as it must be.

        `processes`: carry the log out in other processes as well, which takes some tenths of a second once.
        """
        __tracebackhide__ = True
        try:
            self._check(processes)
        except Violation as violation:
            self.violation = violation
            raise violation.with_traceback(None) from None  # of interest is the user's test, not what is in here

    def _check(self, processes: bool) -> None:
        self.calm()
        answered = {number: asked for number, asked in enumerate(self.commands, 1) if asked.reply is not None}
        replicas = settled(self.cluster, PATIENCE)
        log = self.committed_after(0)
        judge(self.kind, log, answered, replicas)
        if processes:
            judge_elsewhere(self._elsewhere, log)


def _server(cluster: SimCluster, name: ServerId) -> Server:
    """What a server has in memory."""
    server: Server = cluster.peers.peer(name).interpreter.server  # type: ignore[attr-defined]
    return server


@contextmanager
def chaos_cluster(
    machine: type[M],
    *,
    nodes: int = 3,
    seed: int,
    arguments: Makers | None = None,
    recorder_of: RecorderOf = lambda server_id: None,
    elsewhere: Elsewhere | None = None,
) -> Iterator[ChaosCluster[M]]:
    """Start a simulated cluster of `machine`; `arguments` makes those of the operations it names.

    `elsewhere`: processes that know the machine and are somebody else's to end.
    """
    own = Elsewhere(machine)
    with (
        closing(own),
        start_sim_cluster(
            machine,
            nodes=nodes,
            seed=seed,
            timeout=PATIENCE,
            settings=Settings(),
            allow_code=False,
            check_determinism=False,
            recorder_of=recorder_of,
        ) as bound,
    ):
        yield ChaosCluster(machine, bound, seed, arguments or {}, elsewhere or own)
