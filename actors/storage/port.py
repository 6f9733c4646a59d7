"""The port to stable storage: what a peer asks of a disk, and how a disk may fail.

Figure 2, State: current_term, voted_for and log[] are "updated on stable storage before responding to RPCs".  A peer
says this with effects: `PersistTermAndVote`, `AppendToLog` and, once a snapshot holds the beginning of the log,
`CompactLog` (paper 7).  They form one ordered stream; a storage carries out a stretch of it as one transaction.

Snapshots are a port of their own, `Snapshots`: they are large, come from two sides and are read in parts, none of which
fits a transaction.  `disk` puts the two together.

Rules of the port
-----------------
1. `write` is atomic and durable: when it returns, all changes survive what the storage promises to survive; when it
   raises, a later `load` sees all of them or none.
2. A write that was refused for want of room (`DiskFull`) never was: all of it is taken back, the storage stays usable,
   and the same may be tried again when there is room.
3. Any other failed write is final.  After a failed fsync the kernel may call pages clean which never reached the disk,
   so trying again proves nothing: the peer stops and recovers from what is really there.  An fsync that fails for want
   of room (a file system may find out as late) has failed like any other.
4. A change that does not fit the log (`LogGap`) is a bug of the caller.  It is refused before anything is touched, so
   the storage stays usable.
5. Damage is never repaired in silence.  A log that lost entries it once acknowledged can elect a leader without them,
   and a lost vote can be cast twice (thesis 3.8): the only sound repair is a new server under a new id.

One call, rather than one for the vote and one for the log: a transaction costs one fsync however much is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, assert_never

from msgspec import Struct

from actors.errors import ActorumError
from raft_core.configuration import Configured, Snapshot
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry, LogIndex, ServerId, Term


class Stored(Struct, frozen=True):
    """The persistent state of one server (Figure 2).  `entries[0]` has index `last_included_index` + 1."""

    current_term: Term = 0
    voted_for: ServerId | None = None
    entries: tuple[Entry, ...] = ()
    last_included_index: LogIndex = 0
    """Index of the last entry that is no longer in the log; 0 as long as nothing was compacted (paper 7)."""
    last_included_term: Term = 0
    """Term of that entry."""

    @property
    def last_index(self) -> LogIndex:
        """Index of the last entry, 0 if there never was one."""
        return self.last_included_index + len(self.entries)

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index`; None where this log has no entry to answer for."""
        if index == self.last_included_index:
            return self.last_included_term
        if self.last_included_index < index <= self.last_index:
            return self.entries[index - self.last_included_index - 1].term
        return None


class Storage(Protocol):
    """Stable storage of one server.  One caller at a time; it need not always be the same thread."""

    blocking: bool
    """True: a call may wait for a disk, so it must not run in the thread that also answers heartbeats."""

    def load(self) -> Stored:
        """Everything written so far, checked.  Raises `CorruptStorage` rather than return what was never written."""
        ...

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes`, in order, in one atomic durable transaction.

        Raises `LogGap` (and changes nothing) if one of them does not fit the log, see `Extent.after`; `DiskFull` (and
        has changed nothing) if there is no room for it; and another `StorageError` if the disk fails: then every
        further call raises the same error.
        """
        ...

    def close(self) -> None:
        """Give up the storage and its lock.  What was written stays; calling it again does nothing."""
        ...


class Snapshots(Protocol):
    """The snapshots of one server (paper 7), durable as its storage is.

    `save` has one caller at a time, who may be another thread than the one that calls the rest; `read` and `load` may
    be called by any thread at any time.
    """

    def save(
        self, last_included_index: LogIndex, last_included_term: Term, configured: Configured, content: bytes
    ) -> Snapshot:
        """Keep a snapshot of this server's own.  It is durable when this returns.  After `DiskFull`, nothing of it is
        left."""
        ...

    def receive(self, snapshot: Snapshot, offset: int, data: bytes) -> bool | None:
        """Take the part at `offset` of a snapshot that the leader sent; a part at 0 starts anew.

        None: there is more to come.  True: it is all there and durable.  False: what came is not `snapshot`, or not
        in order, or there is no room for it; all parts are forgotten.
        """
        ...

    def received(self, snapshot: Snapshot) -> int:
        """How many bytes of this very snapshot are here: where a sender may go on."""
        ...

    def read(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """A part of the content, for sending; it is not checked.  Raises `SnapshotGone` once it was pruned."""
        ...

    def load(self, snapshot: Snapshot) -> bytes:
        """The content, checked.  Raises `SnapshotGone`, or `CorruptStorage` rather than return anything else."""
        ...

    def latest(self) -> Snapshot | None:
        """The snapshot with the highest index.  Raises `CorruptStorage` if it is obviously damaged; `load` checks all
        of it."""
        ...

    def latest_sound(self, log_begins_behind: LogIndex) -> Snapshot | None:
        """As `latest`, for a start, and checked completely.

        A damaged one is put aside, with a warning, if the log reaches back without it: to the next older snapshot, or,
        with nothing compacted, to its first entry.  Else `CorruptStorage` is raised.
        """
        ...

    def prune(self, keep: Snapshot, needed: Collection[Snapshot] = ()) -> None:
        """Forget all that are older than `keep`, except those `needed`.  The log needs none of them, as the caller has
        seen to."""
        ...


class StorageError(ActorumError):
    """The storage failed and stays failed: the peer that uses it must stop."""

    code = "STORAGE-FAILED"


class DiskFull(StorageError):
    """There was no room for a write: nothing of it is there, and it may be tried again."""

    code = "DISK-FULL"


class LogGap(StorageError):
    """A change does not fit the log as it is stored; nothing was changed."""

    code = "LOG-GAP"


class SnapshotGone(StorageError):
    """A newer snapshot took the place of this one.  Nothing is lost: whoever was sending it begins with the newer."""

    code = "SNAPSHOT-GONE"


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


class Extent(Struct, frozen=True, gc=False):
    """Where a log begins and ends: it holds the entries behind `last_included_index` up to `last_index`."""

    last_included_index: LogIndex = 0
    last_index: LogIndex = 0

    def after(self, changes: Sequence[PersistEffect]) -> Extent:
        """The extent once `changes` are carried out.  Every storage asks this before it touches anything.

        Raises `LogGap` if one of them does not fit: entries behind the end, or in what is compacted; a compaction to
        an index that the log does not reach, or back to one that it has left.  To compact once more what is compacted
        already is nothing to do: two snapshots may be taken of one index.
        """
        begin, end = self.last_included_index, self.last_index
        for change in changes:
            match change:
                case AppendToLog(prev_log_index=prev_log_index):  # by far the most frequent
                    if not begin <= prev_log_index <= end:
                        raise _gap(f"entries were to be written after index {prev_log_index}", begin, end)
                    end = prev_log_index + len(change.entries)
                case PersistTermAndVote():
                    pass
                case CompactLog():
                    begin, end = _compacted(change, begin, end)
                case ReceiveSnapshotChunk():
                    raise _gap("a part of a snapshot was to be written to the log", begin, end)
                case _:
                    assert_never(change)
        return Extent(begin, end)


def _compacted(change: CompactLog, begin: LogIndex, end: LogIndex) -> tuple[LogIndex, LogIndex]:
    index = change.last_included_index
    if change.discards_all and index >= begin:
        return index, index
    if change.discards_all or index > end:
        raise _gap(f"the log was to begin behind index {index}", begin, end)
    return max(index, begin), end


def _gap(asked: str, begin: LogIndex, end: LogIndex) -> LogGap:
    return LogGap(
        f"{asked}, but the log begins behind index {begin} and ends at index {end}",
        why="a log has no holes (paper 5.3), and what is compacted is committed and stays as it is (paper 7); the "
        "caller is mistaken about what is stored. Nothing was changed",
        fix="restart the peer, so that it learns from its storage what is there, and report this as a bug",
    )
