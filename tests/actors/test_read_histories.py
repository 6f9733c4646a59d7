"""Whole histories of weaker reads, in simulated clusters whose links are cut and whose peers are killed.

Every increment adds one, so the counter's value says which commands a state has; and time is virtual, so it is known to
the microsecond what was acknowledged when.  The checkers at the top look at what each call showed, and to whom.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import pytest

from actors.calls import Call
from actors.machines.counter import Counter
from actors.sim import SimCluster
from actors.spec import RuntimeName
from tests.actors.test_bounded_reads import RUNTIMES, another, simulated

BOUNDS = (0.02, 0.3, 2.0)


class Shown(NamedTuple):
    """One call that was answered."""

    client: int
    kind: str
    """`incr`, `session` or `bounded`."""
    bound: float
    called_at: float
    answered_at: float
    value: int


def gone_back(history: list[Shown]) -> list[tuple[Shown, Shown]]:
    """Session reads that show less than their client had been shown before they were called."""
    reads = [shown for shown in history if shown.kind == "session"]
    return [
        (before, read)
        for read in reads
        for before in history
        if before.client == read.client and before.answered_at <= read.called_at and before.value > read.value
    ]


def too_old(history: list[Shown]) -> list[tuple[Shown, Shown]]:
    """Bounded reads that miss what had been acknowledged, to anybody, so long before they were called."""
    reads = [shown for shown in history if shown.kind == "bounded"]
    return [
        (before, read)
        for read in reads
        for before in history
        if before.answered_at < read.called_at - read.bound and before.value > read.value
    ]


class Life:
    """Two clients of a cluster in bad times."""

    def __init__(self, counter: Counter, cluster: SimCluster, seed: int) -> None:
        self.cluster = cluster
        self.clients = (counter, another(cluster))
        self.history: list[Shown] = []
        self.random = Random(seed)
        self.names = ("n1", "n2", "n3")

    def call(self) -> None:
        client, kind = self.random.randrange(2), self.random.choice(("incr", "session", "session", "bounded"))
        counter, bound = self.clients[client], self.random.choice(BOUNDS)
        call: Call[int]
        match kind:
            case "incr":
                call = counter.incr.submit()
            case "session":
                call = counter.get.using(consistency="session").submit()
            case _:
                call = counter.get.using(consistency="stale", max_staleness=bound).submit()
        self.note(call, client, kind, bound)

    def note(self, call: Call[int], client: int, kind: str, bound: float) -> None:
        called_at = self.cluster.now

        def answered(done: Call[Any]) -> None:
            self.history.append(Shown(client, kind, bound, called_at, self.cluster.now, done.result()))

        call.add_done_callback(answered)

    def misfortune(self) -> None:
        network, name = self.cluster.network, self.random.choice(self.names)
        match self.random.choice(("cut off", "one way", "late", "heal", "heal", "kill")):
            case "cut off":
                network.disconnect(name)
            case "one way":
                network.cut(name, self.random.choice([other for other in self.names if other != name]))
            case "late":
                network.reorder_results()
            case "heal":
                network.heal()
            case _:
                self.cluster.restart(name)

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            if self.random.random() < 0.03:
                self.misfortune()
            self.call()
            self.cluster.run_for(self.random.choice((0.0, 0.001, 0.01, 0.1)))
        self.cluster.network.heal()
        self.cluster.run_for(10.0)


def a_life(runtime: RuntimeName, seed: int) -> list[Shown]:
    with simulated(runtime, seed) as (counter, cluster):
        counter.incr()
        life = Life(counter, cluster, seed)
        life.go_on(300)
        return life.history


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(4))
def test_no_session_goes_back_and_no_bounded_read_is_older_than_its_bound(runtime: RuntimeName, seed: int) -> None:
    history = a_life(runtime, seed)
    assert len(history) == 300, "when all is well again, everybody gets an answer"
    assert not gone_back(history)
    assert not too_old(history)


def test_some_of_these_reads_are_old_all_the_same() -> None:
    """Else the histories would say nothing: the reads would all be linearizable."""
    old = 0
    for seed in range(4):
        history = a_life("actors", seed)
        for read in history:
            acknowledged = [shown.value for shown in history if shown.answered_at < read.called_at]
            old += read.kind != "incr" and read.value < max(acknowledged, default=0)
    assert old > 0


def test_the_checkers_find_what_they_look_for() -> None:
    written = Shown(0, "incr", 0.0, 1.0, 1.1, 7)
    assert gone_back([written, Shown(0, "session", 0.0, 1.2, 1.3, 6)])
    assert not gone_back([written, Shown(1, "session", 0.0, 1.2, 1.3, 6)])
    assert not gone_back([written, Shown(0, "session", 0.0, 1.0, 1.3, 6)])
    assert too_old([written, Shown(1, "bounded", 0.3, 1.5, 1.6, 6)])
    assert not too_old([written, Shown(1, "bounded", 0.3, 1.35, 1.6, 6)])
