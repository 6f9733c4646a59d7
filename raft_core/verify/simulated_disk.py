"""A simulated disk: an ordered stream of writes and of answers that wait for them (see `raft_core.effects`).

Writes become durable one transaction at a time, in order.  Whatever is not durable when its server falls is gone, or,
if the disk tears, there in part: some of the writes under way, and of the last of these some of its entries or bytes.

Snapshots stand beside the log.  A server's own are written by somebody else, in their own time; those of a leader
arrive in parts, in the stream.  Either is there as a whole or not at all.  The two latest are kept, and all that the
log does not begin behind yet: a state machine may still have to take its state from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from random import Random

from raft_core.configuration import Snapshot
from raft_core.effects import (
    AppendToLog,
    CompactLog,
    PersistEffect,
    PersistTermAndVote,
    ReceiveSnapshotChunk,
    Send,
)
from raft_core.state import Incoming
from raft_core.types import Entry, LogIndex, ServerId, Term

KEPT = 2
"""Snapshots that are kept, at least."""


class SimulatedDisk:
    """What is durable, and what waits to become so."""

    def __init__(self) -> None:
        self.current_term: Term = 0
        self.voted_for: ServerId | None = None
        self.last_included_index: LogIndex = 0
        """The log begins behind this."""
        self.last_included_term: Term = 0
        self.entries: list[Entry] = []
        self.snapshots: dict[LogIndex, tuple[Snapshot, bytes]] = {}
        """By their last index, ascending."""
        self.covered: LogIndex = 0
        """Last index of the latest snapshot."""
        self.receiving: Snapshot | None = None
        self.received = b""
        self.stream: deque[PersistEffect | Send] = deque()
        """Not yet durable, and answers that must not overtake it."""

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest."""
        return self.snapshots[self.covered][0] if self.covered else None

    @property
    def last_index(self) -> LogIndex:
        """The last that the log or a snapshot has."""
        return max(self.covered, self.last_included_index + len(self.entries))

    def term_at(self, index: LogIndex) -> Term | None:
        """What the log says; None where it says nothing."""
        position = index - self.last_included_index - 1
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return self.last_included_term if position == -1 else None

    def has(self, index: LogIndex, entry: Entry) -> bool:
        """Is this committed entry here, or in a snapshot?"""
        if index <= self.covered:
            return True
        position = index - self.last_included_index - 1
        return 0 <= position < len(self.entries) and self.entries[position] == entry

    def content(self, snapshot: Snapshot) -> bytes | None:
        """Of a snapshot that is here."""
        kept = self.snapshots.get(snapshot.last_included_index)
        return kept[1] if kept is not None and kept[0] == snapshot else None

    # --- writing ------------------------------------------------------------------------------------------------------

    def next_transaction(self) -> list[PersistEffect]:
        """The writes at the head of the stream: one transaction may hold several."""
        writes: list[PersistEffect] = []
        for item in self.stream:
            if isinstance(item, Send):
                break
            writes.append(item)
        return writes

    def make_durable(self, change: PersistEffect) -> bool:
        """Carry `change` out.  Was all well?  False only for the last part of a snapshot that is not sound."""
        match change:
            case PersistTermAndVote():
                self.current_term, self.voted_for = change.current_term, change.voted_for
            case AppendToLog():
                self.entries[max(0, change.prev_log_index - self.last_included_index) :] = change.entries
            case CompactLog():
                self._cut(change.last_included_index, change.last_included_term, change.discards_all)
            case ReceiveSnapshotChunk():
                return self._take_part(change)
        return True

    def _cut(self, index: LogIndex, term: Term, discards_all: bool) -> None:
        self.entries = [] if discards_all else self.entries[index - self.last_included_index :]
        self.last_included_index, self.last_included_term = index, term

    def _take_part(self, part: ReceiveSnapshotChunk) -> bool:
        if part.offset == 0:
            self.receiving, self.received = part.snapshot, b""
        self.received += part.data
        if not part.is_last:
            return True
        content, self.receiving, self.received = self.received, None, b""
        is_sound = sha256(content).hexdigest() == part.snapshot.checksum
        if is_sound:
            self.keep(part.snapshot, content)
        return is_sound

    def keep(self, snapshot: Snapshot, content: bytes) -> None:
        """A whole snapshot is durable, under its name."""
        self.snapshots[snapshot.last_included_index] = (snapshot, content)
        indices = sorted(self.snapshots)
        needed = [index for index in indices[:-KEPT] if index >= self.last_included_index]
        self.snapshots = {index: self.snapshots[index] for index in (*needed, *indices[-KEPT:])}
        self.covered = indices[-1]

    # --- crashes ------------------------------------------------------------------------------------------------------

    def lose(self, random: Random, *, tears: bool) -> Sequence[PersistEffect]:
        """The server fell.  Returns what reached the disk all the same."""
        writes = [item for item in self.stream if not isinstance(item, Send)]
        self.stream.clear()
        if not tears or not writes:
            return ()
        there = writes[: random.randint(0, len(writes))]
        if there:
            there[-1] = _torn(there[-1], random)
        for change in there:
            self.make_durable(change)
        return there

    def open(self) -> Incoming | None:
        """Before a start: if a snapshot replaces what the log has, so be it.  Returns what may be received on."""
        snapshot, index = self.snapshot, self.covered
        is_ahead = snapshot is not None and index > self.last_included_index
        if snapshot is not None and is_ahead and self.term_at(index) != snapshot.last_included_term:
            self._cut(index, snapshot.last_included_term, discards_all=True)
        return None if self.receiving is None else Incoming(self.receiving, len(self.received))


def _torn(change: PersistEffect, random: Random) -> PersistEffect:
    """What may be left of a write that was under way."""
    match change:
        case AppendToLog():
            kept = change.entries[: random.randint(0, len(change.entries))]
            return AppendToLog(change.prev_log_index, kept, change.current_term)
        case ReceiveSnapshotChunk():
            return ReceiveSnapshotChunk(
                change.snapshot, change.offset, change.data[: random.randint(0, len(change.data))]
            )
        case _:
            return change
