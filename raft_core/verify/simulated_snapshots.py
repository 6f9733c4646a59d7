"""Snapshots in a simulation: a state machine with what it has applied, and what spoils a snapshot on its way to a disk.

Whoever owns a state machine takes a snapshot of what is applied, at once in memory and then in its own time on disk; a
crash meanwhile leaves nothing.  The adversary says after how many entries, and how often by chance a part of a leader's
snapshot is spoiled: then the whole does not match its checksum.
"""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import NamedTuple

from raft_core.configuration import Configured, Snapshot, decode_configuration
from raft_core.effects import ReceiveSnapshotChunk
from raft_core.types import Entry, EntryKind, LogIndex, Term
from raft_core.verify.simulated_clients import SimulatedMachine


class Restoration(NamedTuple):
    """Work for a state machine: to take its state from this."""

    snapshot: Snapshot
    content: bytes


class SimulatedReplica:
    """A state machine, how far it is, and the members it has met on its way."""

    def __init__(self, configured: Configured) -> None:
        self.machine = SimulatedMachine()
        self.applied_index: LogIndex = 0
        self.applied_term: Term = 0
        self.configured = configured
        """The latest members among what is applied; nobody on a server that joined, as long as it was told of none."""
        self.snapshot_index: LogIndex = 0
        """The last index of the latest snapshot that it gave or took."""

    def restore(self, snapshot: Snapshot, content: bytes) -> None:
        """Take the state from a snapshot."""
        self.machine = SimulatedMachine.restored(content)
        self.applied_index = self.snapshot_index = snapshot.last_included_index
        self.applied_term, self.configured = snapshot.last_included_term, snapshot.configured

    def apply(self, index: LogIndex, entry: Entry) -> object:
        """Apply the entry at `index`."""
        if entry.kind is EntryKind.CONFIGURATION:
            members = decode_configuration(entry.command)
            assert members is not None
            self.configured = Configured(index, members)
        self.applied_index, self.applied_term = index, entry.term
        return self.machine.apply(entry)

    def is_due(self, entries: int) -> bool:
        """Were `entries` applied since the last snapshot?  A snapshot has to name members."""
        return self.applied_index >= self.snapshot_index + entries and bool(self.configured.configuration.voters)

    def snapshot(self) -> Restoration:
        """Of all that is applied."""
        content = self.machine.snapshot()
        self.snapshot_index = self.applied_index
        checksum = sha256(content).hexdigest()
        snapshot = Snapshot(self.applied_index, self.applied_term, self.configured, len(content), checksum)
        return Restoration(snapshot, content)


class Spoil(NamedTuple):
    """One bit of a part of a snapshot is not what was sent."""

    byte: int
    bit: int


def perhaps_spoiled(part: ReceiveSnapshotChunk, chance: float, random: Random) -> Spoil | None:
    """What befalls this part on its way to the disk."""
    if not chance or not part.data or random.random() >= chance:
        return None
    return Spoil(random.randrange(len(part.data)), random.randrange(8))


def spoiled(part: ReceiveSnapshotChunk, spoil: Spoil | None) -> ReceiveSnapshotChunk:
    """What arrives of it."""
    if spoil is None or spoil.byte >= len(part.data):
        return part
    changed = part.data[spoil.byte] ^ (1 << spoil.bit)
    data = part.data[: spoil.byte] + bytes((changed,)) + part.data[spoil.byte + 1 :]
    return ReceiveSnapshotChunk(part.snapshot, part.offset, data)
