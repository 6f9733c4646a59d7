"""Linearizable reads without the log (thesis 6.4): what is confirmed, by whom, and when."""

from __future__ import annotations

from collections.abc import Callable

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    ApplyCommitted,
    Effect,
    ElectionTimeout,
    HeartbeatTimeout,
    LogPersisted,
    Proposed,
    ReadReady,
    ReadRefused,
    ReadRequested,
    RequestVote,
    Server,
    Settings,
    follower,
    received,
    step,
)

Build = Callable[..., Server]
Agree = Callable[[Server], Server]
Requests = Callable[..., list[AppendEntries]]


def _read(server: Server, *read_ids: int) -> tuple[Server, tuple[Effect, ...]]:
    return step(server, ReadRequested(read_ids))


def _beat(server: Server, peer: str, round: int) -> tuple[Server, tuple[Effect, ...]]:
    index = server.log.last_index
    return step(server, received(peer, AppendEntriesResult(server.current_term, True, index, index, round=round)))


def _ready(effects: tuple[Effect, ...]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, ReadReady)]


def test_a_read_waits_for_a_majority_to_answer_its_round(elect: Build, agree: Agree, requests: Requests) -> None:
    """Thesis 6.4, step 3: a round of heartbeats makes sure that no newer leader exists."""
    leader, effects = _read(agree(elect(5)), 42)
    assert [message.round for message in requests(effects, "n2")] == [1]
    leader, effects = _beat(leader, "n2", 1)
    assert _ready(effects) == []
    leader, effects = _beat(leader, "n2", 1)
    assert _ready(effects) == []
    leader, effects = _beat(leader, "n3", 1)
    assert _ready(effects) == [ReadReady((42,), 1)]
    assert _ready(_beat(leader, "n4", 1)[1]) == []


def test_an_answer_to_an_earlier_round_confirms_nothing(elect: Build, agree: Agree) -> None:
    """It was sent before the read arrived; a newer leader may have been elected since."""
    leader = _beat(_read(agree(elect(3)), 1)[0], "n2", 1)[0]
    leader, _ = _read(leader, 2)
    assert _ready(_beat(leader, "n3", 1)[1]) == []
    assert _ready(_beat(leader, "n2", 2)[1]) == [ReadReady((2,), 1)]


def test_an_answer_to_a_later_round_confirms_the_earlier_ones(elect: Build, agree: Agree) -> None:
    """Reads are answered in the order of their rounds, each with its own read index."""
    leader = _read(agree(elect(3)), 1)[0]
    leader = _read(leader, 2, 3)[0]
    assert _ready(_beat(leader, "n2", 2)[1]) == [ReadReady((1,), 1), ReadReady((2, 3), 1)]


def test_a_round_that_was_never_asked_confirms_no_later_read(elect: Build, agree: Agree) -> None:
    """Rounds come from the leader alone."""
    leader = _beat(agree(elect(3)), "n2", 9)[0]
    leader = _read(leader, 1)[0]
    assert _ready(_beat(leader, "n3", 0)[1]) == []


def test_the_read_index_is_the_commit_index_at_arrival(elect: Build, agree: Agree) -> None:
    """Thesis 6.4, step 2; what is committed later is not part of what this read must see."""
    leader = _read(agree(elect(3)), 1)[0]
    leader = step(leader, Proposed(7, (b"x",))).server
    leader = step(leader, LogPersisted(2, 1)).server
    effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2, round=1))).effects
    assert ReadReady((1,), 1) in effects
    assert any(isinstance(effect, ApplyCommitted) for effect in effects)


def test_a_refusal_confirms_leadership_too(elect: Build, agree: Agree) -> None:
    """A follower whose log does not fit has answered in this term all the same."""
    leader = _read(agree(elect(3)), 1)[0]
    effects = step(leader, received("n2", AppendEntriesResult(1, False, 0, 0, round=1))).effects
    assert _ready(effects) == [ReadReady((1,), 1)]


def test_a_follower_repeats_the_round_it_was_asked() -> None:
    """On success and on refusal: the leader keeps no memory of what it sent when."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    for prev_log_index in (0, 5):
        message = AppendEntries(1, "n2", prev_log_index, 0, (), 0, round=8)
        answers = [getattr(effect, "message", None) for effect in step(server, received("n2", message)).effects]
        assert [answer.round for answer in answers if isinstance(answer, AppendEntriesResult)] == [8]


def test_a_read_before_the_terms_first_commit_waits(elect: Build) -> None:
    """Thesis 6.4, step 1: a new leader does not know yet what is committed."""
    leader, effects = _read(elect(3, term=2, terms=(1, 1)), 1)
    assert effects == ()
    leader, effects = _read(leader, 2)
    assert effects == ()
    leader = step(leader, LogPersisted(3, 2)).server
    leader, effects = step(leader, received("n2", AppendEntriesResult(2, True, 2, 3)))
    assert leader.commit_index == 3
    assert _ready(effects) == []
    assert _ready(_beat(leader, "n3", 1)[1]) == [ReadReady((1,), 3), ReadReady((2,), 3)]


def test_a_heartbeat_answered_before_the_first_commit_confirms_no_early_read(elect: Build) -> None:
    """Early reads get a round of their own, once there is an index to read at."""
    leader = _read(elect(3, term=2), 1)[0]
    leader = _beat(step(leader, HeartbeatTimeout()).server, "n3", 0)[0]
    leader, effects = step(leader, LogPersisted(1, 2))
    assert leader.commit_index == 1
    assert _ready(effects) == []


def test_reads_of_one_event_share_a_round(elect: Build, agree: Agree, requests: Requests) -> None:
    """Thesis 6.4: "accumulate [...] read-only queries and perform only one round of heartbeats"."""
    leader, effects = _read(agree(elect(3)), 1, 2, 3)
    assert len(requests(effects, "n2")) == 1
    assert _ready(_beat(leader, "n2", 1)[1]) == [ReadReady((1, 2, 3), 1)]


def test_reads_are_handed_back_on_stepping_down(elect: Build, agree: Agree) -> None:
    """Early ones and waiting ones alike, once each."""
    waiting = _read(agree(elect(3)), 1)[0]
    early = _read(elect(3), 2)[0]
    for leader, read_ids in ((waiting, (1,)), (early, (2,))):
        effects = step(leader, received("n2", RequestVote(9, "n2", 9, 8, leadership_transfer=True))).effects
        assert ReadRefused(read_ids, None) in effects
    lonely = step(step(waiting, ElectionTimeout(0)).server, ElectionTimeout(0)).effects
    assert ReadRefused((1,), None) in lonely


def test_a_leader_without_reads_hands_nothing_back(elect: Build) -> None:
    """No empty refusals."""
    effects = step(elect(3), received("n2", RequestVote(9, "n2", 9, 8, leadership_transfer=True))).effects
    assert not any(isinstance(effect, ReadRefused) for effect in effects)


def test_a_follower_refuses_a_read_and_names_the_leader() -> None:
    """Reads are the leader's (thesis 6.4)."""
    server = follower("n1", ["n2", "n3"], leader_id="n3")
    assert _read(server, 1) == (server, (ReadRefused((1,), "n3"),))


def test_the_only_server_confirms_itself(elect: Build, agree: Agree) -> None:
    """A majority of one: at once, but not before it has committed in its term."""
    leader, effects = _read(elect(1), 1)
    assert _ready(effects) == []
    leader, effects = step(leader, LogPersisted(1, 1))
    assert _ready(effects) == [ReadReady((1,), 1)]
    assert _ready(_read(leader, 2)[1]) == [ReadReady((2,), 1)]


def test_a_restarted_only_server_waits_for_its_first_commit(elect: Build) -> None:
    """Its commit index is not re-established yet; a read at index 0 would miss everything."""
    leader = elect(1, term=4, terms=(1, 2, 3))
    assert _ready(_read(leader, 1)[1]) == []
    assert _ready(step(_read(leader, 1)[0], LogPersisted(4, 4)).effects) == [ReadReady((1,), 4)]


def test_a_full_window_does_not_hold_a_read_up(elect: Build, agree: Agree, requests: Requests) -> None:
    """The round travels with an empty message if it must."""
    leader = agree(elect(3, settings=Settings(max_in_flight=1)))
    leader = step(leader, Proposed(7, (b"x",))).server
    effects = _read(leader, 1)[1]
    assert [(message.round, message.entries) for message in requests(effects, "n2")] == [(1, ())]
