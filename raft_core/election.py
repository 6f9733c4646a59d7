"""Leader election: paper 5.2 and 5.4.1, pre-vote (thesis 9.6), check-quorum (thesis 6.2).

Figure 2's boxes "RequestVote RPC" and "Rules for Servers: Followers, Candidates" are here, and every way in or out of a
role.  The rules of the file:

* Whoever changes `current_term` or `voted_for` persists both, in the same breath.
* The vote is forgotten only when the term grows.  Stepping down inside a term keeps it.
* The election timer is reset by granting a vote, by a valid leader, and by starting an election; by nothing else.
"""

from __future__ import annotations

from typing import TypeVar, assert_never

from msgspec.structs import replace

from raft_core.effects import (
    Effect,
    Ignored,
    PersistTermAndVote,
    ReadRefused,
    ResetElectionTimer,
    Send,
    StopHeartbeatTimer,
)
from raft_core.events import ElectionTimeout
from raft_core.messages import RequestPreVote, RequestPreVoteResult, RequestVote, RequestVoteResult, TimeoutNow
from raft_core.quorum import VoteOutcome, election_outcome, is_quorum
from raft_core.replication import become_leader
from raft_core.roles import Candidate, Follower, Leader, PreCandidate
from raft_core.state import Server, Transition, election_timeout
from raft_core.transfer import give_up_transfer, successor, transfer_ended
from raft_core.types import ServerId, Term

_Campaigner = TypeVar("_Campaigner", Candidate, PreCandidate)


def persist_term_and_vote(server: Server) -> PersistTermAndVote:
    """The effect that makes the server's term and vote durable (Figure 2, persistent state; thesis 3.8)."""
    return PersistTermAndVote(server.current_term, server.voted_for)


def step_down(server: Server, leader_id: ServerId | None) -> Transition:
    """Become a follower in the current term; the vote stays (paper 5.2).  Waiting reads are handed back."""
    effects: list[Effect] = []
    if isinstance(server.role, Leader):
        effects.append(StopHeartbeatTimer())
        waiting = (*server.role.early_reads, *server.role.pending_reads)
        reads = [read_id for read in waiting if read.asker is None for read_id in read.read_ids]
        if reads:
            effects.append(ReadRefused(tuple(reads), leader_id))
        effects.extend(transfer_ended(server.role))
    return Transition(replace(server, role=Follower(leader_id)), tuple(effects))


def adopt_term(server: Server, term: Term) -> Transition:
    """A higher term was seen: adopt it, forget the vote, become follower (Figure 2, "All Servers" 2; paper 5.1).

    With leases it does not forget that it heard a leader just now: that one relies on it to vote for nobody else for an
    election timeout (thesis 6.4.1), and what names the higher term may be the answer to an old question of our own."""
    keeps_promise = server.settings.lease_reads and hears_from_a_leader(server) and isinstance(server.role, Follower)
    after, effects = step_down(replace(server, current_term=term, voted_for=None), None)
    if keeps_promise:
        after = replace(after, role=Follower(leader_is_recent=True))
    return Transition(after, (persist_term_and_vote(after), *effects))


def on_election_timeout(server: Server, event: ElectionTimeout) -> Transition:
    """The election timer ran out (Figure 2, "Followers" 2, "Candidates" 4); for a leader, time to count heads."""
    server = replace(server, election_timeout=election_timeout(server.settings, event.randomness))
    if isinstance(server.role, Leader):
        return check_quorum(server, server.role)
    if isinstance(server.role, Follower):
        # Campaigning or not, it has lost its leader (paper 5.2), and with it the reads it asked that one about; the
        # timer of the contact is the shorter one, or as long (thesis 4.2.3).
        server = replace(server, role=Follower())
    if server.disk_is_stalled:
        return Transition(server, (ResetElectionTimer(server.election_timeout), Ignored("the disk does not write")))
    if not may_campaign(server):
        return Transition(server, (ResetElectionTimer(server.election_timeout), Ignored("not a voter")))
    return become_pre_candidate(server) if server.settings.pre_vote else become_candidate(server)


def may_campaign(server: Server) -> bool:
    """Voters may; and who was one until an entry that may not be committed, for the others may need just this log to
    be able to elect anybody (thesis 4.2.2).  Its own vote counts only where it is a voter."""
    return any(known.configuration.has_voter(server.server_id) for known in server.configurations[-2:])


def check_quorum(server: Server, leader: Leader) -> Transition:
    """A leader that heard from no majority for an election timeout steps down (thesis 6.2)."""
    reset = ResetElectionTimer(server.election_timeout)
    active = {server.server_id, *(progress.server_id for progress in leader.followers if progress.is_active)}
    if server.settings.check_quorum and not is_quorum(server.configuration, active):
        after, effects = step_down(server, None)
        return Transition(after, (*effects, reset))
    followers = tuple(replace(progress, is_active=False) for progress in leader.followers)
    server, given_up = give_up_transfer(server, replace(leader, followers=followers))
    return Transition(server, (reset, *given_up))


def on_disk_stalled(server: Server) -> Transition:
    """Nothing can be made durable for an election timeout: neither lead nor campaign, and let the voter with most of
    the log take over at once.  What was appended here may be committed by the others all the same."""
    server = replace(server, disk_is_stalled=True)
    leader = server.role
    if isinstance(leader, Candidate | PreCandidate):
        return step_down(server, None)  # the votes under way must not make it a leader that cannot write
    if not isinstance(leader, Leader):
        return Transition(server, ())
    heir = successor(server, leader)
    hint = () if heir is None else (Send(heir.server_id, TimeoutNow(server.current_term, server.server_id)),)
    after, effects = step_down(server, None)
    return Transition(after, (*hint, *effects, ResetElectionTimer(after.election_timeout)))


def on_leader_contact_expired(server: Server) -> Transition:
    """The minimum election timeout passed without the leader: pre-votes may be granted again (thesis 9.6)."""
    match server.role:
        case Follower(leader_is_recent=True) as follower:
            return Transition(replace(server, role=replace(follower, leader_is_recent=False)), ())
        case _:
            return Transition(server, (Ignored("no recent leader to forget"),))


def become_pre_candidate(server: Server) -> Transition:
    """Ask all peers whether they would vote for us in the next term; change neither term nor vote (thesis 9.6)."""
    pre_candidate = PreCandidate(granted=frozenset({server.server_id}))
    after = replace(server, role=pre_candidate)
    request = RequestPreVote(server.current_term + 1, server.server_id, server.log.last_index, server.log.last_term)
    if election_outcome(server.configuration, pre_candidate.granted, frozenset()) is VoteOutcome.WON:
        return become_candidate(after)
    sends = tuple(Send(voter, request) for voter in server.voters if voter != server.server_id)
    return Transition(after, (ResetElectionTimer(server.election_timeout), *sends))


def become_candidate(server: Server, *, leadership_transfer: bool = False) -> Transition:
    """Raise the term, vote for ourselves, ask all voters (Figure 2, "Candidates" 1; paper 5.2)."""
    candidate = Candidate(granted=frozenset({server.server_id}))
    after = replace(server, current_term=server.current_term + 1, voted_for=server.server_id, role=candidate)
    log = after.log
    request = RequestVote(after.current_term, after.server_id, log.last_index, log.last_term, leadership_transfer)
    effects: tuple[Effect, ...] = (
        persist_term_and_vote(after),
        ResetElectionTimer(after.election_timeout),
        *(Send(voter, request) for voter in after.voters if voter != after.server_id),
    )
    if election_outcome(after.configuration, candidate.granted, frozenset()) is VoteOutcome.WON:
        leader, more = become_leader(after, is_silent=True)
        return Transition(leader, effects + more)
    return Transition(after, effects)


def on_request_vote(server: Server, sender: ServerId, request: RequestVote) -> Transition:
    """Figure 2, RequestVote RPC, receiver 1 and 2.  One vote a term, first come, first served; a repeated request of
    the same candidate is granted again (paper 5.2); the candidate's log must be up to date (paper 5.4.1)."""
    has_promised = server.settings.lease_reads and protects_its_leader(server, request)  # see `adopt_term`
    granted = (
        request.term == server.current_term
        and server.voted_for in (None, request.candidate_id)
        and not isinstance(server.role, Leader)
        and not has_promised
        and not _has_newer_log(server, request)
    )
    if not granted:
        return Transition(server, (Send(sender, RequestVoteResult(server.current_term, vote_granted=False)),))
    after = replace(server, voted_for=request.candidate_id)
    if isinstance(server.role, PreCandidate):
        after = replace(after, role=Follower())
    effects: list[Effect] = [] if after.voted_for == server.voted_for else [persist_term_and_vote(after)]
    effects.append(Send(sender, RequestVoteResult(after.current_term, vote_granted=True)))
    # The request may come late, when its leader was heard already: the leader must still be forgotten in time.
    effects.append(ResetElectionTimer(after.election_timeout, after.contact_timeout))
    return Transition(after, tuple(effects))


def protects_its_leader(server: Server, request: RequestVote) -> bool:
    """Is a request of a higher term to be ignored, so that a server outside the cluster cannot depose a leader whom
    the others hear (thesis 4.2.3)?  Only where a leader without a majority steps down by itself."""
    return server.settings.check_quorum and not request.leadership_transfer and hears_from_a_leader(server)


def on_timeout_now(server: Server, request: TimeoutNow) -> Transition:
    """Our leader wants us to take over: campaign at once, without asking first (thesis 3.10)."""
    if request.term < server.current_term:
        return Transition(server, (Ignored("a leader of an older term wants a successor"),))
    can_take_over = isinstance(server.role, Follower | PreCandidate) and not server.disk_is_stalled
    if not can_take_over or not server.configuration.has_voter(server.server_id):
        return Transition(server, (Ignored("cannot take over"),))
    return become_candidate(server, leadership_transfer=True)


def on_request_pre_vote(server: Server, sender: ServerId, request: RequestPreVote) -> Transition:
    """Would we vote for the sender?  Yes, if it could win our vote and we do not hear from a leader (thesis 9.6).

    Neither term nor vote nor timer changes: any number of pre-candidates may be told yes."""
    could_vote = request.term > server.current_term or (
        request.term == server.current_term and server.voted_for in (None, request.candidate_id)
    )
    granted = could_vote and not hears_from_a_leader(server) and not _has_newer_log(server, request)
    return Transition(server, (Send(sender, RequestPreVoteResult(server.current_term, request.term, granted)),))


def _has_newer_log(server: Server, request: RequestVote | RequestPreVote) -> bool:
    """Figure 2, RequestVote RPC, receiver 2: is ours more up to date than the candidate's? (paper 5.4.1)"""
    log = server.log
    return (log.last_term, log.last_index) > (request.last_log_term, request.last_log_index)


def hears_from_a_leader(server: Server) -> bool:
    """Is there a leader who was heard within the minimum election timeout (thesis 4.2.3)?"""
    match server.role:
        case Leader():
            return True
        case Follower(leader_is_recent=recent):
            return recent
        case _:
            return False


def on_request_vote_result(server: Server, sender: ServerId, result: RequestVoteResult) -> Transition:
    """Count a vote; with a majority become leader (Figure 2, "Candidates" 2; paper 5.2)."""
    role = server.role
    if not isinstance(role, Candidate):
        return Transition(server, (Ignored("a vote, but no election is running"),))
    role = _count(role, sender, result.vote_granted)
    after = replace(server, role=role)
    outcome = election_outcome(server.configuration, role.granted, role.refused)
    match outcome:
        case VoteOutcome.WON:
            return become_leader(after)
        case VoteOutcome.LOST:
            return step_down(after, None)
        case VoteOutcome.PENDING:
            return Transition(after, ())
        case _:
            assert_never(outcome)


def on_request_pre_vote_result(server: Server, sender: ServerId, result: RequestPreVoteResult) -> Transition:
    """Count a pre-vote for *this* attempt; with a majority start the real election (thesis 9.6)."""
    role = server.role
    if not isinstance(role, PreCandidate) or result.requested_term != server.current_term + 1:
        return Transition(server, (Ignored("a pre-vote nobody waits for"),))
    role = _count(role, sender, result.vote_granted)
    after = replace(server, role=role)
    outcome = election_outcome(server.configuration, role.granted, role.refused)
    match outcome:
        case VoteOutcome.WON:
            return become_candidate(after)
        case VoteOutcome.LOST:
            return step_down(after, None)
        case VoteOutcome.PENDING:
            return Transition(after, ())
        case _:
            assert_never(outcome)


def _count(role: _Campaigner, voter: ServerId, granted: bool) -> _Campaigner:
    if granted:
        return replace(role, granted=role.granted | {voter})
    return replace(role, refused=role.refused | {voter})
