"""A server's disk: its log's storage and its snapshots as one ordered stream.

Persist effects are one stream (`raft_core.effects`, rule 1): a later one never becomes durable before an earlier one.
The log takes a stretch of it in one transaction; a part of a snapshot ends the stretch, goes to the files of snapshots,
and another stretch begins.  So no compaction is ever carried out before the part that completed its snapshot.

A log is cut only where a durable snapshot holds what is dropped (paper 7).  A crash may come between the two; `load`
then finds a snapshot that the log knows nothing of and does what the core would have done: see `reconcile`.  Once the
log is cut, snapshots older than the newest are of no use and are forgotten, not before; except where somebody still
needs one, see `keeping`.

A full disk refuses a transaction as a whole (`DiskFull`).  What stood before it in the stream is done and is not done
again; it and what stands behind it wait here, in order, until somebody lets it `go_on`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Final, NamedTuple

from msgspec.structs import replace

from actors.storage.keeping import Keeper
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import CorruptStorage, DiskFull, LogGap, Snapshots, Storage, Stored
from raft_core.configuration import Snapshot
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk

_OF_THE_LOG_ALONE: Final[frozenset[type[PersistEffect]]] = frozenset({AppendToLog, PersistTermAndVote})
"""What has nothing to do with snapshots."""


class Recovered(NamedTuple):
    """What a server finds on its disk when it starts."""

    stored: Stored
    snapshot: Snapshot | None
    """It holds everything up to where the log begins, and maybe more; its content is in the snapshots."""


class Arrival(NamedTuple):
    """The last part of a snapshot was written, or what came was not that snapshot."""

    snapshot: Snapshot
    is_sound: bool
    """It is durable; False: nothing of it was kept."""


class Disk:
    """The two ports of one server, written together.  One caller at a time."""

    def __init__(self, storage: Storage, snapshots: Snapshots, *, is_alone: bool = False) -> None:
        """`is_alone`: this process is the server's alone, so that copies of it may write snapshots,
        and threads of it give way to other processes."""
        self.storage = storage
        self.snapshots = snapshots
        self.is_alone = is_alone
        self.keeper = Keeper()
        self._rest: deque[PersistEffect] = deque()
        """What is not carried out: after a refusal, and inside `go_on`."""
        self._arrivals: list[Arrival] = []

    @classmethod
    def in_memory(cls) -> Disk:
        """One that lasts as long as this object."""
        return cls(MemoryStorage(), MemorySnapshots())

    @property
    def blocking(self) -> bool:
        """May a call wait for a disk?"""
        return self.storage.blocking

    def load(self) -> Recovered:
        """Everything that is there, checked and reconciled.  Raises `CorruptStorage`.

        What an earlier peer could not write, it did not know to be written."""
        self._rest.clear()
        self._arrivals.clear()
        self.keeper.forget_all()
        stored = self.storage.load()
        snapshot = self.snapshots.latest_sound(stored.last_included_index)
        stored, changes = reconcile(stored, snapshot)
        if changes:
            self.storage.write(changes)
        return Recovered(stored, snapshot)

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...]:
        """Make `changes` durable, in order, and say which snapshots arrived.

        What stands between two parts of snapshots is one transaction.  Raises `LogGap`, for that transaction, if the
        log was to be cut where no durable snapshot holds what is dropped; and `DiskFull` for one that there is no room
        for: then `go_on` carries out what is left.
        """
        if changes and not self._rest and _OF_THE_LOG_ALONE.issuperset(map(type, changes)):  # nearly always
            try:
                self.storage.write(changes)
            except DiskFull:
                self.put_behind(changes)
                raise
            return ()
        self.put_behind(changes)
        return self.go_on()

    def put_behind(self, changes: Sequence[PersistEffect]) -> None:
        """Let `changes` wait behind what a full disk has refused."""
        self._rest.extend(changes)

    def go_on(self) -> tuple[Arrival, ...]:
        """Carry out all that waits.  The snapshots that arrived since the last time this or `write` returned."""
        try:
            while self._rest:
                stretch = list(takewhile(lambda change: not isinstance(change, ReceiveSnapshotChunk), self._rest))
                if stretch:
                    self._write_log(stretch)
                for _ in stretch:
                    self._rest.popleft()
                if self._rest:
                    self._receive(self._rest.popleft())
        except DiskFull:
            raise
        except BaseException:
            self._rest.clear()
            raise
        arrivals, self._arrivals = tuple(self._arrivals), []
        return arrivals

    def _receive(self, part: PersistEffect) -> None:
        assert isinstance(part, ReceiveSnapshotChunk)
        is_sound = self.snapshots.receive(part.snapshot, part.offset, part.data)
        if is_sound:
            self.keeper.received(part.snapshot)
        if is_sound is not None:
            self._arrivals.append(Arrival(part.snapshot, is_sound))

    def _write_log(self, stretch: Sequence[PersistEffect]) -> None:
        if not stretch:
            return
        compactions = [change.last_included_index for change in stretch if isinstance(change, CompactLog)]
        newest = self.snapshots.latest() if compactions else None
        if compactions and (newest is None or newest.last_included_index < max(compactions)):
            raise _not_covered(max(compactions), newest)
        self.storage.write(stretch)
        if newest is not None:
            with suppress(DiskFull):  # (some file systems need room to remove a name) the next time removes them
                self.snapshots.prune(newest, self.keeper.needed())

    def read(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """Some of a snapshot, for sending; in any thread.  Raises `SnapshotGone`."""
        data = self.snapshots.read(snapshot, offset, length)
        self.keeper.sent(snapshot, offset + len(data))
        return data

    def close(self) -> None:
        """Close the log's storage; snapshots are not held open."""
        self.storage.close()


def reconcile(stored: Stored, snapshot: Snapshot | None) -> tuple[Stored, tuple[PersistEffect, ...]]:
    """What a log is worth beside the newest snapshot, and what must be written so that the disk says the same.

    A log that holds the snapshot's last entry stays as it is; how much of it is kept behind a snapshot is the core's
    choice.  One that ends before it, or has an entry of another term there, was to give way to it when the server fell
    (Figure 13, receiver 6 and 7).  A log that begins behind what any snapshot holds has lost its beginning.

    The snapshot may even be of a later term than the server knows.  What is committed is applied, and so may be in a
    snapshot, without waiting for this disk.  That term was never answered in, so no vote was given in it.
    """
    covered = snapshot.last_included_index if snapshot is not None else 0
    if covered < stored.last_included_index:
        raise _beginning_lost(stored, covered)
    if snapshot is None or stored.term_at(covered) == snapshot.last_included_term:
        return stored, ()
    term = snapshot.last_included_term
    if covered == stored.last_included_index:
        raise _two_pasts(stored, term)
    changes: tuple[PersistEffect, ...] = (CompactLog(covered, term, discards_all=True),)
    if term > stored.current_term:
        stored = replace(stored, current_term=term, voted_for=None)
        changes = (PersistTermAndVote(term, None), *changes)
    return replace(stored, entries=(), last_included_index=covered, last_included_term=term), changes


_WHY_FINAL = (
    "the entries that are missing are committed; a server without them could help to elect a leader without them"
)
_FIX_FINAL = (
    "restore the snapshot if you have it; else remove this peer from the cluster and add a new one under an id that "
    "was never used, with an empty data directory"
)


def _beginning_lost(stored: Stored, covered: int) -> CorruptStorage:
    return CorruptStorage(
        f"the log begins behind index {stored.last_included_index}, and "
        + (f"the newest snapshot ends at index {covered}" if covered else "there is no snapshot"),
        why=_WHY_FINAL,
        fix=_FIX_FINAL,
    )


def _two_pasts(stored: Stored, term: int) -> CorruptStorage:
    return CorruptStorage(
        f"the log begins behind an entry of term {stored.last_included_term} at index {stored.last_included_index}, "
        f"but the snapshot of that index ends with one of term {term}",
        why="both are committed, and two different entries cannot be (paper 5.4.3): one is not this server's",
        fix=_FIX_FINAL,
    )


def _not_covered(index: int, newest: Snapshot | None) -> LogGap:
    return LogGap(
        f"the log was to begin behind index {index}, but "
        + (f"the newest snapshot ends at index {newest.last_included_index}" if newest else "there is no snapshot"),
        why="what a log drops must be in a durable snapshot (paper 7). Nothing was dropped",
        fix="restart the peer, so that it learns what is there, and report this as a bug",
    )
