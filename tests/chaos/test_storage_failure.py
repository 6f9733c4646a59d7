"""A disk that fails ends its peer, with a clear word and for as long as it fails; the cluster goes on.

The rules are those of the storage port: a failed write is final, a peer comes back from what is really on its disk and
never with fresh memory, and damage is reported, never repaired in silence.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.hosts import Host, Hosted, ProcessHost, ThreadHost
from actors.machines.counter import Counter
from actors.machines.counters import Counters
from actors.process import peer_main
from actors.spec import PeerSpec, StorageKind
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import CorruptStorage, StorageError, Stored, WrongCluster
from actors.storage.record import open_record
from actors.supervisor import PeerState
from raft_core import PersistEffect, ServerId
from tests.chaos.machines import Journal
from tests.chaos.support import PATIENCE, eventually, peer_specs, status_of

pytestmark = pytest.mark.usefixtures("each_runtime")


class FailingStorage(MemoryStorage):
    """A disk whose write fails once it is told to; as the port demands, every later one then fails as well.

    Loading is what happens when a peer starts again: the disk is well from then on.
    """

    def __init__(self, blocking: bool) -> None:
        super().__init__()
        self.blocking = blocking
        self.fails = False
        self.failures = 0
        self.loads: list[Stored] = []

    def load(self) -> Stored:
        """Keep what was found, to compare."""
        self.fails = False
        self.loads.append(super().load())
        return self.loads[-1]

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Write, or fail."""
        if self.fails:
            self.failures += 1
            raise StorageError("the disk is broken", why="a test broke it")
        super().write(changes)


class FailingHost(ThreadHost):
    """Peers in threads with disks that can fail."""

    def __init__(self, blocking: bool) -> None:
        super().__init__()
        self.disks = {name: FailingStorage(blocking) for name in ("n1", "n2", "n3")}

    def _disk(self, spec: PeerSpec) -> Disk:
        return Disk(self.disks[spec.config.server_id], MemorySnapshots())


@pytest.mark.parametrize("blocking", [False, True], ids=["inline", "behind its actor"])
@pytest.mark.parametrize("leads", [False, True], ids=["follower", "leader"])
def test_a_failed_write_ends_its_peer_which_comes_back_with_what_is_on_its_disk(blocking: bool, leads: bool) -> None:
    host = FailingHost(blocking)
    with run_peers(peer_specs(Counter, None), host, timeout=PATIENCE, data=None) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        leader = cluster.leader()
        victim = leader if leads else next(name for name in cluster.nodes if name != leader)
        disk = host.disks[victim]
        disk.fails = True
        assert [counter.incr() for _ in range(20)] == list(range(21, 41))
        eventually(lambda: len(disk.loads) == 2, "the peer's return")
        assert disk.failures >= 1
        assert "the disk is broken" in str(cluster.supervisor.last_errors()[victim])
        assert isinstance(cluster.supervisor.last_errors()[victim], StorageError)
        assert len(disk.loads[1].entries) >= 1, "it came back without its memory"
        assert disk.loads[1].current_term >= 1
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
        assert counter.get() == 40


# --- a disk that is really full ---------------------------------------------------------------------------------------

FULL = 200_000
"""Bytes that a file may have while the disk is full."""


def cramped_main(sign: str, end: socket.socket, encoded_spec: bytes) -> None:
    """Entry point of a peer whose files may not grow while the file `sign` exists."""
    if Path(sign).exists():
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, resource.RLIM_INFINITY))
    peer_main(end, encoded_spec)


class CrampedHost(ProcessHost):
    """The disk of n3 is full as long as there is a file of that name."""

    def __init__(self, sign: Path) -> None:
        super().__init__()
        self.cramped = ProcessHost(partial(cramped_main, str(sign)))

    def launch(self, spec: PeerSpec) -> Hosted:
        """n3 has to live with less."""
        return self.cramped.launch(spec) if spec.config.server_id == "n3" else super().launch(spec)


def kill_and_wait_for_the_next(cluster: Cluster, name: ServerId) -> None:
    """SIGKILL; the supervisor starts another process."""
    process_id = cluster.supervisor.members()[name][2]
    os.kill(process_id, signal.SIGKILL)
    eventually(lambda: cluster.supervisor.members()[name][2] not in (0, process_id), "the next process")


@pytest.mark.parametrize("storage", ["unsynced sqlite", "journal"])
def test_a_peer_that_is_killed_while_its_disk_is_full_is_back_when_there_is_room_and_the_others_serve_meanwhile(
    storage: StorageKind, tmp_path: Path
) -> None:
    sign = tmp_path / "full"
    sign.touch()
    specs = peer_specs(Journal, tmp_path, storage=storage)
    with run_peers(specs, CrampedHost(sign), timeout=PATIENCE, data=tmp_path) as cluster:
        journal = Journal._bound(ClusterHandle(cluster.client, cluster))
        lines = 0

        def is_full() -> bool:
            nonlocal lines
            lines += 1
            assert journal.append(f"{lines} " + "x" * 4000) == lines
            status = status_of(cluster, "n3")
            return status is not None and status.written_index < lines - 60

        eventually(is_full, "a disk that takes no more")
        assert cluster.supervisor.last_errors() == {}
        kill_and_wait_for_the_next(cluster, "n3")
        assert journal.append("it goes on") == lines + 1
        sign.unlink()
        kill_and_wait_for_the_next(cluster, "n3")
        digests = cluster.wait_until_equal(PATIENCE)
        assert len({digest.digest for digest in digests.values()}) == 1
        assert journal.size() == lines + 1


# --- a disk that holds something else ---------------------------------------------------------------------------------


def database_of(directory: Path, name: ServerId) -> Path:
    return directory / name / "raft.sqlite3"


def damage(path: Path) -> None:
    """Something overwrites the middle of the file."""
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b"\xaa" * (path.stat().st_size // 2))


def process_host() -> Host:
    return ProcessHost()


def thread_host() -> Host:
    return ThreadHost()


@pytest.mark.parametrize("host", [process_host, thread_host])
def test_a_peer_with_a_damaged_disk_stays_down_with_its_reason_and_the_others_serve(
    host: Callable[[], Host], tmp_path: Path
) -> None:
    with run_peers(peer_specs(Counter, tmp_path), host(), timeout=PATIENCE, data=tmp_path) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        victim = cluster.kill_leader()
        damage(database_of(tmp_path, victim))
        with pytest.raises(CorruptStorage):
            cluster.restart(victim)
        assert cluster.supervisor.members()[victim][0] is PeerState.FAILED
        assert [counter.incr() for _ in range(20)] == list(range(21, 41))
        assert cluster.supervisor.members()[victim][0] is PeerState.FAILED, "it was started again on a damaged disk"


def test_a_disk_damaged_while_its_peer_runs_is_found_when_the_peer_is_started_again(tmp_path: Path) -> None:
    with run_peers(peer_specs(Counter, tmp_path), ProcessHost(), timeout=PATIENCE, data=tmp_path) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        assert counter.incr() == 1
        victim = cluster.leader()
        damage(database_of(tmp_path, victim))
        os.kill(cluster.supervisor.members()[victim][2], signal.SIGKILL)
        eventually(lambda: cluster.supervisor.members()[victim][0] is PeerState.FAILED, "the verdict on its disk")
        assert isinstance(cluster.supervisor.last_errors()[victim], CorruptStorage)
        assert counter.incr() == 2


def test_a_journal_that_is_gone_or_damaged_keeps_its_peer_down_and_the_others_serve(tmp_path: Path) -> None:
    specs = peer_specs(Counter, tmp_path, storage="journal")
    open_record(tmp_path, "counter", ("n1", "n2", "n3"), "")  # of a cluster that was started once
    with run_peers(specs, ProcessHost(), timeout=PATIENCE, data=tmp_path) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        victim = cluster.kill_leader()
        journal = tmp_path / victim / "raft.journal"
        damage(journal)
        with pytest.raises(CorruptStorage, match="damaged"):
            cluster.restart(victim)
        journal.unlink()
        with pytest.raises(CorruptStorage, match="is gone"):
            cluster.restart(victim)
        assert [counter.incr() for _ in range(20)] == list(range(21, 41))


def test_a_damaged_disk_keeps_its_peer_down_and_a_majority_of_them_the_cluster(
    tmp_path: Path,
) -> None:
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        counter.incr()
        counter.cluster.wait_until_equal(PATIENCE)
    damage(database_of(tmp_path, "n2"))
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        assert counter.incr() == 2
        assert counter.cluster.status()["n2"] is None
    damage(database_of(tmp_path, "n1"))
    with (
        pytest.raises(CorruptStorage, match=r"(?s)a majority of the voters .* n1: .* n2: "),
        Counter.cluster(nodes=3, data=tmp_path),
    ):
        pass


def test_the_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        counter.incr()
    with pytest.raises(WrongCluster), Counters.cluster(nodes=3, data=tmp_path):
        pass
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        assert counter.get() == 1


def test_the_disk_of_another_server_is_refused(tmp_path: Path) -> None:
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        counter.incr()
    (tmp_path / "n1").rename(tmp_path / "spare")
    (tmp_path / "n2").rename(tmp_path / "n1")
    (tmp_path / "spare").rename(tmp_path / "n2")
    with pytest.raises(WrongCluster), Counter.cluster(nodes=3, data=tmp_path):
        pass
