"""How much a leader sends at a time, how it finds its place again, and how much it accepts (thesis 10.2.1, 10.2.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Applied,
    Effect,
    HeartbeatTimeout,
    Ignored,
    Leader,
    LogPersisted,
    Message,
    PeerRestarted,
    Progress,
    ProposalAccepted,
    ProposalRefused,
    Proposed,
    Received,
    RefusalReason,
    Server,
    Settings,
    follower,
    received,
    step,
)
from raft_core.progress import CAREFUL_WINDOW, MOST_UNANSWERED

Build = Callable[..., Server]
Agree = Callable[[Server], Server]
Requests = Callable[..., list[AppendEntries]]
ProgressOf = Callable[[Server, str], Progress]
Converse = Callable[..., tuple[Server, Server, list[Message]]]


def _propose(leader: Server, *commands: bytes) -> tuple[Server, tuple[Effect, ...]]:
    return step(leader, Proposed(1, commands))


def _spans(messages: list[AppendEntries]) -> list[tuple[int, int]]:
    return [(message.prev_log_index, len(message.entries)) for message in messages]


# -- the window -------------------------------------------------------------------------------------------------------


def test_a_probing_leader_sends_one_message_at_a_time(elect: Build, requests: Requests) -> None:
    """Where the logs agree is not known yet: the no-op is the probe, what comes later waits for its answer."""
    leader, effects = _propose(elect(3), b"a")
    assert requests(effects, "n2") == []
    effects = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).effects
    assert _spans(requests(effects, "n2")) == [(1, 1)]


def test_a_lost_probe_is_found_out_by_a_heartbeat_without_entries(
    elect: Build, requests: Requests, progress_of: ProgressOf
) -> None:
    """The probe may have been lost: a heartbeat asks about the same place, without the entries (they may be many and
    the follower dead); its answer ends the probing, and then the entries follow."""
    leader, effects = step(_propose(elect(3), b"a")[0], HeartbeatTimeout())
    assert _spans(requests(effects, "n2")) == [(0, 0)]
    assert progress_of(leader, "n2").in_flight == (1,), "the probe still counts as being out"
    answer = AppendEntriesResult(leader.current_term, True, prev_log_index=0, match_index=0)
    leader, effects = step(leader, Received("n2", answer))
    assert _spans(requests(effects, "n2")) == [(0, 2)]
    assert progress_of(leader, "n2").in_flight == (2,)


def test_a_streaming_leader_does_not_wait_for_answers(elect: Build, agree: Agree, requests: Requests) -> None:
    """Thesis 10.2.1, pipelining: "sends the next entries without waiting"; each begins where the last one ended."""
    leader = agree(elect(3))
    seen = []
    for command in (b"a", b"b", b"c"):
        leader, effects = _propose(leader, command)
        seen += requests(effects, "n2")
    assert _spans(seen) == [(1, 1), (2, 1), (3, 1)]


def test_a_full_window_pauses_and_an_answer_opens_it(
    elect: Build, agree: Agree, requests: Requests, progress_of: ProgressOf
) -> None:
    """`max_in_flight` messages may be unanswered; what came meanwhile then goes out in one message."""
    leader = agree(elect(3, settings=Settings(max_in_flight=2)))
    for command in (b"a", b"b"):
        leader, effects = _propose(leader, command)
        assert len(requests(effects, "n2")) == 1
    for command in (b"c", b"d"):
        leader, effects = _propose(leader, command)
        assert requests(effects, "n2") == []
    assert progress_of(leader, "n2").in_flight == (2, 3)
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2)))
    assert _spans(requests(effects, "n2")) == [(3, 2)]
    assert progress_of(leader, "n2").in_flight == (3, 5)


def test_an_answer_sends_as_many_messages_as_the_window_admits(elect: Build, agree: Agree, requests: Requests) -> None:
    """A follower far behind is served with a full window, not with one message for each answer."""
    settings = Settings(max_in_flight=3, max_entries_per_message=1)
    leader = _propose(elect(3, settings=settings), *[b"%d" % i for i in range(9)])[0]
    effects = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).effects
    assert _spans(requests(effects, "n2")) == [(1, 1), (2, 1), (3, 1)]


def test_who_lacks_very_much_is_sent_it_little_by_little(elect: Build, agree: Agree, requests: Requests) -> None:
    """The window would admit sixteen times as much; to send all of that would hold up everybody else."""
    roomy = Settings(max_uncommitted_entries=10 * MOST_UNANSWERED)
    leader = agree(elect(3, settings=roomy))
    leader = _propose(leader, *[b"x"] * (3 * MOST_UNANSWERED))[0]
    sent = roomy.max_entries_per_message
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 1 + sent)))
    counts = [count for _, count in _spans(requests(effects, "n2"))]
    assert counts == [sent] * (MOST_UNANSWERED // sent)
    assert _spans(requests(step(leader, HeartbeatTimeout()).effects, "n2"))[0][1] == 0
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1 + sent, 1 + 2 * sent)))
    assert [count for _, count in _spans(requests(effects, "n2"))] == [sent]


def test_a_heartbeat_passes_a_full_window_empty(elect: Build, agree: Agree, requests: Requests) -> None:
    """Whoever is slow must still hear that the leader lives; nothing is sent twice."""
    leader = agree(elect(3, settings=Settings(max_in_flight=1)))
    leader = _propose(_propose(leader, b"a")[0], b"b")[0]
    after, effects = step(leader, HeartbeatTimeout())
    assert _spans(requests(effects, "n2")) == [(2, 0)]
    assert after == leader


def test_a_silent_followers_window_is_healed_by_a_heartbeat(elect: Build, agree: Agree, converse: Converse) -> None:
    """Everything in the window was lost: the heartbeat is refused, the leader probes, and all arrives."""
    leader = agree(elect(3, settings=Settings(max_in_flight=2)))
    silent = follower("n2", ["n1", "n3"], current_term=1)
    for command in (b"a", b"b", b"c"):
        leader = _propose(leader, command)[0]
    silent = step(silent, received("n1", AppendEntries(1, "n1", 0, 0, leader.log.entries(1, 1), 0))).server
    leader, silent, spoken = converse(leader, silent, step(leader, HeartbeatTimeout()).effects)
    assert silent.log == leader.log
    assert [m.success for m in spoken if isinstance(m, AppendEntriesResult)] == [False, True]


def test_a_message_lost_in_the_stream_is_found_out_by_the_next(
    elect: Build, agree: Agree, converse: Converse, progress_of: ProgressOf
) -> None:
    """The follower refuses what does not continue its log; the leader goes back to where it ends."""
    leader = agree(elect(3))
    behind = follower("n2", ["n1", "n3"], current_term=1)
    behind = step(behind, received("n1", AppendEntries(1, "n1", 0, 0, leader.log.entries(1, 1), 0))).server
    leader = _propose(leader, b"lost")[0]
    leader, effects = _propose(leader, b"arrives")
    leader, behind, _ = converse(leader, behind, effects)
    assert behind.log == leader.log
    assert progress_of(leader, "n2") == Progress("n2", next_index=4, match_index=3, is_probing=False)


def test_what_was_overtaken_is_not_answered_by_a_window_full_of_messages(
    elect: Build, agree: Agree, requests: Requests
) -> None:
    """Forty messages are under way and arrive in another order: each of them may be refused.  A whole window for each
    answer would be a storm, found by simulation; so they are few until all of them are matched."""
    leader = agree(elect(3, settings=Settings(max_entries_per_message=1)))
    for number in range(40):
        leader = _propose(leader, b"%d" % number)[0]
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, False, 3, 1, 0, 2)))
    assert _spans(requests(effects, "n2")) == [(1, 1)]
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2)))
    assert len(requests(effects, "n2")) == CAREFUL_WINDOW
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 40, 41))).server
    for number in range(CAREFUL_WINDOW + 1):
        leader, effects = _propose(leader, b"%d" % number)
        assert len(requests(effects, "n2")) == 1, "the window is open again"


def test_a_refusal_makes_the_leader_probe_from_where_the_follower_says(
    elect: Build, agree: Agree, requests: Requests, progress_of: ProgressOf
) -> None:
    """From many messages in flight back to one; the others are forgotten."""
    leader = agree(elect(3))
    for command in (b"a", b"b", b"c"):
        leader = _propose(leader, command)[0]
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, False, 2, 0, 0, 2)))
    assert _spans(requests(effects, "n2")) == [(1, 3)]
    assert progress_of(leader, "n2").is_probing
    assert progress_of(leader, "n2").in_flight == (4,)
    late = step(leader, received("n2", AppendEntriesResult(1, False, 3, 0, 0, 2)))
    assert late == (leader, ())


@pytest.mark.parametrize("refused_index", [0, 1, 9], ids=["below", "known to match", "never sent"])
def test_a_refusal_of_what_was_not_asked_moves_nothing(
    refused_index: int, elect: Build, agree: Agree, progress_of: ProgressOf
) -> None:
    """An answer that was overtaken says nothing about where to try next."""
    leader = _propose(agree(elect(3)), b"a")[0]
    after = step(leader, received("n2", AppendEntriesResult(1, False, refused_index, 0, 0, 1))).server
    assert progress_of(after, "n2") == progress_of(leader, "n2")


def test_a_late_refusal_does_not_move_a_probe(elect: Build, agree: Agree, progress_of: ProgressOf) -> None:
    """Only the answer to the entry being probed counts: neither a repeated refusal nor an overtaken one of an earlier
    message tells anything new."""
    leader = agree(elect(3))
    for command in (b"a", b"b", b"c", b"d", b"e", b"f"):
        leader = _propose(leader, command)[0]
    newest = received("n2", AppendEntriesResult(1, False, 6, 0, 0, 6))
    leader = step(leader, newest).server
    probing = progress_of(leader, "n2")
    assert (probing.next_index, probing.is_probing) == (6, True)
    for late in (newest, received("n2", AppendEntriesResult(1, False, 3, 0, 0, 2))):
        after, effects = step(leader, late)
        assert progress_of(after, "n2") == probing
        assert effects == ()


def test_a_refusal_always_moves_the_probe_back(elect: Build, progress_of: ProgressOf) -> None:
    """Whatever hint comes with it: the same question is never asked for ever (paper 5.3)."""
    leader = elect(3, term=4, terms=(1, 1, 2))
    for index in (3, 2, 1):
        absurd = AppendEntriesResult(4, False, index, 0, conflict_term=2, conflict_index=99)
        leader = step(leader, received("n2", absurd)).server
        assert progress_of(leader, "n2").next_index == index


# -- a link that was replaced -----------------------------------------------------------------------------------------


def test_what_was_in_flight_to_a_restarted_peer_is_sent_again_at_once(
    elect: Build, agree: Agree, requests: Requests, progress_of: ProgressOf
) -> None:
    """All of it had been sent already; nothing but the restart says that it is lost."""
    leader = _propose(_propose(agree(elect(3)), b"a")[0], b"b")[0]
    leader, effects = step(leader, PeerRestarted("n2"))
    assert _spans(requests(effects, "n2")) == [(1, 2)]
    assert progress_of(leader, "n2").in_flight == (3,)
    assert progress_of(leader, "n2").is_probing


def test_a_restarted_peer_that_had_everything_is_probed_by_the_next_heartbeat(
    elect: Build, agree: Agree, requests: Requests, progress_of: ProgressOf
) -> None:
    """Nothing to send, but the place has to be found out again."""
    leader, effects = step(agree(elect(3)), PeerRestarted("n2"))
    assert effects == ()
    assert progress_of(leader, "n2") == Progress("n2", next_index=2, match_index=1, is_probing=True)


def test_a_probe_to_a_restarted_peer_is_repeated_where_it_was(
    elect: Build, requests: Requests, progress_of: ProgressOf
) -> None:
    """match_index is not known yet, so going back to it would send the whole log."""
    leader, effects = step(elect(3, term=2, terms=(1, 1)), PeerRestarted("n2"))
    assert _spans(requests(effects, "n2")) == [(2, 1)]
    assert progress_of(leader, "n2").next_index == 3


def test_the_restart_of_a_stranger_means_nothing(elect: Build) -> None:
    """Only followers have progress."""
    leader = elect(3)
    assert step(leader, PeerRestarted("n9")) == (leader, (Ignored("not a peer"),))


def test_the_restart_of_a_peer_means_nothing_to_followers() -> None:
    """They keep no track of anybody."""
    server = follower("n1", ["n2"])
    assert step(server, PeerRestarted("n2")) == (server, (Ignored("only leaders keep track of their peers"),))


# -- the size of a message --------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=25), most=st.integers(1, 6), room=st.integers(1, 40))
def test_no_entry_is_skipped_and_no_bound_is_broken(
    sizes: list[int], most: int, room: int, elect: Build, requests: Requests
) -> None:
    """Messages continue each other without a gap; each keeps both bounds, but for one entry too large for any."""
    settings = Settings(max_entries_per_message=most, max_bytes_per_message=room)
    leader = _propose(elect(3, settings=settings), *[b"x" * size for size in sizes])[0]
    messages = requests(step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).effects, "n2")
    assert [entry for message in messages for entry in message.entries] == list(leader.log.entries(2, len(sizes) + 1))
    ends = [message.prev_log_index + len(message.entries) for message in messages]
    assert [message.prev_log_index for message in messages] == [1, *ends[:-1]]
    for message in messages:
        assert 1 <= len(message.entries) <= most
        assert sum(len(entry.command) for entry in message.entries) <= room or len(message.entries) == 1


def test_entries_that_fit_travel_together(elect: Build, requests: Requests) -> None:
    """The bounds are used to the full: 4 + 4 of 8 bytes, then the one too large alone, then the rest."""
    leader = elect(3, settings=Settings(max_bytes_per_message=8))
    leader = _propose(leader, b"aaaa", b"bbbb", b"c" * 20, b"d", b"e")[0]
    messages = requests(step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).effects, "n2")
    assert _spans(messages) == [(1, 2), (3, 1), (4, 2)]


# -- what is accepted -------------------------------------------------------------------------------------------------


def _refused(effects: tuple[Effect, ...]) -> bool:
    return effects == (ProposalRefused(1, RefusalReason.OVERLOADED, "n1"),)


def test_too_many_uncommitted_entries_are_refused(elect: Build, agree: Agree) -> None:
    """Back-pressure: the tail behind the commit index is bounded, and a refusal appends nothing."""
    leader = agree(elect(3, settings=Settings(max_uncommitted_entries=3)))
    leader = _propose(leader, b"a", b"b")[0]
    after, effects = _propose(leader, b"c", b"d")
    assert _refused(effects)
    assert after == leader
    assert isinstance(_propose(leader, b"c")[1][-1], ProposalAccepted)


def test_too_many_uncommitted_bytes_are_refused_until_some_are_committed(elect: Build, agree: Agree) -> None:
    """Bytes are counted in, and counted out again when they are committed."""
    leader = agree(elect(3, settings=Settings(max_uncommitted_bytes=10)))
    leader = _propose(leader, b"12345678")[0]
    assert _refused(_propose(leader, b"123")[1])
    assert not _refused(_propose(leader, b"12")[1])
    leader = agree(leader)
    assert isinstance(leader.role, Leader)
    assert leader.role.uncommitted_bytes == 0
    assert not _refused(_propose(leader, b"123")[1])


def test_an_empty_tail_takes_any_one_proposal(elect: Build, agree: Agree) -> None:
    """Otherwise a command above the bound would be refused for good."""
    leader = agree(elect(3, settings=Settings(max_uncommitted_bytes=10, max_uncommitted_entries=1)))
    leader, effects = _propose(leader, b"x" * 100, b"y")
    assert isinstance(effects[-1], ProposalAccepted)
    assert _refused(_propose(leader, b"z")[1])


def test_bytes_of_earlier_terms_are_not_counted_out(elect: Build) -> None:
    """They were never counted in: a new leader's tail starts at nothing."""
    leader = elect(3, term=2, terms=(1, 1, 1))
    leader = step(leader, LogPersisted(4, 2)).server
    leader = step(leader, received("n2", AppendEntriesResult(2, True, 3, 4))).server
    assert isinstance(leader.role, Leader)
    assert (leader.commit_index, leader.role.uncommitted_bytes) == (4, 0)


def test_a_state_machine_that_lags_stops_the_leader_from_accepting(elect: Build, agree: Agree) -> None:
    """Committed but not applied is a queue as well, and is bounded."""
    leader = elect(3, settings=Settings(max_unapplied_entries=1))
    leader = agree(_propose(leader, b"a")[0])
    assert _refused(_propose(leader, b"b")[1])
    assert not _refused(_propose(step(leader, Applied(1)).server, b"b")[1])


def test_a_follower_names_the_leader_it_knows() -> None:
    """A refusal says whom to ask instead, and that nothing was appended."""
    server = follower("n1", ["n2", "n3"], leader_id="n3")
    assert _propose(server, b"a") == (server, (ProposalRefused(1, RefusalReason.NOT_LEADER, "n3"),))


def test_a_candidate_knows_no_leader(campaign: Build) -> None:
    """The leader it followed before is not the leader of this term."""
    assert _propose(campaign(3), b"a")[1] == (ProposalRefused(1, RefusalReason.NOT_LEADER, None),)
