"""Pre-vote (thesis 9.6): asking must not disturb, and an answer promises nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntries,
    Candidate,
    DiskStalled,
    ElectionTimeout,
    Follower,
    Ignored,
    LeaderContactExpired,
    PersistTermAndVote,
    PreCandidate,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    ResetElectionTimer,
    Send,
    Server,
    Settings,
    follower,
    received,
    restore,
    step,
)

Build = Callable[..., Server]


def _pre_candidate(size: int = 3) -> Server:
    peers = [f"n{i}" for i in range(2, size + 1)]
    server = follower("n1", peers, current_term=3, voted_for="n2", terms=[1, 2], leader_id="n2")
    return step(server, ElectionTimeout(0)).server


def _answer(server: Server, voter: str, *, granted: bool = True, term: int = 3, requested_term: int = 4) -> Server:
    return step(server, received(voter, RequestPreVoteResult(term, requested_term, granted))).server


def test_a_pre_candidate_changes_neither_term_nor_vote() -> None:
    """Thesis 9.6: "a candidate only increments its term if it first learns from a majority [...] that they would be
    willing to grant the candidate their votes"."""
    server = follower("n1", ["n2", "n3"], current_term=3, voted_for="n2", terms=[1, 2], leader_id="n2")
    after, effects = step(server, ElectionTimeout(7))
    assert (after.current_term, after.voted_for) == (3, "n2")
    assert after.role == PreCandidate(granted=frozenset({"n1"}))
    assert after.leader_id is None
    request = RequestPreVote(4, "n1", 2, 2)
    assert effects[:3] == (ResetElectionTimer(307), Send("n2", request), Send("n3", request))
    assert not any(isinstance(effect, PersistTermAndVote) for effect in effects)


def test_a_majority_of_pre_votes_starts_the_real_election() -> None:
    """Now, and only now, the term grows, and it is durable before a vote is asked for."""
    server = _pre_candidate()
    after, effects = step(server, received("n2", RequestPreVoteResult(3, 4, vote_granted=True)))
    assert (after.current_term, after.voted_for) == (4, "n1")
    assert after.role == Candidate(granted=frozenset({"n1"}))
    assert effects[0] == PersistTermAndVote(4, "n1")
    assert Send("n3", RequestVote(4, "n1", 2, 2)) in effects


def test_a_minority_of_pre_votes_starts_nothing() -> None:
    """One of five agreed, however often it says so: nothing yet."""
    server = _pre_candidate(5)
    for _ in range(3):
        server = _answer(server, "n2")
    assert server.role == PreCandidate(granted=frozenset({"n1", "n2"}))
    assert server.current_term == 3


def test_a_majority_of_refusals_ends_the_attempt() -> None:
    """Back to follower, in the same term and with the same vote; the running timer decides about the next attempt."""
    server = _answer(_answer(_pre_candidate(), "n2", granted=False), "n3", granted=False)
    assert (server.role, server.current_term, server.voted_for) == (Follower(None), 3, "n2")


def test_an_answer_to_another_attempt_is_not_counted() -> None:
    """`requested_term` says which attempt is meant."""
    server = _pre_candidate()
    event = received("n2", RequestPreVoteResult(3, requested_term=3, vote_granted=True))
    assert step(server, event) == (server, (Ignored("a pre-vote nobody waits for"),))


def test_a_pre_vote_is_no_vote(campaign: Build) -> None:
    """A candidate must not win with pre-votes, nor a pre-candidate with votes: they are different answers."""
    candidate = campaign(3, term=3)
    assert step(candidate, received("n2", RequestPreVoteResult(3, 4, vote_granted=True))).server == candidate
    pre_candidate = _pre_candidate()
    assert step(pre_candidate, received("n2", RequestVoteResult(3, vote_granted=True))).server == pre_candidate


def test_a_pre_vote_of_a_server_behind_is_counted() -> None:
    """Its term is lower than ours; it will adopt ours when asked for the real vote."""
    assert isinstance(_answer(_pre_candidate(), "n2", term=1).role, Candidate)


def test_a_higher_term_in_an_answer_spreads() -> None:
    """Otherwise a pre-candidate with an old term would ask in vain for ever."""
    server = _answer(_pre_candidate(), "n2", granted=False, term=8)
    assert (server.current_term, server.voted_for, server.role) == (8, None, Follower(None))


def test_granting_a_pre_vote_leaves_term_vote_and_timer_alone() -> None:
    """Nobody adopts the term of a pre-vote request, and any number of pre-candidates may be told yes."""
    server = follower("n1", ["n2", "n3"], current_term=3, terms=[1, 2])
    for asker in ("n2", "n3"):
        after, effects = step(server, received(asker, RequestPreVote(9, asker, 2, 2)))
        assert after == server
        assert effects == (Send(asker, RequestPreVoteResult(3, 9, vote_granted=True)),)


@pytest.mark.parametrize(
    ("request_term", "voted_for", "granted"),
    [(4, "n2", True), (3, None, True), (3, "n3", True), (3, "n2", False), (2, None, False)],
)
def test_a_pre_vote_is_granted_if_the_vote_could_be(request_term: int, voted_for: str | None, granted: bool) -> None:
    """A later term, or this one with the vote still to be had (thesis 9.6; Figure 2, RequestVote RPC, receiver 1-2)."""
    server = follower("n1", ["n2", "n3"], current_term=3, voted_for=voted_for)
    effects = step(server, received("n3", RequestPreVote(request_term, "n3", 0, 0))).effects
    assert effects == (Send("n3", RequestPreVoteResult(3, request_term, vote_granted=granted)),)


@pytest.mark.parametrize(("index", "term", "granted"), [(2, 2, True), (1, 3, True), (1, 2, False), (9, 1, False)])
def test_a_pre_vote_needs_an_up_to_date_log(index: int, term: int, granted: bool) -> None:
    """The same comparison as for a vote (paper 5.4.1)."""
    server = follower("n1", ["n2", "n3"], current_term=3, terms=[1, 2])
    effects = step(server, received("n2", RequestPreVote(4, "n2", index, term))).effects
    assert effects == (Send("n2", RequestPreVoteResult(3, 4, vote_granted=granted)),)


def _granted(server: Server) -> bool:
    effects = step(server, received("n3", RequestPreVote(9, "n3", 9, 9))).effects
    return effects == (Send("n3", RequestPreVoteResult(server.current_term, 9, vote_granted=True)),)


def test_who_hears_from_a_leader_refuses_until_the_contact_expires(elect: Build, campaign: Build) -> None:
    """Thesis 4.2.3, 9.6: "within the minimum election timeout of hearing from a current leader" the answer is no."""
    server = follower("n1", ["n2", "n3"], current_term=3)
    assert _granted(server)
    server, effects = step(server, received("n2", AppendEntries(3, "n2", 0, 0, (), 0)))
    assert ResetElectionTimer(300, contact_timeout=300) in effects
    assert not _granted(server)
    server = step(server, LeaderContactExpired()).server
    assert _granted(server)
    assert server.leader_id == "n2"
    assert not _granted(elect(3))
    assert _granted(campaign(3))


@pytest.mark.parametrize("voted_for", [None, "n2"])
def test_a_late_vote_request_of_the_leader_leaves_a_timer_that_forgets_it(voted_for: str | None) -> None:
    """A request that is delayed or doubled is granted after the leader was heard.  It resets the timers (paper 5.2);
    were the contact to expire no more, pre-votes would be refused for good (thesis 4.2.3, 9.6)."""
    server = follower("n1", ["n2", "n3"], current_term=3, voted_for=voted_for)
    server = step(server, received("n2", AppendEntries(3, "n2", 0, 0, (), 0))).server
    after, effects = step(server, received("n2", RequestVote(3, "n2", 0, 0)))
    assert Send("n2", RequestVoteResult(3, vote_granted=True)) in effects
    assert effects[-1] == ResetElectionTimer(300, contact_timeout=300)
    assert not _granted(after)
    assert _granted(step(after, LeaderContactExpired()).server)


@pytest.mark.parametrize("is_stalled", [False, True])
def test_who_may_not_campaign_forgets_its_leader_all_the_same(is_stalled: bool) -> None:
    """The election timeout is at least the shortest one (thesis 4.2.3), also where the two timers end together, and
    the contact's is not heard any more: who thinks to be no voter may be one for the others (paper 6)."""
    server = restore("n1", ["n1", "n2"] if is_stalled else ["n2", "n3"], Settings(), randomness=0, current_term=3)
    server = step(server, received("n2", AppendEntries(3, "n2", 0, 0, (), 0))).server
    server = step(server, DiskStalled()).server if is_stalled else server
    assert not _granted(server)
    after, effects = step(server, ElectionTimeout(7))
    assert (after.role, effects[0]) == (Follower(), ResetElectionTimer(307))
    assert _granted(after)


def test_a_pre_candidate_that_votes_for_another_follows() -> None:
    """Its own attempt is over: its term may be the other's."""
    server = _answer(_pre_candidate(5), "n3")
    after, effects = step(server, received("n2", RequestVote(3, "n2", 2, 2)))
    assert (after.role, after.voted_for) == (Follower(None), "n2")
    assert Send("n2", RequestVoteResult(3, vote_granted=True)) in effects


def test_a_pre_candidate_follows_a_leader_of_its_term() -> None:
    """The leader lives; the attempt is over (paper 5.2)."""
    after = step(_pre_candidate(), received("n2", AppendEntries(3, "n2", 2, 2, (), 0))).server
    assert after.role == Follower("n2", leader_is_recent=True)


def test_a_split_pre_vote_is_tried_again() -> None:
    """A further timeout starts over with no answers counted; the term still stands."""
    server = _answer(_pre_candidate(5), "n2")
    after = step(server, ElectionTimeout(0)).server
    assert after.role == PreCandidate(granted=frozenset({"n1"}))
    assert after.current_term == 3


def test_a_lagging_server_cannot_pre_campaign_against_a_live_leader() -> None:
    """A disruptive server asks, is refused by all, and nobody's term or leader changes (thesis 9.6)."""
    laggard = step(follower("n3", ["n1", "n2"], current_term=3), ElectionTimeout(0)).server
    voter = follower("n1", ["n2", "n3"], current_term=3)
    voter = step(voter, received("n2", AppendEntries(3, "n2", 0, 0, (), 0))).server
    after, effects = step(voter, received("n3", RequestPreVote(4, "n3", 0, 0)))
    assert after == voter
    answer = next(effect.message for effect in effects if isinstance(effect, Send))
    laggard = step(laggard, received("n1", answer)).server
    assert (laggard.current_term, laggard.role_name) == (3, "pre-candidate")
