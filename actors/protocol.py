"""What clients and peers say to each other, and what the supervisor says to a peer.

Every message is a tagged, array-like msgspec struct: its own wire format, strictly validated, never unpickled.
Commands and replies inside are opaque bytes here (see `codec` and `replies`).

A client numbers its *batches*; a peer answers a batch by its number and never needs to look into a command.  What a
peer says comes on two links, because a link has one writer: the consensus voice (`Refused`, `Status`, `Offered`,
`Administered`, `Report`, `LogPage`, `Happenings`) and the applier's voice (`Results`, `Abandoned`, `QueryResult`,
`Digest`, `Delivered`, `Restored`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, cast

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from actors.codec import GARBAGE, bad_frame
from actors.happenings import Happening
from actors.reports import Details, EntryView
from raft_core.types import Entry, LogIndex, ServerId, Term

Consistency: TypeAlias = Literal["linearizable", "follower", "lease", "stale", "session"]
"""How fresh a read must be, and who answers it (thesis 6.4).

"linearizable", "follower" and "lease" see all that was done before they were called: the leader asks a majority first;
any peer answers after asking the leader; the leader trusts its lease (`Settings.lease_reads`).  "stale": whatever the
asked peer has applied, or what was committed `max_staleness` seconds ago.  "session": what this client has been shown
before, its own commands among it.  See `freshness`."""


class SubmitCommands(Struct, frozen=True, array_like=True, tag=1, gc=False, forbid_unknown_fields=True):
    """Client to peer: replicate these commands, in this order."""

    batch_id: int
    commands: tuple[bytes, ...]


class SubmitQuery(Struct, frozen=True, array_like=True, tag=2, gc=False, forbid_unknown_fields=True):
    """Client to peer: read from the state machine."""

    batch_id: int
    name: str
    arguments: bytes
    consistency: Consistency
    max_staleness: float | None = None
    """Of a stale read: seconds."""
    seen_index: LogIndex = 0
    """Of a session read: the latest entry whose effect the client may have seen."""


class InspectPeer(Struct, frozen=True, array_like=True, tag=3, gc=False, forbid_unknown_fields=True):
    """Client to peer: describe yourself; with `digest`, after what is applied now, the state machine too."""

    batch_id: int
    digest: bool


class OfferCommand(Struct, frozen=True, array_like=True, tag=4, gc=False, forbid_unknown_fields=True):
    """Client to peer: append this command if you lead, and say at once where (the lab's `Start`).  Nobody retries it,
    and what it returns when it is applied is told to nobody."""

    batch_id: int
    command: bytes


class FollowLog(Struct, frozen=True, array_like=True, tag=5, gc=False, forbid_unknown_fields=True):
    """Client to peer: send everything that you have applied, and whatever you apply from now on.  What the log has no
    more comes as a snapshot."""

    batch_id: int


class SnapshotPeer(Struct, frozen=True, array_like=True, tag=6, gc=False, forbid_unknown_fields=True):
    """Client to peer: take a snapshot of what you have applied (paper 7)."""

    batch_id: int


class ChangeMembers(Struct, frozen=True, array_like=True, tag=7, gc=False, forbid_unknown_fields=True):
    """Client to peer: these shall be the members (paper 6); with `expected_index` only if the members in force are
    those of that entry."""

    batch_id: int
    voters: tuple[ServerId, ...]
    learners: tuple[ServerId, ...]
    expected_index: LogIndex | None
    priorities: tuple[tuple[ServerId, int], ...] | None = None
    """Who shall lead rather than others; None: everybody keeps what it has."""


class TransferLeadership(Struct, frozen=True, array_like=True, tag=8, gc=False, forbid_unknown_fields=True):
    """Client to peer: hand over to `target`, or to whom you like (thesis 3.10)."""

    batch_id: int
    target: ServerId | None


class KeepSnapshot(Struct, frozen=True, array_like=True, tag=9, gc=False, forbid_unknown_fields=True):
    """Client to peer: I apply what you deliver (`outside`), and this is my state behind an entry that you delivered:
    keep it as a snapshot (paper 7; the lab's `Snapshot`)."""

    batch_id: int
    last_included_index: LogIndex
    state: bytes


class DescribePeer(Struct, frozen=True, array_like=True, tag=31, gc=False, forbid_unknown_fields=True):
    """Client to peer: describe yourself in full."""

    batch_id: int


class ReadLog(Struct, frozen=True, array_like=True, tag=32, gc=False, forbid_unknown_fields=True):
    """Client to peer: which entries does your log have, from `first` to `last`?"""

    batch_id: int
    first: LogIndex
    last: LogIndex


class WatchPeer(Struct, frozen=True, array_like=True, tag=33, gc=False, forbid_unknown_fields=True):
    """Client to peer: tell me when something of these kinds happens to you (`happenings.KINDS`) and no others."""

    batch_id: int
    kinds: tuple[str, ...]


class ChangeSettings(Struct, frozen=True, array_like=True, tag=34, gc=False, forbid_unknown_fields=True):
    """Client to peer: these settings, by name, shall be so from now on."""

    batch_id: int
    changes: dict[str, int | bool]


class SetLogLevel(Struct, frozen=True, array_like=True, tag=35, gc=False, forbid_unknown_fields=True):
    """Client to peer: your process shall log at this level."""

    batch_id: int
    level: str


ClientMessage: TypeAlias = (
    SubmitCommands
    | SubmitQuery
    | InspectPeer
    | OfferCommand
    | FollowLog
    | SnapshotPeer
    | ChangeMembers
    | TransferLeadership
    | KeepSnapshot
    | DescribePeer
    | ReadLog
    | WatchPeer
    | ChangeSettings
    | SetLogLevel
)

Administering: TypeAlias = SnapshotPeer | ChangeMembers | TransferLeadership | ChangeSettings | SetLogLevel
"""What is answered with `Administered`."""
Inspecting: TypeAlias = DescribePeer | ReadLog | WatchPeer | ChangeSettings | SetLogLevel
"""What a peer answers by itself, at once: it concerns nobody else."""
Asking: TypeAlias = Administering | InspectPeer | DescribePeer | ReadLog
"""What one peer is asked, and answers once."""


class Results(Struct, frozen=True, array_like=True, tag=11, gc=False, forbid_unknown_fields=True):
    """Applier to client: replies to the commands of a batch from number `offset` on; each has been applied."""

    batch_id: int
    offset: int
    replies: tuple[bytes, ...]
    index: LogIndex = 0
    """Of the last of these commands."""


class Abandoned(Struct, frozen=True, array_like=True, tag=12, gc=False, forbid_unknown_fields=True):
    """Applier to client: this peer leads no more; the outcome of what is left of the batch is unknown here."""

    batch_id: int


class Refused(Struct, frozen=True, array_like=True, tag=13, gc=False, forbid_unknown_fields=True):
    """Consensus to client: nothing of the batch was appended; ask `leader_id` instead, if given."""

    batch_id: int
    overloaded: bool
    leader_id: ServerId | None


class QueryResult(Struct, frozen=True, array_like=True, tag=14, gc=False, forbid_unknown_fields=True):
    """Applier to client: the reply to a query."""

    batch_id: int
    reply: bytes
    index: LogIndex = 0
    """Of the last entry that was applied before."""


class Status(Struct, frozen=True, array_like=True, tag=15, gc=False, forbid_unknown_fields=True):
    """Consensus to client: where this peer stands.  Times are seconds; `fsync_p99` covers the last 1,024 writes."""

    batch_id: int
    server_id: ServerId
    role: str
    term: Term
    leader_id: ServerId | None
    last_index: LogIndex
    written_index: LogIndex
    commit_index: LogIndex
    applied_index: LogIndex
    inbox_depth: int
    dropped_messages: int
    fsync_p99: float
    uptime: float
    process_id: int
    voters: tuple[ServerId, ...] = ()
    """The members in force here, committed or not (paper 6)."""
    learners: tuple[ServerId, ...] = ()
    old_voters: tuple[ServerId, ...] = ()
    """Whose majority counts as well during a joint phase."""
    configuration_index: LogIndex = 0
    """Of the entry with these members; 0 for those the cluster began with."""
    snapshot_index: LogIndex = 0
    """The last entry for which the latest snapshot stands; 0 if there is none."""
    first_index: LogIndex = 1
    """The first entry that the log still has, or would have."""
    priorities: tuple[tuple[ServerId, int], ...] = ()
    """Who shall lead rather than others, where that is not the usual 1."""


class Digest(Struct, frozen=True, array_like=True, tag=16, gc=False, forbid_unknown_fields=True):
    """Applier to client: a fingerprint of the replicated state at `applied_index`."""

    batch_id: int
    server_id: ServerId
    applied_index: LogIndex
    digest: str
    machine: str
    versions: tuple[int, ...] = (1,)
    """Of the machine, that the peer knows, in order."""


class Offered(Struct, frozen=True, array_like=True, tag=17, gc=False, forbid_unknown_fields=True):
    """Consensus to client: where an offered command was appended; this says nothing of commitment."""

    batch_id: int
    index: LogIndex
    """Place in the log; 0 if it was not appended."""
    position: int
    """Place among the commands behind entry `behind`, counted from 1, as if leaders had no no-ops; 0 if it was not
    appended."""
    term: Term
    """The peer's current term."""
    is_leader: bool
    behind: LogIndex = 0
    """The last entry of the peer's latest snapshot; 0 if there is none.  How many commands there were up to it, the
    peer does not know any more."""


class Delivered(Struct, frozen=True, array_like=True, tag=18, gc=False, forbid_unknown_fields=True):
    """Applier to client: entries that this peer has just applied, in log order."""

    first_index: LogIndex
    entries: tuple[Entry, ...]


class Restored(Struct, frozen=True, array_like=True, tag=20, gc=False, forbid_unknown_fields=True):
    """Applier to client: what this peer delivers begins, or goes on, behind this snapshot."""

    last_included_index: LogIndex
    last_included_term: Term
    state: bytes
    """What a service outside handed over (`KeepSnapshot`); nothing if the peer has a machine of its own."""


class Administered(Struct, frozen=True, array_like=True, tag=19, gc=False, forbid_unknown_fields=True):
    """What became of a `SnapshotPeer` or a `KeepSnapshot` (said by the applier), a `ChangeMembers` or a
    `TransferLeadership`.

    "unknown": this peer leads no more, so what it had begun may be finished by the next leader, or never have been.
    """

    batch_id: int
    outcome: Literal["done", "refused", "unknown"]
    index: LogIndex = 0
    """Of the snapshot, or of the entry with the members."""
    reason: str = ""
    """Why it was refused."""
    leader_id: ServerId | None = None
    """Whom to ask instead, if known."""


class Report(Struct, frozen=True, array_like=True, tag=36, gc=False, forbid_unknown_fields=True):
    """Consensus to client: this peer in full."""

    batch_id: int
    status: Status
    details: Details


class LogPage(Struct, frozen=True, array_like=True, tag=37, gc=False, forbid_unknown_fields=True):
    """Consensus to client: entries of this peer's log; there may be more behind them, up to `last_index`."""

    batch_id: int
    entries: tuple[EntryView, ...]
    first_index: LogIndex
    """The first entry that the log has, or would have."""
    last_index: LogIndex
    commit_index: LogIndex


class Happenings(Struct, frozen=True, array_like=True, tag=38, gc=False, forbid_unknown_fields=True):
    """Consensus to client: what happened, in order.  Without happenings: from now on the client is told."""

    batch_id: int
    number: int
    """Of the first of them, counted from 1: what is missing before it was lost."""
    happenings: tuple[Happening, ...]


PeerAnswer: TypeAlias = Status | Digest | Administered | Report | LogPage
"""What is said to an `Asking`."""

PeerMessage: TypeAlias = (
    Results
    | Abandoned
    | Refused
    | QueryResult
    | Status
    | Digest
    | Offered
    | Delivered
    | Restored
    | Administered
    | Report
    | LogPage
    | Happenings
)

encode = Encoder().encode
"""Any message of this module as a frame."""

_decode_client_message = cast(Callable[[bytes], ClientMessage], Decoder(ClientMessage).decode)
_decode_peer_message = cast(Callable[[bytes], PeerMessage], Decoder(PeerMessage).decode)


def decode_client_message(frame: bytes) -> ClientMessage:
    """A frame from a client; `BadFrame` on anything else, however it is broken."""
    try:
        return _decode_client_message(frame)
    except GARBAGE as error:
        raise bad_frame("request", frame, error) from None


def decode_peer_message(frame: bytes) -> PeerMessage:
    """A frame from a peer; `BadFrame` on anything else, however it is broken."""
    try:
        return _decode_peer_message(frame)
    except GARBAGE as error:
        raise bad_frame("reply", frame, error) from None
