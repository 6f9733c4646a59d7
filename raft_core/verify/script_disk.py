"""What a server of a golden script has on its disk, and what its state machine holds.

The state machine is the plainest there is: it remembers the commands it was given, in order.  Its snapshot is their
text, so a script shows that a server which got one has applied the same as all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from raft_core.configuration import Configured, Snapshot, decode_configuration
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.events import Event, LogPersisted, SnapshotReceived, SnapshotSpoiled
from raft_core.types import Entry, EntryKind, LogIndex, ServerId, Term


@dataclass
class Disk:
    """What survives a crash (Figure 2, "Persistent state on all servers"; paper 7)."""

    term: Term = 0
    vote: ServerId | None = None
    entries: list[Entry] = field(default_factory=list)
    last_included: tuple[LogIndex, Term] = (0, 0)
    """Index and term of the entry before the first one here."""
    snapshot: Snapshot | None = None
    contents: dict[str, bytes] = field(default_factory=dict)
    """Of snapshots, by checksum."""
    part: bytes = b""
    """Of a snapshot that is being received."""
    spoils: bool = False
    """The next snapshot that is received turns out not to be what was sent."""

    @property
    def last_index(self) -> LogIndex:
        """Index of the last entry."""
        return self.last_included[0] + len(self.entries)

    def write(self, effect: PersistEffect) -> Event | None:
        """Make the effect durable; what the disk has to say of it."""
        match effect:
            case PersistTermAndVote():
                self.term, self.vote = effect.current_term, effect.voted_for
            case AppendToLog():
                self.entries[effect.prev_log_index - self.last_included[0] :] = effect.entries
                return LogPersisted(effect.prev_log_index + len(effect.entries), effect.current_term)
            case CompactLog():
                self._cut(effect)
            case ReceiveSnapshotChunk():
                return self._receive(effect)
        return None

    def _cut(self, effect: CompactLog) -> None:
        kept = [] if effect.discards_all else self.entries[effect.last_included_index - self.last_included[0] :]
        self.entries, self.last_included = kept, (effect.last_included_index, effect.last_included_term)

    def _receive(self, effect: ReceiveSnapshotChunk) -> Event | None:
        self.part = self.part[: effect.offset] + effect.data
        if not effect.is_last:
            return None
        content, self.part = self.part, b""
        if self.spoils or sha256(content).hexdigest() != effect.snapshot.checksum:
            self.spoils = False
            return SnapshotSpoiled(effect.snapshot)
        self.keep(effect.snapshot, content)
        return SnapshotReceived(effect.snapshot)

    def keep(self, snapshot: Snapshot, content: bytes) -> None:
        """This snapshot is here from now on."""
        self.contents[snapshot.checksum] = content
        if self.snapshot is None or snapshot.last_included_index > self.snapshot.last_included_index:
            self.snapshot = snapshot


@dataclass
class ScriptMachine:
    """The state machine: what it was given, up to which index, and who were the members there."""

    configured: Configured
    commands: list[str] = field(default_factory=list)
    index: LogIndex = 0
    term: Term = 0

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Take the next entries."""
        for entry in entries:
            self.index, self.term = self.index + 1, entry.term
            if entry.kind is EntryKind.COMMAND:
                self.commands.append(entry.command.decode(errors="backslashreplace"))
            elif entry.kind is EntryKind.CONFIGURATION and (members := decode_configuration(entry.command)):
                self.configured = Configured(self.index, members)

    def snapshot(self) -> tuple[Snapshot, bytes]:
        """The state as it is now."""
        content = "\n".join(self.commands).encode() + b"\n"
        checksum = sha256(content).hexdigest()
        return Snapshot(self.index, self.term, self.configured, len(content), checksum), content

    def restore(self, snapshot: Snapshot, content: bytes) -> None:
        """Become what the snapshot says."""
        self.commands = content.decode().split("\n")[:-1] if len(content) > 1 else []
        self.index, self.term = snapshot.last_included_index, snapshot.last_included_term
        self.configured = snapshot.configured
