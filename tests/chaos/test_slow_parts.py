"""What is slow must not cost leadership (structure advice: "one activity delivers"; thesis 10.2.1).

A command that takes many election timeouts, asleep or computing, and a disk that takes as long for a write: the leader
stays the leader, in the same term, and goes on committing.  The delays in these tests are the subject of them; nothing
is synchronised by waiting for a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import sleep

import pytest

from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.protocol import Status
from actors.spec import PeerSpec
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import PersistEffect, ServerId, Settings
from tests.chaos.machines import SlowCounter
from tests.chaos.support import PATIENCE, eventually, peer_specs, status_of

pytestmark = pytest.mark.slow

SETTINGS = Settings(election_timeout=500, heartbeat_interval=50)
SLOWNESS = 4.0
"""Seconds: at least four election timeouts of 500 to 1000 ms."""


def leader_status(cluster: Cluster) -> Status:
    status = status_of(cluster, cluster.leader(), timeout=PATIENCE)
    assert status is not None
    assert status.role == "leader"
    return status


def leadership(cluster: Cluster) -> tuple[ServerId, int]:
    status = leader_status(cluster)
    return status.server_id, status.term


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("slow", ["incr_asleep", "incr_busy"])
def test_a_command_of_many_election_timeouts_costs_no_leadership(slow: str) -> None:
    with SlowCounter.cluster(nodes=3, settings=SETTINGS, timeout=PATIENCE) as counter:
        cluster = counter.cluster
        assert counter.incr() == 1
        before = leadership(cluster)
        late = getattr(counter, slow).submit(SLOWNESS)
        behind = [counter.incr.submit() for _ in range(20)]

        def commits_before_it_applies() -> bool:
            status = leader_status(cluster)
            return status.commit_index >= status.applied_index + len(behind)

        eventually(commits_before_it_applies, "commits while the command runs")
        assert late.result() == 2
        assert [call.result() for call in behind] == list(range(3, 23))
        assert leadership(cluster) == before


class SlowStorage(MemoryStorage):
    """A disk that takes `delay` seconds for a write."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.delay = 0.0
        self.slow_writes = 0

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Wait, then write."""
        if self.delay:
            self.slow_writes += 1
            sleep(self.delay)
        super().write(changes)


class SlowHost(ThreadHost):
    """Peers in threads, each with a disk that can be made slow."""

    def __init__(self) -> None:
        super().__init__()
        self.disks = {name: SlowStorage() for name in ("n1", "n2", "n3")}

    def _disk(self, spec: PeerSpec) -> Disk:
        return Disk(self.disks[spec.config.server_id], MemorySnapshots())


@contextmanager
def running(host: SlowHost) -> Iterator[Counter]:
    specs = peer_specs(Counter, None, settings=SETTINGS)
    with run_peers(specs, host, timeout=PATIENCE, data=None) as cluster:
        yield Counter._bound(ClusterHandle(cluster.client, cluster))


def the_leader(cluster: Cluster) -> ServerId:
    return cluster.leader()


def a_follower(cluster: Cluster) -> ServerId:
    leader = cluster.leader()
    return next(name for name in cluster.nodes if name != leader)


def test_a_followers_disk_that_takes_several_election_timeouts_for_a_write_costs_no_leadership() -> None:
    host = SlowHost()
    with running(host) as counter:
        cluster = counter.cluster
        assert counter.incr() == 1
        before = leadership(cluster)
        disk = host.disks[a_follower(cluster)]
        disk.delay = SLOWNESS / 2
        results = [counter.incr()]
        while disk.slow_writes < 3:
            results.append(counter.incr())
        assert results == list(range(2, 2 + len(results)))
        disk.delay = 0.0
        assert leadership(cluster) == before
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
        assert leadership(cluster) == before


def test_a_leaders_disk_that_takes_several_election_timeouts_for_a_write_costs_it_the_leadership() -> None:
    """The others go on; it comes back by itself, as a follower, when the disk writes again."""
    host = SlowHost()
    with running(host) as counter:
        cluster = counter.cluster
        assert counter.incr() == 1
        slow = the_leader(cluster)
        host.disks[slow].delay = 2 * SLOWNESS
        results = [counter.incr()]
        while the_leader(cluster) == slow:
            results.append(counter.incr())
        assert results == list(range(2, 2 + len(results)))
        host.disks[slow].delay = 0.0
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
