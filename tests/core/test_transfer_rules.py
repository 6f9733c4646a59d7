"""Handing leadership over: thesis 3.10.  The golden scripts show the courses; here stand the rules one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntriesResult,
    ConfigurationProposed,
    ElectionTimeout,
    HeartbeatTimeout,
    Ignored,
    LogPersisted,
    PreCandidate,
    ProposalRefused,
    Proposed,
    RefusalReason,
    RequestVote,
    ResetElectionTimer,
    Send,
    Server,
    TimeoutNow,
    TransferEnded,
    TransferRefusal,
    TransferRefused,
    TransferRequested,
    follower,
    received,
    step,
)

Build = Callable[..., Server]
NAMES = ["n1", "n2", "n3"]


def _ready(elect: Build) -> Server:
    """A leader; n2 has the whole log, n3 was not heard of."""
    leader = step(elect(3), LogPersisted(1, 1)).server
    return step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server


def test_a_successor_with_the_whole_log_is_told_at_once(elect: Build) -> None:
    """And the leader gives it an election timeout from now."""
    leader = _ready(elect)
    effects = step(leader, TransferRequested(1, "n2")).effects
    assert effects == (ResetElectionTimer(leader.election_timeout), Send("n2", TimeoutNow(1, "n1")))


def test_a_successor_is_not_told_before_it_has_the_whole_log(elect: Build) -> None:
    after, effects = step(_ready(elect), TransferRequested(1, "n3"))
    assert not any(isinstance(effect, Send) for effect in effects)
    effects = step(after, received("n3", AppendEntriesResult(1, True, 0, 1))).effects
    assert Send("n3", TimeoutNow(1, "n1")) in effects


def test_only_the_answer_of_the_successor_tells_it_again(elect: Build) -> None:
    after = step(_ready(elect), TransferRequested(1, "n2")).server
    effects = step(after, received("n3", AppendEntriesResult(1, True, 0, 1))).effects
    assert not any(isinstance(effect, Send) and isinstance(effect.message, TimeoutNow) for effect in effects)
    assert Send("n2", TimeoutNow(1, "n1")) in step(after, HeartbeatTimeout()).effects


def test_without_a_name_the_voter_with_most_of_the_log_is_chosen(elect: Build) -> None:
    assert Send("n2", TimeoutNow(1, "n1")) in step(_ready(elect), TransferRequested(1)).effects


def test_a_learner_is_no_successor(elect: Build) -> None:
    leader = step(_ready(elect), ConfigurationProposed(1, ("n1", "n2"), ("n3",))).server
    effects = step(leader, TransferRequested(2, "n3")).effects
    assert effects == (TransferRefused(2, TransferRefusal.NO_SUCH_VOTER, "n1"),)


def test_nobody_to_hand_over_to(elect: Build) -> None:
    effects = step(elect(1), TransferRequested(2)).effects
    assert effects == (TransferRefused(2, TransferRefusal.NO_SUCH_VOTER, "n1"),)


def test_nothing_is_accepted_meanwhile(elect: Build) -> None:
    after = step(_ready(elect), TransferRequested(1, "n2")).server
    assert step(after, Proposed(2, (b"x",))).effects == (ProposalRefused(2, RefusalReason.TRANSFERRING, "n1"),)
    assert step(after, TransferRequested(3)).effects == (TransferRefused(3, TransferRefusal.UNDER_WAY, "n1"),)


def test_after_an_election_timeout_the_leader_goes_on(elect: Build) -> None:
    handing = step(_ready(elect), TransferRequested(1, "n2")).server
    after, effects = step(handing, ElectionTimeout(0))
    assert TransferRefused(1, TransferRefusal.TIMED_OUT, "n1") in effects
    assert not any(isinstance(effect, ProposalRefused) for effect in step(after, Proposed(2, (b"x",))).effects)


def test_a_higher_term_ends_the_transfer(elect: Build) -> None:
    handing = step(_ready(elect), TransferRequested(1, "n2")).server
    effects = step(handing, received("n2", RequestVote(2, "n2", 1, 1, leadership_transfer=True))).effects
    assert TransferEnded(1) in effects


def test_the_successor_campaigns_at_once_and_says_why() -> None:
    server = follower("n2", NAMES, current_term=1, leader_id="n1")
    after, effects = step(server, received("n1", TimeoutNow(1, "n1")))
    assert (after.role_name, after.current_term) == ("candidate", 2)
    assert Send("n3", RequestVote(2, "n2", 0, 0, leadership_transfer=True)) in effects


def test_a_pre_candidate_need_not_ask_any_more() -> None:
    server = replace(follower("n2", NAMES, current_term=1), role=PreCandidate(frozenset({"n2"})))
    assert step(server, received("n1", TimeoutNow(1, "n1"))).server.role_name == "candidate"


@pytest.mark.parametrize("term", [1, 2])
def test_who_cannot_take_over_does_not(elect: Build, campaign: Build, term: int) -> None:
    for server in (elect(3, term=2), campaign(3, term=2), follower("n1", ["n1", "n2", "n3"], current_term=2)):
        after, effects = step(server, received("n2", TimeoutNow(term, "n2")))
        if term == 1:
            assert (after, effects) == (server, (Ignored("a leader of an older term wants a successor"),))
        elif server.role_name != "follower":
            assert (after, effects) == (server, (Ignored("cannot take over"),))
