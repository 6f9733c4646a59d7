"""The RPCs of Figure 2 as one-way messages, plus pre-vote (thesis 9.6).

A request and its result are two messages: nobody waits for an answer, so a slow peer delays nobody.  Each message is
also its own wire format: tagged, array-like, strictly validated when decoded.  Every message carries the sender's term
("All Servers", Figure 2).  A result repeats what it answers, so that the reader needs no memory of what it asked.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from raft_core.configuration import Snapshot
from raft_core.types import Entry, LogIndex, Round, ServerId, Term

Offset: TypeAlias = Annotated[int, Meta(ge=0)]
"""Place in the content of a snapshot, in bytes."""


class RequestVote(Struct, frozen=True, array_like=True, tag="RequestVote", forbid_unknown_fields=True):
    """Invoked by candidates to gather votes (Figure 2, RequestVote RPC; paper 5.2)."""

    term: Term
    candidate_id: ServerId
    last_log_index: LogIndex
    last_log_term: Term
    leadership_transfer: bool = False
    """The leader asked for this election: nobody need protect it (thesis 4.2.3)."""


class RequestVoteResult(Struct, frozen=True, array_like=True, tag="RequestVoteResult", forbid_unknown_fields=True):
    """Answer to RequestVote: the voter's current term, and whether the candidate received the vote."""

    term: Term
    vote_granted: bool


class RequestPreVote(Struct, frozen=True, array_like=True, tag="RequestPreVote", forbid_unknown_fields=True):
    """ "Would you vote for me?" (thesis 9.6).  `term` is the term the sender *would* campaign in; nobody adopts it."""

    term: Term
    candidate_id: ServerId
    last_log_index: LogIndex
    last_log_term: Term


class RequestPreVoteResult(
    Struct, frozen=True, array_like=True, tag="RequestPreVoteResult", forbid_unknown_fields=True
):
    """Answer to RequestPreVote.

    `term` is the voter's current term (a higher one spreads); `requested_term` repeats the request's term, so that an
    answer to an attempt in an earlier term is never counted for a later one.  It promises nothing: no vote is cast.
    """

    term: Term
    requested_term: Term
    vote_granted: bool


class AppendEntries(Struct, frozen=True, array_like=True, tag="AppendEntries", forbid_unknown_fields=True):
    """Invoked by the leader to replicate entries; also the heartbeat (Figure 2, AppendEntries RPC; paper 5.3).

    `round` numbers the leader's rounds of asking "am I still the leader?" within its term; followers repeat it, which
    is what confirms a read (thesis 6.4).  It only grows, so (term, round) never repeats.
    """

    term: Term
    leader_id: ServerId
    prev_log_index: LogIndex
    prev_log_term: Term
    entries: tuple[Entry, ...]
    leader_commit: LogIndex
    round: Round = 0


class AppendEntriesResult(Struct, frozen=True, array_like=True, tag="AppendEntriesResult", forbid_unknown_fields=True):
    """Answer to AppendEntries.

    On success `match_index` is the last index known to equal the leader's log (Figure 2: prev_log_index plus the
    entries of the request).  On refusal `match_index` is 0 and (`conflict_term`, `conflict_index`) say where to try
    next: the term of the entry that clashed and the first index of that term in the follower's log, or term 0 and the
    index after its last entry if its log is too short (paper 5.3, the optimisation at its end).
    `prev_log_index` repeats the request's, so that an overtaken refusal can be told from a fresh one.
    """

    term: Term
    success: bool
    prev_log_index: LogIndex
    match_index: LogIndex
    conflict_term: Term = 0
    conflict_index: LogIndex = 0
    round: Round = 0


class InstallSnapshot(Struct, frozen=True, array_like=True, tag="InstallSnapshot", forbid_unknown_fields=True):
    """Invoked by the leader to send a part of a snapshot to a follower that is behind its log (Figure 13; paper 7).

    `offset` and `data` are bytes of the content.  `snapshot` says in each part what the whole is, so that any part can
    be the first that arrives.
    """

    term: Term
    leader_id: ServerId
    snapshot: Snapshot
    offset: Offset
    data: bytes


class InstallSnapshotResult(
    Struct, frozen=True, array_like=True, tag="InstallSnapshotResult", forbid_unknown_fields=True
):
    """Answer to InstallSnapshot: how much of it is there, so that the leader continues just there.

    `is_installed`: all entries up to `last_included_index` are covered by what the follower has on disk.
    """

    term: Term
    last_included_index: LogIndex
    next_offset: Offset
    is_installed: bool


class RequestReadIndex(Struct, frozen=True, array_like=True, tag="RequestReadIndex", forbid_unknown_fields=True):
    """A follower asks the leader up to where its clients must see (thesis 6.4, "followers")."""

    term: Term
    read_ids: tuple[int, ...]


class RequestReadIndexResult(
    Struct, frozen=True, array_like=True, tag="RequestReadIndexResult", forbid_unknown_fields=True
):
    """Answer to RequestReadIndex, once a majority confirmed the leader."""

    term: Term
    read_ids: tuple[int, ...]
    read_index: LogIndex


class TimeoutNow(Struct, frozen=True, array_like=True, tag="TimeoutNow", forbid_unknown_fields=True):
    """The leader asks its successor to start an election at once (thesis 3.10)."""

    term: Term
    leader_id: ServerId


MessageResult: TypeAlias = (
    RequestVoteResult | RequestPreVoteResult | AppendEntriesResult | InstallSnapshotResult | RequestReadIndexResult
)
"""The answers among them."""

Message: TypeAlias = (
    RequestVote
    | RequestVoteResult
    | RequestPreVote
    | RequestPreVoteResult
    | AppendEntries
    | AppendEntriesResult
    | InstallSnapshot
    | InstallSnapshotResult
    | RequestReadIndex
    | RequestReadIndexResult
    | TimeoutNow
)
"""Everything one server may say to another."""
