"""Elections beyond the paper's sentences: the rules that real implementations got wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Candidate,
    ElectionTimeout,
    Follower,
    HeartbeatTimeout,
    Ignored,
    Leader,
    LeaderContactExpired,
    PersistTermAndVote,
    RequestVote,
    RequestVoteResult,
    ResetElectionTimer,
    RoleChanged,
    Send,
    Server,
    Settings,
    StopHeartbeatTimer,
    follower,
    received,
    restore,
    step,
)

Build = Callable[..., Server]
CHECKING = Settings(pre_vote=False, check_quorum=True)


def _vote(server: Server, voter: str, *, granted: bool = True) -> Server:
    return step(server, received(voter, RequestVoteResult(server.current_term, vote_granted=granted))).server


def test_a_repeated_vote_is_counted_once(campaign: Build) -> None:
    """Voters are a set, never a counter (paper 5.2; pitfall of many actor-based servers)."""
    server = campaign(5)
    for _ in range(4):
        server = _vote(server, "n2")
    assert server.role == Candidate(granted=frozenset({"n1", "n2"}))
    assert isinstance(_vote(server, "n3").role, Leader)


def test_the_vote_of_a_stranger_is_not_counted(campaign: Build) -> None:
    """Only voters of the cluster make a majority (paper 5.2)."""
    assert isinstance(_vote(campaign(3), "stranger").role, Candidate)


def test_a_vote_of_an_older_term_is_not_counted(campaign: Build) -> None:
    """An answer of an older term answers a question nobody asks any more (paper 5.1)."""
    server = campaign(3, term=4)
    after, effects = step(server, received("n2", RequestVoteResult(3, vote_granted=True)))
    assert after == server
    assert effects == (Ignored("an answer of an older term"),)


def test_a_vote_after_the_election_is_ignored(elect: Build) -> None:
    """A leader does not win twice: its progress would start from nothing."""
    leader = elect(5)
    after, effects = step(leader, received("n5", RequestVoteResult(1, vote_granted=True)))
    assert after == leader
    assert len(effects) == 1 and isinstance(effects[0], Ignored)


def test_a_candidate_that_lost_keeps_its_vote_for_itself(campaign: Build) -> None:
    """The vote is never forgotten inside a term: two could win it otherwise (paper 5.2, thesis 3.8)."""
    server = _vote(_vote(campaign(3), "n2", granted=False), "n3", granted=False)
    assert server.role == Follower(None)
    after, effects = step(server, received("n2", RequestVote(1, "n2", 9, 1)))
    assert after.voted_for == "n1"
    assert effects == (Send("n2", RequestVoteResult(1, vote_granted=False)),)


def test_the_vote_is_kept_when_a_leader_of_the_same_term_appears(campaign: Build) -> None:
    """Stepping down inside a term keeps the vote (paper 5.2)."""
    after, effects = step(campaign(3), received("n2", AppendEntries(1, "n2", 0, 0, (), 0)))
    assert after.voted_for == "n1"
    assert not any(isinstance(effect, PersistTermAndVote) for effect in effects)


def test_a_candidate_does_not_vote_for_another_in_its_term(campaign: Build) -> None:
    """One vote a term, and it went to itself (paper 5.2)."""
    candidate = campaign(3)
    after, effects = step(candidate, received("n2", RequestVote(1, "n2", 9, 1)))
    assert after == candidate
    assert effects == (Send("n2", RequestVoteResult(1, vote_granted=False)),)


def test_the_vote_survives_a_restart() -> None:
    """(current_term, voted_for) is all a restarted server needs to vote only once (thesis 3.8)."""
    server = restore("n1", ["n1", "n2", "n3"], CHECKING, randomness=0, current_term=4, voted_for="n2")
    after, effects = step(server, received("n3", RequestVote(4, "n3", 9, 4)))
    assert after == server
    assert effects == (Send("n3", RequestVoteResult(4, vote_granted=False)),)


def test_a_repeated_vote_request_is_granted_again_without_another_write() -> None:
    """The answer may have been lost; what is durable already need not be written twice (paper 5.2)."""
    server = follower("n1", ["n2", "n3"], current_term=3, voted_for="n2")
    effects = step(server, received("n2", RequestVote(3, "n2", 0, 0))).effects
    assert effects == (Send("n2", RequestVoteResult(3, vote_granted=True)), ResetElectionTimer(300))


def test_a_vote_is_persisted_before_it_is_granted() -> None:
    """Figure 2: "Updated on stable storage before responding to RPCs"."""
    effects = step(follower("n1", ["n2", "n3"]), received("n2", RequestVote(1, "n2", 0, 0))).effects
    persisted = effects.index(PersistTermAndVote(1, "n2"))
    assert persisted < effects.index(Send("n2", RequestVoteResult(1, vote_granted=True)))


def test_a_candidate_persists_its_own_vote_before_it_asks() -> None:
    """A candidate's own vote is a vote (thesis 3.8)."""
    effects = step(follower("n1", ["n2", "n3"], settings=CHECKING), ElectionTimeout(0)).effects
    assert effects[0] == PersistTermAndVote(1, "n1")


def test_a_refused_vote_leaves_the_election_timer_alone() -> None:
    """The timer is reset by granting a vote, by a valid leader and by starting an election only (paper 5.2)."""
    server = follower("n1", ["n2", "n3"], terms=[1, 1], current_term=1)
    effects = step(server, received("n2", RequestVote(2, "n2", 1, 1))).effects
    assert not any(isinstance(effect, ResetElectionTimer) for effect in effects)


def test_a_stale_leader_does_not_reset_the_election_timer() -> None:
    """Only the leader of the current term holds an election off (paper 5.2)."""
    server = follower("n1", ["n2", "n3"], current_term=2)
    after, effects = step(server, received("n2", AppendEntries(1, "n2", 0, 0, (), 0)))
    assert after == server
    assert effects == (Send("n2", AppendEntriesResult(2, False, 0, 0)),)


def test_a_valid_leader_resets_the_timer_even_when_its_entries_do_not_fit() -> None:
    """A follower with a short log is a follower still (paper 5.2)."""
    server = follower("n1", ["n2", "n3"], current_term=2)
    after, effects = step(server, received("n2", AppendEntries(2, "n2", 5, 2, (), 0)))
    assert ResetElectionTimer(300, 300) in effects
    assert after.leader_id == "n2"


def test_a_higher_term_message_is_handled_in_the_new_role_in_the_same_step(elect: Build) -> None:
    """Figure 2, "All Servers" 2, then the receiver's rules with the *same* message: nothing is re-queued."""
    after, effects = step(elect(), received("n2", RequestVote(7, "n2", 9, 6, leadership_transfer=True)))
    assert (after.current_term, after.voted_for, after.role) == (7, "n2", Follower(None))
    assert effects == (
        PersistTermAndVote(7, None),
        StopHeartbeatTimer(),
        PersistTermAndVote(7, "n2"),
        Send("n2", RequestVoteResult(7, vote_granted=True)),
        ResetElectionTimer(300),
        RoleChanged("follower", 7, None),
    )


def test_a_leader_that_hears_from_no_majority_steps_down(elect: Build) -> None:
    """Check-quorum (thesis 6.2): one election timeout of grace after winning, then heads are counted."""
    leader = step(elect(5, settings=CHECKING), ElectionTimeout(0)).server
    assert isinstance(leader.role, Leader)
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
    after, effects = step(leader, ElectionTimeout(7))
    assert after.role == Follower(None)
    assert (after.current_term, after.voted_for) == (1, "n1")
    assert effects == (StopHeartbeatTimer(), ResetElectionTimer(307), RoleChanged("follower", 1, None))


def test_a_leader_that_hears_from_a_majority_stays(elect: Build) -> None:
    """A refusal is a sign of life as well as a success (thesis 6.2)."""
    leader = step(elect(5, settings=CHECKING), ElectionTimeout(0)).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
    leader = step(leader, received("n3", AppendEntriesResult(1, False, 0, 0))).server
    assert isinstance(step(leader, ElectionTimeout(0)).server.role, Leader)


def test_a_leader_counts_its_quorum_anew_each_time(elect: Build) -> None:
    """Who was heard in the last period is not heard in this one (thesis 6.2)."""
    leader = elect(3, settings=CHECKING)
    for _ in range(2):
        leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
        leader = step(leader, ElectionTimeout(0)).server
        assert isinstance(leader.role, Leader)
    assert step(leader, ElectionTimeout(0)).server.role == Follower(None)


def test_without_check_quorum_a_leader_stays_alone(elect: Build) -> None:
    """The check can be switched off; nothing else ends a leadership but a higher term (paper 5.1)."""
    leader = elect(3, settings=Settings(check_quorum=False))
    for _ in range(3):
        leader, effects = step(leader, ElectionTimeout(0))
        assert effects == (ResetElectionTimer(300),)
    assert isinstance(leader.role, Leader)


def test_a_leader_with_a_lower_term_gives_way_to_a_stuck_candidate(elect: Build) -> None:
    """A server that raised its term while cut off must not stay outside: its refusal carries the term (paper 5.1)."""
    stuck = follower("n3", ["n1", "n2"], current_term=9)
    leader = elect(3)
    beat = next(e for e in step(leader, HeartbeatTimeout()).effects if isinstance(e, Send) and e.to == "n3")
    answer = next(e for e in step(stuck, received("n1", beat.message)).effects if isinstance(e, Send))
    after = step(leader, received("n3", answer.message)).server
    assert (after.current_term, after.role) == (9, Follower(None))


def test_a_new_leader_starts_from_what_its_log_says(elect: Build) -> None:
    """Figure 2: next_index is "initialized to leader last log index + 1", match_index to 0; the no-op comes after."""
    leader = elect(3, term=4, terms=(1, 3), commit_index=1)
    assert isinstance(leader.role, Leader)
    assert [(p.server_id, p.next_index, p.match_index) for p in leader.role.followers] == [("n2", 3, 0), ("n3", 3, 0)]
    assert leader.log.last_term == 4
    assert leader.commit_index == 1


def test_the_only_server_of_a_cluster_elects_itself() -> None:
    """A majority of one is one, with pre-vote or without (paper 5.2)."""
    for pre_vote in (False, True):
        server = follower("n1", ["n1"], settings=Settings(pre_vote=pre_vote))
        after, effects = step(server, ElectionTimeout(0))
        assert isinstance(after.role, Leader)
        assert effects[0] == PersistTermAndVote(1, "n1")
        assert after.commit_index == 0


def test_who_is_no_voter_starts_no_election() -> None:
    """A server outside of its configuration keeps still (thesis 4.1), but its timer runs on."""
    server = restore("n9", ["n1", "n2", "n3"], CHECKING, randomness=0)
    after, effects = step(server, ElectionTimeout(7))
    assert (after.current_term, after.role) == (0, Follower(None))
    assert effects == (ResetElectionTimer(307), Ignored("not a voter"))


def test_a_message_from_oneself_is_ignored(campaign: Build) -> None:
    """No server talks to itself; a vote that claims to come from there must not count twice."""
    candidate = campaign(3)
    after, effects = step(candidate, received("n1", RequestVoteResult(9, vote_granted=True)))
    assert after == candidate
    assert effects == (Ignored("a message from ourselves"),)


def test_only_leaders_send_heartbeats(campaign: Build) -> None:
    """A heartbeat timer that outlived its leadership says nothing (paper 5.2)."""
    candidate = campaign(3)
    assert step(candidate, HeartbeatTimeout()) == (candidate, (Ignored("only leaders send heartbeats"),))


def test_a_second_leader_in_one_term_is_not_listened_to(elect: Build) -> None:
    """Election safety (Figure 3): such a message cannot be true, and changes nothing."""
    leader = elect(3)
    after, effects = step(leader, received("n2", AppendEntries(1, "n2", 0, 0, (), 1)))
    assert after == leader
    assert effects == (Ignored("a second leader in one term cannot be"),)


@pytest.mark.parametrize("role", ["candidate", "leader"])
def test_contact_expiry_means_nothing_to_those_who_follow_nobody(role: str, campaign: Build, elect: Build) -> None:
    """`LeaderContactExpired` is about a recent leader; candidates and leaders have none (thesis 9.6)."""
    server = {"candidate": campaign, "leader": elect}[role](3)
    assert step(server, LeaderContactExpired()) == (server, (Ignored("no recent leader to forget"),))
