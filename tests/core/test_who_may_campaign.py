"""Who starts elections: voters, and a leader that is on its way out (thesis 4.2.2)."""

from __future__ import annotations

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Candidate,
    ConfigurationProposed,
    ElectionTimeout,
    Follower,
    Leader,
    LogPersisted,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    received,
    restore,
    step,
)

PLAIN = Settings(pre_vote=False, check_quorum=False)


def _leader_of_two_without_itself() -> Server:
    """n1 led n1 and n2, and appended a configuration without itself, which n2 has not received."""
    server = restore("n1", ["n1", "n2"], PLAIN, randomness=0)
    server = step(server, ElectionTimeout(0)).server
    server = step(server, received("n2", RequestVoteResult(1, vote_granted=True))).server
    server = step(server, LogPersisted(1, 1)).server
    heard = step(server, received("n2", _acknowledges(1))).server
    assert heard.commit_index == 1
    return step(heard, ConfigurationProposed(1, ("n2",))).server


def _acknowledges(index: int) -> AppendEntriesResult:
    return AppendEntriesResult(1, True, 0, index)


def test_who_was_removed_by_an_entry_that_may_not_be_committed_campaigns_for_the_others_cannot() -> None:
    """n2 needs n1's vote and n1's log is longer, so n1 refuses: without n1's campaign nobody ever leads."""
    removed = _leader_of_two_without_itself()
    again = restore("n1", ["n1", "n2"], PLAIN, randomness=0, current_term=1, voted_for="n1", entries=removed.log)
    campaigns, effects = step(again, ElectionTimeout(0))
    assert isinstance(campaigns.role, Candidate), "its own vote does not count"
    assert [effect.to for effect in effects if isinstance(effect, Send)] == ["n2"]
    leads, _ = step(campaigns, received("n2", RequestVoteResult(2, vote_granted=True)))
    assert isinstance(leads.role, Leader)


def test_who_knows_its_removal_to_be_committed_does_not_campaign() -> None:
    removed = _leader_of_two_without_itself()
    follower = restore("n1", ["n1", "n2"], PLAIN, randomness=0, current_term=1, entries=removed.log)
    told, _ = step(follower, received("n2", AppendEntries(2, "n2", 2, 1, (), 2)))
    assert told.commit_index == 2
    silent, effects = step(told, ElectionTimeout(0))
    assert isinstance(silent.role, Follower)
    assert not any(isinstance(effect, Send) and isinstance(effect.message, RequestVote) for effect in effects)


def test_who_never_was_a_voter_does_not_campaign() -> None:
    learner = restore("n3", ["n1", "n2"], PLAIN, randomness=0, learners=["n3"])
    assert isinstance(step(learner, ElectionTimeout(0)).server.role, Follower)
