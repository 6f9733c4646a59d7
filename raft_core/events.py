"""What can happen to a server: the inputs of `step`.

All nondeterminism enters here as data: which message arrived, which deadline passed and with what randomness, when the
disk and the state machine were done.  The same events in the same order always lead to the same state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from raft_core.configuration import Snapshot
from raft_core.messages import Message
from raft_core.types import LogIndex, Round, ServerId, Settings, Term


class Received(Struct, frozen=True, tag="Received"):
    """A message arrived from another server."""

    sender: ServerId
    message: Message


class ElectionTimeout(Struct, frozen=True, tag="ElectionTimeout"):
    """The election timer that `ResetElectionTimer` set ran out (paper 5.2; for a leader: time to check its quorum).

    `randomness` is any non-negative integer, drawn by the caller; it decides the length of the next timeout.
    """

    randomness: int


class LeaderContactExpired(Struct, frozen=True, tag="LeaderContactExpired"):
    """The *shortest* election timeout passed since the timer was last reset: pre-votes may be granted again
    (thesis 9.6 and 4.2.3: "within the minimum election timeout of hearing from a current leader")."""


class HeartbeatTimeout(Struct, frozen=True, tag="HeartbeatTimeout"):
    """The heartbeat interval passed on a leader (paper 5.2)."""


class Proposed(Struct, frozen=True, tag="Proposed"):
    """A client asks for commands to be replicated (paper 5.3; rule "Leaders" 2 of Figure 2).

    `proposal_id` is the caller's; it comes back in `ProposalAccepted` or `ProposalRefused`.
    """

    proposal_id: int
    commands: tuple[bytes, ...]


class ReadMode(StrEnum):
    """How a linearizable read is made sure of (thesis 6.4)."""

    LEADER = "leader"
    """The leader asks a majority whether it still is; a follower refuses."""
    FOLLOWER = "follower"
    """The same; a follower asks the leader on behalf of its client and answers itself."""
    LEASE = "lease"
    """The leader trusts that a majority which heard it lately elects nobody else: no messages, but it depends on
    clocks that run alike (thesis 6.4.1).  Without a lease it asks."""


class ReadRequested(Struct, frozen=True, tag="ReadRequested"):
    """A client asks for a linearizable read (thesis 6.4).  `read_ids` are the caller's; never use one twice."""

    read_ids: tuple[int, ...]
    mode: ReadMode = ReadMode.LEADER


class LeaseExtended(Struct, frozen=True, tag="LeaseExtended"):
    """A round that a majority answered was sent so lately that nobody else can have been elected (thesis 6.4.1)."""

    round: Round


class LeaseExpired(Struct, frozen=True, tag="LeaseExpired"):
    """The time that the last confirmed round bought is over."""


class ConfigurationProposed(Struct, frozen=True, tag="ConfigurationProposed"):
    """An administrator asks for other members (paper 6).

    `proposal_id` is the caller's.  With `expected_index` the change happens only if the configuration in force is the
    one whose entry has that index: compare and set.
    """

    proposal_id: int
    voters: tuple[ServerId, ...]
    learners: tuple[ServerId, ...] = ()
    expected_index: LogIndex | None = None
    priorities: tuple[tuple[ServerId, int], ...] | None = None
    """Who shall lead rather than others (`raft_core.priorities`); None: everybody keeps what it has."""


class TransferRequested(Struct, frozen=True, tag="TransferRequested"):
    """An administrator asks the leader to hand over (thesis 3.10); None: to whichever voter has most of the log."""

    transfer_id: int
    target: ServerId | None = None


class LogPersisted(Struct, frozen=True, tag="LogPersisted"):
    """What `AppendToLog` asked for is on disk, up to and including `index`.

    `term` is that effect's `current_term`.  An acknowledgement of an older term is ignored: since then another leader
    may have replaced what was written (the "ABA race" of an asynchronous disk).
    """

    index: LogIndex
    term: Term


class DiskStalled(Struct, frozen=True, tag="DiskStalled"):
    """A write has taken an election timeout and is not done: the disk is full, or hangs."""


class DiskRecovered(Struct, frozen=True, tag="DiskRecovered"):
    """The disk writes again."""


class Applied(Struct, frozen=True, tag="Applied"):
    """The state machine has applied all entries up to and including `index`."""

    index: LogIndex


class SnapshotTaken(Struct, frozen=True, tag="SnapshotTaken"):
    """The state machine's state at some applied index is on disk (paper 7): the log before it can go."""

    snapshot: Snapshot


class SnapshotReceived(Struct, frozen=True, tag="SnapshotReceived"):
    """The last `ReceiveSnapshotChunk` is done: the leader's snapshot is on disk and its checksum is right."""

    snapshot: Snapshot


class SnapshotSpoiled(Struct, frozen=True, tag="SnapshotSpoiled"):
    """The last `ReceiveSnapshotChunk` is done, but what came together is not what the leader sent: it was dropped."""

    snapshot: Snapshot


class SnapshotUnreadable(Struct, frozen=True, tag="SnapshotUnreadable"):
    """`SendSnapshotChunk` could not be carried out: that snapshot is no longer there."""

    snapshot: Snapshot


class PeerRestarted(Struct, frozen=True, tag="PeerRestarted"):
    """The link to a peer was replaced: whatever was in flight on the old one is lost."""

    server_id: ServerId


class SettingsChanged(Struct, frozen=True, tag="SettingsChanged"):
    """Somebody wants other timers or bounds while the server runs.  `randomness` is as that of `ElectionTimeout`."""

    settings: Settings
    randomness: int


Event: TypeAlias = (
    Received
    | ElectionTimeout
    | LeaderContactExpired
    | HeartbeatTimeout
    | Proposed
    | ReadRequested
    | LeaseExtended
    | LeaseExpired
    | ConfigurationProposed
    | TransferRequested
    | LogPersisted
    | DiskStalled
    | DiskRecovered
    | Applied
    | SnapshotTaken
    | SnapshotReceived
    | SnapshotSpoiled
    | SnapshotUnreadable
    | PeerRestarted
    | SettingsChanged
)
