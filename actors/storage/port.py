"""The port to stable storage: what a peer asks of a disk, and how a disk may fail.

Figure 2, State: current_term, voted_for and log[] are "updated on stable storage before responding to RPCs".  A peer
says this with two effects, `PersistTermAndVote` and `AppendToLog`, which form one ordered stream; a storage carries out
a stretch of that stream as one transaction.

Rules of the port
-----------------
1. `write` is atomic and durable: when it returns, all changes survive what the storage promises to survive; when it
   raises, a later `load` sees all of them or none.
2. A failed write is final.  After a failed fsync the kernel may call pages clean which never reached the disk, so
   trying again proves nothing: the peer stops and recovers from what is really there.
3. A write beyond the end of the log (`LogGap`) is a bug of the caller.  It is refused before anything is touched, so
   the storage stays usable.
4. Damage is never repaired in silence.  A log that lost entries it once acknowledged can elect a leader without them,
   and a lost vote can be cast twice (thesis 3.8): the only sound repair is a new server under a new id.

One call, rather than one for the vote and one for the log: a transaction costs one fsync however much is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from msgspec import Struct

from actors.errors import ActorumError
from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote
from raft_core.types import Entry, LogIndex, ServerId, Term


class Stored(Struct, frozen=True):
    """The persistent state of one server (Figure 2).  The entry with index 1 is `entries[0]`."""

    current_term: Term = 0
    voted_for: ServerId | None = None
    entries: tuple[Entry, ...] = ()


class Storage(Protocol):
    """Stable storage of one server.  One caller at a time; it need not always be the same thread."""

    blocking: bool
    """True: a call may wait for a disk, so it must not run in the thread that also answers heartbeats."""

    def load(self) -> Stored:
        """Everything written so far, checked.  Raises `CorruptStorage` rather than return what was never written."""
        ...

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes`, in order, in one atomic durable transaction.

        Raises `LogGap` (and changes nothing) if an `AppendToLog` starts beyond the end of the log, and `StorageError`
        if the disk fails; after the latter every further call raises the same error.
        """
        ...

    def close(self) -> None:
        """Give up the storage and its lock.  What was written stays; calling it again does nothing."""
        ...


class StorageError(ActorumError):
    """The storage failed and stays failed: the peer that uses it must stop."""

    code = "STORAGE-FAILED"


class LogGap(StorageError):
    """Entries were to be written beyond the end of the log; nothing was changed."""

    code = "LOG-GAP"


class CorruptStorage(StorageError):
    """What is stored is not what was written."""

    code = "STORAGE-CORRUPT"


class UnknownFormat(StorageError):
    """The data was written in a format that this version cannot read."""

    code = "STORAGE-FORMAT-UNKNOWN"


class WrongCluster(StorageError):
    """The data belongs to another cluster or another server."""

    code = "WRONG-CLUSTER"


class StorageInUse(StorageError):
    """Another process, or another part of this one, has the data open."""

    code = "STORAGE-IN-USE"


def last_index_after(last_index: LogIndex, changes: Sequence[PersistEffect]) -> LogIndex:
    """Index of the last entry once `changes` are carried out on a log that ends at `last_index`.

    Raises `LogGap` if one of them does not fit.  Every storage asks this before it touches anything.
    """
    for change in changes:
        match change:
            case PersistTermAndVote():
                pass
            case AppendToLog(prev_log_index=prev_log_index, entries=entries):
                if not 0 <= prev_log_index <= last_index:
                    raise _gap(prev_log_index, last_index)
                last_index = prev_log_index + len(entries)
            case _:
                assert_never(change)
    return last_index


def _gap(prev_log_index: LogIndex, last_index: LogIndex) -> LogGap:
    return LogGap(
        f"entries were to be written after index {prev_log_index}, but the log ends at index {last_index}",
        why="a log has no holes (paper 5.3); the caller is mistaken about what is stored. Nothing was changed",
        fix="restart the peer, so that it learns from its storage what is there, and report this as a bug",
    )
