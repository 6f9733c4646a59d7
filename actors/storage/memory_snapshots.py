"""Snapshots in the memory of the process: what `memory` is to logs.  They outlive the peer, not the process."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from hashlib import sha256

from actors.storage.port import SnapshotGone
from raft_core.configuration import Configured, Snapshot
from raft_core.types import LogIndex, Term


class MemorySnapshots:
    """The `Snapshots` of one server, kept in this object."""

    def __init__(self) -> None:
        self._contents: dict[Snapshot, bytes] = {}
        self._arriving: tuple[Snapshot, bytes] | None = None

    def save(
        self, last_included_index: LogIndex, last_included_term: Term, configured: Configured, content: bytes
    ) -> Snapshot:
        """Keep a snapshot of this server's own."""
        checksum = sha256(content).hexdigest()
        snapshot = Snapshot(last_included_index, last_included_term, configured, len(content), checksum)
        self._contents[snapshot] = content
        return snapshot

    def receive(self, snapshot: Snapshot, offset: int, data: bytes) -> bool | None:
        """Take a part."""
        there = self._arrived(snapshot) if offset else b""
        self._arriving = None
        if len(there) != offset or offset + len(data) > snapshot.size:
            return False
        content = there + data
        if len(content) < snapshot.size:
            self._arriving = (snapshot, content)
            return None
        is_sound = sha256(content).hexdigest() == snapshot.checksum
        if is_sound:
            self._contents[snapshot] = content
        return is_sound

    def received(self, snapshot: Snapshot) -> int:
        """How many bytes of this very snapshot are here."""
        return len(self._contents.get(snapshot, self._arrived(snapshot)))

    def _arrived(self, snapshot: Snapshot) -> bytes:
        return self._arriving[1] if self._arriving is not None and self._arriving[0] == snapshot else b""

    def copy(self) -> MemorySnapshots:
        """What is here now, for somebody else to go on with."""
        other = copy(self)
        other._contents = self._contents.copy()
        return other

    def read(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """A part of the content, for sending."""
        return self.load(snapshot)[offset : offset + length]

    def load(self, snapshot: Snapshot) -> bytes:
        """The content."""
        content = self._contents.get(snapshot)
        if content is None:
            raise SnapshotGone(
                f"the snapshot of index {snapshot.last_included_index} is no longer there",
                why="a newer one took its place, and holds all that was in it",
                fix="go on with the newest",
            )
        return content

    def latest(self) -> Snapshot | None:
        """The snapshot with the highest index."""
        return max(self._all(), key=_age, default=None)

    def latest_sound(self, log_begins_behind: LogIndex) -> Snapshot | None:
        """The same: memory is not damaged."""
        return self.latest()

    def prune(self, keep: Snapshot, needed: Collection[Snapshot] = ()) -> None:
        """Forget all that are older than `keep` and not `needed`, and what was begun of such."""
        self.load(keep)
        for snapshot in self._all():
            if snapshot.last_included_index < keep.last_included_index and snapshot not in needed:
                del self._contents[snapshot]
        if self._arriving is not None and self._arriving[0].last_included_index <= keep.last_included_index:
            self._arriving = None

    def _all(self) -> list[Snapshot]:
        """A copy, made in one step: another thread may be saving."""
        return list(self._contents)


def _age(snapshot: Snapshot) -> tuple[LogIndex, Term, str]:
    return snapshot.last_included_index, snapshot.last_included_term, snapshot.checksum
