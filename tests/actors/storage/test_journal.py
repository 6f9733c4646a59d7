"""The journal: SIGKILL loses nothing that `write` returned from; half a record is cut off, damage is not."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import IO

import pytest

from actors.storage.conformance import after, append, entries_of
from actors.storage.journal import JournalStorage
from actors.storage.port import CorruptStorage, DiskFull, StorageError, StorageInUse, Stored, WrongCluster
from raft_core.effects import CompactLog, PersistEffect, PersistTermAndVote
from raft_core.types import Entry
from tests.actors.storage.faults import files_limited_to

WRITER = """
import os, sys
from test_journal import changes_of, open_storage
storage = open_storage(sys.argv[1])
stored = storage.load()
number, last_index = stored.current_term, len(stored.entries)
while True:
    number += 1
    changes = changes_of(number, last_index)
    storage.write(changes)
    last_index = changes[-1].prev_log_index + len(changes[-1].entries)
    os.write(1, b"%d\\n" % number)
"""

WRITES: list[list[PersistEffect]] = [
    [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 3))],
    [append(2, entries_of(2, 2))],
    [PersistTermAndVote(2, None)],
]
KEPT = after(Stored(), [change for changes in WRITES for change in changes])


def changes_of(number: int, last_index: int) -> list[PersistEffect]:
    """The write with this number, the same in parent and child: a vote, sometimes a cut, and one to seven entries, of
    which one is large now and then."""
    size = 300_000 if number % 10 == 0 else number % 50
    entries = (Entry(number, b"x" * size), *entries_of(number, number % 7))
    return [PersistTermAndVote(number, f"n{number % 3}"), append(max(0, last_index - number % 4), entries)]


def histories(stored: Stored) -> Iterator[Stored]:
    """What is stored after each write that follows `stored`."""
    while True:
        stored = after(stored, changes_of(stored.current_term + 1, len(stored.entries)))
        yield stored


def open_storage(path: str | Path, cluster_id: str = "c", server_id: str = "n1") -> JournalStorage:
    return JournalStorage(path, cluster_id=cluster_id, server_id=server_id)


def loaded(path: Path) -> Stored:
    storage = open_storage(path)
    try:
        return storage.load()
    finally:
        storage.close()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of four records: whose it is, and `WRITES`."""
    storage = open_storage(tmp_path / "journal")
    for changes in WRITES:
        storage.write(changes)
    storage.close()
    return tmp_path / "journal"


def records_of(journal: Path) -> list[int]:
    """Offsets at which the records begin, and that of the end."""
    content, offsets = journal.read_bytes(), [0]
    while offsets[-1] < len(content):
        (length,) = struct.unpack_from("<I", content, offsets[-1])
        offsets.append(offsets[-1] + 12 + length)
    return offsets


# --- killed processes -------------------------------------------------------------------------------------------------


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    environment = {"PYTHONPATH": f"{here}:{':'.join(sys.path)}"}
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment)


def output_of(writer: subprocess.Popen[bytes]) -> IO[bytes]:
    assert writer.stdout is not None
    return writer.stdout


def kill(writer: subprocess.Popen[bytes]) -> list[bytes]:
    """Kill it, and return what it had said and nobody had read."""
    writer.send_signal(signal.SIGKILL)
    unread = output_of(writer).read().splitlines(keepends=True)
    output_of(writer).close()
    writer.wait()
    return [line for line in unread if line.endswith(b"\n")]


def test_what_a_killed_process_reported_is_there_after_each_of_twelve_kills_at_random_moments(tmp_path: Path) -> None:
    path, expected, randomness = tmp_path / "journal", Stored(), Random(8)
    for _ in range(12):
        writer = start_writer(path)
        reported = [output_of(writer).readline()]
        until = monotonic() + randomness.uniform(0, 0.03)
        while monotonic() < until:
            reported.append(output_of(writer).readline())
        reported += kill(writer)
        stored = loaded(path)
        assert int(reported[-1]) <= stored.current_term <= int(reported[-1]) + 1
        expected = next(state for state in histories(expected) if state.current_term == stored.current_term)
        assert stored == expected


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    writer = start_writer(tmp_path / "journal")
    output_of(writer).readline()
    with pytest.raises(StorageInUse, match=f"process {writer.pid}"):
        open_storage(tmp_path / "journal")
    kill(writer)
    open_storage(tmp_path / "journal").close()


def test_the_same_process_is_refused_too_until_it_closes_the_first(tmp_path: Path) -> None:
    first = open_storage(tmp_path / "journal")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(StorageInUse):
        open_storage(tmp_path / "journal")
    assert len(os.listdir("/dev/fd")) == descriptors
    first.close()
    open_storage(tmp_path / "journal").close()


def test_a_process_killed_while_it_creates_the_file_leaves_no_half_made_one(tmp_path: Path) -> None:
    (tmp_path / "journal.new").write_bytes(b"half a record")
    assert loaded(tmp_path / "journal") == Stored()
    assert sorted(os.listdir(tmp_path)) == ["journal", "journal.lock"]


# --- the end of the file ----------------------------------------------------------------------------------------------


def test_a_record_cut_anywhere_is_as_if_it_was_never_written_and_the_next_one_takes_its_place(journal: Path) -> None:
    content, begin = journal.read_bytes(), records_of(journal)[-2]
    kept = after(Stored(), [change for changes in WRITES[:-1] for change in changes])
    for size in range(begin, len(content)):
        journal.write_bytes(content[:size])
        assert loaded(journal) == kept
        assert journal.stat().st_size == begin
    journal.write_bytes(content[:-1])
    storage = open_storage(journal)
    storage.write(WRITES[-1])  # without `load`: whoever writes first cuts off what is half there
    storage.close()
    assert journal.read_bytes() == content
    assert loaded(journal) == KEPT


def test_what_comes_after_a_record_that_was_not_taken_whole_is_refused(journal: Path) -> None:
    storage = open_storage(journal)
    assert storage.load() == KEPT
    content = journal.read_bytes()
    with files_limited_to(len(content) + 20):
        for _ in range(2):
            with pytest.raises(DiskFull) as refused:
                storage.write([append(4, entries_of(2, 9))])
            assert isinstance(refused.value.__cause__, OSError)
            assert refused.value.__cause__.errno == errno.ENOSPC, "the limit was to leave room for a part of the record"
            assert journal.read_bytes() == content
    storage.close()
    assert loaded(journal) == KEPT


def test_a_part_that_cannot_be_cut_off_at_once_is_cut_off_before_the_next_record(journal: Path) -> None:
    """A file system that copies on write may need room to make a file shorter."""
    storage = open_storage(journal)
    assert storage.load() == KEPT
    content, part = journal.read_bytes(), b"a part of a record"
    with journal.open("ab") as file:
        file.write(part)
    storage._has_part = True  # as `_append` leaves it if the truncation fails
    storage.write([append(4, entries_of(2, 1))])
    assert part not in journal.read_bytes()
    storage.close()
    assert loaded(journal) == after(KEPT, [append(4, entries_of(2, 1))])
    assert journal.read_bytes().startswith(content)


def test_a_journal_that_there_is_no_room_to_write_anew_is_written_anew_at_a_later_compaction(journal: Path) -> None:
    """What it would be written to first, under another name, takes nothing."""
    storage = open_storage(journal)
    storage.load()
    storage.write([append(4, (Entry(2, b"x" * (3 << 20)),))])
    unfinished = journal.with_name("journal.new")
    unfinished.symlink_to("/dev/full")
    storage.write([CompactLog(5, 2)])
    assert journal.stat().st_size > 3 << 20, "it was to be put off"
    assert not unfinished.is_symlink()
    storage.write([append(5, (Entry(2, b"a"),)), CompactLog(6, 2)])
    assert journal.stat().st_size < 1000
    expected = storage.load()
    storage.close()
    assert loaded(journal) == expected


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_in_whole_records_is_damage_and_nothing_is_changed(journal: Path) -> None:
    content = journal.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            journal.write_bytes(damaged)
            with pytest.raises(CorruptStorage):
                loaded(journal)
            assert journal.read_bytes() == damaged


def test_damage_is_told_from_a_killed_process_even_before_half_a_record(journal: Path) -> None:
    content = bytearray(journal.read_bytes()[:-1])
    content[records_of(journal)[1] + 2] ^= 0xFF  # the length of a record in the middle: the end seems to be far away
    journal.write_bytes(content)
    with pytest.raises(CorruptStorage, match="the head of the record at byte"):
        loaded(journal)


def test_a_record_that_is_missing_in_the_middle_is_damage(journal: Path) -> None:
    content, offsets = journal.read_bytes(), records_of(journal)
    journal.write_bytes(content[: offsets[1]] + content[offsets[2] :])
    with pytest.raises(CorruptStorage, match="makes no sense"):
        loaded(journal)


@pytest.mark.parametrize("size", [0, 5, 14])
def test_a_file_that_does_not_say_whose_it_is_is_damaged_not_new(journal: Path, size: int) -> None:
    os.truncate(journal, size)
    with pytest.raises(CorruptStorage, match="whose data"):
        open_storage(journal)


@pytest.mark.parametrize("cluster_id, server_id", [("other", "n1"), ("c", "n2")])
def test_the_journal_of_another_cluster_or_server_is_refused_and_kept(
    journal: Path, cluster_id: str, server_id: str
) -> None:
    content = journal.read_bytes()
    with pytest.raises(WrongCluster):
        open_storage(journal, cluster_id, server_id)
    assert journal.read_bytes() == content
    assert loaded(journal) == KEPT


def test_a_closed_journal_is_not_written_to(journal: Path) -> None:
    storage = open_storage(journal)
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="is closed"):
        storage.write(WRITES[-1])


def test_a_place_where_no_file_can_be_is_a_failed_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as failed:
        open_storage(tmp_path / "file" / "deeper" / "journal")
    assert failed.value.code == "STORAGE-FAILED"
