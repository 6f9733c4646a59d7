"""Snapshots as files: whatever became of the bytes, what is read is what was written, or it fails and says so."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from actors.storage import snapshot_format as module
from actors.storage.port import CorruptStorage, SnapshotGone, StorageError, UnknownFormat, WrongCluster
from actors.storage.snapshots import PIECE, SnapshotFiles
from actors.storage.snapshots_conformance import MEMBERS, snapshot_of
from raft_core.configuration import Snapshot
from tests.actors.storage.faults import files_limited_to

CONTENT = b"the state of the machine"


def open_files(directory: Path, cluster_id: str = "c", server_id: str = "n1", sync: bool = False) -> SnapshotFiles:
    return SnapshotFiles(directory, cluster_id=cluster_id, server_id=server_id, synchronous=sync)


@pytest.fixture
def files(tmp_path: Path) -> SnapshotFiles:
    return open_files(tmp_path / "snapshots")


def names(files: SnapshotFiles) -> list[str]:
    return sorted(os.listdir(files.directory))


def only_file(files: SnapshotFiles) -> Path:
    (path,) = files.directory.iterdir()
    return path


# --- becoming durable -------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """For each fsync: what was synced, a directory or the size of a file, and the names that were there then."""
    seen: list[list[str]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path, status = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
        is_directory = stat.S_ISDIR(status.st_mode)
        directory = path if is_directory else os.path.dirname(path)
        endings = sorted(Path(name).suffix for name in os.listdir(directory))
        seen.append(["directory" if is_directory else str(status.st_size), *endings])

    monkeypatch.setattr(os, "fsync", watched)
    return seen


def test_a_snapshot_is_synced_whole_before_it_has_its_name_and_then_the_name_is(
    tmp_path: Path, synced: list[list[str]]
) -> None:
    files = open_files(tmp_path, sync=True)
    synced.clear()
    files.save(7, 3, MEMBERS, CONTENT)
    size = str(only_file(files).stat().st_size)
    assert synced == [[size, ".saving"], ["directory", ".snapshot"]]


def test_a_large_snapshot_is_synced_piece_by_piece(tmp_path: Path, synced: list[list[str]]) -> None:
    files = open_files(tmp_path, sync=True)
    synced.clear()
    files.save(7, 3, MEMBERS, b"x" * (2 * PIECE + 1))
    whole = only_file(files).stat().st_size
    pieces = [str(whole - 1 - PIECE), str(whole - 1), str(whole)]
    assert synced == [*([size, ".saving"] for size in pieces), ["directory", ".snapshot"]]


def test_a_received_snapshot_is_synced_once_when_it_is_whole(tmp_path: Path, synced: list[list[str]]) -> None:
    files, snapshot = open_files(tmp_path, sync=True), snapshot_of(7, 3, CONTENT)
    synced.clear()
    files.receive(snapshot, 0, CONTENT[:5])
    assert synced == []
    files.receive(snapshot, 5, CONTENT[5:])
    size = str(only_file(files).stat().st_size)
    assert synced == [[size, ".part"], ["directory", ".snapshot"]]


def test_what_need_not_survive_a_loss_of_power_waits_for_no_disk(tmp_path: Path, synced: list[list[str]]) -> None:
    files = open_files(tmp_path)
    files.save(7, 3, MEMBERS, CONTENT)
    files.receive(snapshot_of(8, 3, CONTENT), 0, CONTENT)
    assert synced == []


# --- kills ------------------------------------------------------------------------------------------------------------


def test_a_kill_while_saving_leaves_the_snapshot_before_and_nothing_else(files: SnapshotFiles) -> None:
    """A process killed at any byte leaves a beginning under another name; nothing is ever written in place."""
    before = files.save(7, 3, MEMBERS, CONTENT)
    after = files.save(9, 3, MEMBERS, CONTENT * 2)
    path = files._path(after)
    whole = path.read_bytes()
    path.unlink()
    for size in range(len(whole) + 1):
        path.with_name(path.name + ".saving").write_bytes(whole[:size])
        files = open_files(files.directory)
        assert files.latest_sound(7) == before
        assert len(names(files)) == 1


def test_a_part_torn_at_any_byte_costs_at_most_the_transfer(files: SnapshotFiles) -> None:
    """A kill, or a loss of power, leaves any beginning of the file of parts: the leader goes on, or begins anew."""
    snapshot = snapshot_of(7, 3, CONTENT)
    assert files.receive(snapshot, 0, CONTENT[:-1]) is None
    path = only_file(files)
    whole, resumed = path.read_bytes(), set[int]()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        files = open_files(files.directory)
        there = files.received(snapshot)
        assert there == max(0, size - (len(whole) - len(CONTENT) + 1))
        resumed.add(there)
        assert files.receive(snapshot, there, CONTENT[there:]) is True
        assert files.load(snapshot) == CONTENT
        files._path(snapshot).unlink()
    assert resumed == set(range(len(CONTENT)))


def test_a_bit_flipped_in_the_parts_spoils_the_snapshot_and_the_next_transfer_is_whole(files: SnapshotFiles) -> None:
    """Or, in the head, it makes the parts nobody's.  What loads is what was sent, always."""
    snapshot = snapshot_of(7, 3, CONTENT)
    files.receive(snapshot, 0, CONTENT[:-1])
    path = only_file(files)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(flipped(whole, position))
        files = open_files(files.directory)
        there = files.received(snapshot)
        assert there in (0, len(CONTENT) - 1)
        if there:
            assert files.receive(snapshot, there, CONTENT[there:]) is False
        assert names(files) == ([] if there else [path.name])
        assert files.latest() is None
    assert files.receive(snapshot, 0, CONTENT) is True
    assert files.load(snapshot) == CONTENT


def test_a_part_longer_than_its_snapshot_is_not_gone_on_with(files: SnapshotFiles) -> None:
    snapshot = snapshot_of(7, 3, CONTENT)
    files.receive(snapshot, 0, CONTENT[:-1])
    with only_file(files).open("ab") as file:
        file.write(b"more than there should be")
    files = open_files(files.directory)
    assert files.received(snapshot) == 0
    assert files.receive(snapshot, 0, CONTENT) is True


def test_an_earlier_peers_thread_that_is_still_saving_never_publishes_what_another_one_wrote(
    files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads, the applier of a peer that failed may outlive it.  The next peer takes its unfinished file away."""
    later: list[SnapshotFiles] = []
    sync = SnapshotFiles._sync

    def next_peer_begins(saving: SnapshotFiles, file: BinaryIO) -> None:
        monkeypatch.undo()
        sync(saving, file)
        later.append(open_files(files.directory))
        (files.directory / f"{only_name}.{later[0]._token}.saving").write_bytes(b"half")

    only_name = files._path(snapshot_of(7, 3, CONTENT)).name
    monkeypatch.setattr(SnapshotFiles, "_sync", next_peer_begins)
    with pytest.raises(StorageError):
        files.save(7, 3, MEMBERS, CONTENT)
    assert later[0].latest() is None
    assert later[0].latest_sound(0) is None
    snapshot = later[0].save(7, 3, MEMBERS, CONTENT)
    assert later[0].load(snapshot) == CONTENT


@pytest.mark.parametrize("checksum", ["", "../../../../etc/x", "A" * 64, "0" * 63, "0" * 63 + "/"])
def test_a_snapshot_whose_checksum_is_none_is_refused_before_a_file_is_named_after_it(
    files: SnapshotFiles, checksum: str
) -> None:
    snapshot = replace(snapshot_of(7, 3, CONTENT), checksum=checksum)
    assert files.receive(snapshot, 0, CONTENT) is False
    assert names(files) == []


# --- damage -----------------------------------------------------------------------------------------------------------


def flipped(content: bytes, position: int) -> bytes:
    damaged = bytearray(content)
    damaged[position] ^= 1 << position % 8
    return bytes(damaged)


def test_any_flipped_bit_is_damage_where_the_log_begins_behind_the_snapshot(files: SnapshotFiles) -> None:
    snapshot = files.save(7, 3, MEMBERS, CONTENT)
    path = only_file(files)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(flipped(whole, position))
        with pytest.raises(CorruptStorage, match="is damaged"):
            files.latest_sound(7)
        with pytest.raises(CorruptStorage, match="is damaged"):
            files.load(snapshot)
        assert path.read_bytes() == flipped(whole, position), "evidence stays as it is"


def test_a_snapshot_cut_short_or_with_more_behind_it_is_damage(files: SnapshotFiles) -> None:
    snapshot = files.save(7, 3, MEMBERS, CONTENT)
    path = only_file(files)
    whole = path.read_bytes()
    for damaged in (*(whole[:size] for size in range(len(whole))), whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(CorruptStorage):
            files.latest_sound(7)
        with pytest.raises(CorruptStorage):
            files.load(snapshot)


def test_a_damaged_head_is_seen_without_reading_the_content(files: SnapshotFiles) -> None:
    files.save(7, 3, MEMBERS, CONTENT)
    path = only_file(files)
    path.write_bytes(flipped(path.read_bytes(), 20))
    with pytest.raises(CorruptStorage, match="its head fails its checksum"):
        files.latest()


@pytest.mark.parametrize("log_begins_behind", [0, 4, 5, 6, 7, 8, 9])
def test_a_damaged_snapshot_is_passed_over_only_if_the_log_reaches_back_without_it(
    files: SnapshotFiles, caplog: pytest.LogCaptureFixture, log_begins_behind: int
) -> None:
    """The snapshots are of 5, 7 and 9; the newest two are damaged.  With 5 and a log from 6 on, nothing is lost."""
    sound = files.save(5, 2, MEMBERS, b"five")
    damaged = [files._path(files.save(index, 3, MEMBERS, CONTENT)) for index in (7, 9)]
    for path in damaged:
        path.write_bytes(flipped(path.read_bytes(), -1))
    before = names(files)
    if log_begins_behind > 5:
        with pytest.raises(CorruptStorage, match=damaged[1].name) as error:
            files.latest_sound(log_begins_behind)
        assert "never used" in error.value.fix
        assert names(files) == before
        return
    with caplog.at_level(logging.WARNING, "actorum.storage"):
        assert files.latest_sound(log_begins_behind) == sound
    assert all(path.name in caplog.text for path in damaged)
    assert names(files) == sorted([files._path(sound).name, *(f"{path.name}.damaged" for path in damaged)])
    caplog.clear()
    assert files.latest_sound(log_begins_behind) == sound
    assert not caplog.records


def test_with_a_whole_log_even_the_only_snapshot_may_be_damaged(files: SnapshotFiles) -> None:
    files.save(5, 2, MEMBERS, b"five")
    path = only_file(files)
    path.write_bytes(b"")
    assert files.latest_sound(0) is None
    assert names(files) == [f"{path.name}.damaged"]


def test_damage_to_what_is_no_longer_the_newest_harms_nobody(files: SnapshotFiles) -> None:
    files.save(5, 2, MEMBERS, b"five")
    only_file(files).write_bytes(b"")
    newest = files.save(7, 3, MEMBERS, CONTENT)
    assert files.latest_sound(7) == files.latest() == newest


def test_a_snapshot_under_the_name_of_another_one_is_damage(files: SnapshotFiles) -> None:
    older, newer = files.save(5, 2, MEMBERS, b"five"), snapshot_of(7, 3, CONTENT)
    files._path(older).rename(files._path(newer))
    for use in (files.latest, lambda: files.latest_sound(6), lambda: files.load(newer)):
        with pytest.raises(CorruptStorage, match=r"its name|another one"):
            use()


@pytest.mark.parametrize(("cluster_id", "server_id", "named"), [("other", "n1", "'other'"), ("c", "n2", "'n2'")])
def test_snapshots_of_another_cluster_or_server_are_refused(
    files: SnapshotFiles, cluster_id: str, server_id: str, named: str
) -> None:
    snapshot = files.save(7, 3, MEMBERS, CONTENT)
    other = open_files(files.directory, cluster_id, server_id)
    for use in (other.latest, lambda: other.latest_sound(0), lambda: other.load(snapshot)):
        with pytest.raises(WrongCluster, match=named):
            use()
    assert files.load(snapshot) == CONTENT


def test_parts_of_another_server_are_not_gone_on_with(files: SnapshotFiles) -> None:
    snapshot = snapshot_of(7, 3, CONTENT)
    files.receive(snapshot, 0, CONTENT[:5])
    other = open_files(files.directory, server_id="n2")
    with pytest.raises(WrongCluster):
        other.received(snapshot)
    assert other.receive(snapshot, 0, CONTENT) is True


def test_a_snapshot_of_another_format_is_refused_and_never_passed_over(
    files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as future:
        future.setattr(module, "FORMAT", 2)
        files.save(7, 3, MEMBERS, CONTENT)
    for use in (files.latest, lambda: files.latest_sound(0)):
        with pytest.raises(UnknownFormat, match="format version 2; this program reads version 1"):
            use()


@pytest.mark.parametrize("head", [[], [1], ["one", "c", "n1", []], [1, "c", "n1", [7, 3]], 7])
def test_a_head_with_a_sound_checksum_that_makes_no_sense_is_damage(
    files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch, head: object
) -> None:
    with monkeypatch.context() as strange:
        strange.setattr(module, "_encode", lambda _: msgpack.encode(head))
        files.save(7, 3, MEMBERS, CONTENT)
    with pytest.raises(CorruptStorage, match="makes no sense"):
        files.latest()


# --- space, and a disk that refuses -----------------------------------------------------------------------------------


def test_a_snapshot_that_the_disk_has_no_room_for_leaves_nothing(files: SnapshotFiles) -> None:
    before = files.save(7, 3, MEMBERS, CONTENT)
    with files_limited_to(1000), pytest.raises(StorageError) as error:
        files.save(9, 3, MEMBERS, b"x" * 2000)
    assert error.value.code == "DISK-FULL"
    assert names(files) == [files._path(before).name]
    assert open_files(files.directory).latest_sound(7) == before


def test_a_place_where_no_directory_can_be_is_a_failed_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        open_files(tmp_path / "file" / "deeper")


def test_what_is_not_a_snapshot_is_left_alone(files: SnapshotFiles) -> None:
    (files.directory / "notes.txt").write_text("mine")
    kept = files.save(7, 3, MEMBERS, CONTENT)
    files.prune(kept)
    assert open_files(files.directory).latest() == kept
    assert "notes.txt" in names(files)


# --- side by side -----------------------------------------------------------------------------------------------------


def test_saving_receiving_pruning_and_reading_do_not_disturb_each_other(files: SnapshotFiles) -> None:
    """The applier saves, the disk receives and prunes, and somebody sends: each in a thread of its own, as they do."""
    rounds, failures = 150, list[BaseException]()
    newest = [files.save(1, 1, MEMBERS, content_of(1))]

    def save() -> None:
        for index in range(2, rounds):
            newest.append(files.save(index, 1, MEMBERS, content_of(index)))

    def receive_and_prune() -> None:
        for index in range(2, rounds):
            snapshot = snapshot_of(index, 1, content_of(index) + b"!")
            for offset in range(0, snapshot.size, 100):
                data = (content_of(index) + b"!")[offset : offset + 100]
                assert files.receive(snapshot, offset, data) is (True if offset + 100 >= snapshot.size else None)
            latest = files.latest()
            assert latest is not None and latest.last_included_index >= index
            files.prune(latest)

    def read() -> None:
        while len(newest) < rounds - 1 and not failures:
            wanted = newest[-1]
            with contextlib.suppress(SnapshotGone):
                check_read(wanted)

    def check_read(snapshot: Snapshot) -> None:
        content = content_of(snapshot.last_included_index)
        assert files.read(snapshot, 10, 20) == content[10:30]
        assert files.load(snapshot) == content

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as failure:
            failures.append(failure)

    threads = [Thread(target=guarded, args=(work,)) for work in (save, receive_and_prune, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    latest = files.latest_sound(rounds - 1)
    assert latest is not None and latest.last_included_index == rounds - 1
    assert not [name for name in names(files) if not name.endswith(".snapshot")]


def content_of(index: int) -> bytes:
    return b"%d " % index * 100
