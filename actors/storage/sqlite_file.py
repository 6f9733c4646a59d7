"""The database file of `sqlite`: how it is made, opened, told from others and brought to the present format.

Format 2 has a table that format 1 had not: `base`, where a compacted log begins.  A file of format 1 is one whose log
was never compacted, so opening it adds the table with a zero, in one transaction with the new version: a program of
before refuses the file from then on, rather than miss the entries that are no longer there.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from actors.storage import damage
from actors.storage.files import sync_directory
from raft_core.types import ServerId

FORMAT_VERSION = 2
PAGE_SIZE = 4096

_BASE_SCHEMA = """
CREATE TABLE base (id INTEGER PRIMARY KEY, last_included_index INTEGER, last_included_term INTEGER, crc INTEGER);
"""
_SCHEMA = f"""
CREATE TABLE meta (id INTEGER PRIMARY KEY, format INTEGER, cluster_id TEXT, server_id TEXT, created TEXT, crc INTEGER);
CREATE TABLE vote (id INTEGER PRIMARY KEY, current_term INTEGER, voted_for TEXT, crc INTEGER);
{_BASE_SCHEMA}
CREATE TABLE blocks (first_index INTEGER PRIMARY KEY, last_index INTEGER, crc INTEGER, entries BLOB);
"""
_META = "SELECT format, cluster_id, server_id, created, crc FROM meta"
_PUT_META = "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?, ?)"
PUT_VOTE = "INSERT OR REPLACE INTO vote VALUES (1, ?, ?, ?)"
PUT_BASE = "INSERT OR REPLACE INTO base VALUES (1, ?, ?, ?)"

Identity: TypeAlias = tuple[str, ServerId]
"""Cluster id and server id."""
_MetaRow: TypeAlias = tuple[int, str, str, str, int]

_encode = msgspec.msgpack.Encoder().encode


def create(path: Path, identity: Identity) -> None:
    """Make a complete database under another name, then give it its own: see rule 1."""
    unfinished = beside(path, ".new")
    for leftover in (unfinished, beside(unfinished, "-journal"), beside(unfinished, "-wal")):
        leftover.unlink(missing_ok=True)
    meta = (FORMAT_VERSION, *identity, datetime.now(UTC).isoformat(timespec="seconds"))
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {_SCHEMA}")
        connection.execute(_PUT_META, (*meta, crc_of(*meta)))
        connection.execute(PUT_VOTE, (0, None, crc_of(0, None)))
        connection.execute(PUT_BASE, (0, 0, crc_of(0, 0)))
        connection.execute("COMMIT")
    unfinished.rename(path)
    sync_directory(path.parent)


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
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


def check_identity(connection: sqlite3.Connection, path: Path, wanted: Identity) -> None:
    """Raise `CorruptStorage`, `UnknownFormat` or `WrongCluster` unless this is a file of ours and of `wanted`."""
    meta = _meta(connection, path)
    if not 1 <= meta[0] <= FORMAT_VERSION:
        raise damage.unknown_format(path, meta[0], FORMAT_VERSION)
    if crc_of(*meta[:4]) != meta[4]:
        raise damage.corrupt(path, "the row that says whose data it is fails its checksum")
    if meta[1:3] != wanted:
        raise damage.wrong_cluster(path, (meta[1], meta[2]), wanted)


def adopt(connection: sqlite3.Connection, path: Path, identity: Identity) -> None:
    """Make a checked file that of another cluster, in one statement.  See `recovery`: nobody else may."""
    found, _, _, created, _ = _meta(connection, path)
    connection.execute(_PUT_META, (found, *identity, created, crc_of(found, *identity, created)))


def cluster_of(connection: sqlite3.Connection, path: Path) -> str:
    """To which cluster a file belongs."""
    return _meta(connection, path)[1]


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a checked file to the present format."""
    found, *rest, _ = _meta(connection, path)
    if found == FORMAT_VERSION:
        return
    connection.execute("BEGIN")
    connection.execute(_BASE_SCHEMA)
    connection.execute(PUT_BASE, (0, 0, crc_of(0, 0)))
    connection.execute(_PUT_META, (FORMAT_VERSION, *rest, crc_of(FORMAT_VERSION, *rest)))
    connection.execute("COMMIT")


def _meta(connection: sqlite3.Connection, path: Path) -> _MetaRow:
    try:
        meta: _MetaRow = msgspec.convert(connection.execute(_META).fetchone(), _MetaRow)
    except msgspec.ValidationError as cause:
        raise damage.corrupt(path, f"it does not say whose data it is ({cause})") from cause
    return meta


def beside(path: Path, suffix: str) -> Path:
    """`path` with something behind its name."""
    return path.with_name(path.name + suffix)


def crc_of(*values: int | str | None) -> int:
    """The checksum of a row."""
    return zlib.crc32(_encode(values))
