"""When to take a snapshot, and of what (paper 7): the applier's business, so consensus does not wait for it.

A snapshot is due when enough entries, or enough bytes of commands, were applied since the last one - but never before
as many bytes were applied as the last one had.  So taking snapshots costs at most as much again as writing the log,
however large the state grows (paper 7: "when the log reaches a fixed size in bytes"; thesis 5.1.3).

Peers whose state is large do not all save at once: each has its turn at indexes of its own.

Saving may go on behind the applier (`snapshot_saving`); one snapshot is under way at a time.

A machine that cannot be saved is told of once, and again by whoever asks for a snapshot by hand; its log grows.  For
want of room a snapshot is given up, and the next one is due as if it had been taken.  Any other failure of the disk is
final.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias, runtime_checkable

from actors.errors import ActorumError, SnapshotFailed
from actors.machine import MachineHost
from actors.storage.port import DiskFull, Snapshots, StorageError
from raft_core import Configured, Entry, LogIndex, ServerId, Settings, Snapshot, Term
from raft_core.configuration import decode_configuration
from raft_core.types import EntryKind

LOG = logging.getLogger("actorum.snapshots")
"""Snapshots taken (INFO), and machines that cannot be saved (WARNING)."""

ENTRY_BYTES = 16
"""What an entry costs in the log besides its command, about."""

LARGE: Final = 1 << 20
"""Bytes of a state from which on peers take turns."""

_CONFIGURATION: Final = EntryKind.CONFIGURATION
"""Every entry is compared with it, and a member of an enumeration takes long to look up."""


Outcome: TypeAlias = Snapshot | ActorumError
"""What became of saving."""
Tell: TypeAlias = Callable[[Outcome], None]

UNKNOWN: Final = sys.maxsize
"""Bytes of a state that was never saved."""


class Saver(Protocol):
    """Saves the state of one machine."""

    def save(self, index: LogIndex, term: Term, configured: Configured, size: int, tell: Tell) -> Outcome | None:
        """Save the state as it is now; `size` is a guess at its bytes.  None: `tell` will be called, in whatever
        thread; until then nothing else is to be saved."""


class SavingHere:
    """In the thread that asks."""

    def __init__(self, machine: MachineHost, snapshots: Snapshots) -> None:
        self._machine = machine
        self._snapshots = snapshots

    def save(self, index: LogIndex, term: Term, configured: Configured, size: int, tell: Tell) -> Outcome | None:
        """At once."""
        try:
            return self._snapshots.save(index, term, configured, self._machine.save())
        except ActorumError as error:
            return error


def _nobody(outcome: Outcome) -> None:
    """Who saves at once has nobody to tell."""


def is_final(error: ActorumError) -> bool:
    """After this failure to take a snapshot (a failed fsync, say), nobody knows what is on the disk."""
    return isinstance(error, StorageError) and not isinstance(error, DiskFull)


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
        self,
        machine: MachineHost,
        snapshots: Snapshots,
        settings: Settings,
        latest: Snapshot | None,
        base: Configured,
        stands_behind: Callable[[LogIndex], None] = lambda index: None,
        saver: Saver | None = None,
        server_id: ServerId = "",
    ) -> None:
        """`base`: the latest members among what is applied; `latest`: the snapshot that the machine came from;
        `stands_behind` is told from where on the machine needs none any more."""
        self._machine = machine
        self._snapshots = snapshots
        self._saver = saver or SavingHere(machine, snapshots)
        self.settings = settings
        """They may be replaced while it runs."""
        self._server_id = server_id
        self._configured = base
        self._last_included: tuple[LogIndex, Term] = (0, 0)
        self._saved_index: LogIndex = 0
        self._last_size = 0
        self._entries = 0
        self._bytes = 0
        self._is_unsavable = False
        self.is_under_way = False
        """One is being saved behind; another can be begun when `saved` was told of it."""
        self._stands_behind = stands_behind
        if latest is not None:
            self._begin_behind(latest)

    def applied(self, first_index: LogIndex, entries: Sequence[Entry]) -> None:
        """These were applied."""
        size = ENTRY_BYTES * len(entries)
        for index, entry in enumerate(entries, first_index):
            size += len(entry.command)
            if entry.kind is _CONFIGURATION:
                members = decode_configuration(entry.command)
                assert members is not None, "the core lets no other into the log"
                self._configured = Configured(index, members)
        self._entries += len(entries)
        self._bytes += size
        self._last_included = first_index + len(entries) - 1, entries[-1].term

    def restore(self, snapshot: Snapshot) -> None:
        """The machine takes its state from `snapshot`.  Raises `StorageError` or `WrongVersion`."""
        self._machine.restore(self._snapshots.load(snapshot))
        self._configured = snapshot.configured
        self._begin_behind(snapshot)

    def take_if_due(self, tell: Tell = _nobody) -> Snapshot | None:
        """Take one if it is time; see `take`."""
        if self.is_under_way or self._bytes < self._last_size or not self._has_enough:
            return None
        try:
            return self.take(tell)
        except ActorumError as error:
            if is_final(error):
                raise
            self._warn(error)
            return None

    @property
    def _has_enough(self) -> bool:
        every, size = self.settings.snapshot_entries, self.settings.snapshot_bytes
        if not every:
            return False
        return self._bytes >= size or (2 * self._entries >= every and self._entries >= every + self._shift(every))

    def _shift(self, every: int) -> int:
        """How many more entries than `every` until this server's turn, at most half as many more or fewer: servers
        with a large state take turns at different indexes, a full round apart."""
        servers = self._configured.configuration.servers
        if self._last_size < LARGE or self._server_id not in servers:
            return 0
        turn = servers.index(self._server_id) * every // len(servers)
        shift = (turn - self._saved_index) % every
        return shift if 2 * shift <= every else shift - every

    def _warn(self, error: ActorumError) -> None:
        if not self._is_unsavable:
            LOG.warning("no snapshot was taken, the log goes on growing: %s", error)
        self._is_unsavable = not isinstance(error, DiskFull)
        self._entries, self._bytes = 0, 0

    def take(self, tell: Tell = _nobody) -> Snapshot | None:
        """Take one now; None if there is nothing that the last one has not, or if it `is_under_way`: then `tell` is
        called in whatever thread, and `saved` is to be told.  Raises an `ActorumError` if it cannot be."""
        index, term = self._last_included
        if self.is_under_way or index == self._saved_index:
            return None
        if isinstance(self._machine.machine, ServiceOutside):
            raise SnapshotFailed(
                "this peer cannot take a snapshot by itself",
                why="the service that applies its commands stands outside, and only that has their results",
                fix="let the service hand over its state",
            )
        size = self._last_size + self._bytes if self._saved_index else UNKNOWN
        outcome = self._saver.save(index, term, self._configured, size, tell)
        if isinstance(outcome, ActorumError):
            raise outcome
        self._entries, self._bytes = 0, 0
        self.is_under_way = outcome is None
        if outcome is not None:
            self._keep(outcome)
        return outcome

    def saved(self, outcome: Outcome) -> None:
        """What was under way has come to its end."""
        self.is_under_way = False
        if isinstance(outcome, Snapshot):
            self._keep(outcome)
        elif is_final(outcome):
            raise outcome
        else:
            self._warn(outcome)

    def _keep(self, snapshot: Snapshot) -> None:
        LOG.info("a snapshot of %d bytes stands for all up to entry %d", snapshot.size, snapshot.last_included_index)
        self._saved_index = max(self._saved_index, snapshot.last_included_index)
        self._last_size = snapshot.size
        self._stands_behind(snapshot.last_included_index)

    def keep(self, index: LogIndex, term: Term, members: Configured, state: bytes) -> Snapshot:
        """Keep the state that a service outside has behind entry `index`.  Raises an `ActorumError` if it cannot be."""
        machine = self._machine.machine
        if not isinstance(machine, ServiceOutside):
            raise SnapshotFailed(f"{self._machine.describe()} applies the commands, and no service outside")
        if index <= machine.last_included_index:
            raise SnapshotFailed(f"there is a snapshot up to entry {machine.last_included_index} already")
        snapshot = self._snapshots.save(index, term, members, machine.keep(index, term, state))
        self._keep(snapshot)
        return snapshot

    def _begin_behind(self, snapshot: Snapshot) -> None:
        """The machine is what `snapshot` holds."""
        self._last_included = snapshot.last_included_index, snapshot.last_included_term
        self._saved_index, self._last_size = snapshot.last_included_index, snapshot.size
        self._stands_behind(snapshot.last_included_index)
        self._entries, self._bytes = 0, 0
