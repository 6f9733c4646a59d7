"""A client's session offers every command until it is answered, and never as a new one: exactly once.

The session has no links and no clock, so a cluster is played to it by hand (see `talk`).
`test_session_under_loss` plays one that loses, refuses and forgets at random.
"""

from __future__ import annotations

import pytest
from msgspec import msgpack

from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.protocol import (
    Abandoned,
    Administered,
    Digest,
    InspectPeer,
    QueryResult,
    Refused,
    Results,
    SnapshotPeer,
    SubmitCommands,
    SubmitQuery,
)
from actors.replies import RefusalKind, encode_refusal, encode_result
from actors.session import GATHER, MAX_BATCH, MAX_BATCH_BYTES, REFUSED_PAUSE, RESEND, SHARE, SILENCE
from tests.actors.talk import NAMES, SESSION, Talk, new_call, replies, status

# --- when what is sent ------------------------------------------------------------------------------------------------


def test_with_nothing_under_way_a_command_goes_at_once() -> None:
    talk = Talk()
    talk.submit()
    assert talk.session.is_due
    assert talk.batches() == [("n1", 1, [1])]


def test_while_an_answer_is_under_way_commands_gather() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.submit(GATHER - 1)
    assert not talk.session.is_due
    talk.submit()
    assert talk.session.is_due, "enough gathered to be worth a batch of its own"


def test_the_more_commands_are_under_way_the_more_gather() -> None:
    talk = Talk()
    under_way = 9 * GATHER
    talk.submit(under_way)
    talk.out()
    talk.submit(under_way // (SHARE - 1) - 2)
    assert not talk.session.is_due
    talk.submit()
    assert talk.session.is_due, "a share of all"


def test_no_more_gather_than_one_batch_takes() -> None:
    talk = Talk()
    talk.submit(9 * MAX_BATCH)
    talk.out()
    talk.submit(MAX_BATCH)
    assert talk.session.is_due


def test_as_many_commands_as_were_answered_just_now_gather_although_nothing_is_under_way() -> None:
    talk = Talk()
    talk.submit(5)
    talk.out()
    talk.hear("n1", Results(1, 0, replies(5)))
    talk.submit(4)
    assert not talk.session.is_due
    assert talk.session.has_unsent, "the client sends it when somebody waits, and so does its background thread"
    talk.submit()
    assert talk.session.is_due


@pytest.mark.parametrize("loss", [Refused(2, leader_id="n2", overloaded=False), None])
def test_after_a_loss_nothing_more_is_expected(loss: Refused | None) -> None:
    talk = Talk()
    talk.submit(5)
    talk.out()
    talk.hear("n1", Results(1, 0, replies(5)))
    talk.submit(5)
    talk.out()
    if loss is None:
        talk.session.detached("n1")
    else:
        talk.hear("n1", loss)
    assert talk.session.is_due


def test_what_gathered_goes_as_one_batch() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.submit(10)
    talk.hear("n1", Results(1, 0, replies(1)))
    assert talk.session.is_due
    assert talk.batches() == [("n1", 2, list(range(2, 12)))]


def test_an_inspection_under_way_holds_no_command_back() -> None:
    talk = Talk()
    talk.session.inspect("n2", False, lambda _: None, talk.now)
    talk.out()
    talk.submit()
    assert talk.session.is_due


def test_no_batch_has_more_commands_than_the_bound() -> None:
    talk = Talk()
    talk.submit(2 * MAX_BATCH + 1)
    assert [len(sequences) for _, _, sequences in talk.batches()] == [MAX_BATCH, MAX_BATCH, 1]


def test_no_batch_of_several_commands_is_larger_than_the_bound() -> None:
    talk = Talk()
    for size in (MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 2 + 100, 10, MAX_BATCH_BYTES - 100, 20):
        talk.submit(1, bytes(size))
    sizes = [sum(map(len, message.commands)) for _, message in talk.out() if isinstance(message, SubmitCommands)]
    assert len(sizes) > 1 and max(sizes) <= MAX_BATCH_BYTES


def test_nobody_attached_nothing_is_sent_and_nothing_is_lost() -> None:
    talk = Talk()
    for name in NAMES:
        talk.session.detached(name)
    talk.submit(3)
    assert talk.out() == []
    talk.session.attached("n2")
    assert talk.batches() == [("n2", 1, [1, 2, 3])]


# --- the session is opened first --------------------------------------------------------------------------------------


def test_a_session_is_opened_before_its_first_command_and_only_once() -> None:
    talk = Talk(is_open=False)
    talk.submit(2)
    assert talk.out() == [("n1", SubmitCommands(1, (OPEN_SESSION_COMMAND,)))]
    talk.submit(GATHER)
    assert talk.out() == [], "it is being opened"
    assert talk.hear("n1", Results(1, 0, (encode_result(SESSION),))) == []
    assert talk.session.session_id == SESSION
    (_, message), *_ = talk.out()
    assert {envelope.session for envelope in talk.envelopes(message)} == {SESSION}


@pytest.mark.parametrize("loss", ["refused", "abandoned", "detached", "silence"])
def test_opening_is_tried_again_when_it_was_lost(loss: str) -> None:
    talk = Talk(is_open=False)
    talk.submit()
    talk.out()
    if loss == "refused":
        talk.hear("n1", Refused(1, False, "n2"))
    elif loss == "abandoned":
        talk.hear("n1", Abandoned(1))
    elif loss == "detached":
        talk.session.detached("n1")
    else:
        talk.now += RESEND + SILENCE
        talk.session.look_for_silence(talk.now)
    opened = [message for _, message in talk.out() if isinstance(message, SubmitCommands)]
    assert [message.commands for message in opened] == [(OPEN_SESSION_COMMAND,)]
    talk.hear("n2", Results(opened[0].batch_id, 0, (encode_result(SESSION),)))
    assert talk.batches()[0][2] == [1]


def test_a_late_answer_to_an_opening_that_was_repeated_is_ignored() -> None:
    talk = Talk(is_open=False)
    talk.submit()
    talk.out()
    talk.session.detached("n1")
    talk.out()
    talk.hear("n2", Results(2, 0, (encode_result(SESSION),)))
    talk.hear("n1", Results(1, 0, (encode_result(12),)))
    assert talk.session.session_id == SESSION


# --- answers ----------------------------------------------------------------------------------------------------------


def test_each_command_gets_the_reply_of_its_own_place() -> None:
    talk = Talk()
    talk.submit(3)
    talk.out()
    assert talk.hear("n1", Results(1, 0, replies(3))) == ["call 1", "call 2", "call 3"]
    assert [call._outcome for call in talk.calls] == list(replies(3))
    assert not talk.session.has_work


def test_partial_results_answer_their_part_and_leave_the_rest_under_way() -> None:
    talk = Talk()
    talk.submit(5)
    talk.out()
    assert talk.hear("n1", Results(1, 0, replies(2))) == ["call 1", "call 2"]
    assert talk.session.pending_commands == 3 and not talk.session.is_due
    assert talk.hear("n1", Results(1, 2, replies(3))) == ["call 3", "call 4", "call 5"]
    assert not talk.session.has_work


def test_what_is_left_of_a_batch_after_partial_results_is_offered_again() -> None:
    talk = Talk()
    talk.submit(4)
    talk.out()
    talk.hear("n1", Results(1, 0, replies(2)))
    talk.hear("n1", Abandoned(1))
    assert [sequences for _, _, sequences in talk.batches()] == [[3, 4]]


def test_an_answer_that_comes_twice_or_for_an_old_batch_answers_nothing() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    assert talk.hear("n1", Results(1, 0, replies(1))) == ["call 1"]
    assert talk.hear("n1", Results(1, 0, replies(1))) == []
    assert talk.hear("n1", Results(999, 0, replies(1))) == []
    assert talk.hear("n1", Refused(1, False, None)) == []


def test_who_answers_is_the_leader() -> None:
    talk = Talk(leader=None)
    talk.submit()
    ((server_id, batch_id, _),) = talk.batches()
    talk.hear(server_id, Results(batch_id, 0, replies(1)))
    assert talk.session.routing.leader_id == server_id


# --- refusals and losses ----------------------------------------------------------------------------------------------


def test_a_refusal_with_a_hint_is_followed_at_once() -> None:
    talk = Talk()
    talk.submit(2)
    talk.out()
    talk.hear("n1", Refused(1, False, "n3"))
    assert talk.batches() == [("n3", 2, [1, 2])]


def test_a_refusal_without_a_hint_is_followed_by_a_pause() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.hear("n1", Refused(1, False, None))
    assert talk.session.routing.leader_id is None and talk.out() == []
    assert talk.session.next_tick(talk.now) == talk.now + REFUSED_PAUSE
    talk.now += REFUSED_PAUSE
    assert [sequences for _, _, sequences in talk.batches()] == [[1]]


def test_without_a_leader_the_peers_are_asked_in_turn() -> None:
    talk = Talk(leader=None)
    talk.submit()
    asked = []
    for _ in range(6):
        ((server_id, batch_id, _),) = talk.batches()
        asked.append(server_id)
        talk.hear(server_id, Refused(batch_id, False, None))
        talk.now += REFUSED_PAUSE
    assert set(asked[:3]) == set(asked[3:]) == set(NAMES)


@pytest.mark.parametrize("looks", [1, 2, 3, 4, 6])
def test_who_refuses_is_followed_by_the_next_however_often_the_session_is_looked_at(looks: int) -> None:
    talk = Talk(leader=None)
    talk.submit()
    asked: list[str] = []
    while len(asked) < 3:
        for _ in range(looks):
            for server_id, batch_id, _ in talk.batches():
                asked.append(server_id)
                talk.hear(server_id, Refused(batch_id, False, None))
        talk.now += REFUSED_PAUSE
    assert sorted(asked) == list(NAMES)


def test_three_refusals_at_a_time_by_one_of_three_do_not_lead_back_to_it() -> None:
    talk = Talk(leader=None)
    asked: list[str] = []
    for _ in range(3):
        talk.query()
    for _ in range(3):
        sent = talk.out()
        asked.append(sent[0][0])
        for server_id, message in sent:
            assert isinstance(message, SubmitQuery)
            talk.hear(server_id, Refused(message.batch_id, False, None))
        talk.now += REFUSED_PAUSE
    assert sorted(asked) == list(NAMES)


def test_a_hint_to_the_refuser_itself_or_to_somebody_unknown_is_none() -> None:
    for hint in ("n1", "n9"):
        talk = Talk()
        talk.submit()
        talk.out()
        talk.hear("n1", Refused(1, False, hint))
        assert talk.session.routing.leader_id is None and talk.out() == []


def test_an_overloaded_leader_stays_the_leader_and_gets_a_pause() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.hear("n1", Refused(1, True, None))
    assert talk.session.routing.leader_id == "n1" and talk.out() == []
    talk.now += REFUSED_PAUSE
    assert talk.batches() == [("n1", 2, [1])]


def test_after_a_loss_the_same_commands_are_offered_with_the_same_numbers_and_in_order() -> None:
    talk = Talk()
    talk.submit(3)
    talk.out()
    talk.submit(GATHER)
    talk.out()
    talk.submit(2)
    talk.session.detached("n1")
    ((_, _, sequences),) = talk.batches()
    assert sequences == list(range(1, 3 + GATHER + 2 + 1)), "in order, none twice"


def test_a_batch_that_the_link_did_not_take_was_seen_by_nobody() -> None:
    talk = Talk()
    (call,) = talk.submit()
    ((server_id, batch_id, _),) = talk.batches()
    talk.session.not_sent(batch_id, pause_until=talk.now + REFUSED_PAUSE)
    assert call.safe_to_retry and talk.out() == [], "and is not thrown at the full link again at once"
    talk.now += REFUSED_PAUSE
    assert talk.batches() == [(server_id, 2, [1])]


def test_losing_a_link_loses_only_what_went_over_it() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.session.detached("n2")
    assert talk.out() == [] and talk.session.routing.leader_id == "n1"


def test_a_peer_that_is_attached_again_lost_what_it_was_asked() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.session.attached("n1")
    assert [sequences for _, _, sequences in talk.batches()] == [[1]]


def test_every_command_carries_the_lowest_number_without_an_answer() -> None:
    talk = Talk()
    talk.submit(3)
    talk.out()
    talk.hear("n1", Results(1, 0, replies(2)))
    talk.submit()
    talk.hear("n1", Abandoned(1))
    talk.session.routing.leader_id = "n1"
    (_, message), *_ = talk.out()
    assert [(e.sequence, e.lowest_pending) for e in talk.envelopes(message)] == [(3, 3), (4, 3)]


def test_a_lost_reply_gets_the_kept_one_and_the_command_is_not_applied_again() -> None:
    host = MachineHost(Counter())
    opened = msgpack.decode(host.apply(1, OPEN_SESSION_COMMAND))[1]
    talk = Talk()
    talk.session.session_id = opened
    call = new_call()
    talk.session.submit("incr", Counter.incr.signature.encode((), {}), call)
    for index in (2, 3):
        ((server_id, message),) = talk.out()
        assert isinstance(message, SubmitCommands)
        reply = host.apply(index, message.commands[0])
        if index == 2:
            talk.hear(server_id, Abandoned(message.batch_id))
        else:
            talk.hear(server_id, Results(message.batch_id, 0, (reply,)))
    assert call._outcome == encode_result(1)
    assert host.state() == {"value": 1}


# --- silence ----------------------------------------------------------------------------------------------------------


def inspected(talk: Talk) -> list[str]:
    return [server_id for server_id, message in talk.out() if isinstance(message, InspectPeer)]


def test_a_short_silence_is_nothing() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.now += SILENCE * 0.9
    talk.session.look_for_silence(talk.now)
    assert talk.out() == []


def test_after_a_silence_everybody_is_asked_and_nothing_is_sent_twice() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.now += SILENCE
    talk.session.look_for_silence(talk.now)
    messages = talk.out()
    assert sorted(server_id for server_id, _ in messages) == sorted(NAMES)
    assert all(isinstance(message, InspectPeer) for _, message in messages)


def test_another_leader_is_offered_what_the_silent_one_has_not_answered() -> None:
    talk = Talk()
    talk.submit(2)
    talk.out()
    talk.now += SILENCE
    talk.session.look_for_silence(talk.now)
    asked = {server_id: message.batch_id for server_id, message in talk.out()}
    talk.hear("n3", status(asked["n3"], "n3", "leader"))
    assert [(server_id, sequences) for server_id, _, sequences in talk.batches()] == [("n3", [1, 2])]


def test_a_leader_that_says_it_leads_keeps_its_work() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.now += SILENCE
    talk.session.look_for_silence(talk.now)
    asked = {server_id: message.batch_id for server_id, message in talk.out()}
    talk.hear("n1", status(asked["n1"], "n1", "leader"))
    assert talk.out() == []


def test_after_a_very_long_silence_it_is_sent_again() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.now += RESEND + 0.1
    talk.session.look_for_silence(talk.now)
    assert [sequences for _, _, sequences in talk.batches()] == [[1]]


def test_nothing_piles_up_for_peers_that_never_answer() -> None:
    talk = Talk()
    talk.submit(10)
    talk.query()
    messages = 0
    for _ in range(10_000):
        messages += len(talk.out())
        talk.now += 0.1
        talk.session.look_for_silence(talk.now)
    session = talk.session
    assert len(session._batches) <= 3 and len(session._questions.asked) <= len(NAMES)
    assert messages < 10_000 * 0.1 / SILENCE * (len(NAMES) + 2), "nor is anybody flooded"


# --- what one peer is asked -------------------------------------------------------------------------------------------


def test_what_a_peer_is_to_do_is_asked_once_and_its_answer_told() -> None:
    talk = Talk()
    told: list[object] = []
    talk.session.ask("n2", SnapshotPeer, told.append, talk.now)
    ((server_id, message),) = talk.out()
    assert (server_id, type(message)) == ("n2", SnapshotPeer)
    answer = Administered(message.batch_id, "done", 7)
    assert talk.hear("n2", answer) == []
    talk.hear("n2", answer)
    assert told == [answer]


def test_whether_a_peer_that_went_away_did_it_is_not_known_and_nobody_else_is_asked() -> None:
    talk = Talk()
    told: list[object] = []
    talk.session.ask("n2", SnapshotPeer, told.append, talk.now)
    talk.out()
    talk.session.detached("n2")
    talk.session.ask("n2", SnapshotPeer, told.append, talk.now)
    assert told == [None, None]
    assert talk.out() == []


def test_silence_about_commands_ends_no_question_of_the_user() -> None:
    """He knows himself how long he waits: for a large snapshot, say."""
    talk = Talk()
    told: list[object] = []
    number = talk.session.ask("n2", SnapshotPeer, told.append, talk.now)
    talk.submit()
    talk.out()
    for _ in range(20):
        talk.now += RESEND / 2
        talk.session.look_for_silence(talk.now)
        talk.out()
    assert told == []
    talk.hear("n2", Administered(number, "done", 7))
    assert len(told) == 1


# --- giving up --------------------------------------------------------------------------------------------------------


def test_a_command_that_was_never_sent_can_be_withdrawn() -> None:
    talk = Talk(leader=None)
    for name in NAMES:
        talk.session.detached(name)
    first, second = talk.submit(2)
    assert talk.session.give_up(first) and first.safe_to_retry
    talk.session.attached("n1")
    ((_, _, sequences),) = talk.batches()
    assert sequences == [2] and not second.safe_to_retry


def test_a_command_under_way_cannot_be_withdrawn() -> None:
    talk = Talk()
    (call,) = talk.submit()
    talk.out()
    assert not call.safe_to_retry and not talk.session.give_up(call)
    assert talk.hear("n1", Results(1, 0, replies(1))) == ["call 1"]


def test_a_refused_command_is_safe_to_retry_and_can_be_withdrawn() -> None:
    talk = Talk()
    (call,) = talk.submit()
    talk.out()
    talk.hear("n1", Refused(1, False, None))
    assert call.safe_to_retry and talk.session.give_up(call)
    talk.now += 1
    assert talk.out() == [] and not talk.session.has_work


def test_a_command_once_exposed_stays_so_although_it_is_refused_later() -> None:
    talk = Talk()
    (call,) = talk.submit()
    talk.out()
    talk.session.detached("n1")
    ((server_id, batch_id, _),) = talk.batches()
    talk.hear(server_id, Refused(batch_id, False, None))
    assert not call.safe_to_retry and not talk.session.give_up(call)


def test_who_was_told_that_the_outcome_is_unknown_is_not_told_later_that_nothing_happened() -> None:
    """It stays queued and may be sent again: a call that says "safe to retry" meanwhile would be applied twice."""
    talk = Talk()
    (call,) = talk.submit()
    talk.out()
    assert not talk.session.give_up(call)
    talk.hear("n1", Refused(1, False, "n2"))
    assert not call.safe_to_retry and not talk.session.give_up(call)


def test_a_call_whose_answer_has_just_been_taken_cannot_be_withdrawn() -> None:
    """Between the answer and its delivery: saying "nothing changed" then would be a lie."""
    talk = Talk()
    (call,) = talk.submit()
    query = talk.query()
    talk.out()
    answers = talk.session.received("n1", Results(1, 0, replies(1)), talk.now)
    answers += talk.session.received("n1", QueryResult(2, b""), talk.now)
    assert [answered for answered, _ in answers] == [call, query]
    assert not talk.session.give_up(call) and not talk.session.give_up(query)


def test_a_query_can_be_withdrawn_at_any_time_and_is_not_asked_again() -> None:
    talk = Talk()
    early, under_way = talk.query(), talk.query()
    assert talk.session.give_up(early)
    ((server_id, message),) = talk.out()
    assert talk.session.give_up(under_way)
    assert talk.hear(server_id, QueryResult(message.batch_id, b"late")) == []
    talk.session.detached(server_id)
    assert talk.out() == [] and not talk.session.has_work


# --- queries and inspections ------------------------------------------------------------------------------------------


def test_a_query_goes_at_once_and_is_answered() -> None:
    talk = Talk(is_open=False)
    call = talk.query()
    assert talk.session.is_due
    assert talk.out() == [("n1", SubmitQuery(1, "get", b"", "linearizable"))]
    assert talk.hear("n1", QueryResult(1, b"reply")) == ["query"]
    assert call._outcome == b"reply"


@pytest.mark.parametrize("loss", [Refused(1, False, "n2"), None])
def test_a_query_that_was_lost_is_asked_again(loss: Refused | None) -> None:
    talk = Talk()
    talk.query()
    talk.out()
    if loss is None:
        talk.session.detached("n1")
    else:
        talk.hear("n1", loss)
    ((server_id, message),) = talk.out()
    assert server_id != "n1" and isinstance(message, SubmitQuery)
    assert talk.hear(server_id, QueryResult(message.batch_id, b"x")) == ["query"]


def test_an_inspection_is_answered_by_whom_it_asked() -> None:
    talk = Talk()
    told: list[object] = []
    talk.session.inspect("n2", True, told.append, talk.now)
    ((server_id, message),) = talk.out()
    assert (server_id, message) == ("n2", InspectPeer(1, True))
    digest = Digest(1, "n2", 5, "abc", "counter@1")
    talk.hear("n2", digest)
    assert told == [digest] and not talk.session.has_work


def test_an_inspection_of_somebody_who_is_not_there_or_goes_away_is_answered_by_none() -> None:
    talk = Talk()
    told: list[object] = []
    talk.session.inspect("n9", False, told.append, talk.now)
    assert told == [None]
    talk.session.inspect("n2", False, told.append, talk.now)
    talk.out()
    talk.session.detached("n2")
    assert told == [None, None] and not talk.session.has_work


def test_an_inspection_nobody_waits_for_any_more_is_forgotten() -> None:
    talk = Talk()
    told: list[object] = []
    number = talk.session.inspect("n2", False, told.append, talk.now)
    talk.out()
    talk.session.forget_inspection(number)
    talk.hear("n2", status(number, "n2"))
    assert told == [] and not talk.session.has_work


# --- the end, of the session and of the conversation ------------------------------------------------------------------


def test_closing_hands_back_every_call_without_an_answer() -> None:
    talk = Talk()
    talk.submit(2)
    queries = [talk.query()]
    talk.out()
    talk.submit(1)
    queries.append(talk.query())
    told: list[object] = []
    talk.session.inspect("n2", False, told.append, talk.now)
    assert set(map(id, talk.session.close())) == set(map(id, [*talk.calls, *queries]))
    assert told == [None] and not talk.session.has_work


def test_of_an_expired_session_nothing_that_was_sent_is_sent_again() -> None:
    """Another session would not know what the first one applied."""
    talk = Talk()
    talk.submit(GATHER)
    talk.out()
    talk.submit(GATHER)
    talk.out()
    (fresh,) = talk.submit()
    expired = encode_refusal(RefusalKind.SESSION_EXPIRED, "forgotten")
    answered = talk.session.received("n1", Results(1, 0, (expired,) * GATHER), talk.now)
    assert len({id(call) for call, _ in answered}) == 2 * GATHER
    assert all(reply == expired for _, reply in answered)
    ((_, message),) = talk.out()
    assert message == SubmitCommands(3, (OPEN_SESSION_COMMAND,))
    talk.hear("n1", Results(3, 0, (encode_result(200),)))
    ((_, message),) = talk.out()
    assert [e.session for e in talk.envelopes(message)] == [200]
    assert not fresh.done()
