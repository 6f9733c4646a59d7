"""Storage in the memory of the process: for tests, demonstrations and engines that live in one process.

The object is the disk: it survives the peer that used it, so "restart" means handing the same object to a new peer.  It
promises nothing beyond the life of the process, and a peer that comes back with an *empty* one under its old id breaks
Raft (thesis 3.8); for anything that outlives a process there is `sqlite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import assert_never

from actors.storage.port import Extent, Stored
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry, LogIndex, ServerId, Term


class MemoryStorage:
    """A `Storage` that keeps everything in this object."""

    blocking: bool = False

    def __init__(self) -> None:
        self._current_term: Term = 0
        self._voted_for: ServerId | None = None
        self._entries: list[Entry] = []
        self._extent = Extent()
        self._last_included_index: LogIndex = 0
        self._last_included_term: Term = 0

    def load(self) -> Stored:
        """What was written so far."""
        return Stored(
            self._current_term,
            self._voted_for,
            tuple(self._entries),
            self._last_included_index,
            self._last_included_term,
        )

    def check(self, changes: Sequence[PersistEffect]) -> None:
        """Raises `LogGap` if `changes` do not fit; if they do, nothing can keep `write` from carrying them out."""
        self._extent.after(changes)

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes`; raises `LogGap` and changes nothing if they do not fit."""
        # Asked first, because nothing after it can fail: that is what makes the write atomic without a copy of the log.
        self._extent = self._extent.after(changes)
        for change in changes:
            match change:
                case AppendToLog():
                    self._entries[change.prev_log_index - self._last_included_index :] = change.entries
                case PersistTermAndVote():
                    self._current_term, self._voted_for = change.current_term, change.voted_for
                case CompactLog():
                    self._compact(change)
                case ReceiveSnapshotChunk():
                    raise AssertionError("refused above")
                case _:
                    assert_never(change)

    def copy(self) -> MemoryStorage:
        """What is stored now, for somebody else to write on."""
        other = copy(self)
        other._entries = self._entries.copy()
        return other

    def close(self) -> None:
        """Nothing to give up: the next peer goes on with the same object."""

    def _compact(self, change: CompactLog) -> None:
        if change.discards_all:
            self._entries.clear()
        elif change.last_included_index <= self._last_included_index:
            return
        del self._entries[: change.last_included_index - self._last_included_index]
        self._last_included_index = change.last_included_index
        self._last_included_term = change.last_included_term
