"""The lab's service on top: its key/value store under "snapshots, unreliable net, restarts, partitions", here ours.

Clients keep asking while servers are divided at random; then the network is whole again, all servers crash and start
from what they have, and the clients come to their ends.  Three times.  Every answer is that of one store which did one
thing after the other, logs stay short, and servers that were away are sent snapshots.

These servers take their snapshots by themselves, those of part D are handed them.  Not from the lab: partitions change
about twice as often; and there are three to a round.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from actors.calls import Call
from actors.machines.key_value import KeyValue
from actors.runtimes import RUNTIMES
from actors.sim import SimCluster
from actors.spec import RuntimeName
from raft_core import Settings
from raft_core.verify.history import KeyValueModel
from raft_core.verify.linearizability import check
from raft_core.verify.operations import Operation
from tests.machines.histories import Asked

SETTINGS = Settings(snapshot_entries=20, trailing_entries=0, snapshot_chunk_bytes=512)
SERVERS = 5
CLIENTS = 5
ROUNDS = 3
LOG_LIMIT = 8 * SETTINGS.snapshot_entries
"""Entries in a log: eight times what a snapshot is taken after, as in the lab."""


class Brief(KeyValue):
    """Its snapshots are small."""

    HISTORY = 10


class Store:
    """A simulated store, its clients, and the history of what they asked."""

    def __init__(self, store: KeyValue, seed: int) -> None:
        assert isinstance(store.cluster, SimCluster)
        self.store = store
        self.cluster = store.cluster
        self.random = Random(seed)
        self.history: list[Operation] = []
        self._calls: list[Call[Any]] = []

    def ask_for(self, seconds: float) -> None:
        """Every client asks, and once it is answered asks again."""
        end = self.cluster.now + seconds
        while self.cluster.now < end:
            self._calls = [call for call in self._calls if not call.done()]
            while len(self._calls) < CLIENTS:
                self._calls.append(self._asked())
            self.cluster.run_for(0.02)

    def come_to_an_end(self) -> None:
        """Wait for everything that was asked."""
        for call in self._calls:
            call.result()

    def _asked(self) -> Call[Any]:
        asked, invoked = self._draw(), round(self.cluster.now * 1e9)
        client = len(self.history) + len(self._calls)

        def answered(call: Call[Any]) -> None:
            result, returned = asked.shown(call.result()), round(self.cluster.now * 1e9)
            self.history.append(Operation(client, asked.name, asked.arguments, result, invoked, returned, asked.key))

        asked.call.add_done_callback(answered)
        return asked.call

    def _draw(self) -> Asked:
        key, value, expected = self.random.choice("abc"), self.random.randrange(5), self.random.choice([None, 0, 1, 2])
        match self.random.randrange(3):
            case 0:
                return Asked(self.store.get.submit(key), "get", (), key)
            case 1:
                return Asked(self.store.put.submit(key, value), "put", (value,), key, lambda revision: None)
            case _:
                return Asked(self.store.cas.submit(key, expected, value), "cas", (expected, value), key)

    def divide(self) -> None:
        """Into two groups, at random."""
        one = [name for name in self.cluster.nodes if self.random.random() < 0.5]
        self.cluster.network.partition(one, [name for name in self.cluster.nodes if name not in one])

    def crash_all(self) -> None:
        """And start them again, a little later."""
        for name in self.cluster.nodes:
            self.cluster.kill(name)
        self.cluster.run_for(0.5)
        for name in self.cluster.nodes:
            self.cluster.restart(name)

    def longest_log(self) -> int:
        """Entries in the longest log of a server."""
        known = [status for status in self.cluster.status(5.0).values() if status is not None]
        assert len(known) == SERVERS
        return max(status.last_index + 1 - status.first_index for status in known)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_snapshots_unreliable_net_restarts_partitions(runtime: RuntimeName, seed: int) -> None:
    with Brief.cluster(
        nodes=SERVERS, engine="sim", runtime=runtime, settings=SETTINGS, seed=seed, timeout=120.0
    ) as bound:
        store = Store(bound, seed)
        store.cluster.network.unreliable()
        for _ in range(ROUNDS):
            for _ in range(3):
                store.divide()
                store.ask_for(0.5 + 0.2 * store.random.random())
            store.cluster.network.partition(store.cluster.nodes)
            store.crash_all()
            store.ask_for(1.0)
            store.come_to_an_end()
            assert store.longest_log() <= LOG_LIMIT
        assert store.cluster.network.counts().by_type["InstallSnapshot"] > 0, "nobody was away for long"
    assert check(store.history, KeyValueModel())
