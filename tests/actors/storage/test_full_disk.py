"""A disk without room: a write is refused as a whole, by the real code of each storage, and made when there is room.

Three kinds of refusal, for what a kernel may say differs: a device that takes nothing (ENOSPC), a file that may not
grow (EFBIG, after a part was taken), and a small file system (ENOSPC, after a part was taken) - the last where it may
be mounted; elsewhere that test runs with a file that may not grow.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from msgspec.structs import replace

from actors.storage import damage
from actors.storage.conformance import after, append, entries_of
from actors.storage.disk import Arrival, Disk
from actors.storage.files import sync
from actors.storage.journal import JournalStorage
from actors.storage.port import DiskFull, Storage, StorageError, Stored
from actors.storage.room import is_for_want_of_room
from actors.storage.snapshots import SnapshotFiles
from actors.storage.snapshots_conformance import MEMBERS, snapshot_of
from actors.storage.sqlite import SqliteStorage
from raft_core.effects import CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry
from tests.actors.storage.faults import broken, files_limited_to, full, small_disk, unsyncable, written_file

OpenStorage: TypeAlias = Callable[[Path], Storage]
Room: TypeAlias = Callable[[], None]


def sqlite_full(directory: Path) -> Storage:
    return SqliteStorage(directory / "log.db", cluster_id="c", server_id="n1")


def sqlite_off(directory: Path) -> Storage:
    return SqliteStorage(directory / "log.db", cluster_id="c", server_id="n1", synchronous="off")


def journal(directory: Path) -> Storage:
    return JournalStorage(directory / "log", cluster_id="c", server_id="n1")


def file_of(storage: Storage) -> Path:
    assert isinstance(storage, SqliteStorage | JournalStorage)
    return written_file(storage.path)


STORAGES = pytest.mark.parametrize("open_storage", [sqlite_full, sqlite_off, journal])
FIRST: list[PersistEffect] = [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 3))]
VOTE: list[PersistEffect] = [PersistTermAndVote(2, "n2")]
ONE_BLOCK: list[PersistEffect] = [append(3, (Entry(2, b"x" * 50_000),))]
MANY: list[PersistEffect] = [PersistTermAndVote(2, None), append(2, entries_of(2, 2)), append(4, (Entry(2, b"y"),))]


@STORAGES
@pytest.mark.parametrize("changes", [VOTE, ONE_BLOCK, MANY], ids=["vote", "block", "many"])
def test_what_a_full_disk_refuses_is_not_there_and_is_written_when_there_is_room(
    tmp_path: Path, open_storage: OpenStorage, changes: list[PersistEffect]
) -> None:
    with closing(open_storage(tmp_path)) as storage:
        storage.write(FIRST)
        with full(file_of(storage)):
            for _ in range(3):
                with pytest.raises(DiskFull):
                    storage.write(changes)
        assert storage.load() == after(Stored(), FIRST)
        storage.write(changes)
        assert storage.load() == after(after(Stored(), FIRST), changes)
    with closing(open_storage(tmp_path)) as storage:
        assert storage.load() == after(after(Stored(), FIRST), changes)


SIZE = 600_000


@contextmanager
def cramped(directory: Path, room: int) -> Iterator[Room]:
    """A disk of `SIZE` bytes that has only `room` to give, until the given function is called."""
    directory.mkdir()
    with ExitStack() as stack, small_disk(directory, SIZE) as is_mounted:
        if is_mounted:
            filler = directory / "filler"
            filler.write_bytes(bytes(SIZE - room))
            yield filler.unlink
        else:
            stack.enter_context(files_limited_to(room))
            yield stack.close


@STORAGES
def test_a_small_disk_that_fills_up_at_any_byte_keeps_what_was_acknowledged_and_goes_on(
    tmp_path: Path, open_storage: OpenStorage
) -> None:
    for room in range(100_000, 164_000, 9_001):
        directory = tmp_path / str(room)
        with cramped(directory, room) as make_room:
            check_that_it_fills_up_and_goes_on(directory, open_storage, make_room)


def check_that_it_fills_up_and_goes_on(directory: Path, open_storage: OpenStorage, make_room: Room) -> None:
    expected, number = Stored(), 0
    with closing(open_storage(directory)) as storage:
        with pytest.raises(DiskFull):
            while True:
                changes = next_changes(expected, number := number + 1)
                storage.write(changes)
                expected = after(expected, changes)
        assert number > 3, "it was full from the beginning"
        with pytest.raises(DiskFull):
            storage.write(changes)
        killed = directory.with_name(directory.name + "-killed")
        shutil.copytree(directory, killed)  # what a kill would leave here
        make_room()
        storage.write(changes)
        expected_then = after(expected, changes)
        for later in range(number + 1, number + 4):
            changes = next_changes(expected_then, later)
            storage.write(changes)
            expected_then = after(expected_then, changes)
        assert storage.load() == expected_then
    with closing(open_storage(directory)) as storage:
        assert storage.load() == expected_then
    with closing(open_storage(killed)) as storage:
        assert storage.load() == expected


def next_changes(stored: Stored, number: int) -> list[PersistEffect]:
    """A vote and a block of entries, of some pages or a part of one."""
    entries = (Entry(number, bytes([number]) * (number * 5_003 % 20_000)),)
    return [PersistTermAndVote(number, f"n{number % 3}"), append(len(stored.entries), entries)]


@pytest.mark.parametrize("open_storage", [sqlite_full, sqlite_off])
def test_a_checkpoint_without_room_is_put_off_and_the_write_before_it_stays(
    tmp_path: Path, open_storage: OpenStorage
) -> None:
    with closing(open_storage(tmp_path)) as storage:
        assert isinstance(storage, SqliteStorage)
        write_mebibytes(storage, range(13))
        size = storage.path.stat().st_size
        assert file_of(storage).stat().st_size < 8 << 20 < size, "the database was to be the longer one by far"
        with files_limited_to(size):
            write_mebibytes(storage, range(13, 18))
        assert storage.path.stat().st_size == size
        write_mebibytes(storage, range(18, 23))
        assert storage.path.stat().st_size > size + (4 << 20), "it was to be made up for"
    with closing(open_storage(tmp_path)) as storage:
        assert storage.load().entries == tuple(mebibyte(number) for number in range(23))


def mebibyte(number: int) -> Entry:
    return Entry(1, bytes([number]) * (1 << 20))


def write_mebibytes(storage: Storage, numbers: range) -> None:
    for number in numbers:
        storage.write([append(number, (mebibyte(number),))])


# --- what is not a refusal --------------------------------------------------------------------------------------------


def test_a_failed_fsync_is_final_although_the_next_one_succeeds(tmp_path: Path) -> None:
    with closing(sqlite_full(tmp_path)) as storage:
        storage.write(FIRST)
        with unsyncable(file_of(storage)), pytest.raises(StorageError, match="IOERR_FSYNC") as first:
            storage.write(VOTE)
        assert not isinstance(first.value, DiskFull)
        with pytest.raises(StorageError) as second:
            storage.write(VOTE)
        assert second.value is first.value
    with closing(sqlite_full(tmp_path)) as storage:
        assert storage.load() == after(Stored(), FIRST)


@STORAGES
def test_a_write_that_fails_for_another_reason_is_final(tmp_path: Path, open_storage: OpenStorage) -> None:
    with closing(open_storage(tmp_path)) as storage:
        storage.write(FIRST)
        with broken(file_of(storage)), pytest.raises(StorageError) as first:
            storage.write(VOTE)
        assert not isinstance(first.value, DiskFull)
        with pytest.raises(StorageError) as second:
            storage.write(VOTE)
        assert second.value is first.value
    assert not list(tmp_path.glob("*.room"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_an_fsync_that_fails_for_want_of_room_has_failed_like_any_other(number: int, tmp_path: Path) -> None:
    """Some file systems look for room only then; what the kernel keeps of the write afterwards, nobody knows."""
    refusal = OSError(number, os.strerror(number))
    assert isinstance(damage.translated(tmp_path / "log", refusal), DiskFull)
    failed = OSError(f"fsync failed: {refusal}")  # as `sync` has it, see below
    assert not isinstance(damage.translated(tmp_path / "log", failed), DiskFull)


def test_the_error_of_an_fsync_is_not_taken_for_one_of_a_write() -> None:
    ends = os.pipe()
    with pytest.raises(OSError, match="fsync failed") as failed:
        sync(ends[1])
    for end in ends:
        os.close(end)
    assert failed.value.errno is None
    assert isinstance(failed.value.__cause__, OSError)


def test_a_snapshot_whose_fsync_fails_is_removed_and_the_failure_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: what is left of it might be taken for durable by the next peer."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    files, snapshot = files_in(tmp_path), snapshot_of(5, 1, CONTENT)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError) as own:
        files.save(5, 1, MEMBERS, CONTENT)
    with pytest.raises(StorageError) as received:
        files.receive(snapshot, 0, CONTENT)
    assert not isinstance(own.value, DiskFull)
    assert not isinstance(received.value, DiskFull)
    assert os.listdir(files.directory) == []


def test_a_snapshot_whose_name_cannot_be_synced_loses_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, fsync = files_in(tmp_path), os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "the disk is broken")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_files)
    with pytest.raises(StorageError):
        files.save(5, 1, MEMBERS, CONTENT)
    assert os.listdir(files.directory) == []


def test_sqlites_word_for_any_failed_write_is_a_refusal_only_if_there_is_no_room(tmp_path: Path) -> None:
    """Over quota, it says the same as when the disk is broken."""
    with closing(sqlite_full(tmp_path)) as storage:
        storage.write(FIRST)
        with broken(file_of(storage)), pytest.raises(StorageError) as failed:
            storage.write(VOTE)
    cause = failed.value.__cause__
    assert isinstance(cause, sqlite3.OperationalError)
    assert cause.sqlite_errorcode == sqlite3.SQLITE_IOERR_WRITE
    with files_limited_to(1000):
        assert is_for_want_of_room(tmp_path / "log.db", cause)
    assert not is_for_want_of_room(tmp_path / "log.db", cause)
    assert not list(tmp_path.glob("*.room"))


# --- snapshots --------------------------------------------------------------------------------------------------------

CONTENT = b"s" * 300_000


def files_in(directory: Path, synchronous: bool = True) -> SnapshotFiles:
    return SnapshotFiles(directory / "snapshots", cluster_id="c", server_id="n1", synchronous=synchronous)


def test_a_snapshot_of_our_own_without_room_leaves_nothing_and_the_next_one_is_taken(tmp_path: Path) -> None:
    with cramped(tmp_path / "disk", 100_000) as make_room:
        files = files_in(tmp_path / "disk")
        with pytest.raises(DiskFull):
            files.save(5, 1, MEMBERS, CONTENT)
        assert os.listdir(files.directory) == []
        make_room()
        assert files.load(files.save(5, 1, MEMBERS, CONTENT)) == CONTENT


def test_a_leaders_snapshot_without_room_is_given_up_and_arrives_when_there_is_room(tmp_path: Path) -> None:
    snapshot = snapshot_of(5, 1, CONTENT)
    with cramped(tmp_path / "disk", 100_000) as make_room:
        files = files_in(tmp_path / "disk")
        parts = range(0, len(CONTENT), 50_000)
        assert False in [files.receive(snapshot, offset, CONTENT[offset:][:50_000]) for offset in parts]
        assert os.listdir(files.directory) == []
        assert files.received(snapshot) == 0
        make_room()
        assert files.receive(snapshot, 0, CONTENT) is True
        assert files.load(snapshot) == CONTENT


def test_a_snapshot_larger_than_the_disk_is_refused_before_a_byte_of_it_is_written(tmp_path: Path) -> None:
    """Else a leader sends most of it again and again."""
    files = files_in(tmp_path)
    disk = os.statvfs(tmp_path)
    huge = replace(snapshot_of(5, 1, CONTENT), size=disk.f_bavail * disk.f_frsize + (1 << 30))
    assert files.receive(huge, 0, CONTENT) is False
    assert os.listdir(files.directory) == []


# --- log and snapshots as one stream ----------------------------------------------------------------------------------


def test_what_stood_before_a_refusal_is_not_done_again_and_what_stands_behind_it_is_not_done_before(
    tmp_path: Path,
) -> None:
    storage, state = journal(tmp_path), b"state"
    disk, snapshot = Disk(storage, files_in(tmp_path, synchronous=False)), snapshot_of(9, 2, state)
    disk.write(FIRST)
    with full(file_of(storage)):
        with pytest.raises(DiskFull):
            disk.write(
                [ReceiveSnapshotChunk(snapshot, 0, state[:2]), *VOTE, ReceiveSnapshotChunk(snapshot, 2, state[2:])]
            )
        disk.put_behind([CompactLog(9, 2, discards_all=True), append(9, entries_of(2, 1))])
        for _ in range(3):
            with pytest.raises(DiskFull):
                disk.go_on()
        assert disk.snapshots.received(snapshot) == 2
    assert disk.go_on() == (Arrival(snapshot, True),)
    assert disk.go_on() == ()
    assert disk.load().stored == Stored(2, "n2", entries_of(2, 1), 9, 2)
    disk.close()


def test_a_refusal_is_not_an_end_but_another_failure_is(tmp_path: Path) -> None:
    storage = journal(tmp_path)
    disk = Disk(storage, files_in(tmp_path))
    with pytest.raises(StorageError):
        disk.write([append(7, entries_of(1, 1))])  # a gap
    disk.write(FIRST)
    assert disk.load().stored == after(Stored(), FIRST)
    disk.close()
