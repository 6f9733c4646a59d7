"""The disk of the leader is full: leadership moves within an election timeout and an election, nothing that was
acknowledged is lost, and the peer follows again when there is room, in the same process.

Where a small file system may be mounted, one is filled.  Everywhere, the files of a peer's running process are
forbidden to have bytes (`RLIMIT_FSIZE`), which the same code has to survive.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from msgspec import msgpack

from actors import full_disk
from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.hosts import ProcessHost
from actors.process import peer_main
from actors.protocol import Status
from actors.spec import PeerSpec, StorageKind
from actors.storage.port import DiskFull, StorageError
from actors.supervisor import PeerState
from raft_core import Effect, ServerId, Settings
from tests.actors.storage.faults import small_disk, unsyncable
from tests.chaos.machines import Journal
from tests.chaos.support import PATIENCE, eventually, peer_specs, status_of

pytestmark = pytest.mark.usefixtures("each_runtime")

SETTINGS = Settings(election_timeout=500, heartbeat_interval=50)
SLOWNESS = 10.0
"""Seconds that a busy machine may add to an election timeout and an election."""


def process_of(cluster: Cluster, name: ServerId) -> int:
    return cluster.supervisor.members()[name][2]


def fill_by_limit(cluster: Cluster, name: ServerId) -> Callable[[], None]:
    """No file of this peer's process may have bytes; returns what takes the limit away."""
    process_id = process_of(cluster, name)
    full_disk.fill(process_id)
    return lambda: full_disk.make_room(process_id)


@contextmanager
def running(directory: Path, storage: StorageKind) -> Iterator[Journal]:
    specs = peer_specs(Journal, directory, settings=SETTINGS, storage=storage)
    with run_peers(specs, ProcessHost(), timeout=PATIENCE, data=directory) as cluster:
        yield Journal._bound(ClusterHandle(cluster.client, cluster))


def check_that_leadership_moves_and_the_peer_follows_again(
    journal: Journal, fill: Callable[[Cluster, ServerId], Callable[[], None]]
) -> None:
    cluster, lines = journal.cluster, 0

    def append() -> None:
        nonlocal lines
        assert journal.append(f"{lines} " + "x" * 2000) == lines + 1
        lines += 1

    append()
    full, process_id = cluster.leader(), process_of(cluster, cluster.leader())
    make_room, began = fill(cluster, full), monotonic()

    def has_moved() -> bool:
        append()
        status = status_of(cluster, full)
        return status is not None and status.role == "follower" and cluster.leader() != full

    eventually(has_moved, "another leader")
    assert monotonic() - began < SETTINGS.election_timeout / 1000 * 3 + SLOWNESS
    stands = status_of(cluster, full)
    assert isinstance(stands, Status)
    append()
    append()
    term = status_of(cluster, cluster.leader())
    make_room()
    eventually(lambda: follows(cluster, full, lines), "the peer's return")
    assert process_of(cluster, full) == process_id, "it was to survive in place"
    assert cluster.supervisor.members()[full][0] is PeerState.UP
    assert cluster.supervisor.last_errors() == {}
    append()
    assert term is not None
    assert status_of(cluster, cluster.leader()).term == term.term, "its return disturbs nobody"  # type: ignore[union-attr]
    assert journal.size() == lines
    assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1


def follows(cluster: Cluster, name: ServerId, lines: int) -> bool:
    status = status_of(cluster, name)
    return status is not None and status.written_index >= lines and status.applied_index >= lines


@pytest.mark.parametrize("storage", ["sqlite", "unsynced sqlite", "journal"])
def test_a_leader_whose_files_may_not_grow_gives_way_and_follows_again(storage: StorageKind, tmp_path: Path) -> None:
    with running(tmp_path, storage) as journal:
        check_that_leadership_moves_and_the_peer_follows_again(journal, fill_by_limit)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_leader_whose_file_system_is_full_gives_way_and_follows_again(storage: StorageKind, tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    with small_disk(tmp_path / "n1", 4 << 20) as is_mounted, running(tmp_path, storage) as journal:
        cluster = journal.cluster

        def fill(cluster: Cluster, name: ServerId) -> Callable[[], None]:
            return fill_disk(tmp_path / name) if is_mounted else fill_by_limit(cluster, name)

        journal.size()
        if cluster.leader() != "n1":
            cluster.transfer_leadership("n1")
        check_that_leadership_moves_and_the_peer_follows_again(journal, fill)


def fill_disk(directory: Path) -> Callable[[], None]:
    """Write until nothing more fits; returns what makes room."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler.unlink


# --- an fsync that fails ----------------------------------------------------------------------------------------------


def unsyncable_main(signs: str, end: socket.socket, encoded_spec: bytes) -> None:
    """Entry point of a peer whose disk takes writes and fails to sync them, from the moment there is a sign of it."""
    spec = msgpack.decode(encoded_spec, type=PeerSpec)
    sign = Path(signs) / spec.config.server_id
    faults = ExitStack()

    def boundary(effect: Effect) -> None:
        if sign.exists():
            sign.unlink()
            faults.enter_context(unsyncable(Path(str(spec.directory)) / "raft.sqlite3-wal"))

    peer_main(end, encoded_spec, boundary)


def test_a_leader_whose_fsync_fails_ends_with_a_word_and_is_started_anew_from_its_disk(tmp_path: Path) -> None:
    signs = tmp_path / "signs"
    signs.mkdir()
    specs = peer_specs(Journal, tmp_path, settings=SETTINGS, storage="sqlite")
    host = ProcessHost(partial(unsyncable_main, str(signs)))
    with run_peers(specs, host, timeout=PATIENCE, data=tmp_path) as cluster:
        journal = Journal._bound(ClusterHandle(cluster.client, cluster))
        assert [journal.append("x") for _ in range(5)] == [1, 2, 3, 4, 5]
        failing = cluster.leader()
        process_id = process_of(cluster, failing)
        (signs / failing).touch()
        assert [journal.append("x") for _ in range(5)] == [6, 7, 8, 9, 10]
        eventually(lambda: process_of(cluster, failing) not in (0, process_id), "another process")
        error = cluster.supervisor.last_errors()[failing]
        assert isinstance(error, StorageError)
        assert not isinstance(error, DiskFull)
        assert "IOERR_FSYNC" in error.what
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
        assert cluster.supervisor.recovered_index(failing) >= 5, "it came back without its log"
        assert journal.size() == 10
