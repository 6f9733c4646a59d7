"""Replication beyond the paper's sentences: old, repeated and overtaken messages; what may be counted, when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Applied,
    ApplyCommitted,
    Entry,
    Follower,
    HeartbeatTimeout,
    Ignored,
    Leader,
    LogPersisted,
    Message,
    Progress,
    Proposed,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    follower,
    received,
    step,
)

Build = Callable[..., Server]
Agree = Callable[[Server], Server]
ProgressOf = Callable[[Server, str], Progress]
Converse = Callable[..., tuple[Server, Server, list[Message]]]


def _terms(server: Server) -> list[int]:
    return [entry.term for entry in server.log]


def _entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(term, b"%d" % index) for index, term in enumerate(terms, start=first))


def _append(server: Server, prev: tuple[int, int], *terms: int, commit: int = 0) -> Server:
    entries = _entries(*terms, first=prev[0] + 1)
    message = AppendEntries(server.current_term, "n2", prev[0], prev[1], entries, commit)
    return step(server, received("n2", message)).server


# -- the follower's side ----------------------------------------------------------------------------------------------


def test_a_delayed_shorter_message_removes_nothing() -> None:
    """Truncate only on a conflict: an old message that ends earlier is no conflict (Figure 2, receiver 3)."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=[1, 2, 2])
    after, effects = step(server, received("n2", AppendEntries(2, "n2", 0, 0, _entries(1), 0)))
    assert after.log == server.log
    assert not any(isinstance(effect, AppendToLog) for effect in effects)
    assert Send("n2", AppendEntriesResult(2, True, 0, 1)) in effects


def test_a_heartbeat_removes_nothing() -> None:
    """No entries, no conflict, whatever stands behind prev_log_index."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=[1, 2, 2])
    assert _append(server, (1, 1)).log == server.log


def test_a_conflict_removes_what_follows_and_its_durability() -> None:
    """What replaces the conflicting entries is not on disk until the disk says so."""
    server = follower("n1", ["n2", "n3"], current_term=3, terms=[1, 2, 2, 2])
    after = _append(server, (1, 1), 3, 3)
    assert _terms(after) == [1, 3, 3]
    assert (server.persisted_index, after.persisted_index) == (4, 1)
    assert step(after, LogPersisted(3, 3)).server.persisted_index == 3


def test_the_commit_index_is_bounded_by_the_last_entry_the_message_vouches_for() -> None:
    """Figure 2, receiver 5: what stands behind it may still turn out to conflict."""
    server = follower("n1", ["n2", "n3"], current_term=3, terms=[1, 2, 2, 2])
    assert _append(server, (1, 1), commit=4).commit_index == 1
    assert _append(server, (1, 1), 2, commit=4).commit_index == 2
    assert _append(server, (4, 2), commit=4).commit_index == 4


def test_a_refused_message_moves_no_commit_index() -> None:
    """Nothing is known of a log that does not match."""
    server = follower("n1", ["n2", "n3"], current_term=3, terms=[1, 2])
    assert _append(server, (2, 3), 3, commit=2).commit_index == 0


def test_an_old_message_does_not_move_the_commit_index_back() -> None:
    """commit_index "increases monotonically" (Figure 2, volatile state)."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=[1, 2, 2], commit_index=3)
    after, effects = step(server, received("n2", AppendEntries(2, "n2", 0, 0, _entries(1), 1)))
    assert after.commit_index == 3
    assert not any(isinstance(effect, ApplyCommitted) for effect in effects)


def test_committed_entries_are_never_replaced() -> None:
    """State machine safety (Figure 3): a message that would is answered with silence."""
    server = follower("n1", ["n2", "n3"], current_term=4, terms=[1, 2, 2], commit_index=2)
    after, effects = step(server, received("n2", AppendEntries(4, "n2", 1, 1, _entries(3, first=2), 2)))
    assert after.log == server.log
    assert Ignored("it would replace committed entries") in effects
    assert not any(isinstance(effect, Send | AppendToLog) for effect in effects)


def test_the_entry_behind_the_committed_ones_may_be_replaced() -> None:
    """The boundary itself: commit_index + 1 is not committed."""
    server = follower("n1", ["n2", "n3"], current_term=4, terms=[1, 2, 2], commit_index=2)
    assert _terms(_append(server, (2, 2), 4, commit=2)) == [1, 2, 4]


def test_a_refusal_never_points_into_the_committed_part() -> None:
    """A committed entry matches every later leader: there is nothing to look for below (Figure 3)."""
    server = follower("n1", ["n2", "n3"], current_term=4, terms=[1, 2, 2, 2], commit_index=3)
    effects = step(server, received("n2", AppendEntries(4, "n2", 4, 3, (), 3))).effects
    assert Send("n2", AppendEntriesResult(4, False, 4, 0, conflict_term=2, conflict_index=4)) in effects


def test_success_is_said_behind_the_write_it_vouches_for() -> None:
    """Figure 2: "Updated on stable storage before responding to RPCs"."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    effects = step(server, received("n2", AppendEntries(1, "n2", 0, 0, _entries(1), 0))).effects
    write = effects.index(AppendToLog(0, _entries(1), 1))
    assert write < effects.index(Send("n2", AppendEntriesResult(1, True, 0, 1)))


def test_a_repeated_message_is_answered_again_and_written_once() -> None:
    """RPCs are idempotent (paper 5.5)."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    event = received("n2", AppendEntries(1, "n2", 0, 0, _entries(1, 1), 1))
    once = step(server, event).server
    twice, effects = step(once, event)
    assert twice == once
    assert not any(isinstance(effect, AppendToLog | ApplyCommitted) for effect in effects)
    assert Send("n2", AppendEntriesResult(1, True, 0, 2)) in effects


# -- the leader's side ------------------------------------------------------------------------------------------------


def test_the_leaders_own_disk_counts_only_when_it_says_so(elect: Build) -> None:
    """Thesis 10.2.1: sends go out before the own write; one follower's disk is no majority of three."""
    leader = elect(3)
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
    assert leader.commit_index == 0
    assert step(leader, LogPersisted(1, 1)).server.commit_index == 1


def test_two_other_disks_are_a_majority_of_three(elect: Build) -> None:
    """Thesis 10.2.1: "the leader may even commit an entry before it has been written to its own disk"."""
    leader = elect(3)
    for peer in ("n2", "n3"):
        leader = step(leader, received(peer, AppendEntriesResult(1, True, 0, 1))).server
    assert leader.commit_index == 1
    assert leader.persisted_index == 0


def test_an_acknowledgement_of_an_older_terms_write_is_ignored() -> None:
    """The ABA race of an asynchronous disk: the same index was rewritten since, and that write is not done."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    server = _append(server, (0, 0), 1, 1)
    server = step(server, received("n3", AppendEntries(2, "n3", 0, 0, _entries(2, 2), 0))).server
    after, effects = step(server, LogPersisted(2, 1))
    assert after == server
    assert after.persisted_index == 0
    assert len(effects) == 1 and isinstance(effects[0], Ignored)


def test_a_write_that_was_overtaken_does_not_go_back() -> None:
    """Acknowledgements may be summed up or reordered by the disk: the highest counts, and no more than there is."""
    server = _append(follower("n1", ["n2", "n3"], current_term=1), (0, 0), 1, 1)
    server = step(server, LogPersisted(2, 1)).server
    assert step(server, LogPersisted(1, 1)).server.persisted_index == 2
    assert step(server, LogPersisted(99, 1)).server.persisted_index == 2


def test_nothing_is_committed_without_an_entry_of_the_new_term(elect: Build) -> None:
    """Figure 8: entries of the old term on all disks, and still not committed until one of this term is."""
    leader = elect(3, term=3, terms=(1, 1))
    leader = step(leader, LogPersisted(3, 3)).server
    for peer in ("n2", "n3"):
        leader = step(leader, received(peer, AppendEntriesResult(3, True, 0, 2))).server
    assert leader.commit_index == 0
    assert step(leader, received("n2", AppendEntriesResult(3, True, 2, 3))).server.commit_index == 3


def test_overtaken_answers_move_nothing_back(elect: Build, agree: Agree, progress_of: ProgressOf) -> None:
    """match_index "increases monotonically" (Figure 2), next_index stays above it."""
    leader = agree(elect(3))
    for command in (b"a", b"b"):
        leader = step(leader, Proposed(1, (command,))).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 2, 3))).server
    late = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2))).server
    assert progress_of(late, "n2") == progress_of(leader, "n2")
    refused = step(leader, received("n2", AppendEntriesResult(1, False, 2, 0, 0, 2))).server
    assert (progress_of(refused, "n2").match_index, progress_of(refused, "n2").next_index) == (3, 4)


def test_an_answer_of_an_older_term_moves_nothing(elect: Build) -> None:
    """A success of an earlier leadership of the same server vouches for another log (paper 5.1)."""
    leader = elect(3, term=5, terms=(1,))
    event = received("n2", AppendEntriesResult(4, True, 0, 2))
    assert step(leader, event) == (leader, (Ignored("an answer of an older term"),))


def test_an_answer_from_a_stranger_moves_nothing(elect: Build) -> None:
    """Only followers have progress."""
    leader = elect(3)
    event = received("n9", AppendEntriesResult(1, True, 0, 1))
    assert step(leader, event) == (leader, (Ignored("an answer to what was never asked"),))


def test_an_answer_beyond_the_log_moves_nothing(elect: Build) -> None:
    """Nobody can match what was never sent."""
    leader = elect(3)
    event = received("n2", AppendEntriesResult(1, True, 0, 2))
    assert step(leader, event) == (leader, (Ignored("an answer to what was never asked"),))


def test_an_answer_to_a_former_leader_is_ignored(elect: Build) -> None:
    """It lost its progress with its role."""
    server = step(elect(3), received("n2", RequestVote(2, "n2", 9, 1, leadership_transfer=True))).server
    event = received("n3", AppendEntriesResult(2, True, 0, 1))
    assert step(server, event) == (server, (Ignored("an answer to a leader that is one no more"),))


def test_the_only_server_commits_when_its_disk_has_it(elect: Build) -> None:
    """A majority of one is its own disk."""
    leader, effects = step(elect(1), LogPersisted(1, 1))
    assert leader.commit_index == 1
    assert any(isinstance(effect, ApplyCommitted) for effect in effects)


def test_a_new_leader_writes_its_no_op_before_it_counts_anything(elect: Build) -> None:
    """Own log first, announcement second, all in one step (paper 8)."""
    leader = elect(3, term=2, terms=(1,))
    assert isinstance(leader.role, Leader)
    assert _terms(leader) == [1, 2]
    assert [progress.in_flight for progress in leader.role.followers] == [(2,), (2,)]


def test_what_is_applied_never_passes_what_is_committed() -> None:
    """`last_applied` follows the state machine's word, forwards only (Figure 2, "All Servers" 1)."""
    server = follower("n1", ["n2", "n3"], current_term=1, terms=[1, 1, 1], commit_index=2)
    assert step(server, Applied(9)).server.last_applied == 2
    server = step(server, Applied(2)).server
    assert step(server, Applied(1)).server.last_applied == 2


@given(data=st.data())
def test_one_round_trip_for_each_divergent_term(data: st.DataObject, elect: Build, converse: Converse) -> None:
    """5.3: "With this optimization, one AppendEntries RPC will be required for each term with conflicting entries,
    rather than one RPC per entry"; one more finds the end of a log that is too short."""
    runs = st.lists(st.integers(1, 40), max_size=8)
    common = [1] * data.draw(st.integers(0, 30))
    mine = [term for k, n in enumerate(data.draw(runs)) for term in [2 * k + 2] * n]
    others = [term for k, n in enumerate(data.draw(runs)) for term in [2 * k + 3] * n]
    leader = elect(3, term=30, terms=(*common, *mine))
    lagging = follower("n2", ["n1", "n3"], current_term=29, terms=[*common, *others])
    leader, lagging, spoken = converse(leader, lagging, step(leader, HeartbeatTimeout()).effects)
    assert lagging.log == leader.log
    refusals = [message for message in spoken if isinstance(message, AppendEntriesResult) and not message.success]
    assert len(refusals) <= len(set(others)) + 1


def test_a_divergent_term_the_leader_knows_is_skipped_to_its_end(elect: Build, converse: Converse) -> None:
    """Figure 7 (e): the leader has entries of the conflicting term too, and goes on behind its last one."""
    leader = elect(3, term=9, terms=(1, 1, 4, 4, *[6] * 50))
    lagging = follower("n2", ["n1", "n3"], current_term=8, terms=(1, 1, *[4] * 60))
    leader, lagging, spoken = converse(leader, lagging, step(leader, HeartbeatTimeout()).effects)
    assert lagging.log == leader.log
    assert [m.success for m in spoken if isinstance(m, AppendEntriesResult)][:2] == [False, True]


@pytest.mark.parametrize("loser", ["n2", "n3"])
def test_a_server_with_a_smaller_term_can_complete_an_election(loser: str) -> None:
    """A candidate behind in terms learns the newer one from the refusal, and may win the next time (paper 5.1)."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=[1])
    ahead = follower(loser, ["n1"], current_term=7)
    effects = step(ahead, received("n1", RequestVote(3, "n1", 1, 1))).effects
    assert effects == (Send("n1", RequestVoteResult(7, vote_granted=False)),)
    after = step(server, received(loser, RequestVoteResult(7, vote_granted=False))).server
    assert (after.current_term, after.role) == (7, Follower(None))
