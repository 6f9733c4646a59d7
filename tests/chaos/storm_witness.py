"""What a storm's cluster says of itself, heard in the raw: every entry that any peer applies, every claim to lead.

The logs of all peers are followed (`FollowLog`), those of later comers too, whatever becomes of them.  By Figure 3:

* *State Machine Safety*: an entry that a peer applies is the one that every other ever applied at its index.
* *Election Safety*: in one term, at most one server says that it leads.
* What a peer applies comes in order; a gap is a snapshot that it was sent, so nobody goes back.

And by thesis 6.3, *Exactly Once*: what is to happen to the counters is worked out anew from the followed log, in which
a command may stand more than once; see `counted`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from itertools import count

from msgspec import msgpack

from actors.codec import decode_command
from actors.protocol import Delivered, FollowLog, PeerMessage, Status
from actors.raw_client import RawClient
from raft_core import Entry, EntryKind, LogIndex, ServerId, Term


class LogWitness:
    """A listener of a `RawClient`; rules that are broken are kept, not raised: nobody would hear of them there."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.log: dict[LogIndex, Entry] = {}
        """Every entry that anybody applied."""
        self.leaders: dict[Term, ServerId] = {}
        self.jumps = 0
        """How often a peer went on behind a snapshot that it was sent."""
        self.incarnations: Counter[ServerId] = Counter()
        self._last: dict[ServerId, LogIndex] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self.client = RawClient(self)

    def attached(self, server_id: ServerId) -> None:
        """A peer is there: follow it."""
        self.incarnations[server_id] += 1
        self._last.pop(server_id, None)
        self.client.send(server_id, FollowLog(next(self._numbers)))

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """A peer has applied something."""
        if isinstance(message, Delivered):
            self._in_order(server_id, message)
            for index, entry in enumerate(message.entries, message.first_index):
                if self.log.setdefault(index, entry) != entry:
                    self.problems.append(f"State Machine Safety: at {index}, {server_id} applied {entry}, others not")

    def gone(self, server_id: ServerId) -> None:
        """It says no more; another incarnation begins where it likes."""
        self._last.pop(server_id, None)

    def _in_order(self, server_id: ServerId, message: Delivered) -> None:
        last = self._last.get(server_id)
        if last is not None and message.first_index <= last:
            self.problems.append(f"{server_id} applied entry {last}, and then {message.first_index}")
        self.jumps += last is not None and message.first_index > last + 1
        self._last[server_id] = message.first_index + len(message.entries) - 1

    def looked_at(self, statuses: Iterable[Status | None]) -> None:
        """Who says to lead in which term.  Any thread may call it."""
        with self._lock:
            for status in statuses:
                if status is not None and status.role == "leader":
                    self._leads(status)

    def _leads(self, status: Status) -> None:
        before = self.leaders.setdefault(status.term, status.server_id)
        if before != status.server_id:
            self.problems.append(f"Election Safety: {before} and {status.server_id} lead in term {status.term}")

    def counted(self) -> tuple[dict[str, int], int]:
        """What the counters must be: each increment in the log once, however often it is there; and how many entries
        were repetitions.  Only whole logs can be judged: `missing` says what was not heard."""
        values: Counter[str] = Counter()
        seen: set[tuple[int, int]] = set()
        repeated = 0
        for index in sorted(self.log):
            entry = self.log[index]
            if entry.kind is not EntryKind.COMMAND:
                continue
            envelope = decode_command(entry.command)
            if envelope.name != "incr":
                continue
            if (envelope.session, envelope.sequence) in seen:
                repeated += 1
                continue
            seen.add((envelope.session, envelope.sequence))
            key, by = msgpack.decode(envelope.arguments)
            values[key] += by
        return dict(values), repeated

    def missing(self) -> int:
        """Indices of which nobody's entry was heard."""
        return max(self.log, default=0) - len(self.log)
