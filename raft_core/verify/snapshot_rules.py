"""What must never be, about snapshots (paper 7): a part of the oracle (see `invariants`).

* A snapshot holds what was committed up to its last index, and nothing else: all snapshots of an index are the same,
  whoever took them, down to their last byte.
* It names the members that were in force at that index.
* The log is cut only behind what a durable snapshot holds.
* The state machine takes its state from a snapshot only forwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from raft_core.configuration import Configured, Snapshot
from raft_core.effects import ReceiveSnapshotChunk
from raft_core.types import Entry, LogIndex, ServerId
from raft_core.verify.violation import Violation


class SnapshotRules:
    """All snapshots there ever were."""

    def __init__(self) -> None:
        self._known: dict[LogIndex, Snapshot] = {}
        self._receives: dict[ServerId, Snapshot] = {}
        """Of which there is a first part, and not yet the last."""

    def taken(self, name: ServerId, snapshot: Snapshot, committed: Sequence[Entry], members: Configured) -> None:
        """`name` has a snapshot.  `members` are those that were in force at its index."""
        index = snapshot.last_included_index
        if not 0 < index <= len(committed) or committed[index - 1].term != snapshot.last_included_term:
            raise Violation("Snapshot Of The Committed", f"{name} has one of entry {index}, which is not")
        if snapshot.configured != members:
            raise Violation("Members Of A Snapshot", f"{name}: at {index} it was {members}, not {snapshot}")
        if self._known.setdefault(index, snapshot) != snapshot:
            raise Violation("State Machine Safety", f"{name} has another snapshot of {index} than was known")

    def part(self, name: ServerId, part: ReceiveSnapshotChunk) -> None:
        """A part of one has reached the disk of `name` (Figure 13): the first, or one of what was begun."""
        if part.offset and self._receives.get(name) != part.snapshot:
            raise Violation("Parts Of One Snapshot", f"{name} continues {part.snapshot}, which it has not begun")
        self._receives[name] = part.snapshot
        if part.is_last:
            del self._receives[name]

    def cut(self, name: ServerId, index: LogIndex, covered: LogIndex) -> None:
        """The log of `name` on disk begins behind `index`; its latest snapshot goes up to `covered`."""
        if index > covered:
            raise Violation("Snapshot Before Cut", f"{name} has a log behind {index}, a snapshot up to {covered}")
