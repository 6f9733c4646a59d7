"""The roles of a server, with the volatile state that exists only in that role (Figure 2, "State").

A sum type: `Follower | PreCandidate | Candidate | Leader` (pre-candidate: thesis 9.6).  "next_index of a follower"
cannot be written down.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from raft_core.configuration import Snapshot
from raft_core.types import LogIndex, ServerId


class PendingRead(Struct, frozen=True):
    """Reads that wait until a majority acknowledges `round`: one that was begun, or the next (thesis 6.4)."""

    round: int
    read_index: LogIndex
    read_ids: tuple[int, ...]
    asker: ServerId | None = None
    """The follower on whose behalf; None: our own clients."""


class Follower(Struct, frozen=True, tag="follower"):
    """Responds to requests; knows at most who leads (paper 5.1)."""

    leader_id: ServerId | None = None
    """The leader of the current term, if it has made itself known; reset when an election starts."""
    leader_is_recent: bool = False
    """Heard from within the minimum election timeout: pre-votes are refused (thesis 9.6)."""
    asked_reads: tuple[int, ...] = ()
    """Reads of our clients that we asked the leader about (thesis 6.4)."""
    is_answer_overdue: bool = False
    """A heartbeat came since we asked; at the next one we ask again."""
    pending_reads: tuple[PendingRead, ...] = ()
    """Those that it answered, and that wait until their index is committed here."""


class PreCandidate(Struct, frozen=True, tag="pre-candidate"):
    """Asks whether an election could be won, without raising its term (thesis 9.6)."""

    granted: frozenset[ServerId]
    refused: frozenset[ServerId] = frozenset()


class Candidate(Struct, frozen=True, tag="candidate"):
    """Asks for votes in its term.  Voters are a set: a repeated answer counts once (paper 5.2)."""

    granted: frozenset[ServerId]
    refused: frozenset[ServerId] = frozenset()


class SnapshotSending(Struct, frozen=True):
    """A follower needs entries that the log no longer has, and is sent a snapshot, one part at a time (paper 7)."""

    snapshot: Snapshot
    offset: int = 0
    """Where the part begins that was sent last and is not answered."""
    is_overdue: bool = False
    """No answer to it by the heartbeat before: at the next one the part is sent again, if the follower is there."""
    is_heard: bool = False
    """The follower has answered a heartbeat since the part was sent."""
    is_replacement: bool = False
    """It took the place of another one, and is sent to its end."""


class Progress(Struct, frozen=True):
    """What a leader knows of one follower (Figure 2: next_index, match_index; thesis 10.2.1 for the rest)."""

    server_id: ServerId
    next_index: LogIndex
    """Index of the next entry to send; always greater than `match_index`."""
    match_index: LogIndex = 0
    """Highest index known to be on the follower's disk and equal to the leader's log; never decreases in a term."""
    is_probing: bool = True
    """Where the logs agree is not known yet: one message at a time until an answer tells."""
    in_flight: tuple[LogIndex, ...] = ()
    """Last index of each unanswered message that carried entries (of the probe, while probing), oldest first."""
    careful_until: LogIndex = 0
    """Until this matches, few messages at a time, lest refusals of what is under way make a storm; 0: no such thing."""
    acknowledged_round: int = 0
    """Highest `AppendEntries.round` the follower has answered in this term."""
    is_active: bool = True
    """Heard from since the leader last checked its quorum (thesis 6.2)."""
    sending: SnapshotSending | None = None
    """Entries are of no use to this follower before it has this snapshot."""


class Transfer(Struct, frozen=True):
    """Leadership is to go to `target` (thesis 3.10)."""

    transfer_id: int | None
    """None: nobody asked for it; the leader prefers `target`."""
    target: ServerId


class Preference(Struct, frozen=True):
    """Somebody has a higher priority than the leader (see `raft_core.priorities`)."""

    target: ServerId
    heartbeats: int = 0
    """How often it was found reachable, with nearly the whole log, since it was last found otherwise."""
    was_silent: bool = False
    """It was not, at the last heartbeat."""
    failures: int = 0
    """Transfers to it that failed, in this term."""


class Leader(Struct, frozen=True, tag="leader"):
    """Handles clients and replicates (Figure 2, "Volatile state on leaders")."""

    followers: tuple[Progress, ...]
    round: int = 0
    """Number of the last round of "am I still the leader?"; within a term it only grows."""
    pending_reads: tuple[PendingRead, ...] = ()
    early_reads: tuple[PendingRead, ...] = ()
    """Reads that came before an entry of this term was committed (thesis 6.4, step 1); round and index are open."""
    confirmed_round: int = 0
    """Highest round that a majority has answered, as far as leases are concerned."""
    has_lease: bool = False
    """Nobody else can have been elected yet (thesis 6.4.1)."""
    may_have_lease: bool = True
    """No transfer was begun in this term: a TimeoutNow that is still under way would break the lease."""
    uncommitted_bytes: int = 0
    """Bytes of commands behind the commit index, for back-pressure."""
    is_silent: bool = False
    """Elected by itself alone, in the step in which it raised its term: it speaks once that term is on its disk."""
    transfer: Transfer | None = None
    """Leadership is being handed over; nothing new is accepted meanwhile (thesis 3.10)."""
    preference: Preference | None = None
    """Somebody else shall lead, as soon as that can be relied on."""

    @property
    def has_reads_without_round(self) -> bool:
        """Does any read wait for a round that has not begun?"""
        return bool(self.pending_reads) and self.pending_reads[-1].round > self.round


Role: TypeAlias = Follower | PreCandidate | Candidate | Leader
