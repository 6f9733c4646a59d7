"""Damage is never repaired in silence: whatever became of the bytes, `load` returns what was written or it fails."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.storage.conformance import after, append, entries_of
from actors.storage.port import (
    CorruptStorage,
    StorageError,
    StorageInUse,
    Stored,
    UnknownFormat,
    WrongCluster,
)
from actors.storage.sqlite import SqliteStorage
from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote
from raft_core.types import Entry

HISTORY: list[list[PersistEffect]] = [
    [PersistTermAndVote(3, "n2"), append(0, entries_of(1, 3))],
    [append(3, (Entry(2, b"x" * 9000),))],
    [PersistTermAndVote(4, None), append(4, entries_of(4, 2))],
    [append(6, entries_of(4, 1))],
]

FRAME = 24 + 4096
"""Bytes of one frame of the write-ahead log: its header and a page."""


def open_storage(path: Path, cluster_id: str = "c", server_id: str = "n1") -> SqliteStorage:
    return SqliteStorage(path, cluster_id=cluster_id, server_id=server_id, synchronous="off")


def load(path: Path) -> Stored:
    storage = open_storage(path)
    try:
        return storage.load()
    finally:
        storage.close()


def expected_after(writes: int) -> Stored:
    stored = Stored()
    for changes in HISTORY[:writes]:
        stored = after(stored, changes)
    return stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that was closed in order: nothing but the one file, and its lock."""
    storage = open_storage(tmp_path / "log.db")
    for changes in HISTORY:
        storage.write(changes)
    storage.close()
    return tmp_path / "log.db"


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """What a kill leaves behind: the database as it was opened and everything since in the write-ahead log."""
    storage = open_storage(tmp_path / "running" / "log.db")
    for changes in HISTORY:
        storage.write(changes)
    shutil.copytree(tmp_path / "running", tmp_path / "crashed")
    storage.close()
    return tmp_path / "crashed" / "log.db"


def alter(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def flip(path: Path, position: int, mask: int = 0x01) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(content)


def test_the_fixtures_are_what_they_seem(path: Path, crashed: Path) -> None:
    assert not path.with_name("log.db-wal").exists()
    assert crashed.with_name("log.db-wal").stat().st_size > 0
    assert load(path) == load(crashed) == expected_after(4)


@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("UPDATE blocks SET entries = CAST(entries || x'00' AS BLOB) WHERE first_index = 4", "entries 4 to 4 fails"),
        ("UPDATE blocks SET crc = crc + 1 WHERE first_index = 1", "entries 1 to 3 fails its checksum"),
        ("UPDATE blocks SET last_index = 2 WHERE first_index = 1", "entries 1 to 2 fails its checksum"),
        ("UPDATE blocks SET entries = 'text' WHERE first_index = 1", "unreadable"),
        ("UPDATE blocks SET entries = NULL WHERE first_index = 1", "unreadable"),
        ("DELETE FROM blocks WHERE first_index = 4", "entries 4 to 4 are missing"),
        ("DELETE FROM blocks WHERE first_index = 1", "entries 1 to 3 are missing"),
        ("UPDATE blocks SET first_index = 9 WHERE first_index = 7", "entries 9 to 7 fails its checksum"),
        ("UPDATE vote SET current_term = 3", "current_term and voted_for fail their checksum"),
        ("UPDATE vote SET voted_for = 'n3'", "current_term and voted_for fail their checksum"),
        ("UPDATE vote SET voted_for = CAST(x'ff' AS TEXT)", "UTF-8"),
        ("DELETE FROM vote", "current_term and voted_for are unreadable"),
        ("DELETE FROM meta", "does not say whose data it is"),
        ("UPDATE meta SET cluster_id = 'd'", "whose data it is fails its checksum"),
        ("DROP TABLE meta", "no such table: meta"),
        ("DROP TABLE vote", "no such table: vote"),
        ("ALTER TABLE blocks RENAME COLUMN entries TO f", "no such column: entries"),
    ],
)
def test_a_damaged_row_is_named(path: Path, statement: str, damage: str) -> None:
    alter(path, statement)
    with pytest.raises(CorruptStorage, match=re.escape(damage)) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "Repair is not safe" in error.value.why
    assert "never used" in error.value.fix


def test_a_block_with_a_sound_checksum_and_the_wrong_number_of_entries_is_damage(path: Path) -> None:
    storage = open_storage(path)
    storage._put_block(storage._usable(), "INSERT INTO blocks VALUES (?, ?, ?, ?)", 8, entries_of(4, 2))
    storage.close()
    alter(path, "UPDATE blocks SET last_index = 8, crc = ? WHERE first_index = 8", _crc_of_block(path, 8, 8))
    with pytest.raises(CorruptStorage, match="entries 8 to 8 has 2 entries"):
        load(path)


def _crc_of_block(path: Path, first_index: int, last_index: int) -> int:
    from actors.storage.sqlite import _block_crc

    with closing(sqlite3.connect(path)) as connection:
        (blob,) = connection.execute("SELECT entries FROM blocks WHERE first_index = ?", (first_index,)).fetchone()
    return _block_crc(first_index, last_index, blob)


def test_damage_met_while_cutting_the_log_is_final(path: Path) -> None:
    alter(path, "UPDATE blocks SET crc = crc + 1 WHERE first_index = 5")
    storage = open_storage(path)
    with pytest.raises(CorruptStorage, match="entries 5 to 6") as first:
        storage.write([AppendToLog(5, (), 5)])
    with pytest.raises(CorruptStorage) as second:
        storage.load()
    assert second.value is first.value
    storage.close()


def test_any_flipped_bit_of_the_database_is_harmless_or_reported(path: Path) -> None:
    """A bit in unused space may go unseen; what `load` returns is what was written, always."""
    sound, reported = path.read_bytes(), 0
    positions = random.Random(1).sample(range(len(sound)), 400)
    for position in [*range(100), *positions]:
        path.write_bytes(sound)
        flip(path, position, 1 << position % 8)
        reported += not loads_or_reports(path, expected_after(4))
    assert reported > 100


def loads_or_reports(path: Path, *expected: Stored) -> bool:
    """True if `load` returned one of `expected`, False if it raised; anything else fails the test."""
    try:
        assert load(path) in expected
    except StorageError:
        return False
    return True


def test_a_page_that_forgot_its_last_row_is_damage(path: Path) -> None:
    """No checksum fails and no index is missing in between: only the page itself can tell."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'blocks'").fetchone()
    rows_on_page = (page - 1) * 4096 + 4
    assert path.read_bytes()[rows_on_page] == len(HISTORY)
    flip(path, rows_on_page, len(HISTORY) ^ (len(HISTORY) - 1))
    with pytest.raises(CorruptStorage):
        load(path)


@pytest.mark.parametrize("size", [0, 1, 50, 99, 100, 511, 512, 4095, 4096, 4097, 8192, 12288, 16383, 16384])
def test_a_database_cut_short_is_damage(path: Path, size: int) -> None:
    content = path.read_bytes()
    assert size < len(content)
    path.write_bytes(content[:size])
    with pytest.raises(CorruptStorage, match=re.escape(str(path))):
        load(path)
    assert path.read_bytes() == content[:size]


@pytest.mark.parametrize("content", [b"\0" * 16384, b"garbage" * 5000, b"x"])
def test_a_file_of_garbage_is_damage_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorruptStorage):
        load(path)
    assert path.read_bytes() == content


def test_another_sqlite_database_is_not_taken_for_ours(tmp_path: Path) -> None:
    alter(tmp_path / "log.db", "CREATE TABLE photos (name TEXT)")
    with pytest.raises(CorruptStorage, match="no such table: meta"):
        load(tmp_path / "log.db")


def test_a_lost_database_whose_write_ahead_log_is_left_is_damage(crashed: Path) -> None:
    crashed.unlink()
    with pytest.raises(CorruptStorage, match="the file is gone"):
        load(crashed)
    assert not crashed.exists()


def test_a_flipped_bit_in_the_middle_of_the_write_ahead_log_is_damage_each_time_it_is_opened(crashed: Path) -> None:
    """SQLite alone would drop everything behind the bit and say nothing."""
    wal = crashed.with_name("log.db-wal")
    flip(wal, 32 + 24 + 4000)
    content = wal.read_bytes()
    for _ in range(2):
        with pytest.raises(CorruptStorage, match="frame 1 of the write-ahead log fails its checksum"):
            load(crashed)
        assert wal.read_bytes() == content


def test_a_flipped_bit_in_the_header_of_the_write_ahead_log_is_damage(crashed: Path) -> None:
    for position in range(32):
        flip(crashed.with_name("log.db-wal"), position)
        with pytest.raises(CorruptStorage, match="the header of the write-ahead log"):
            load(crashed)
        flip(crashed.with_name("log.db-wal"), position)
    assert load(crashed) == expected_after(4)


def test_a_flipped_bit_anywhere_before_the_last_two_transactions_of_the_write_ahead_log_is_damage(
    crashed: Path,
) -> None:
    sound = {file.name: file.read_bytes() for file in crashed.parent.iterdir()}
    wal, frames = crashed.with_name("log.db-wal"), len(sound["log.db-wal"]) // FRAME
    for position in [*range(24), *random.Random(2).sample(range(FRAME), 20)]:
        for frame in range(frames - 2):
            restore(crashed.parent, sound)
            flip(wal, 32 + frame * FRAME + position, 1 << position % 8)
            with pytest.raises(CorruptStorage, match=f"frame {frame + 1} of"):
                load(crashed)


def test_a_flipped_bit_in_a_page_of_the_write_ahead_log_costs_at_most_the_last_transaction(crashed: Path) -> None:
    """It cannot be told from a torn write, except that nobody was told of a torn one."""
    sound = {file.name: file.read_bytes() for file in crashed.parent.iterdir()}
    wal = crashed.with_name("log.db-wal")
    positions = random.Random(3).sample(range(32, len(sound[wal.name])), 150)
    for position in (position for position in positions if (position - 32) % FRAME >= 24):
        restore(crashed.parent, sound)
        flip(wal, position, 1 << position % 8)
        loads_or_reports(crashed, expected_after(3))


def test_a_torn_last_transaction_is_not_damage(crashed: Path) -> None:
    """A write-ahead log that ends anywhere is what a loss of power leaves: whole transactions remain, in order."""
    sound = {file.name: file.read_bytes() for file in crashed.parent.iterdir()}
    wal, seen = crashed.with_name("log.db-wal"), []
    for size in [*range(0, len(sound[wal.name]), 2060), len(sound[wal.name])]:
        restore(crashed.parent, sound)
        wal.write_bytes(sound[wal.name][:size])
        seen.append(load(crashed))
    assert [stored for number, stored in enumerate(seen) if stored not in seen[:number]] == [
        expected_after(writes) for writes in range(5)
    ]


def restore(directory: Path, files: dict[str, bytes]) -> None:
    for leftover in directory.iterdir():
        leftover.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)


@pytest.mark.parametrize(("cluster_id", "server_id", "named"), [("other", "n1", "'other'"), ("c", "n2", "'n2'")])
def test_data_of_another_cluster_or_server_is_refused(path: Path, cluster_id: str, server_id: str, named: str) -> None:
    with pytest.raises(WrongCluster, match=named) as error:
        open_storage(path, cluster_id, server_id)
    assert "server 'n1' of cluster 'c'" in str(error.value)
    assert load(path) == expected_after(4)


def test_a_file_of_another_format_version_is_refused(path: Path) -> None:
    alter(path, "UPDATE meta SET format = 3")
    with pytest.raises(UnknownFormat, match="format version 3; this program reads version 2"):
        open_storage(path)


def test_a_refused_file_is_not_left_locked(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(WrongCluster):
            open_storage(path, "other")
    assert load(path) == expected_after(4)


def test_a_database_that_another_program_has_open_is_in_use(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageInUse, match="something other than a peer"):
            open_storage(path)


def test_no_other_program_can_open_the_database_of_a_running_peer(path: Path) -> None:
    storage = open_storage(path)
    with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM blocks")
    storage.close()


def test_opening_moves_what_a_crash_left_in_the_write_ahead_log_into_the_database(crashed: Path) -> None:
    storage = open_storage(crashed)
    assert crashed.with_name("log.db-wal").stat().st_size == 0
    assert storage.load() == expected_after(4)
    storage.close()


def test_a_value_that_cannot_be_stored_is_final_and_stores_nothing(path: Path) -> None:
    storage = open_storage(path)
    with pytest.raises(StorageError):
        storage.write([append(7, entries_of(5, 1)), PersistTermAndVote(2**64, None)])
    with pytest.raises(StorageError):
        storage.write([])
    storage.close()
    assert load(path) == expected_after(4)


def test_a_closed_storage_is_not_used_by_mistake(path: Path) -> None:
    storage = open_storage(path)
    storage.close()
    storage.close()
    for use in (storage.load, lambda: storage.write([])):
        with pytest.raises(StorageError, match="is closed"):
            use()


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        open_storage(tmp_path / "file" / "deeper" / "log.db")


def test_missing_directories_are_made_and_odd_names_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "c?mode=memory" / "lo%67 #.db"
    open_storage(path).close()
    assert path.is_file()
    assert load(path) == Stored()


def test_the_write_ahead_log_is_emptied_now_and_then(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "log.db")
    for number in range(200):
        storage.write([append(number, (Entry(1, b"x" * 100_000),))])
    assert (tmp_path / "log.db-wal").stat().st_size < 8 << 20
    storage.close()
    assert len(load(tmp_path / "log.db").entries) == 200
