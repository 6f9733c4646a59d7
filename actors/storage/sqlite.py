"""Storage in one SQLite file: the durable default.

Figure 2's persistent state as four tables: `meta` (whose data this is), `vote` (current_term, voted_for), `blocks`
(log[]) and `base` (index and term of the last entry before it, paper 7).  One `write` is one transaction, so votes and
entries stay one ordered stream.

A *block* is what one `AppendToLog` brought: one row however many entries, because a row costs more than an entry.
Cutting the log inside a block rewrites that block, in the same transaction; cuts are rare (a follower replacing what an
old leader left), appends are not.

Compacting deletes the blocks that are wholly compacted.  One that lies across stays as it is and `base` says where the
log begins in it: to write acknowledged entries anew would be work and risk for the space of one block, which the next
compaction frees.  SQLite uses freed pages again before it lets the file grow.

Rules of the file
-----------------
1. The file appears under its name only when it is complete (written elsewhere, synced, renamed, directory synced).  So
   an empty or half-made database can never be ours: it is damage, and damage is reported, never replaced by a fresh
   file.
2. Every row carries a CRC-32 and is decoded strictly typed.  SQLite finds torn transactions, not rotten bits.
3. Opening empties the write-ahead log into the database and syncs that, before anything is read.  After a crash on a
   failed fsync the kernel may still serve pages that are not on the disk; written anew and synced anew, they are.
4. Checkpoints are ours, not SQLite's automatic ones, which swallow their errors.  A failed one ends the storage (but
   see rule 6).
5. One connection, one owner: locking_mode=EXCLUSIVE keeps the WAL's index in memory, which also halves what a
   commit costs besides the fsync.
6. A transaction that a full disk took only a part of is rolled back, and the storage stays usable.  In the write-ahead
   log its frames have no end of a transaction, so no recovery ever reads them, and the next transaction overwrites
   them.  A checkpoint that finds no room is put off; only what fails to be synced is final.

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
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

import msgspec

from actors.storage import damage
from actors.storage.files import FileLock, make_directory
from actors.storage.port import DiskFull, Extent, StorageError, Stored
from actors.storage.room import is_for_want_of_room
from actors.storage.sqlite_file import (
    PAGE_SIZE,
    PUT_BASE,
    PUT_VOTE,
    beside,
    check_identity,
    connect,
    crc_of,
    create,
    upgrade,
)
from actors.storage.wal import damage_in
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry, LogIndex, ServerId, Term

_PUT_BLOCK = "INSERT INTO blocks VALUES (?, ?, ?, ?)"
_CUT_BLOCK = "UPDATE blocks SET last_index = ?2, crc = ?3, entries = ?4 WHERE first_index = ?1"
_DROP_BLOCKS = "DELETE FROM blocks WHERE first_index > ?"
_DROP_BLOCKS_UP_TO = "DELETE FROM blocks WHERE first_index <= ?1 AND last_index <= ?1"
_DROP_ALL_BLOCKS = "DELETE FROM blocks"
_BLOCKS = "SELECT first_index, last_index, crc, entries FROM blocks ORDER BY first_index"
_LAST_BLOCK = _BLOCKS + " DESC LIMIT 1"

_CHECKPOINT_PAGES = 1000
"""Pages (about) that may gather in the write-ahead log: 4 MB, read again after a crash."""

_DISK_ERRORS = (sqlite3.Error, OSError, UnicodeDecodeError)
"""UnicodeDecodeError: SQLite quotes a damaged schema in its message, and Python cannot read the quotation."""

_Block: TypeAlias = tuple[LogIndex, LogIndex, int, bytes]
_VoteRow: TypeAlias = tuple[Term, ServerId | None, int]
_BaseRow: TypeAlias = tuple[LogIndex, Term, int]

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
        self._extent = Extent()
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
            base = self._read_base(connection)
            return Stored(current_term, voted_for, tuple(self._read_entries(connection, base[0])), *base)
        except _DISK_ERRORS as cause:
            raise self._fail(cause) from cause

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes` in one transaction; with "full" it has reached the disk when this returns."""
        connection = self._usable()
        extent = self._extent.after(changes)
        try:
            self._commit(connection, changes)
            self._extent = extent
            if self._pages_in_wal >= _CHECKPOINT_PAGES:
                self._checkpoint_if_there_is_room(connection)
        except Exception as cause:
            raise self._refused(connection, cause) from cause
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
        self._lock = FileLock(beside(self.path, ".lock"))
        self._check_files()
        if not self.path.exists():
            create(self.path, identity)
        self._connection = connection = connect(self.path, synchronous)
        check_identity(connection, self.path, identity)
        self._checkpoint(connection, "TRUNCATE")
        upgrade(connection, self.path)
        begin, _ = self._read_base(connection)
        last_block = connection.execute(_LAST_BLOCK).fetchone()
        self._extent = Extent(begin, max(begin, self._sound(last_block)[1] if last_block else 0))

    def _check_files(self) -> None:
        """Look at the files before SQLite does: it takes an empty one for new and half a WAL for a whole one."""
        wal_path = beside(self.path, "-wal")
        wal = wal_path.read_bytes() if wal_path.exists() else b""
        if not self.path.exists():
            if wal:
                raise damage.corrupt(self.path, f"the file is gone, but its write-ahead log {wal_path.name} is there")
        elif (size := self.path.stat().st_size) < PAGE_SIZE:
            raise damage.corrupt(self.path, f"it has only {size} bytes, and it had more from its first moment")
        elif (found := damage_in(wal)) is not None:
            raise damage.corrupt(wal_path, found)

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
        if crc != crc_of(current_term, voted_for):
            raise damage.corrupt(self.path, "current_term and voted_for fail their checksum")
        return current_term, voted_for

    def _read_base(self, connection: sqlite3.Connection) -> tuple[LogIndex, Term]:
        row = connection.execute("SELECT last_included_index, last_included_term, crc FROM base").fetchone()
        try:
            index, term, crc = msgspec.convert(row, _BaseRow)
        except msgspec.ValidationError as cause:
            raise damage.corrupt(self.path, f"where the log begins is unreadable ({cause})") from cause
        if crc != crc_of(index, term):
            raise damage.corrupt(self.path, "the row that says where the log begins fails its checksum")
        return index, term

    def _read_entries(self, connection: sqlite3.Connection, last_index: LogIndex) -> Iterator[Entry]:
        """The entries behind `last_index`, which the first block may hold as well."""
        for number, row in enumerate(connection.execute(_BLOCKS)):
            first_index, block_last_index, _, entries = self._sound(row)
            if first_index > last_index + 1 or (number and first_index <= last_index):
                raise damage.corrupt(
                    self.path, f"entries {last_index + 1} to {first_index - 1} are missing or out of place"
                )
            yield from self._decoded(first_index, block_last_index, entries)[last_index + 1 - first_index :]
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
        extent = self._extent
        if len(changes) == 1 and isinstance(changes[0], AppendToLog) and changes[0].prev_log_index == extent.last_index:
            if changes[0].entries:  # by far the most frequent write is one statement: a transaction of its own
                self._put_block(connection, _PUT_BLOCK, extent.last_index + 1, changes[0].entries)
            return
        connection.execute("BEGIN")
        for change in changes:
            match change:
                case PersistTermAndVote(current_term=current_term, voted_for=voted_for):
                    connection.execute(PUT_VOTE, (current_term, voted_for, crc_of(current_term, voted_for)))
                    self._pages_in_wal += 1
                case AppendToLog():
                    self._append(connection, change, extent)
                case CompactLog():
                    self._compact(connection, change, extent)
                case ReceiveSnapshotChunk():
                    raise AssertionError("refused by the extent")
                case _:
                    assert_never(change)
            extent = extent.after([change])
        connection.execute("COMMIT")

    def _append(self, connection: sqlite3.Connection, change: AppendToLog, extent: Extent) -> None:
        if change.prev_log_index < extent.last_index:
            self._drop_after(connection, change.prev_log_index)
        if change.entries:
            self._put_block(connection, _PUT_BLOCK, change.prev_log_index + 1, change.entries)

    def _compact(self, connection: sqlite3.Connection, change: CompactLog, extent: Extent) -> None:
        index, term = change.last_included_index, change.last_included_term
        if change.discards_all:
            connection.execute(_DROP_ALL_BLOCKS)
        elif index > extent.last_included_index:
            connection.execute(_DROP_BLOCKS_UP_TO, (index,))
        else:
            return
        connection.execute(PUT_BASE, (index, term, crc_of(index, term)))
        self._pages_in_wal = _CHECKPOINT_PAGES  # what was dropped may be any number of pages

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
        self._pages_in_wal += 2 + len(blob) // PAGE_SIZE

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        (busy, _, _) = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if busy:
            raise damage.locked(self.path)
        self._pages_in_wal = 0

    def _checkpoint_if_there_is_room(self, connection: sqlite3.Connection) -> None:
        """What is in the write-ahead log is durable: if the database cannot grow now, it may at another time."""
        try:
            self._checkpoint(connection, "PASSIVE")
        except sqlite3.Error as cause:
            if not is_for_want_of_room(self.path, cause):
                raise
            self._pages_in_wal = _CHECKPOINT_PAGES // 2

    # Failing

    def _usable(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise self._failure
        if self._connection is None:
            raise damage.closed(self.path)
        return self._connection

    def _refused(self, connection: sqlite3.Connection, cause: Exception) -> StorageError:
        """Take back what a full disk took a part of: see rule 6.  Any other failure is final."""
        error = damage.translated(self.path, cause)
        if not isinstance(error, DiskFull):
            return self._fail(error)
        try:
            if connection.in_transaction:  # mostly, SQLite has rolled back by itself
                connection.execute("ROLLBACK")
        except sqlite3.Error as failed:
            return self._fail(failed)
        return error

    def _fail(self, cause: Exception) -> StorageError:
        self._failure = damage.translated(self.path, cause)
        return self._failure


def _block_crc(first_index: LogIndex, last_index: LogIndex, blob: bytes) -> int:
    return zlib.crc32(blob, zlib.crc32(_pack_range(first_index, last_index)))
