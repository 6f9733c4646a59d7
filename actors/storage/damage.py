"""The words for what goes wrong with a database file: each error names the file, the place, the kind of damage and
whether a repair is safe.

It never is, for damage: SQLite's commits are atomic, so whatever is in the database was acknowledged, and cutting it
away could lose committed entries or free a vote to be cast twice (thesis 3.8; Alagappan et al., FAST 2018).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actors.storage.port import CorruptStorage, DiskFull, StorageError, StorageInUse, UnknownFormat, WrongCluster
from actors.storage.room import is_for_want_of_room

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_MISFIT = {0, sqlite3.SQLITE_ERROR}
"""As an OperationalError: our statements do not fit the schema of this file, or a text in it is no text."""
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_PRIMARY_CODE = 0xFF
"""SQLite's extended codes carry the primary one in their low byte."""


def corrupt(path: Path, damage: str) -> CorruptStorage:
    """`damage` says where in the file and what."""
    return CorruptStorage(
        f"{path} is damaged: {damage}",
        why="what is stored is not what was written. Repair is not safe: every entry and vote in this file may have "
        "been acknowledged, so cutting or guessing could undo what a majority agreed on",
        fix="remove this peer from the cluster and add a new one under an id that was never used, with an empty data "
        "directory; it copies the log from the others. Keep the damaged file until you know what damaged it",
    )


def corrupt_snapshot(path: Path, damage: str) -> CorruptStorage:
    """`damage` says what is wrong with the snapshot at `path`."""
    return CorruptStorage(
        f"the snapshot {path} is damaged: {damage}",
        why="the entries that it stands for were cut off the log because of it, or will be. All of them are committed, "
        "so a server that went on without them would break what a majority agreed on",
        fix="remove this peer from the cluster and add a new one under an id that was never used, with an empty data "
        "directory; it gets a snapshot from the others. Keep the damaged file until you know what damaged it",
    )


def unknown_format(path: Path, found: int, known: int) -> UnknownFormat:
    return UnknownFormat(
        f"{path} has format version {found}; this program reads version {known}",
        why="another version of Actorum wrote it, or the version itself is damaged. Nothing was changed",
        fix="run the version of Actorum that wrote the file",
    )


def wrong_cluster(path: Path, found: tuple[str, str], wanted: tuple[str, str]) -> WrongCluster:
    """`found` and `wanted` are (cluster id, server id)."""
    whose = "another cluster" if found[0] != wanted[0] else "another server"
    return WrongCluster(
        f"{path} is a data directory of {whose}: it belongs to server {found[1]!r} of cluster {found[0]!r}, "
        f"not to server {wanted[1]!r} of cluster {wanted[0]!r}",
        why="a server that starts with the log or the vote of another one can break every promise of Raft",
        fix=f"start server {wanted[1]!r} with its own data directory, or with a new one if it never ran before",
    )


def closed(path: Path) -> StorageError:
    return StorageError(
        f"{path} is closed",
        why="a closed storage has given up its lock, and another peer may own the file by now",
        fix="open the file again with a new storage",
    )


def translated(path: Path, cause: Exception) -> StorageError:
    """What a failure of SQLite, of the operating system or of encoding means to the peer."""
    if isinstance(cause, StorageError):
        return cause
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if (
        isinstance(cause, UnicodeDecodeError)
        or code in _DAMAGED
        or (code in _MISFIT and isinstance(cause, sqlite3.OperationalError))
    ):
        return corrupt(path, str(cause))
    if code in _IN_USE:
        return locked(path)
    return _full(path, cause) if is_for_want_of_room(path, cause) else _failed(path, cause)


def locked(path: Path) -> StorageInUse:
    return StorageInUse(
        f"the data of this server is in use: something other than a peer has the database {path} open",
        why="a peer needs the file for itself",
        fix=f"find out who has it open (fuser -v {path}) and end that program",
    )


def _full(path: Path, cause: Exception) -> DiskFull:
    return DiskFull(
        f"there is no room on the disk of {path}: {cause}",
        why="nothing of what was to be written is there, and nothing was acknowledged that depends on it. A running "
        "peer tries again until there is room; until then it neither leads nor votes",
        fix=f"make room (df -h {path.parent}; quota; ulimit -f)",
    )


def _failed(path: Path, cause: Exception) -> StorageError:
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    return StorageError(
        f"the storage {path} failed: {cause} ({name})",
        why="after a failed write nobody knows what reached the disk, so this peer must not go on; nothing that it "
        "acknowledged depends on this write",
        fix=f"look at the disk (df -h {path.parent}; dmesg | tail), then restart the peer",
    )
