"""The twin's own rules: how long its threads live, what its ticker looks at, what its one lock costs.

Everything it shares with the actors is tested once for both (`each_runtime`); its locking discipline is tested in
`test_the_twin_keeps_its_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep

import pytest

from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.hosts import ThreadHost
from actors.lock_based.peer import LockedPeer
from actors.lock_based.wiring import LinkWorld
from actors.lock_based.world import Outlet
from actors.machines.counter import Counter
from actors.replicated import machine_reference
from actors.sim import SimCluster
from actors.sim.locked import SimLockedPeer
from actors.spec import PeerConfig, PeerSpec
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import PersistEffect, Settings

PATIENCE = 40.0


def simulated(body: Callable[[Counter, SimCluster], None], seed: int = 1) -> None:
    with Counter.cluster(engine="sim", runtime="locks", seed=seed, timeout=PATIENCE) as counter:
        assert isinstance(counter.cluster, SimCluster)
        body(counter, counter.cluster)


def incarnation(cluster: SimCluster, name: str) -> SimLockedPeer:
    peer = cluster.peers.peer(name)
    assert isinstance(peer, SimLockedPeer)
    return peer


def real(cluster: SimCluster, name: str) -> LockedPeer:
    return incarnation(cluster, name).real


def replicators(cluster: SimCluster, name: str) -> set[str]:
    return {thread for thread in incarnation(cluster, name).running_threads if "replicator" in thread}


def others(cluster: Cluster, leader: str) -> list[str]:
    return [name for name in cluster.nodes if name != leader]


def test_replicators_live_for_one_term() -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        counter.incr()
        leader = cluster.leader()
        assert replicators(cluster, leader) == {f"{leader} replicator {other}" for other in others(cluster, leader)}
        for other in others(cluster, leader):
            assert replicators(cluster, other) == set()
        cluster.network.disconnect(leader)
        counter.incr()
        cluster.run_for(2.0)
        assert replicators(cluster, leader) == set()
        assert len(replicators(cluster, cluster.leader())) == 2

    simulated(body)


def test_a_round_says_that_its_term_is_over() -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        counter.incr()
        leader = cluster.leader()
        status = cluster.status()[leader]
        assert status is not None
        assert real(cluster, leader)._begin_heartbeats(status.term)
        assert not real(cluster, leader)._begin_heartbeats(status.term - 1)
        assert not real(cluster, others(cluster, leader)[0])._begin_heartbeats(status.term)

    simulated(body)


@pytest.mark.parametrize("seed", range(5))
def test_the_ticker_begins_an_election_only_when_the_last_contact_is_old(seed: int) -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        counter.incr()
        leader = cluster.leader()
        before = cluster.network.counts().by_type
        cluster.run_for(20.0)
        after = cluster.network.counts().by_type
        assert after["RequestPreVote"] == before["RequestPreVote"], "an election in spite of a leader"
        cluster.network.disconnect(leader)
        cluster.run_for(1.5)
        assert cluster.network.counts().by_type["RequestPreVote"] > after["RequestPreVote"]

    simulated(body, seed)


def test_all_threads_end_with_their_peer() -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        counter.incr()
        peer = incarnation(cluster, "n1")
        assert {"n1 ticker", "n1 applier", "n1 acceptor", "n1 receiver n2", "n1 receiver n3"} <= peer.running_threads
        cluster.kill("n1")
        assert peer.running_threads == set()

    simulated(body)


def test_the_lock_knows_how_long_it_was_waited_for_and_held() -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        for _ in range(50):
            counter.incr()
        report = real(cluster, cluster.leader()).lock.report()
        assert report.acquisitions > 100
        assert 0 < report.contended < report.acquisitions
        # A write takes 0.2 to 3 ms, and the lock is held meanwhile.
        assert 0.0002 <= report.hold_p99 < 0.01
        assert report.wait_total > 0

    simulated(body)


def test_replicators_follow_members_that_change_within_a_term() -> None:
    def body(counter: Counter, cluster: SimCluster) -> None:
        counter.incr()
        leader = cluster.leader()
        before = cluster.status()[leader]
        assert before is not None
        gone = others(cluster, leader)[0]
        cluster.add()
        assert f"{leader} replicator n4" in replicators(cluster, leader)
        cluster.remove(gone)
        cluster.run_for(1.0)
        assert replicators(cluster, leader) == {f"{leader} replicator {other}" for other in others(cluster, leader)}
        now = cluster.status()[leader]
        assert now is not None
        assert now.term == before.term, "otherwise the replicators are new ones anyway"

    simulated(body)


class SlowOutlet:
    """A link that takes its time."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def send(self, frame: bytes) -> None:
        sleep(0.05)
        self._outlet.send(frame)


def test_who_leaves_is_told_so_by_the_twin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody replicates to it any more when the entry that says so is sent: that must not overtake those before it,
    which wait for a slow link, and these must still arrive.  In real threads: green ones send what is deposited."""
    slow: list[str] = []
    outlet = LinkWorld.outlet

    def outlet_of(world: LinkWorld, server_id: str) -> Outlet:
        return SlowOutlet(outlet(world, server_id)) if server_id in slow else outlet(world, server_id)

    monkeypatch.setattr(LinkWorld, "outlet", outlet_of)
    with Counter.cluster(engine="threads", runtime="locks", timeout=PATIENCE) as counter:
        cluster = counter.cluster
        leader = cluster.leader()
        gone, stays = others(cluster, leader)
        slow.append(gone)
        for number in range(1, 11):
            assert counter.incr() == number
        cluster.set_members([leader, stays])
        deadline = monotonic() + PATIENCE
        while (status := cluster.status()[gone]) is None or gone in status.voters:
            assert monotonic() < deadline, "it was never told"
            sleep(0.01)


class SlowStorage(MemoryStorage):
    """A disk that can be made slow."""

    blocking = True
    delay = 0.0

    def write(self, changes: Sequence[PersistEffect]) -> None:
        sleep(self.delay)
        super().write(changes)


class SlowHost(ThreadHost):
    """Peers with such disks."""

    def __init__(self) -> None:
        super().__init__()
        self.disks = {name: SlowStorage() for name in ("n1", "n2", "n3")}

    def _disk(self, spec: PeerSpec) -> Disk:
        return Disk(self.disks[spec.config.server_id], MemorySnapshots())


@pytest.mark.slow
def test_a_slow_disk_may_cost_leadership_for_the_lock_is_held_meanwhile_but_nothing_is_lost() -> None:
    names = ("n1", "n2", "n3")
    specs = [
        PeerSpec(
            config=PeerConfig(
                server_id=name, voters=names, settings=Settings(election_timeout=150, heartbeat_interval=30)
            ),
            cluster_id="slow",
            machine=machine_reference(Counter),
            directory=None,
            runtime="locks",
        )
        for name in names
    ]
    host = SlowHost()
    with run_peers(specs, host, timeout=PATIENCE, data=None) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        assert counter.incr() == 1
        first = cluster.leader()
        term = max(status.term for status in cluster.status().values() if status)
        host.disks[first].delay = 0.7
        calls = [counter.incr.submit() for _ in range(10)]
        assert sorted(call.result() for call in calls) == list(range(2, 12))
        while max(status.term for status in cluster.status().values() if status) == term:
            counter.incr()
        host.disks[first].delay = 0.0
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
