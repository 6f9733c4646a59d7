"""When to take a snapshot, and of what (paper 7): the applier's business, so consensus does not wait for it.

A snapshot is due when enough entries, or enough bytes of commands, were applied since the last one - but never before
as many bytes were applied as the last one had.  So taking snapshots costs at most as much again as writing the log,
however large the state grows (paper 7: "when the log reaches a fixed size in bytes"; thesis 5.1.3).

A machine that cannot be saved is told of once, and again by whoever asks for a snapshot by hand; its log grows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from actors.errors import ActorumError, SnapshotFailed
from actors.machine import MachineHost
from actors.storage.port import Snapshots
from raft_core import Configured, Entry, LogIndex, Settings, Snapshot, Term
from raft_core.configuration import configured

LOG = logging.getLogger("actorum.snapshots")
"""Snapshots taken (INFO), and machines that cannot be saved (WARNING)."""

ENTRY_BYTES = 16
"""What an entry costs in the log besides its command, about."""


@runtime_checkable
class ServiceOutside(Protocol):
    """The machine of a peer whose commands somebody else applies (`outside`)."""

    last_included_index: LogIndex
    last_included_term: Term
    state: bytes

    def keep(self, last_included_index: LogIndex, last_included_term: Term, state: bytes) -> bytes:
        """Hold this from now on; the content of a snapshot of it."""


class SnapshotTaker:
    """Knows what was applied, and when the next snapshot of it is due.  It belongs to the applier."""

    def __init__(
        self, machine: MachineHost, snapshots: Snapshots, settings: Settings, latest: Snapshot | None, base: Configured
    ) -> None:
        """`base`: the latest members among what is applied; `latest`: the snapshot that the machine came from."""
        self._machine = machine
        self._snapshots = snapshots
        self._settings = settings
        self._configured = base
        self._last_included: tuple[LogIndex, Term] = (0, 0)
        self._last_size = 0
        self._entries = 0
        self._bytes = 0
        self._is_unsavable = False
        if latest is not None:
            self._begin_behind(latest)

    def applied(self, first_index: LogIndex, entries: Sequence[Entry]) -> None:
        """These were applied."""
        self._entries += len(entries)
        self._bytes += sum([len(entry.command) for entry in entries]) + ENTRY_BYTES * len(entries)
        self._last_included = first_index + len(entries) - 1, entries[-1].term
        found = configured(entries, first_index)
        assert found is not None, "the core lets no other into the log"
        if found:
            self._configured = found[-1]

    def restore(self, snapshot: Snapshot) -> None:
        """The machine takes its state from `snapshot`.  Raises `StorageError` or `WrongVersion`."""
        self._machine.restore(self._snapshots.load(snapshot))
        self._configured = snapshot.configured
        self._begin_behind(snapshot)

    def take_if_due(self) -> Snapshot | None:
        """Take one if it is time."""
        settings = self._settings
        enough = self._entries >= settings.snapshot_entries or self._bytes >= settings.snapshot_bytes
        if not enough or self._bytes < self._last_size or not settings.snapshot_entries:
            return None
        try:
            return self.take()
        except ActorumError as error:
            if not self._is_unsavable:
                LOG.warning("no snapshot was taken, the log goes on growing: %s", error)
            self._is_unsavable = True
            self._entries, self._bytes = 0, 0
            return None

    def take(self) -> Snapshot | None:
        """Take one now; None if nothing was applied since the last one.  Raises an `ActorumError` if it cannot be."""
        if not self._entries:
            return None
        if isinstance(self._machine.machine, ServiceOutside):
            raise SnapshotFailed(
                "this peer cannot take a snapshot by itself",
                why="the service that applies its commands stands outside, and only that has their results",
                fix="let the service hand over its state",
            )
        index, term = self._last_included
        snapshot = self._snapshots.save(index, term, self._configured, self._machine.save())
        LOG.info("a snapshot of %d bytes stands for everything up to entry %d", snapshot.size, index)
        self._begin_behind(snapshot)
        return snapshot

    def keep(self, index: LogIndex, term: Term, members: Configured, state: bytes) -> Snapshot:
        """Keep the state that a service outside has behind entry `index`.  Raises an `ActorumError` if it cannot be."""
        machine = self._machine.machine
        if not isinstance(machine, ServiceOutside):
            raise SnapshotFailed(f"{self._machine.describe()} applies the commands, and no service outside")
        if index <= machine.last_included_index:
            raise SnapshotFailed(f"there is a snapshot up to entry {machine.last_included_index} already")
        return self._snapshots.save(index, term, members, machine.keep(index, term, state))

    def _begin_behind(self, snapshot: Snapshot) -> None:
        self._last_included = snapshot.last_included_index, snapshot.last_included_term
        self._last_size = snapshot.size
        self._entries, self._bytes = 0, 0
