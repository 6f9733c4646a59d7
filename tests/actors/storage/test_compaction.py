"""Compacted logs on disk: space is given back, old files are understood, and where a log begins is never guessed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from actors.storage.conformance import PIECES, after, append, entries_of
from actors.storage.journal import JournalStorage
from actors.storage.port import CorruptStorage, StorageError, Stored
from actors.storage.sqlite import SqliteStorage
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote
from raft_core.log import Log
from raft_core.types import Entry

OLD = Path(__file__).parent / "data" / "version-1.sqlite3"
"""Made by the program whose format was 1: a term, a vote and four blocks."""
OLD_ENTRIES = (*entries_of(1, 3), Entry(2, b"x" * 9000), *entries_of(4, 2), *entries_of(4, 1))

MIB = 1 << 20

OpenStorage: TypeAlias = Callable[[Path], SqliteStorage | JournalStorage]


def open_database(path: Path) -> SqliteStorage:
    return SqliteStorage(path, cluster_id="c", server_id="n1", synchronous="off")


def open_journal(path: Path) -> JournalStorage:
    return JournalStorage(path, cluster_id="c", server_id="n1")


def loaded(storage: SqliteStorage | JournalStorage) -> Stored:
    with closing(storage):
        return storage.load()


def alter(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def value_in(path: Path, question: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


# --- space ------------------------------------------------------------------------------------------------------------


def cycle(storage: SqliteStorage | JournalStorage, number: int, command: bytes) -> None:
    """Append ten entries, in two writes, and keep the last fifteen."""
    end = number * 10
    storage.write([append(end, tuple(Entry(1, command) for _ in range(7)))])
    storage.write([append(end + 7, tuple(Entry(1, command) for _ in range(3)))])
    storage.write([CompactLog(max(0, end - 5), 1 if end > 5 else 0)])


def sizes_of(storage: SqliteStorage | JournalStorage, cycles: int, command: bytes) -> list[int]:
    """What all files of `storage` take together after each cycle."""
    sizes = []
    for number in range(cycles):
        cycle(storage, number, command)
        sizes.append(sum(file.stat().st_size for file in storage.path.parent.iterdir()))
    return sizes


def test_a_database_that_is_compacted_stays_small_for_two_hundred_cycles(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "log.db")) as storage:
        sizes = sizes_of(storage, 200, b"x" * 50_000)
        assert max(sizes[10:]) < 8 * MIB, "fifteen entries are 0.75 MB, and a write-ahead log may take 4 MB"
        assert max(sizes[100:]) <= max(sizes[:100]), "it must not creep"
        assert len(storage.load().entries) == 15


def test_a_journal_that_is_compacted_stays_small_for_two_hundred_cycles(tmp_path: Path) -> None:
    with closing(open_journal(tmp_path / "log")) as storage:
        sizes = sizes_of(storage, 200, b"x" * 50_000)
        assert max(sizes) < 3 * MIB, "fifteen entries are 0.75 MB, and a megabyte of dead ones is let lie"
        assert len(storage.load().entries) == 15


def test_rewriting_a_journal_costs_less_than_appending_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while what lives grows and shrinks: the new files together are smaller than what was appended."""
    rewritten = []

    class Watched(JournalStorage):
        def _replace_by(self, payloads: object) -> None:
            super()._replace_by(payloads)  # type: ignore[arg-type]
            rewritten.append(self.path.stat().st_size)

    appended = end = begin = 0
    with closing(Watched(tmp_path / "log", cluster_id="c", server_id="n1")) as storage:
        for number in range(400):
            storage.write([append(end, (Entry(1, b"x" * 20_000),) * 5)])
            end, appended = end + 5, appended + 100_000
            begin = max(begin, end - (400 if number % 100 < 60 else 3))
            storage.write([CompactLog(begin, 1 if begin else 0)])
    assert len(rewritten) > 5
    assert sum(rewritten) < appended


def test_a_database_gives_back_what_a_snapshot_replaces(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "log.db")) as storage:
        for round_ in range(20):
            storage.write([append(round_ * 100, tuple(Entry(1, b"x" * 100_000) for _ in range(10)))])
            storage.write([CompactLog((round_ + 1) * 100, 1, discards_all=True)])
            assert (tmp_path / "log.db").stat().st_size < 2 * MIB
        assert storage.load() == Stored(last_included_index=2000, last_included_term=1)


# --- kills ------------------------------------------------------------------------------------------------------------


def test_a_journal_killed_while_it_is_written_anew_is_the_old_one_and_later_the_new_one(tmp_path: Path) -> None:
    """The new one gets its name only when it is whole: what a kill left of it is in nobody's way."""
    writes: list[list[PersistEffect]] = [[PersistTermAndVote(3, "n2"), append(0, (Entry(1, b"x" * MIB),) * 3)]]
    with closing(open_journal(tmp_path / "old" / "log")) as storage:
        storage.write(writes[0])
        shutil.copytree(tmp_path / "old", tmp_path / "killed")
        storage.write([CompactLog(2, 1)])
        expected = storage.load()
    new = (tmp_path / "old" / "log").read_bytes()
    assert len(new) < 2 * MIB
    for size in (0, 1, 13, len(new) // 2, len(new)):
        (tmp_path / "killed" / "log.new").write_bytes(new[:size])
        assert loaded(open_journal(tmp_path / "killed" / "log")) == after(Stored(), writes[0])
    with closing(open_journal(tmp_path / "killed" / "log")) as storage:
        storage.write([CompactLog(2, 1)])
        assert storage.load() == expected
    assert (tmp_path / "killed" / "log").read_bytes() == new
    assert sorted(os.listdir(tmp_path / "killed")) == ["log", "log.lock"]


def test_a_journal_written_anew_goes_on_where_it_was(tmp_path: Path) -> None:
    with closing(open_journal(tmp_path / "log")) as storage:
        expected = Stored()
        big = tuple(Entry(1, b"x" * 1000) for _ in range(5000))
        writes: list[PersistEffect] = [
            PersistTermAndVote(3, "n2"),
            append(0, big),
            CompactLog(300, 1),
            append(4990, entries_of(4, 2)),
            CompactLog(4900, 1),
            PersistTermAndVote(5, None),
            append(4992, entries_of(5, 1)),
        ]
        for change in writes:
            storage.write([change])
            expected = after(expected, [change])
            assert storage.load() == expected
        assert storage.path.stat().st_size < MIB
    assert loaded(open_journal(tmp_path / "log")) == expected


# --- goraft's defect 4 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_storage", [open_database, open_journal])
def test_compaction_offsets(tmp_path: Path, open_storage: OpenStorage) -> None:
    """After a compaction, a truncation left five entries on disk and three in memory: for each pair of a compaction
    and a truncation, the disk holds what the core's log holds."""
    entries = tuple(Entry(term, b"%d" % term) for term in range(1, 11))
    for base in range(11):
        for cut in range(base, 11):
            log = Log(entries[base:], last_included_index=base, last_included_term=base).truncate(cut)
            with closing(open_storage(tmp_path / f"{base}-{cut}")) as storage:
                storage.write([AppendToLog(0, entries[:6], 6)])
                storage.write([AppendToLog(6, entries[6:], 10)])
                storage.write([CompactLog(base, base)])
                storage.write([AppendToLog(cut, (), 10)])
            with closing(open_storage(tmp_path / f"{base}-{cut}")) as storage:
                stored = storage.load()
                assert (stored.last_included_index, stored.last_included_term) == (base, base)
                assert stored.entries == tuple(log)
                assert stored.last_index == log.last_index
                storage.write([AppendToLog(cut, (Entry(11),), 11)])
                assert storage.load().entries == tuple(log.append([Entry(11)]))


# --- old files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copy(OLD, tmp_path / "log.db"))


def test_a_database_of_format_1_opens_as_a_log_that_was_never_compacted(old: Path) -> None:
    assert value_in(old, "SELECT format FROM meta") == 1
    expected = Stored(4, None, OLD_ENTRIES)
    for _ in range(2):
        assert loaded(open_database(old)) == expected
    assert value_in(old, "SELECT format FROM meta") == 2
    with closing(open_database(old)) as storage:
        storage.write([CompactLog(5, 4), append(7, entries_of(5, 1))])
    assert loaded(open_database(old)) == Stored(4, None, (*OLD_ENTRIES[5:], *entries_of(5, 1)), 5, 4)


def test_a_database_of_format_1_whose_upgrade_was_killed_is_upgraded_by_the_next(old: Path) -> None:
    """One transaction: what a kill leaves in the write-ahead log is all of it or nothing."""
    with closing(open_database(old)):
        files = {name: (old.parent / name).read_bytes() for name in os.listdir(old.parent)}
    wal = files["log.db-wal"]
    for size in [*range(0, len(wal), 1000), len(wal)]:
        for leftover in old.parent.iterdir():
            leftover.unlink()
        (old.parent / "log.db").write_bytes(files["log.db"])
        (old.parent / "log.db-wal").write_bytes(wal[:size])
        assert loaded(open_database(old)) == Stored(4, None, OLD_ENTRIES)


def test_a_damaged_database_of_format_1_is_not_upgraded(old: Path) -> None:
    alter(old, "UPDATE meta SET server_id = 'n2'")
    content = old.read_bytes()
    with pytest.raises(CorruptStorage, match="whose data it is fails its checksum"):
        open_database(old)
    assert old.read_bytes() == content


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("UPDATE base SET last_included_index = 4", "where the log begins fails its checksum"),
        ("UPDATE base SET last_included_term = 4", "where the log begins fails its checksum"),
        ("UPDATE base SET last_included_index = 'x'", "where the log begins is unreadable"),
        ("DELETE FROM base", "where the log begins is unreadable"),
        ("DROP TABLE base", "no such table: base"),
        ("DELETE FROM blocks WHERE first_index = 5", "entries 6 to 7 are missing"),
        ("INSERT INTO blocks SELECT 4, last_index, crc, entries FROM blocks WHERE first_index = 5", "4 to 7 fails"),
    ],
)
def test_damage_to_where_a_log_begins_is_named(tmp_path: Path, statement: str, damage: str) -> None:
    with closing(open_database(tmp_path / "log.db")) as storage:
        storage.write([change for write in PIECES for change in write])
        storage.write([append(7, entries_of(4, 2)), CompactLog(5, 3)])
    assert value_in(tmp_path / "log.db", "SELECT count(*) FROM blocks") == 2
    alter(tmp_path / "log.db", statement)
    with pytest.raises(CorruptStorage, match=re.escape(damage)):
        loaded(open_database(tmp_path / "log.db"))


def test_a_compaction_that_the_disk_refuses_ends_the_storage(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "log.db")) as storage:
        storage.write([append(0, entries_of(1, 4))])
        storage._usable().execute("DROP TABLE base")
        with pytest.raises(StorageError) as first:
            storage.write([CompactLog(3, 1)])
        with pytest.raises(StorageError) as second:
            storage.write([append(4, entries_of(1, 1))])
        assert second.value is first.value
