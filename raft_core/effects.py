"""What a server wants done: the outputs of `step`, as data.

The order contract
------------------
Effects are carried out in list order, with these freedoms and no others:

1. *Persist effects* (`PersistEffect`) form one ordered stream.  Several may share one disk
   transaction; a later one never becomes durable before an earlier one.
2. A `Send` of anything but AppendEntries waits until every persist effect issued before it, in this list or an earlier
   one, is durable ("Updated on stable storage before responding to RPCs", Figure 2).
3. A `Send` of AppendEntries or TimeoutNow never waits for the disk: a leader sends before its own write is done
   (thesis 10.2.1).  Its own term was durable before it could ask for the first vote, and its own copy is counted only
   on `LogPersisted`.
4. `ApplyCommitted`, `RestoreSnapshot` and `ReadReady` are handed to the state machine in order, and need not wait for
   the disk: what is committed is on the disks of a majority.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from raft_core.configuration import Configuration, Snapshot
from raft_core.messages import Message
from raft_core.types import Entry, LogIndex, Round, ServerId, Term


class PersistTermAndVote(Struct, frozen=True, tag="PersistTermAndVote"):
    """Make (current_term, voted_for) durable (Figure 2, persistent state)."""

    current_term: Term
    voted_for: ServerId | None


class AppendToLog(Struct, frozen=True, tag="AppendToLog"):
    """Make the log durable: keep what is up to `prev_log_index`, drop what is behind it, put `entries` there.

    Answered by `LogPersisted(prev_log_index + len(entries), current_term)`.
    """

    prev_log_index: LogIndex
    entries: tuple[Entry, ...]
    current_term: Term


class CompactLog(Struct, frozen=True, tag="CompactLog"):
    """Make the log begin behind `last_included_index`: a durable snapshot holds what is dropped (paper 7).

    Entries behind it stay, unless `discards_all`: then what was there conflicts with the snapshot, or ends before it.
    """

    last_included_index: LogIndex
    last_included_term: Term
    discards_all: bool = False


class ReceiveSnapshotChunk(Struct, frozen=True, tag="ReceiveSnapshotChunk"):
    """Write a part of a snapshot that the leader sent; one at `offset` 0 starts anew (Figure 13, receiver 2 to 4).

    The last part makes it durable under its name, if its checksum is right.  That is answered: `SnapshotReceived`, or
    `SnapshotSpoiled` if not.
    """

    snapshot: Snapshot
    offset: int
    data: bytes

    @property
    def is_last(self) -> bool:
        """Does the snapshot end here?"""
        return self.offset + len(self.data) == self.snapshot.size


class Send(Struct, frozen=True, tag="Send"):
    """Send a message to another server; it may be lost, Raft will ask again."""

    to: ServerId
    message: Message


class SendSnapshotChunk(Struct, frozen=True, tag="SendSnapshotChunk"):
    """Send a part of a snapshot: `InstallSnapshot` with `length` bytes from `offset`, read from disk.

    It waits for no write, as AppendEntries does not.  If it cannot be read, `SnapshotUnreadable` is the answer.
    """

    to: ServerId
    term: Term
    snapshot: Snapshot
    offset: int
    length: int


class RestoreSnapshot(Struct, frozen=True, tag="RestoreSnapshot"):
    """The state machine takes its state from this snapshot, which is on disk, and drops the one it has (Figure 13,
    receiver 8).  Answered by `Applied(last_included_index)`; handed over in order with `ApplyCommitted`."""

    snapshot: Snapshot


class ResetElectionTimer(Struct, frozen=True, tag="ResetElectionTimer"):
    """Forget the running election timer and start one of `timeout` milliseconds (paper 5.2).

    `contact_timeout` milliseconds from now, `LeaderContactExpired` is due as well (0: not at all).
    """

    timeout: int
    contact_timeout: int = 0


class ResetHeartbeatTimer(Struct, frozen=True, tag="ResetHeartbeatTimer"):
    """(Re)start the heartbeat timer: `HeartbeatTimeout` is due `interval` milliseconds from now (leaders only)."""

    interval: int


class StopHeartbeatTimer(Struct, frozen=True, tag="StopHeartbeatTimer"):
    """No longer the leader: no heartbeat is due."""


class ApplyCommitted(Struct, frozen=True, tag="ApplyCommitted"):
    """Apply `entries` to the state machine; the first has index `first_index` (Figure 2, "All Servers" 1)."""

    first_index: LogIndex
    entries: tuple[Entry, ...]


class ProposalAccepted(Struct, frozen=True, tag="ProposalAccepted"):
    """The leader appended the commands at `first_index`..`last_index` in `term`.  This says nothing of commitment."""

    proposal_id: int
    first_index: LogIndex
    last_index: LogIndex
    term: Term


class RefusalReason(StrEnum):
    """Why a proposal or a read was not accepted.  In each case nothing was appended."""

    NOT_LEADER = "not leader"
    OVERLOADED = "overloaded"
    TRANSFERRING = "leadership is being handed over"


class ProposalRefused(Struct, frozen=True, tag="ProposalRefused"):
    """Nothing was appended; `leader_id` is the leader to ask instead, if known."""

    proposal_id: int
    reason: RefusalReason
    leader_id: ServerId | None


class ReadReady(Struct, frozen=True, tag="ReadReady"):
    """The reads may be answered once the state machine has applied `read_index` (thesis 6.4, step 4)."""

    read_ids: tuple[int, ...]
    read_index: LogIndex


class RoundSent(Struct, frozen=True, tag="RoundSent"):
    """A round of "am I still the leader?" is being sent now: note the time (only with `Settings.lease_reads`)."""

    round: Round


class RoundConfirmed(Struct, frozen=True, tag="RoundConfirmed"):
    """A majority has answered this round or a later one: if it was sent lately enough, `LeaseExtended` is the answer.
    The time counts from the *sending* (thesis 6.4.1)."""

    round: Round


class ReadRefused(Struct, frozen=True, tag="ReadRefused"):
    """The reads cannot be served here; `leader_id` is the leader to ask instead, if known."""

    read_ids: tuple[int, ...]
    leader_id: ServerId | None


class ConfigurationAccepted(Struct, frozen=True, tag="ConfigurationAccepted"):
    """The leader follows the wish: `index` is where the change begins, or the entry in force if nothing had to change.

    It is done once `ConfigurationCommitted` names the wished members: with a joint phase that is a later entry.
    """

    proposal_id: int
    index: LogIndex
    term: Term


class ConfigurationRefusal(StrEnum):
    """Why a wish for other members was not followed.  In each case nothing was appended."""

    NOT_LEADER = "not leader"
    TOO_EARLY = "the leader has not committed an entry of its term yet"
    CHANGE_UNDER_WAY = "another change is under way"
    NOT_AS_EXPECTED = "the configuration in force is another one"
    NO_VOTERS = "a cluster needs a voter"
    BOTH = "a server cannot be voter and learner"
    NOT_CAUGHT_UP = "a new voter lacks too much of the log: let it learn first"
    TRANSFERRING = "leadership is being handed over"


class ConfigurationRefused(Struct, frozen=True, tag="ConfigurationRefused"):
    """Nothing was appended; `leader_id` is the leader to ask instead, if known."""

    proposal_id: int
    reason: ConfigurationRefusal
    leader_id: ServerId | None


class ConfigurationChanged(Struct, frozen=True, tag="ConfigurationChanged"):
    """From now on these members are in force here: appended, or in force again after a truncation (paper 6)."""

    index: LogIndex
    configuration: Configuration


class ConfigurationCommitted(Struct, frozen=True, tag="ConfigurationCommitted"):
    """The members named by the entry at `index` will never be rolled back."""

    index: LogIndex
    configuration: Configuration


class TransferRefusal(StrEnum):
    """Why leadership was not handed over."""

    NOT_LEADER = "not leader"
    NO_SUCH_VOTER = "not another voter"
    UNDER_WAY = "leadership is being handed over already"
    TIMED_OUT = "the successor did not take over within an election timeout"


class TransferRefused(Struct, frozen=True, tag="TransferRefused"):
    """The leader remains, or there is none here; `leader_id` is the leader as far as it is known."""

    transfer_id: int
    reason: TransferRefusal
    leader_id: ServerId | None


class TransferEnded(Struct, frozen=True, tag="TransferEnded"):
    """This server leads no more, so it has nothing left to hand over.  Who leads next, elections tell."""

    transfer_id: int


class RoleChanged(Struct, frozen=True, tag="RoleChanged"):
    """Role, term or known leader changed: for those who watch.  What a leader accepted and has not yet seen applied
    has an *unknown* outcome from the moment it is one no more."""

    role: str
    term: Term
    leader_id: ServerId | None


class Ignored(Struct, frozen=True, tag="Ignored"):
    """The event changed nothing, and why."""

    reason: str


PersistEffect: TypeAlias = PersistTermAndVote | AppendToLog | CompactLog | ReceiveSnapshotChunk

Effect: TypeAlias = (
    PersistTermAndVote
    | AppendToLog
    | CompactLog
    | ReceiveSnapshotChunk
    | Send
    | SendSnapshotChunk
    | RestoreSnapshot
    | ResetElectionTimer
    | ResetHeartbeatTimer
    | StopHeartbeatTimer
    | ApplyCommitted
    | ProposalAccepted
    | ProposalRefused
    | ReadReady
    | ReadRefused
    | RoundSent
    | RoundConfirmed
    | ConfigurationAccepted
    | ConfigurationRefused
    | ConfigurationChanged
    | ConfigurationCommitted
    | TransferRefused
    | TransferEnded
    | RoleChanged
    | Ignored
)
