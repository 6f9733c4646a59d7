"""The checks that never rest: every word of every peer goes past here, whatever the scenario is about.

* What a server delivers has the index after the one it delivered before (no gap, no repeat), since it was started.
* It is the very entry - command, term and kind - that every other server delivers at this index, ever.
* In one term at most one server ever claims to lead (which the lab looks at only when it asks for the leader).
* The term of a server does not decrease while it runs.
* A snapshot takes no server back, neither while it runs nor over a restart; it has the very commands, and stands for as
  many, as others have applied up to its last entry, which is of the term that theirs is.

What must not be is an error at once, wherever the scenario stands.
"""

from __future__ import annotations

from msgspec import msgpack

from actors.following import Following, HandedOver
from actors.protocol import Delivered, Offered, Restored
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
        self.following = Following()
        """Of the log of its present incarnation."""
        self.applied: list[bytes] = []
        """The commands it delivered, or has in a snapshot; the first has position 1."""
        self.kept_index: LogIndex = 0
        """Of the last snapshot that it said to have kept, or came from."""
        self.too_early: list[Offered] = []
        """Answers that cannot be understood before more is heard."""

    def starts(self) -> None:
        """A new incarnation is there: it delivers everything anew, or what is behind its snapshot."""
        self.is_up, self.term, self.following, self.applied, self.too_early = True, 0, Following(), [], []
        self.incarnation += 1

    @property
    def last_index(self) -> LogIndex:
        """Of the last entry that it delivered, or has in a snapshot."""
        return self.following.last_index


class Witness:
    """Has seen everything that all servers ever said."""

    def __init__(self, servers: list[ServerRecord]) -> None:
        self._servers = servers
        self._entries: dict[LogIndex, Entry] = {}
        self._positions: dict[LogIndex, int] = {}
        """How many commands there are up to an entry."""
        self._commands: list[bytes] = []
        self._leaders: dict[Term, ServerRecord] = {}

    def delivered(self, server: ServerRecord, message: Delivered) -> None:
        """A server has applied these entries."""
        if message.first_index != server.last_index + 1:
            raise Violation(f"{server.name} delivered {server.last_index} and then {message.first_index}")
        if message.first_index <= server.kept_index:
            raise Violation(f"{server.name} has lost its snapshot: it delivered {message.first_index} once more")
        for index, entry in enumerate(message.entries, message.first_index):
            known = self._entries.setdefault(index, entry)
            if known != entry:
                raise Violation(f"{server.name} delivered {entry} at {index}, others {known}")
            if entry.kind is EntryKind.COMMAND:
                server.applied.append(entry.command)
            self._count(server, index, len(server.applied))
        server.following.delivered(message)
        self._compare(server)

    def restored(self, server: ServerRecord, message: Restored) -> None:
        """A server goes on behind a snapshot."""
        index = message.last_included_index
        if index <= server.last_index:
            raise Violation(f"{server.name} was at {server.last_index} and is back at {index}, by a snapshot")
        if index < server.kept_index:
            raise Violation(f"{server.name} kept a snapshot of {server.kept_index} and has one of {index}")
        if index in self._entries and self._entries[index].term != message.last_included_term:
            raise Violation(f"{server.name} has a snapshot of {index} in another term than others delivered it")
        server.applied = unpack_commands(server.following.restored(message))
        server.kept_index = index
        self._count(server, index, len(server.applied))
        self._compare(server)

    def _count(self, server: ServerRecord, index: LogIndex, position: int) -> None:
        known = self._positions.setdefault(index, position)
        if known != position:
            raise Violation(f"{server.name} counts {position} commands up to {index}, others {known}")

    def _compare(self, server: ServerRecord) -> None:
        """What the server has is the beginning of what anybody has, or the other way round."""
        common = min(len(server.applied), len(self._commands))
        if server.applied[:common] != self._commands[:common]:
            raise Violation(f"{server.name} has other commands than others")
        self._commands.extend(server.applied[common:])

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
        return list(self._commands)

    def size(self, first_index: LogIndex, last_index: LogIndex) -> int:
        """Bytes that the entries of a log take, encoded; those that nobody delivered yet, as the longest."""
        longest = max(map(_bytes, self._entries.values()), default=0)
        known = [self._entries.get(index) for index in range(first_index, last_index + 1)]
        return sum(longest if entry is None else _bytes(entry) for entry in known)


def _bytes(entry: Entry) -> int:
    return len(msgpack.encode(entry))


def unpack_commands(handed_over: HandedOver) -> list[bytes]:
    """What the service remembered when it handed this over."""
    commands = msgpack.decode(handed_over.state, type=list[bytes])
    if len(commands) != handed_over.position:
        raise Violation(f"a snapshot of {handed_over.position} commands has {len(commands)}")
    return commands
