"""Storage in one SQLite file: the durable default.

Figure 2's persistent state as three tables: `meta` (whose data this is), `vote` (current_term, voted_for) and `blocks`
(log[]).  One `write` is one transaction, so votes and entries stay one ordered stream.

A *block* is what one `AppendToLog` brought: one row however many entries, because a row costs more than an entry.
Cutting the log inside a block rewrites that block, in the same transaction; cuts are rare (a follower replacing what an
old leader left), appends are not.

Rules of the file
-----------------
1. The file appears under its name only when it is complete (written elsewhere, synced, renamed, directory synced).  So
   an empty or half-made database can never be ours: it is damage, and damage is reported, never replaced by a fresh
   file.
2. Every row carries a CRC-32 and is decoded strictly typed.  SQLite finds torn transactions, not rotten bits.
3. Opening empties the write-ahead log into the database and syncs that, before anything is read.  After a crash on a
   failed fsync the kernel may still serve pages that are not on the disk; written anew and synced anew, they are.
4. Checkpoints are ours, not SQLite's automatic ones, which swallow their errors.  A failed one ends the storage.
5. One connection, one owner: locking_mode=EXCLUSIVE keeps the WAL's index in memory, which also halves what a
   commit costs besides the fsync.

What "durable" means is `synchronous`: "full" survives a loss of power and waits for the disk in every write; "off"
survives the death of the process, SIGKILL included, but after a loss of power the file may be behind or damaged.  A
peer with "off" whose machine lost power must not come back under its old id (thesis 3.8).

Alternatives rejected: a hand-written segment file (a tenth faster, and a file format to own), one row per entry (nine
times slower for a thousand entries), a CRC per entry (a block is read and written as one, so one CRC finds as much).
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

import msgspec

from actors.storage import damage
from actors.storage.files import FileLock, make_directory, sync_directory
from actors.storage.port import StorageError, Stored, last_index_after
from actors.storage.wal import damage_in
from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote
from raft_core.types import Entry, LogIndex, ServerId, Term

FORMAT_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (id INTEGER PRIMARY KEY, format INTEGER, cluster_id TEXT, server_id TEXT, created TEXT, crc INTEGER);
CREATE TABLE vote (id INTEGER PRIMARY KEY, current_term INTEGER, voted_for TEXT, crc INTEGER);
CREATE TABLE blocks (first_index INTEGER PRIMARY KEY, last_index INTEGER, crc INTEGER, entries BLOB);
"""
_PUT_META = "INSERT INTO meta VALUES (1, ?, ?, ?, ?, ?)"
_PUT_VOTE = "INSERT OR REPLACE INTO vote VALUES (1, ?, ?, ?)"
_PUT_BLOCK = "INSERT INTO blocks VALUES (?, ?, ?, ?)"
_CUT_BLOCK = "UPDATE blocks SET last_index = ?2, crc = ?3, entries = ?4 WHERE first_index = ?1"
_DROP_BLOCKS = "DELETE FROM blocks WHERE first_index > ?"
_BLOCKS = "SELECT first_index, last_index, crc, entries FROM blocks ORDER BY first_index"
_LAST_BLOCK = _BLOCKS + " DESC LIMIT 1"

_PAGE_SIZE = 4096
_CHECKPOINT_PAGES = 1000
"""Pages (about) that may gather in the write-ahead log: 4 MB, read again after a crash."""

_DISK_ERRORS = (sqlite3.Error, OSError, UnicodeDecodeError)
"""UnicodeDecodeError: SQLite quotes a damaged schema in its message, and Python cannot read the quotation."""

_Block: TypeAlias = tuple[LogIndex, LogIndex, int, bytes]
_VoteRow: TypeAlias = tuple[Term, ServerId | None, int]
_MetaRow: TypeAlias = tuple[int, str, str, str, int]

_encode = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(tuple[Entry, ...]).decode
_pack_range = struct.Struct("<qq").pack


class SqliteStorage:
    """A `Storage` in the file `path`, which is created, with its directories, if it does not exist.

    `cluster_id` and `server_id` are written into a new file and must agree with those in an existing one.
    Raises `StorageInUse`, `WrongCluster`, `UnknownFormat`, `CorruptStorage`, and `StorageError` if the disk fails.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cluster_id: str,
        server_id: ServerId,
        synchronous: Literal["full", "off"] = "full",
    ) -> None:
        self.blocking: bool = synchronous == "full"
        self.path: Path = Path(path).absolute()
        self._failure: StorageError | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self._last_index: LogIndex = 0
        self._pages_in_wal = 0
        try:
            self._open((cluster_id, server_id), synchronous)
        except BaseException as cause:
            self.close()
            if not isinstance(cause, _DISK_ERRORS):
                raise
            raise damage.translated(self.path, cause) from cause

    def load(self) -> Stored:
        """Read and check everything."""
        connection = self._usable()
        try:
            self._check_pages(connection)
            current_term, voted_for = self._read_vote(connection)
            return Stored(current_term, voted_for, tuple(self._read_entries(connection)))
        except _DISK_ERRORS as cause:
            raise self._fail(cause) from cause

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes` in one transaction; with "full" it has reached the disk when this returns."""
        connection = self._usable()
        last_index = last_index_after(self._last_index, changes)
        try:
            self._commit(connection, changes)
            self._last_index = last_index
            if self._pages_in_wal >= _CHECKPOINT_PAGES:
                self._checkpoint(connection, "PASSIVE")
        except Exception as cause:
            raise self._fail(cause) from cause
        except BaseException:
            # Interrupted between two statements: what is in the file is sound, what we believe about it may not be.
            self._fail(InterruptedError("a write was interrupted"))
            raise

    def close(self) -> None:
        """Close the file, then release the lock."""
        if self._connection is not None:
            with suppress(sqlite3.Error):  # what was acknowledged is in the WAL, whatever befalls the last checkpoint
                self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # Opening

    def _open(self, identity: tuple[str, ServerId], synchronous: str) -> None:
        make_directory(self.path.parent)
        self._lock = FileLock(_beside(self.path, ".lock"))
        self._check_files()
        if not self.path.exists():
            _create(self.path, identity)
        self._connection = connection = _connect(self.path, synchronous)
        self._check_meta(connection, identity)
        self._checkpoint(connection, "TRUNCATE")
        last_block = connection.execute(_LAST_BLOCK).fetchone()
        self._last_index = self._sound(last_block)[1] if last_block else 0

    def _check_files(self) -> None:
        """Look at the files before SQLite does: it takes an empty one for new and half a WAL for a whole one."""
        wal_path = _beside(self.path, "-wal")
        wal = wal_path.read_bytes() if wal_path.exists() else b""
        if not self.path.exists():
            if wal:
                raise damage.corrupt(self.path, f"the file is gone, but its write-ahead log {wal_path.name} is there")
        elif (size := self.path.stat().st_size) < _PAGE_SIZE:
            raise damage.corrupt(self.path, f"it has only {size} bytes, and it had more from its first moment")
        elif (found := damage_in(wal)) is not None:
            raise damage.corrupt(wal_path, found)

    def _check_meta(self, connection: sqlite3.Connection, wanted: tuple[str, ServerId]) -> None:
        row = connection.execute("SELECT format, cluster_id, server_id, created, crc FROM meta").fetchone()
        try:
            meta: _MetaRow = msgspec.convert(row, _MetaRow)
        except msgspec.ValidationError as cause:
            raise damage.corrupt(self.path, f"it does not say whose data it is ({cause})") from cause
        if meta[0] != FORMAT_VERSION:
            raise damage.unknown_format(self.path, meta[0], FORMAT_VERSION)
        if _crc_of(*meta[:4]) != meta[4]:
            raise damage.corrupt(self.path, "the row that says whose data it is fails its checksum")
        if meta[1:3] != wanted:
            raise damage.wrong_cluster(self.path, (meta[1], meta[2]), wanted)

    # Reading

    def _check_pages(self, connection: sqlite3.Connection) -> None:
        """Rows that vanished with a damaged page would not be missed at the end of the log: look at the pages too."""
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise damage.corrupt(self.path, str(verdict))

    def _read_vote(self, connection: sqlite3.Connection) -> tuple[Term, ServerId | None]:
        row = connection.execute("SELECT current_term, voted_for, crc FROM vote").fetchone()
        try:
            current_term, voted_for, crc = msgspec.convert(row, _VoteRow)
        except msgspec.ValidationError as cause:
            raise damage.corrupt(self.path, f"current_term and voted_for are unreadable ({cause})") from cause
        if crc != _crc_of(current_term, voted_for):
            raise damage.corrupt(self.path, "current_term and voted_for fail their checksum")
        return current_term, voted_for

    def _read_entries(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        last_index = 0
        for row in connection.execute(_BLOCKS):
            first_index, block_last_index, _, entries = self._sound(row)
            if first_index != last_index + 1:
                raise damage.corrupt(
                    self.path, f"entries {last_index + 1} to {first_index - 1} are missing or out of place"
                )
            yield from self._decoded(first_index, block_last_index, entries)
            last_index = block_last_index

    def _sound(self, row: object) -> _Block:
        try:
            block: _Block = msgspec.convert(row, _Block, builtin_types=(bytes,))  # else text would pass as base64
        except msgspec.ValidationError as cause:
            raise damage.corrupt(self.path, f"a block of entries is unreadable ({cause}): {str(row)[:60]}") from cause
        if block[2] != _block_crc(block[0], block[1], block[3]):
            raise damage.corrupt(self.path, f"the block of entries {block[0]} to {block[1]} fails its checksum")
        return block

    def _decoded(self, first_index: LogIndex, last_index: LogIndex, blob: bytes) -> tuple[Entry, ...]:
        try:
            entries = _decode_entries(blob)
        except msgspec.DecodeError as cause:
            raise damage.corrupt(
                self.path, f"entries {first_index} to {last_index} are undecodable: {cause}"
            ) from cause
        if len(entries) != last_index - first_index + 1:
            raise damage.corrupt(
                self.path, f"the block of entries {first_index} to {last_index} has {len(entries)} entries"
            )
        return entries

    # Writing

    def _commit(self, connection: sqlite3.Connection, changes: Sequence[PersistEffect]) -> None:
        last_index = self._last_index
        if len(changes) == 1 and isinstance(changes[0], AppendToLog) and changes[0].prev_log_index == last_index:
            if changes[0].entries:  # by far the most frequent write is one statement: a transaction of its own
                self._put_block(connection, _PUT_BLOCK, last_index + 1, changes[0].entries)
            return
        connection.execute("BEGIN")
        for change in changes:
            match change:
                case PersistTermAndVote(current_term=current_term, voted_for=voted_for):
                    connection.execute(_PUT_VOTE, (current_term, voted_for, _crc_of(current_term, voted_for)))
                    self._pages_in_wal += 1
                case AppendToLog(prev_log_index=prev_log_index, entries=entries):
                    if prev_log_index < last_index:
                        self._drop_after(connection, prev_log_index)
                    if entries:
                        self._put_block(connection, _PUT_BLOCK, prev_log_index + 1, entries)
                    last_index = prev_log_index + len(entries)
                case _:
                    assert_never(change)
        connection.execute("COMMIT")

    def _drop_after(self, connection: sqlite3.Connection, prev_log_index: LogIndex) -> None:
        connection.execute(_DROP_BLOCKS, (prev_log_index,))
        row = connection.execute(_LAST_BLOCK).fetchone()
        if row is None:
            return
        first_index, last_index, _, blob = self._sound(row)
        if last_index > prev_log_index:
            kept = self._decoded(first_index, last_index, blob)[: prev_log_index - first_index + 1]
            self._put_block(connection, _CUT_BLOCK, first_index, kept)

    def _put_block(
        self, connection: sqlite3.Connection, statement: str, first_index: LogIndex, entries: tuple[Entry, ...]
    ) -> None:
        last_index = first_index + len(entries) - 1
        blob = _encode(entries)
        connection.execute(statement, (first_index, last_index, _block_crc(first_index, last_index, blob), blob))
        self._pages_in_wal += 2 + len(blob) // _PAGE_SIZE

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        (busy, _, _) = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if busy:
            raise damage.locked(self.path)
        self._pages_in_wal = 0

    # Failing

    def _usable(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise self._failure
        if self._connection is None:
            raise damage.closed(self.path)
        return self._connection

    def _fail(self, cause: Exception) -> StorageError:
        self._failure = damage.translated(self.path, cause)
        return self._failure


def _create(path: Path, identity: tuple[str, ServerId]) -> None:
    """Make a complete database under another name, then give it its own: see rule 1."""
    unfinished = _beside(path, ".new")
    for leftover in (unfinished, _beside(unfinished, "-journal"), _beside(unfinished, "-wal")):
        leftover.unlink(missing_ok=True)
    meta = (FORMAT_VERSION, *identity, datetime.now(UTC).isoformat(timespec="seconds"))
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {_SCHEMA}")
        connection.execute(_PUT_META, (*meta, _crc_of(*meta)))
        connection.execute(_PUT_VOTE, (0, None, _crc_of(0, None)))
        connection.execute("COMMIT")
    unfinished.rename(path)
    sync_directory(path.parent)


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open the existing database `path` (mode=rw: never create one).

    The connection is opened by the thread that builds the peer and used by the one that runs it, one at a time;
    SQLite itself has no objection (it is built serialized), so the check of Python's wrapper is switched off.
    """
    uri = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: its plain fsync leaves the data in the drive's cache
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException:
        connection.close()
        raise
    return connection


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _crc_of(*values: int | str | None) -> int:
    return zlib.crc32(_encode(values))


def _block_crc(first_index: LogIndex, last_index: LogIndex, blob: bytes) -> int:
    return zlib.crc32(blob, zlib.crc32(_pack_range(first_index, last_index)))
