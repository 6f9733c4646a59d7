"""Simulated disks that are full for a while: who cannot persist neither leads nor answers, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from actors.calls import Call
from actors.machines.counter import Counter
from actors.sim import SimCluster
from actors.spec import RuntimeName
from raft_core import Server, ServerId, Settings

RUNTIMES = pytest.mark.parametrize("runtime", ["actors", "locks"])
SETTINGS = Settings(snapshot_entries=20, trailing_entries=4)
TIMEOUT = SETTINGS.election_timeout / 1000


@contextmanager
def simulated(runtime: RuntimeName, seed: int, nodes: int = 3) -> Iterator[tuple[Counter, SimCluster]]:
    with Counter.cluster(
        nodes=nodes, engine="sim", seed=seed, timeout=60.0, runtime=runtime, settings=SETTINGS
    ) as counter:
        assert isinstance(counter.cluster, SimCluster)
        yield counter, counter.cluster


def server_of(cluster: SimCluster, name: ServerId) -> Server:
    peer = cluster.peers.peer(name)
    real = getattr(peer, "real", None)
    server: Server = (real._shared.interpreter if real is not None else peer.interpreter).server  # type: ignore[attr-defined]
    return server


@RUNTIMES
@pytest.mark.parametrize("seed", range(8))
def test_leadership_moves_within_an_election_timeout_and_an_election_and_the_peer_follows_again(
    runtime: RuntimeName, seed: int
) -> None:
    with simulated(runtime, seed) as (counter, cluster):
        assert [counter.incr() for _ in range(10)] == list(range(1, 11))
        full = cluster.leader()
        cluster.peers.fill_disk(full)
        began = cluster.now
        assert counter.incr() == 11
        while cluster.leader() == full:
            cluster.run_for(TIMEOUT / 20)
        assert cluster.now - began < 4 * TIMEOUT, "an election timeout, and an election that may be split once"
        before = server_of(cluster, full)
        assert before.disk_is_stalled
        assert [counter.incr() for _ in range(60)] == list(range(12, 72))
        assert server_of(cluster, full).persisted_index == before.persisted_index
        term = server_of(cluster, cluster.leader()).current_term
        cluster.run_for(30.0)
        assert server_of(cluster, cluster.leader()).current_term == term, "it disturbs nobody while it cannot persist"
        cluster.peers.fill_disk(full, is_full=False)
        cluster.run_for(2.0)
        assert not server_of(cluster, full).disk_is_stalled
        assert len({digest.digest for digest in cluster.wait_until_equal(60.0).values()}) == 1
        assert server_of(cluster, cluster.leader()).current_term == term
        assert counter.get() == 71


def a_life(runtime: RuntimeName, seed: int) -> str:
    """Disks fill up and get room again, peers are killed, and no acknowledged increment is lost or doubled."""
    random = Random(seed)
    with simulated(runtime, seed, nodes=5) as (counter, cluster):
        calls: list[Call[int]] = []
        full: set[ServerId] = set()
        for _ in range(60):
            calls.extend(counter.incr.submit() for _ in range(random.randrange(4)))
            name = random.choice(cluster.nodes)
            match random.randrange(5):
                case 0 if len(full) < 2:
                    cluster.peers.fill_disk(name)
                    full.add(name)
                case 1 | 2:
                    cluster.peers.fill_disk(name, is_full=False)
                    full.discard(name)
                case 3:
                    cluster.restart(name)
                case _:
                    pass
            cluster.run_for(random.choice([0.01, 0.1, 1.0]))
        for name in cluster.nodes:
            cluster.peers.fill_disk(name, is_full=False)
        results = sorted(call.result() for call in calls)
        assert results == list(range(1, len(calls) + 1))
        assert len({digest.digest for digest in cluster.wait_until_equal(60.0).values()}) == 1
        return cluster.trace_digest


@RUNTIMES
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_doubled_whichever_disks_are_full_when(runtime: RuntimeName, seed: int) -> None:
    a_life(runtime, seed)


@RUNTIMES
def test_the_same_seed_fills_the_same_disks_in_the_same_run(runtime: RuntimeName) -> None:
    assert a_life(runtime, 3) == a_life(runtime, 3)
