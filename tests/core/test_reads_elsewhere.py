"""Linearizable reads from followers and by lease: thesis 6.4 and 6.4.1.  The leader's own: `test_read_index_rules`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Configured,
    DiskStalled,
    ElectionTimeout,
    Entry,
    Follower,
    HeartbeatTimeout,
    Ignored,
    Leader,
    LeaderContactExpired,
    LeaseExpired,
    LeaseExtended,
    LogPersisted,
    Message,
    PendingRead,
    ReadMode,
    ReadReady,
    ReadRefused,
    ReadRequested,
    RequestPreVoteResult,
    RequestReadIndex,
    RequestReadIndexResult,
    RequestVote,
    RequestVoteResult,
    RoundConfirmed,
    RoundSent,
    Send,
    Server,
    Settings,
    TransferRequested,
    configuration,
    follower,
    received,
    restore,
    step,
)

Build = Callable[..., Server]
NAMES = ["n1", "n2", "n3"]
HEARTBEAT = received("n1", AppendEntries(1, "n1", 2, 1, (), 2))
LEASES = Settings(pre_vote=False, lease_reads=True)


def _hearing() -> Server:
    """A follower that hears n1 and has two committed entries."""
    server = follower("n2", NAMES, current_term=1, terms=(1, 1), commit_index=2)
    return step(server, HEARTBEAT).server


def _asking() -> Server:
    return step(_hearing(), ReadRequested((7, 8), ReadMode.FOLLOWER)).server


def _committed(elect: Build, settings: Settings = LEASES) -> Server:
    """A leader that has committed an entry of its term."""
    leader = step(elect(3, settings=settings), LogPersisted(1, 1)).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
    assert leader.commit_index == 1
    return leader


# --- Followers.


LEARNER = restore("n3", ["n1", "n2"], Settings(), randomness=0, learners=["n3"])
STALLED = step(follower("n3", NAMES), DiskStalled()).server


@pytest.mark.parametrize("server", [LEARNER, STALLED], ids=["learner", "stalled"])
def test_who_may_not_campaign_hands_reads_back_too_when_its_leader_is_gone(server: Server) -> None:
    server = step(server, received("n1", AppendEntries(1, "n1", 0, 0, (), 0))).server
    server = step(server, ReadRequested((7,), ReadMode.FOLLOWER)).server
    server = step(server, received("n1", RequestReadIndexResult(1, (7,), 2))).server
    server = step(server, ReadRequested((8,), ReadMode.FOLLOWER)).server
    after, effects = step(server, ElectionTimeout(0))
    assert after.role == Follower()
    assert ReadRefused((8, 7), None) in effects
    assert ReadRefused((9,), None) in step(after, ReadRequested((9,), ReadMode.FOLLOWER)).effects


def test_a_follower_asks_its_leader() -> None:
    after, effects = step(_hearing(), ReadRequested((7, 8), ReadMode.FOLLOWER))
    assert effects == (Send("n1", RequestReadIndex(1, (7, 8))),)
    assert isinstance(after.role, Follower)
    assert after.role.asked_reads == (7, 8)


def test_without_a_leader_or_the_wish_a_follower_refuses() -> None:
    lost = follower("n2", NAMES, current_term=1)
    assert step(lost, ReadRequested((7,), ReadMode.FOLLOWER)).effects == (ReadRefused((7,), None),)
    assert step(_hearing(), ReadRequested((7,), ReadMode.LEASE)).effects == (ReadRefused((7,), "n1"),)


def test_an_answer_waits_until_so_much_is_committed_here() -> None:
    after, effects = step(_asking(), received("n1", RequestReadIndexResult(1, (7, 8), 3)))
    assert effects == ()
    assert isinstance(after.role, Follower)
    assert after.role.pending_reads == (PendingRead(0, 3, (7, 8)),)
    effects = step(after, received("n1", AppendEntries(1, "n1", 2, 1, (Entry(1, b"x"),), 3))).effects
    assert effects[-1] == ReadReady((7, 8), 3)


def test_a_candidate_waits_for_no_answers() -> None:
    candidate = step(step(_hearing(), ElectionTimeout(0)).server, ElectionTimeout(0)).server
    effects = step(candidate, received("n1", RequestReadIndexResult(1, (7,), 2))).effects
    assert effects == (Ignored("an answer about reads that nobody waits for"),)


def test_what_is_committed_here_already_is_answered_at_once() -> None:
    effects = step(_asking(), received("n1", RequestReadIndexResult(1, (7, 8), 2))).effects
    assert effects == (ReadReady((7, 8), 2),)


def test_a_part_of_the_answers_leaves_the_others_open() -> None:
    after = step(_asking(), received("n1", RequestReadIndexResult(1, (8, 9), 2))).server
    assert isinstance(after.role, Follower)
    assert (after.role.asked_reads, after.role.pending_reads) == ((7,), ())


def test_an_answer_nobody_waits_for_is_ignored(elect: Build) -> None:
    for server in (_hearing(), elect(3)):
        effects = step(server, received("n3", RequestReadIndexResult(1, (7,), 2))).effects
        assert effects == (Ignored("an answer about reads that nobody waits for"),)
    effects = step(_asking(), received("n1", RequestReadIndexResult(0, (7,), 2))).effects
    assert effects == (Ignored("an answer of an older term"),)


def test_the_second_heartbeat_without_an_answer_asks_again() -> None:
    once, effects = step(_asking(), HEARTBEAT)
    again = Send("n1", RequestReadIndex(1, (7, 8)))
    assert again not in effects
    twice, effects = step(once, HEARTBEAT)
    assert again in effects
    assert again not in step(twice, HEARTBEAT).effects


def test_a_follower_that_loses_its_leader_hands_the_reads_back() -> None:
    waiting = step(_asking(), received("n1", RequestReadIndexResult(1, (8,), 9))).server
    assert ReadRefused((7, 8), None) in step(waiting, ElectionTimeout(0)).effects
    new_leader = received("n3", AppendEntries(2, "n3", 2, 1, (), 2))
    assert ReadRefused((7, 8), "n3") in step(waiting, new_leader).effects


def test_a_follower_whose_leader_leads_again_in_a_later_term_hands_the_reads_back() -> None:
    waiting = step(_asking(), received("n1", RequestReadIndexResult(1, (8,), 9))).server
    after, effects = step(waiting, received("n1", AppendEntries(2, "n1", 2, 1, (), 2)))
    assert ReadRefused((7, 8), "n1") in effects
    assert isinstance(after.role, Follower) and not (after.role.asked_reads or after.role.pending_reads)


def test_a_follower_that_leads_in_the_same_step_hands_the_reads_back_too() -> None:
    """The others have left: one vote is a majority."""
    alone = replace(_asking(), configurations=(Configured(0, configuration(["n2"])),))
    after, effects = step(replace(alone, settings=Settings(pre_vote=False)), ElectionTimeout(0))
    assert isinstance(after.role, Leader)
    assert ReadRefused((7, 8), "n2") in effects


def test_the_leader_answers_a_follower_once_a_majority_has_confirmed_it(elect: Build) -> None:
    leader = _committed(elect, Settings(pre_vote=False))
    asked, effects = step(leader, received("n3", RequestReadIndex(1, (7,))))
    assert not any(
        isinstance(effect, Send) and effect.to == "n3" and not isinstance(effect.message, AppendEntries)
        for effect in effects
    )
    effects = step(asked, received("n2", AppendEntriesResult(1, True, 1, 1, round=1))).effects
    assert Send("n3", RequestReadIndexResult(1, (7,), 1)) in effects


def _sent(effects: tuple[object, ...]) -> list[tuple[str, object]]:
    return [(effect.to, effect.message) for effect in effects if isinstance(effect, Send)]


def test_what_followers_ask_while_a_round_is_unconfirmed_waits_for_the_next(elect: Build) -> None:
    """Otherwise each question is a round of heartbeats, which let others ask again: a storm, found by simulation."""
    leader = _committed(elect, Settings(pre_vote=False))
    first = step(leader, received("n2", RequestReadIndex(1, (7,)))).server
    waiting, effects = step(first, received("n3", RequestReadIndex(1, (8,))))
    assert effects == ()
    confirmed, effects = step(waiting, received("n2", AppendEntriesResult(1, True, 1, 1, round=1)))
    assert ("n2", RequestReadIndexResult(1, (7,), 1)) in _sent(effects)
    rounds = [(to, message.round) for to, message in _sent(effects) if isinstance(message, AppendEntries)]
    assert rounds == [("n2", 2), ("n3", 2)]
    _, effects = step(confirmed, received("n2", AppendEntriesResult(1, True, 1, 1, round=1)))
    assert _sent(effects) == [], "an answer to the round before says nothing of this one"
    _, effects = step(confirmed, received("n3", AppendEntriesResult(1, True, 1, 1, round=2)))
    assert _sent(effects) == [("n3", RequestReadIndexResult(1, (8,), 1))]


def test_what_waits_for_a_round_of_the_lease_is_asked_for_when_that_is_confirmed(elect: Build) -> None:
    """Such a round answers no read by itself; whoever waits behind it must not wait for the next heartbeat."""
    leader = step(_committed(elect), HeartbeatTimeout()).server
    waiting, effects = step(leader, received("n3", RequestReadIndex(1, (8,))))
    assert _sent(effects) == []
    asked, effects = step(waiting, received("n2", AppendEntriesResult(1, True, 1, 1, round=1)))
    assert {message.round for _, message in _sent(effects) if isinstance(message, AppendEntries)} == {2}
    assert RoundSent(2) in effects
    _, effects = step(asked, received("n2", AppendEntriesResult(1, True, 1, 1, round=2)))
    assert _sent(effects) == [("n3", RequestReadIndexResult(1, (8,), 1))]


def test_a_round_that_is_lost_is_made_good_by_the_next_heartbeat(elect: Build) -> None:
    leader = _committed(elect, Settings(pre_vote=False))
    first = step(leader, received("n2", RequestReadIndex(1, (7,)))).server
    waiting = step(first, received("n3", RequestReadIndex(1, (8,)))).server
    after, effects = step(waiting, HeartbeatTimeout())
    assert {message.round for _, message in _sent(effects) if isinstance(message, AppendEntries)} == {2}
    assert not any(isinstance(effect, RoundSent) for effect in effects)
    _, effects = step(after, received("n2", AppendEntriesResult(1, True, 1, 1, round=2)))
    assert len(_sent(effects)) == 2


def test_a_read_of_our_own_takes_those_that_wait_along(elect: Build) -> None:
    leader = _committed(elect, Settings(pre_vote=False))
    first = step(leader, received("n2", RequestReadIndex(1, (7,)))).server
    waiting = step(first, received("n3", RequestReadIndex(1, (8,)))).server
    after = step(waiting, ReadRequested((9,))).server
    assert isinstance(after.role, Leader)
    assert [(read.round, read.read_ids) for read in after.role.pending_reads] == [(1, (7,)), (2, (8,)), (2, (9,))]
    assert not after.role.has_reads_without_round


def test_a_follower_that_asks_early_waits_as_everybody_does(elect: Build) -> None:
    """Nothing of this term is committed yet (thesis 6.4, step 1)."""
    asked, effects = step(elect(3), received("n3", RequestReadIndex(1, (7,))))
    assert effects == ()
    assert isinstance(asked.role, Leader)
    assert asked.role.early_reads == (PendingRead(0, 0, (7,), "n3"),)


def test_who_leads_no_more_ignores_the_question(elect: Build) -> None:
    ignored = (Ignored("a read for a leader that is one no more"),)
    assert step(_hearing(), received("n3", RequestReadIndex(1, (7,)))).effects == ignored
    assert step(elect(3, term=2), received("n3", RequestReadIndex(1, (7,)))).effects == ignored


def test_a_leader_that_steps_down_refuses_its_own_readers_only(elect: Build) -> None:
    asked = step(_committed(elect), received("n3", RequestReadIndex(1, (7,)))).server
    asked = step(asked, ReadRequested((8,))).server
    effects = step(asked, received("n2", AppendEntries(2, "n2", 0, 0, (), 0))).effects
    assert [effect for effect in effects if isinstance(effect, ReadRefused)] == [ReadRefused((8,), None)]


# --- Leases.


def _with_lease(elect: Build) -> Server:
    leader = step(_committed(elect), HeartbeatTimeout()).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 1, 1, round=1))).server
    return step(leader, LeaseExtended(1)).server


def test_each_heartbeat_is_a_round_whose_time_is_noted(elect: Build) -> None:
    leader = _committed(elect)
    after, effects = step(leader, HeartbeatTimeout())
    assert RoundSent(1) in effects
    assert effects.index(RoundSent(1)) < next(i for i, effect in enumerate(effects) if isinstance(effect, Send))
    assert RoundConfirmed(1) in step(after, received("n2", AppendEntriesResult(1, True, 1, 1, round=1))).effects


def test_without_the_setting_nothing_is_noted(elect: Build) -> None:
    leader = _committed(elect, Settings(pre_vote=False))
    assert not any(isinstance(effect, RoundSent) for effect in step(leader, HeartbeatTimeout()).effects)
    ignored = (Ignored("a lease for a leader that is one no more"),)
    assert step(leader, LeaseExtended(0)).effects == ignored


def test_a_round_is_confirmed_once(elect: Build) -> None:
    leader = step(_committed(elect), HeartbeatTimeout()).server
    answer = AppendEntriesResult(1, True, 1, 1, round=1)
    leader = step(leader, received("n2", answer)).server
    assert not any(isinstance(effect, RoundConfirmed) for effect in step(leader, received("n3", answer)).effects)


def test_a_leader_with_a_lease_answers_at_once(elect: Build) -> None:
    leader = _with_lease(elect)
    assert step(leader, ReadRequested((7,), ReadMode.LEASE)) == (leader, (ReadReady((7,), 1),))


def test_a_lease_counts_for_those_reads_alone_that_want_it(elect: Build) -> None:
    assert not any(isinstance(e, ReadReady) for e in step(_with_lease(elect), ReadRequested((7,))).effects)


def test_a_lease_that_is_over_answers_nothing(elect: Build) -> None:
    after = step(_with_lease(elect), LeaseExpired()).server
    assert not any(isinstance(e, ReadReady) for e in step(after, ReadRequested((7,), ReadMode.LEASE)).effects)
    assert step(after, LeaseExpired()).effects == (Ignored("there is no lease"),)


def test_a_lease_before_the_first_commit_of_the_term_answers_nothing(elect: Build) -> None:
    leader = elect(3, settings=LEASES)
    assert isinstance(leader.role, Leader)
    leader = replace(leader, role=replace(leader.role, has_lease=True))
    assert step(leader, ReadRequested((7,), ReadMode.LEASE)).effects == ()


def test_a_round_that_was_not_confirmed_makes_no_lease(elect: Build) -> None:
    leader = step(_committed(elect), HeartbeatTimeout()).server
    assert step(leader, LeaseExtended(1)).server == leader


def test_a_transfer_ends_leases_for_the_term(elect: Build) -> None:
    """A TimeoutNow may still be under way when the transfer is given up."""
    leader = step(_with_lease(elect), TransferRequested(1, "n2")).server
    given_up = step(leader, ElectionTimeout(0)).server
    extended = step(given_up, LeaseExtended(1)).server
    for server in (leader, extended):
        assert isinstance(server.role, Leader)
        assert not server.role.has_lease


def test_a_restarted_server_keeps_to_what_it_may_have_promised() -> None:
    """It may have answered a round just before it fell: for an election timeout it votes for nobody else."""
    for settings, term, is_bound in ((LEASES, 3, True), (LEASES, 0, False), (Settings(), 3, False)):
        role = restore("n1", NAMES, settings, randomness=0, current_term=term).role
        assert isinstance(role, Follower)
        assert role.leader_is_recent is is_bound


def _heard_in_term_3(settings: Settings) -> Server:
    """n1, which has just answered a round of n2."""
    server = follower("n1", NAMES, current_term=3, settings=settings)
    return step(server, received("n2", AppendEntries(3, "n2", 0, 0, (), 0, 1))).server


OLD_ANSWERS = (
    RequestVoteResult(5, vote_granted=False),
    RequestPreVoteResult(5, 4, vote_granted=False),
    AppendEntriesResult(5, False, 0, 0),
)


@pytest.mark.parametrize("answer", OLD_ANSWERS, ids=lambda answer: type(answer).__name__)
def test_a_promise_outlives_the_term_in_which_it_was_given(answer: Message) -> None:
    """A server heard its leader, and answered a round; then comes the answer to an old question of its own, and names a
    higher term.  Were it free to vote, another leader could be elected while the first one relies on its lease.  (Found
    by exploration: two terms, a read by lease, two messages under way.)"""
    for settings, votes in ((LEASES, False), (replace(LEASES, lease_reads=False), True)):
        heard = _heard_in_term_3(settings)
        adopted = step(heard, received("n3", answer)).server
        assert (adopted.current_term, adopted.voted_for) == (5, None)
        asked = step(adopted, received("n3", RequestVote(5, "n3", 0, 0)))
        assert (asked.server.voted_for == "n3") is votes
        expired = step(adopted, LeaderContactExpired()).server
        assert step(expired, received("n3", RequestVote(5, "n3", 0, 0))).server.voted_for == "n3"


def test_who_is_to_take_over_may_be_voted_for_in_any_case() -> None:
    """The leader that hands over has given up its lease (thesis 3.10)."""
    adopted = step(_heard_in_term_3(LEASES), received("n3", AppendEntriesResult(5, False, 0, 0))).server
    asked = step(adopted, received("n3", RequestVote(5, "n3", 0, 0, leadership_transfer=True)))
    assert asked.server.voted_for == "n3"
