"""A snapshot is kept while somebody needs it, though the log needs a newer one only; and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.protocol import Status
from actors.sim import SimCluster
from actors.snapshot_taking import SnapshotTaker
from actors.spec import RuntimeName
from actors.storage.conformance import append, entries_of
from actors.storage.disk import Disk
from actors.storage.keeping import PATIENCE, Keeper
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import SnapshotGone
from actors.storage.snapshots import SnapshotFiles
from actors.storage.snapshots_conformance import MEMBERS, snapshot_of
from raft_core import CompactLog, ReceiveSnapshotChunk, Settings, Snapshot

OpenDisk: TypeAlias = Callable[[Path], Disk]
CONTENT = b"0123456789"


def disk_in_memory(_: Path) -> Disk:
    return Disk(MemoryStorage(), MemorySnapshots())


def disk_with_files(directory: Path) -> Disk:
    files = SnapshotFiles(directory / "snapshots", cluster_id="c", server_id="n1", synchronous=False)
    return Disk(MemoryStorage(), files)


DISKS = pytest.mark.parametrize("open_disk", [disk_in_memory, disk_with_files])


def receive(disk: Disk, index: int, content: bytes = CONTENT) -> Snapshot:
    """A leader's snapshot arrives, and the log is cut for it."""
    snapshot = snapshot_of(index, 1, content)
    assert disk.write([ReceiveSnapshotChunk(snapshot, 0, content)])[0].is_sound
    disk.write([CompactLog(index, 1, discards_all=True)])
    return snapshot


def cut(disk: Disk, index: int) -> Snapshot:
    """Our own is taken of the log up to `index`, and the log is cut."""
    snapshot = disk.snapshots.save(index, 1, MEMBERS, CONTENT)
    disk.write([append(index - 1, entries_of(1, 1)), CompactLog(index, 1)])
    return snapshot


def is_there(disk: Disk, snapshot: Snapshot) -> bool:
    try:
        return disk.snapshots.load(snapshot) == CONTENT
    except SnapshotGone:
        return False


@DISKS
def test_a_received_snapshot_is_kept_until_the_machine_took_it_and_no_longer(
    tmp_path: Path, open_disk: OpenDisk
) -> None:
    with closing(open_disk(tmp_path)) as disk:
        first = receive(disk, 10)
        second = receive(disk, 20)
        third = receive(disk, 30)
        assert all(is_there(disk, one) for one in (first, second, third))
        disk.keeper.stands_behind(10)
        receive(disk, 40)
        assert not is_there(disk, first)
        assert is_there(disk, second)
        disk.keeper.stands_behind(35)
        receive(disk, 50)
        assert not is_there(disk, second)
        assert not is_there(disk, third)


def test_the_state_machine_says_what_it_stands_behind_when_it_has_taken_a_snapshot_or_one_was_taken_of_it() -> None:
    snapshots, told, machine = MemorySnapshots(), list[int](), MachineHost(Counter())
    snapshot = snapshots.save(10, 1, MEMBERS, machine.save())
    taker = SnapshotTaker(machine, snapshots, Settings(), None, MEMBERS, told.append)
    taker.restore(snapshot)
    assert told == [10]
    taker.applied(11, entries_of(1, 2))
    assert told == [10]
    assert taker.take() is not None
    assert told == [10, 12]


@DISKS
def test_a_snapshot_that_is_being_sent_is_kept_as_long_as_it_gets_on(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path)) as disk:
        sent = cut(disk, 1)
        index = 1
        for offset in range(len(CONTENT)):
            assert disk.read(sent, offset, 1) == CONTENT[offset : offset + 1]
            for _ in range(PATIENCE - 2):
                cut(disk, index := index + 1)
        for _ in range(PATIENCE):
            cut(disk, index := index + 1)
        with pytest.raises(SnapshotGone):
            disk.read(sent, 0, 1)


def test_a_part_that_is_sent_again_and_again_does_not_keep_its_snapshot() -> None:
    """Its follower is gone: a leader tries for ever."""
    keeper, snapshot = Keeper(), snapshot_of(1, 1, CONTENT)
    keeper.sent(snapshot, 5)
    for _ in range(PATIENCE - 1):
        assert snapshot in keeper.needed()
        keeper.sent(snapshot, 5)
    assert snapshot not in keeper.needed()


def test_what_nobody_reads_and_nobody_received_is_not_kept(tmp_path: Path) -> None:
    with closing(disk_with_files(tmp_path)) as disk:
        own = cut(disk, 1)
        cut(disk, 2)
        assert not is_there(disk, own)


def test_the_next_peer_needs_nothing_of_what_the_last_one_did() -> None:
    disk = disk_in_memory(Path())
    received = receive(disk, 10)
    disk.load()
    receive(disk, 20)
    assert not is_there(disk, received)


# --- running peers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["actors", "locks"])
@pytest.mark.parametrize("seed", range(4))
def test_a_follower_gets_its_snapshot_though_the_leader_takes_new_ones_all_the_while(
    runtime: RuntimeName, seed: int
) -> None:
    settings = Settings(snapshot_entries=3, snapshot_bytes=1, trailing_entries=0, snapshot_chunk_bytes=2)
    with Counter.cluster(nodes=3, engine="sim", seed=seed, timeout=60.0, runtime=runtime, settings=settings) as counter:
        cluster = counter.cluster
        assert isinstance(cluster, SimCluster)
        counter.incr()
        behind = next(name for name in cluster.nodes if name != cluster.leader())
        cluster.kill(behind)
        for _ in range(10):
            counter.incr()
        cluster.restart(behind)
        restored = [0]
        while max(restored) < 100:
            counter.incr()
            status = cluster.client.inspect(behind, digest=False, timeout=10.0)
            assert isinstance(status, Status)
            restored.append(status.snapshot_index)
            assert len(restored) < 1000, "no transfer ever comes to its end"
