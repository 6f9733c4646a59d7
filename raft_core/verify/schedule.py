"""A simulated run as data: the list of everything its adversary decided.

`simulate` draws what happens from a generator.  Here the same run is written down as *decisions*: this message arrives,
this timer runs out, that disk is done, this server falls and so much of what it was writing is there.  `rerun` carries
a list of them out again without any generator; so decisions can be left out of it, and what is left is a run, too.

A decision says as little as possible about the state it meets, or it would fit no other.  A message is named by where
it comes from: the decision that made a server send it, the receiver, and a number.  So it stays the same message when
an election before it is left out, and its term is one less.  Rejected: naming messages by what is in them (nothing can
be left out any more without changing terms), or counting them on their link (leave out one, and all later names are
those of others).

What is not a decision has no effect but on times: links that are cut, pauses, slow disks.  In a list of decisions a
message that does not arrive is lost.  Times themselves matter to one thing only, reads by lease: so every decision says
when it was made, and where leases are allowed, how fast each clock ran.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Literal, TypeAlias

from msgspec import Struct

from raft_core.effects import Send
from raft_core.events import (
    Applied,
    DiskRecovered,
    DiskStalled,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LogPersisted,
    SnapshotReceived,
    SnapshotSpoiled,
    SnapshotTaken,
    SnapshotUnreadable,
)
from raft_core.types import ServerId
from raft_core.verify.simulated_clients import Request
from raft_core.verify.simulated_service import Wish
from raft_core.verify.simulated_snapshots import Spoil

Teller: TypeAlias = Literal["disk", "machine", "snapshot", "lost snapshot"]
"""Who has news for a server: its log and its state machine; its own snapshot is on disk; one that it sends is gone."""
NEWS: dict[Teller, tuple[type[Event], ...]] = {
    "disk": (LogPersisted, SnapshotReceived, SnapshotSpoiled, DiskStalled, DiskRecovered),
    "machine": (Applied,),
    "snapshot": (SnapshotTaken,),
    "lost snapshot": (SnapshotUnreadable,),
}
"""What each of them says."""
Packet: TypeAlias = tuple[int, ServerId, int]
"""A message: the number of the decision that made somebody send it, the receiver, and how many went there before it."""


class Fall(Struct, frozen=True):
    """How a server falls: what of the writes under way reaches its disk."""

    writes: int = 0
    entries: int = 0
    """Of the last of these writes, if it appends entries; bytes, if it is a part of a snapshot."""
    after: int = 0
    """If it falls in the middle of a turn: effects that it still carries out."""


class _Decision(Struct, frozen=True, kw_only=True):
    number: int
    """Its place in the run it was made in."""
    server_id: ServerId
    at: int | None = None
    """Microseconds since the run began; None: a moment after the decision before."""


class _Happens(_Decision, frozen=True, kw_only=True):
    """Something happens to a server, and it takes a turn."""

    waits: bool = False
    """It takes no turn yet: what happens next is part of the same turn."""
    fall: Fall | None = None
    """It does not survive this turn."""


class Arrives(_Happens, frozen=True, kw_only=True, tag=True):
    """A message arrives."""

    packet: Packet


class RunsOut(_Happens, frozen=True, kw_only=True, tag=True):
    """One of the server's timers runs out."""

    event: ElectionTimeout | HeartbeatTimeout | LeaderContactExpired


class IsTold(_Happens, frozen=True, kw_only=True, tag=True):
    """The server hears from itself: something that it began is done."""

    by: Teller


class Reconnects(_Happens, frozen=True, kw_only=True, tag=True):
    """The link to a peer was replaced."""

    peer: ServerId


class Asks(_Happens, frozen=True, kw_only=True, tag=True):
    """A client's request arrives."""

    request: Request
    asked: int
    """The number under which the server knows it."""


class Wants(_Happens, frozen=True, kw_only=True, tag=True):
    """An administrator's wish arrives: other members, another leader, other settings."""

    wish: Wish


class Writes(_Decision, frozen=True, kw_only=True, tag=True):
    """The disk has done what it was busy with."""

    spoils: tuple[Spoil | None, ...] = ()
    """What befell the parts of a snapshot among it."""


class Hangs(_Decision, frozen=True, kw_only=True, tag=True):
    """The disk has been busy for an election timeout, and its server notices."""


class Applies(_Decision, frozen=True, kw_only=True, tag=True):
    """The state machine does its next piece of work."""


class Falls(_Decision, frozen=True, kw_only=True, tag=True):
    """The server falls between two turns."""

    fall: Fall


class Starts(_Decision, frozen=True, kw_only=True, tag=True):
    """The server comes back."""


class Joins(_Decision, frozen=True, kw_only=True, tag=True):
    """A new server starts, empty."""


class Takes(_Decision, frozen=True, kw_only=True, tag=True):
    """The state machine is put into a snapshot."""


class Keeps(_Decision, frozen=True, kw_only=True, tag=True):
    """A snapshot that was taken is on disk."""

    place: int
    """Among those under way."""


class SendsPart(_Decision, frozen=True, kw_only=True, tag=True):
    """A part of a snapshot has been read from disk, and leaves."""

    place: int
    """Among those under way."""


class Ticks(_Decision, frozen=True, kw_only=True, tag=True):
    """From now on the server's clock runs so many times as fast as it should."""

    rate: float


class Jumps(_Decision, frozen=True, kw_only=True, tag=True):
    """The server's clock jumps."""

    milliseconds: float


Happens: TypeAlias = Arrives | RunsOut | IsTold | Reconnects | Asks | Wants
Works: TypeAlias = Writes | Hangs | Applies | Takes | Keeps | SendsPart
Decision: TypeAlias = Happens | Works | Falls | Starts | Joins | Ticks | Jumps


class NamedMessages:
    """Gives messages their names when a turn decides to send them, and finds them again as they leave."""

    def __init__(self) -> None:
        self._waiting: dict[ServerId, dict[Send, deque[Packet]]] = {}
        """Equal messages of one server leave in the order in which they were decided on."""
        self._counts: Counter[tuple[int, ServerId]] = Counter()

    def name(self, sender: ServerId, effect: Send, decision: int) -> None:
        """The next message to this receiver that the decision is the cause of."""
        packet = (decision, effect.to, self._counts[decision, effect.to])
        self._counts[decision, effect.to] += 1
        self._waiting.setdefault(sender, {}).setdefault(effect, deque()).append(packet)

    def leaves(self, sender: ServerId, effect: Send) -> Packet:
        """The name it was given."""
        return self._waiting[sender][effect].popleft()

    def forget(self, sender: ServerId) -> None:
        """The sender falls: what has not left never will."""
        self._waiting.pop(sender, None)
