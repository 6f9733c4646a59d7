"""Storage in the memory of the process: for tests, demonstrations and engines that live in one process.

The object is the disk: it survives the peer that used it, so "restart" means handing the same object to a new peer.  It
promises nothing beyond the life of the process, and a peer that comes back with an *empty* one under its old id breaks
Raft (thesis 3.8); for anything that outlives a process there is `sqlite`.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.storage.port import Stored, last_index_after
from raft_core.effects import AppendToLog, PersistEffect
from raft_core.types import Entry, ServerId, Term


class MemoryStorage:
    """A `Storage` that keeps everything in this object."""

    blocking: bool = False

    def __init__(self) -> None:
        self._current_term: Term = 0
        self._voted_for: ServerId | None = None
        self._entries: list[Entry] = []

    def load(self) -> Stored:
        """What was written so far."""
        return Stored(self._current_term, self._voted_for, tuple(self._entries))

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Carry out `changes`; raises `LogGap` and changes nothing if they do not fit."""
        # Asked first, because nothing after it can fail: that is what makes the write atomic without a copy of the log.
        last_index_after(len(self._entries), changes)
        for change in changes:
            if isinstance(change, AppendToLog):
                self._entries[change.prev_log_index :] = change.entries
            else:
                self._current_term, self._voted_for = change.current_term, change.voted_for

    def close(self) -> None:
        """Nothing to give up: the next peer goes on with the same object."""
