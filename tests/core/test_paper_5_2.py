"""Paper 5.2, leader election."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    Candidate,
    ElectionTimeout,
    Follower,
    HeartbeatTimeout,
    Leader,
    Message,
    PersistTermAndVote,
    RequestVote,
    RequestVoteResult,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    Send,
    Server,
    Settings,
    follower,
    received,
    restore,
    step,
)

NO_PRE_VOTE = Settings(pre_vote=False)
TEN = Settings(election_timeout=10, heartbeat_interval=1, pre_vote=False)


def test_start_as_follower() -> None:
    """5.2: "When servers start up, they begin as followers"."""
    server = restore("n1", ["n1", "n2", "n3"], NO_PRE_VOTE, randomness=0)
    assert server.role == Follower(None)
    assert (server.current_term, server.voted_for, server.commit_index, server.last_applied) == (0, None, 0, 0)


def test_leader_bcast_beat(
    elect: Callable[..., Server], agree: Callable[[Server], Server], sent: Callable[..., dict[str, Message]]
) -> None:
    """5.2: "Leaders send periodic heartbeats (AppendEntries RPCs that carry no log entries) to all followers"."""
    leader = agree(elect(3, terms=(1,), term=2))
    after, effects = step(leader, HeartbeatTimeout())
    beat = AppendEntries(2, "n1", 2, 2, (), 2)
    assert sent(effects) == {"n2": beat, "n3": beat}
    assert ResetHeartbeatTimer(50) in effects
    assert after == leader


def _starts_an_election(server: Server) -> None:
    term = server.current_term + 1
    after, effects = step(server, ElectionTimeout(7))
    assert after.current_term == term
    assert after.voted_for == "n1"
    assert after.role == Candidate(granted=frozenset({"n1"}))
    request = RequestVote(term, "n1", 2, 2)
    assert effects[:-1] == (
        PersistTermAndVote(term, "n1"),
        ResetElectionTimer(307),
        Send("n2", request),
        Send("n3", request),
    )


def test_follower_start_election() -> None:
    """5.2: "To begin an election, a follower increments its current term and transitions to candidate state.  It then
    votes for itself and issues RequestVote RPCs in parallel to each of the other servers in the cluster"."""
    _starts_an_election(follower("n1", ["n2", "n3"], current_term=2, terms=[1, 2], settings=NO_PRE_VOTE))


def test_candidate_start_new_election(campaign: Callable[..., Server]) -> None:
    """5.2: "each candidate will time out and start a new election by incrementing its term and initiating another round
    of RequestVote RPCs".  (Role and leader stay, so the change is seen in the term alone.)"""
    _starts_an_election(campaign(3, term=3, terms=(1, 2)))


@pytest.mark.parametrize(
    ("size", "votes", "role"),
    [
        (1, {}, Leader),
        (3, {"n2": True, "n3": True}, Leader),
        (3, {"n2": True}, Leader),
        (5, {"n2": True, "n3": True, "n4": True, "n5": True}, Leader),
        (5, {"n2": True, "n3": True, "n4": True}, Leader),
        (5, {"n2": True, "n3": True}, Leader),
        (3, {"n2": False, "n3": False}, Follower),
        (5, {"n2": False, "n3": False, "n4": False, "n5": False}, Follower),
        (5, {"n2": True, "n3": False, "n4": False, "n5": False}, Follower),
        (3, {}, Candidate),
        (5, {"n2": True}, Candidate),
        (5, {"n2": False, "n3": False}, Candidate),
        (5, {}, Candidate),
    ],
)
def test_leader_election_in_one_round_rpc(
    size: int, votes: dict[str, bool], role: type, campaign: Callable[..., Server]
) -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for
    the same term"; it loses, or goes on waiting, otherwise."""
    server = campaign(size)
    for voter, granted in votes.items():
        server = step(server, received(voter, RequestVoteResult(1, vote_granted=granted))).server
    assert isinstance(server.role, role)
    assert server.current_term == 1
    assert server.voted_for == "n1"


@pytest.mark.parametrize(
    ("voted_for", "candidate_id", "granted"),
    [
        (None, "n2", True),
        (None, "n3", True),
        ("n2", "n2", True),
        ("n3", "n3", True),
        ("n2", "n3", False),
        ("n3", "n2", False),
    ],
)
def test_follower_vote(voted_for: str | None, candidate_id: str, granted: bool) -> None:
    """5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis"; a
    request that is repeated gets the same answer (Figure 2, RequestVote RPC, receiver 2)."""
    server = follower("n1", ["n2", "n3"], current_term=1, voted_for=voted_for)
    after, effects = step(server, received(candidate_id, RequestVote(1, candidate_id, 0, 0)))
    assert after.voted_for == (candidate_id if granted else voted_for)
    assert Send(candidate_id, RequestVoteResult(1, vote_granted=granted)) in effects
    assert any(isinstance(effect, ResetElectionTimer) for effect in effects) == granted
    assert (PersistTermAndVote(1, candidate_id) in effects) == (voted_for is None)


@pytest.mark.parametrize("term", [2, 3], ids=["same term", "higher term"])
def test_candidate_fallback(term: int, campaign: Callable[..., Server]) -> None:
    """5.2: "If the leader's term [...] is at least as large as the candidate's current term, then the candidate
    recognizes the leader as legitimate and returns to follower state"."""
    candidate = campaign(3, term=2)
    after = step(candidate, received("n2", AppendEntries(term, "n2", 0, 0, (), 0))).server
    assert after.role == Follower("n2", leader_is_recent=True)
    assert after.current_term == term
    assert after.voted_for == ("n1" if term == 2 else None)


def _timeout(server: Server, randomness: int) -> int:
    """The timeout the server sets: as a candidate for its next election, as a follower on hearing from a leader."""
    if isinstance(server.role, Candidate):
        effects = step(server, ElectionTimeout(randomness)).effects
    else:
        fresh = restore("n1", server.voters, server.settings, randomness=randomness)
        effects = step(fresh, received("n2", AppendEntries(1, "n2", 0, 0, (), 0))).effects
    return next(effect.timeout for effect in effects if isinstance(effect, ResetElectionTimer))


def _ten(role: str, campaign: Callable[..., Server]) -> Server:
    return campaign(5, settings=TEN) if role == "candidate" else follower("n1", ["n2", "n3"], settings=TEN)


def _every_timeout_occurs(role: str, campaign: Callable[..., Server]) -> None:
    generator = random.Random(1)
    server = _ten(role, campaign)
    assert {_timeout(server, generator.getrandbits(32)) for _ in range(500)} == set(range(10, 20))


def test_follower_election_timeout_randomized(campaign: Callable[..., Server]) -> None:
    """5.2: "election timeouts are chosen randomly from a fixed interval": all of [T, 2T) and nothing else."""
    _every_timeout_occurs("follower", campaign)


def test_candidate_election_timeout_randomized(campaign: Callable[..., Server]) -> None:
    """5.2: "Each candidate restarts its randomized election timeout at the start of an election"."""
    _every_timeout_occurs("candidate", campaign)


def _share_of_conflicts(role: str, campaign: Callable[..., Server]) -> float:
    generator = random.Random(2)
    server = _ten(role, campaign)
    conflicts = 0
    for _ in range(1000):
        timeouts = sorted(_timeout(server, generator.getrandbits(32)) for _ in range(5))
        conflicts += timeouts[0] == timeouts[1]
    return conflicts / 1000


def test_followers_election_timeout_nonconflict(campaign: Callable[..., Server]) -> None:
    """5.2: "This spreads out the servers so that in most cases only a single server will time out"."""
    assert _share_of_conflicts("follower", campaign) <= 0.3


def test_candidates_election_timeout_nonconflict(campaign: Callable[..., Server]) -> None:
    """5.2: randomness "reduces the likelihood of another split vote in the new election"."""
    assert _share_of_conflicts("candidate", campaign) <= 0.3


def test_the_first_timeout_of_a_server_depends_on_randomness_alone() -> None:
    """5.2 and thesis 9.3: uniform in [T, 2T) milliseconds."""
    server = restore("n1", ["n1"], replace(TEN, election_timeout=300), randomness=299)
    assert server.election_timeout == 599
    assert restore("n1", ["n1"], replace(TEN, election_timeout=300), randomness=300).election_timeout == 300
