"""The checks that never rest: every word of every peer goes past here, whatever the scenario is about.

* What a server delivers has the index after the one it delivered before (no gap, no repeat), since it was started.
* It is the very entry - command, term and kind - that every other server delivers at this index, ever.
* In one term at most one server ever claims to lead (which the lab looks at only when it asks for the leader).
* The term of a server does not decrease while it runs.

What must not be is an error at once, wherever the scenario stands.
"""

from __future__ import annotations

from actors.protocol import Delivered
from raft_core import Entry, EntryKind, LogIndex, ServerId, Term


class Violation(AssertionError):
    """Something happened that must never happen."""


class ServerRecord:
    """What is known of one server."""

    def __init__(self, name: ServerId) -> None:
        self.name = name
        self.is_up = False
        self.is_connected = True
        self.incarnation = 0
        self.term: Term = 0
        """The last that its present incarnation told."""
        self.last_index: LogIndex = 0
        """Of the last entry that it delivered."""
        self.applied: list[bytes] = []
        """The commands it delivered; the first has position 1."""

    def starts(self) -> None:
        """A new incarnation is there: it delivers everything anew."""
        self.is_up, self.term, self.last_index, self.applied = True, 0, 0, []
        self.incarnation += 1


class Witness:
    """Has seen everything that all servers ever said."""

    def __init__(self, servers: list[ServerRecord]) -> None:
        self._servers = servers
        self._history: list[Entry] = []
        self._leaders: dict[Term, ServerRecord] = {}

    def delivered(self, server: ServerRecord, message: Delivered) -> None:
        """A server has applied these entries."""
        if message.first_index != server.last_index + 1:
            raise Violation(f"{server.name} delivered {server.last_index} and then {message.first_index}")
        for index, entry in enumerate(message.entries, message.first_index):
            if index > len(self._history):
                self._history.append(entry)
            elif self._history[index - 1] != entry:
                raise Violation(f"{server.name} delivered {entry} at {index}, others {self._history[index - 1]}")
            server.last_index = index
            if entry.kind is EntryKind.COMMAND:
                server.applied.append(entry.command)

    def in_term(self, server: ServerRecord, term: Term, *, leads: bool) -> None:
        """A server is in this term, and believes itself the leader or not."""
        if term < server.term:
            raise Violation(f"{server.name} was in term {server.term} and is in term {term}")
        server.term = term
        if leads and self._leaders.setdefault(term, server) is not server:
            raise Violation(f"{server.name} and {self._leaders[term].name} both lead in term {term}")

    def n_committed(self, position: int) -> tuple[int, bytes | None]:
        """How many servers have applied a command at `position`, and which."""
        commands = {s.applied[position - 1] for s in self._servers if len(s.applied) >= position}
        if len(commands) > 1:
            raise Violation(f"at position {position} servers applied {commands}")
        return sum(len(s.applied) >= position for s in self._servers), next(iter(commands), None)

    def commands(self) -> list[bytes]:
        """All commands that anybody ever applied, in order."""
        return [entry.command for entry in self._history if entry.kind is EntryKind.COMMAND]
