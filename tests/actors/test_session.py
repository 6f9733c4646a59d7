"""A client's session offers every command until it is answered, and never as a new one: exactly once.

The session has no links and no clock, so a cluster is played to it by hand: first by single messages, at the end by a
cluster that loses, refuses and forgets at random.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from actors.calls import Call, EventWaiter
from actors.codec import CommandEnvelope, decode_command
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.protocol import (
    Abandoned,
    ClientMessage,
    Digest,
    InspectPeer,
    PeerMessage,
    QueryResult,
    Refused,
    Results,
    Status,
    SubmitCommands,
    SubmitQuery,
)
from actors.replies import RefusalKind, encode_refusal, encode_result
from actors.session import GATHER, MAX_BATCH, MAX_BATCH_BYTES, REFUSED_PAUSE, RESEND, SILENCE, Session

NAMES = ("n1", "n2", "n3")
SESSION = 77


def new_call(label: str = "counter.incr") -> Call[Any]:
    return Call(lambda reply: msgpack.decode(reply), EventWaiter(), 1.0, label, safe_to_retry=True)


def status(batch_id: int, server_id: str, role: str = "follower") -> Status:
    return Status(batch_id, server_id, role, 1, None, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0)


class Talk:
    """A session, its clock, and the answers it handed out."""

    def __init__(self, *, is_open: bool = True, leader: str | None = "n1") -> None:
        self.session = Session()
        self.now = 100.0
        self.calls: list[Call[Any]] = []
        self.answered: dict[str, bytes] = {}
        for name in NAMES:
            self.session.attached(name)
        self.session.leader_id = leader
        if is_open:
            self.session.session_id = SESSION

    def submit(self, count: int = 1, arguments: bytes = b"") -> list[Call[Any]]:
        new = [new_call(f"call {len(self.calls) + number}") for number in range(1, count + 1)]
        self.calls += new
        for call in new:
            self.session.submit("incr", arguments, call)
        return new

    def query(self) -> Call[Any]:
        call = new_call("query")
        self.session.query("get", b"", "linearizable", call)
        return call

    def out(self) -> list[tuple[str, ClientMessage]]:
        return [(server_id, message) for server_id, message in self.session.outgoing(self.now)]

    def batches(self) -> list[tuple[str, int, list[int]]]:
        """What is sent now: to whom, batch id, sequences."""
        return [
            (server_id, message.batch_id, [decode_command(command).sequence for command in message.commands])
            for server_id, message in self.out()
            if isinstance(message, SubmitCommands)
        ]

    def hear(self, server_id: str, message: PeerMessage) -> list[str]:
        """The labels of the calls answered by this message."""
        answers = self.session.received(server_id, message, self.now)
        for call, reply in answers:
            call._resolve(reply)
            assert call.label not in self.answered, "answered twice"
            self.answered[call.label] = reply
        return [call.label for call, _ in answers]

    def envelopes(self, message: ClientMessage) -> list[CommandEnvelope]:
        assert isinstance(message, SubmitCommands)
        return [decode_command(command) for command in message.commands]


def replies(count: int) -> tuple[bytes, ...]:
    return tuple(encode_result(number) for number in range(count))


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
    assert talk.session.leader_id == server_id


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
    assert talk.session.leader_id is None and talk.out() == []
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


def test_a_hint_to_the_refuser_itself_or_to_somebody_unknown_is_none() -> None:
    for hint in ("n1", "n9"):
        talk = Talk()
        talk.submit()
        talk.out()
        talk.hear("n1", Refused(1, False, hint))
        assert talk.session.leader_id is None and talk.out() == []


def test_an_overloaded_leader_stays_the_leader_and_gets_a_pause() -> None:
    talk = Talk()
    talk.submit()
    talk.out()
    talk.hear("n1", Refused(1, True, None))
    assert talk.session.leader_id == "n1" and talk.out() == []
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
    assert talk.out() == [] and talk.session.leader_id == "n1"


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
    talk.session.leader_id = "n1"
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
    assert len(session._batches) <= 3 and len(session._inspections) <= len(NAMES)
    assert messages < 10_000 * 0.1 / SILENCE * (len(NAMES) + 2), "nor is anybody flooded"


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


# --- a cluster that loses what can be lost ----------------------------------------------------------------------------


class LossyCluster:
    """Three peers behind one log of applied commands (a real machine with real sessions).

    Whoever leads takes batches; everybody else refuses.  Answers, requests and whole links get lost; leaders change
    with work in hand, which is then lost or, with luck, applied; requests may be applied and their answer dropped.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.host = MachineHost(Counter())
        self.index = 0
        self.leader = "n1"
        self.talk = Talk(is_open=False, leader=None)
        self.waiting: deque[tuple[str, ClientMessage]] = deque()
        self.answers: deque[tuple[str, PeerMessage]] = deque()
        self.applied: list[tuple[int, int]] = []
        self.is_kind = False

    def happens(self, probability: float) -> bool:
        return not self.is_kind and self.random.random() < probability

    def turn(self) -> None:
        """A little time, in which anything may happen."""
        random, talk = self.random, self.talk
        talk.now += random.choice((0.001, 0.01, 0.1, 0.6)) if not self.is_kind else 0.3
        talk.session.look_for_silence(talk.now)
        for server_id, message in talk.out():
            if not self.happens(0.1):
                self.waiting.append((server_id, message))
        if self.happens(0.1):
            self.leader = random.choice(NAMES)
        if self.happens(0.1):
            self._lose_link(random.choice(NAMES))
        for _ in range(random.randrange(4) if not self.is_kind else len(self.waiting)):
            if self.waiting:
                self._serve(*self.waiting.popleft())
        for _ in range(random.randrange(4) if not self.is_kind else len(self.answers)):
            if self.answers:
                server_id, answer = self.answers.popleft()
                if not self.happens(0.1):
                    talk.hear(server_id, answer)

    def _lose_link(self, server_id: str) -> None:
        """Its restart: what was asked may have been applied, but no answer comes."""
        lost = [message for to, message in self.waiting if to == server_id]
        self.waiting = deque((to, message) for to, message in self.waiting if to != server_id)
        self.answers = deque((sender, answer) for sender, answer in self.answers if sender != server_id)
        for message in lost:
            if isinstance(message, SubmitCommands) and self.happens(0.5):
                self._apply(message)
        self.talk.session.detached(server_id)
        self.talk.session.attached(server_id)

    def _serve(self, server_id: str, message: ClientMessage) -> None:
        batch_id = message.batch_id
        if isinstance(message, InspectPeer):
            role = "leader" if server_id == self.leader else "follower"
            self.answers.append((server_id, status(batch_id, server_id, role)))
        elif server_id != self.leader:
            hint = self.random.choice((None, self.leader, server_id, "n9"))
            self.answers.append((server_id, Refused(batch_id, False, hint)))
        elif self.happens(0.1):
            self.answers.append((server_id, Refused(batch_id, True, None)))
        elif isinstance(message, SubmitQuery):
            self.answers.append((server_id, QueryResult(batch_id, self.host.query(message.name, message.arguments))))
        else:
            self._accept(server_id, message)

    def _accept(self, server_id: str, message: SubmitCommands) -> None:
        if self.happens(0.1):
            self.answers.append((server_id, Abandoned(message.batch_id)))
            if self.happens(0.5):
                self._apply(message)
            return
        applied = self._apply(message)
        cut = self.random.randrange(len(applied) + 1)
        for offset, part in ((0, applied[:cut]), (cut, applied[cut:])):
            if part:
                self.answers.append((server_id, Results(message.batch_id, offset, tuple(part))))

    def _apply(self, message: SubmitCommands) -> list[bytes]:
        answers: list[bytes] = []
        for command in message.commands:
            self.index += 1
            before = self.host.state()
            answers.append(self.host.apply(self.index, command))
            if self.host.state() != before:
                envelope = decode_command(command)
                self.applied.append((envelope.session, envelope.sequence))
        return answers


def play(seed: int, commands: int, turns: int) -> LossyCluster:
    random = Random(seed)
    cluster = LossyCluster(random)
    session = cluster.talk.session
    arguments = Counter.incr.signature.encode((), {})
    while len(cluster.talk.calls) < commands or turns > 0:
        turns -= 1
        if len(cluster.talk.calls) < commands:
            cluster.talk.submit(min(random.choice((0, 1, 1, 5, 70)), commands - len(cluster.talk.calls)), arguments)
        if random.random() < 0.2:
            cluster.talk.query().label += f" {turns}"
        cluster.turn()
    cluster.is_kind = True
    for _ in range(200):
        if not session.has_work:
            break
        cluster.turn()
    return cluster


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(5, 80))
def test_whatever_is_lost_each_command_is_applied_exactly_once_and_answered(
    seed: int, commands: int, turns: int
) -> None:
    cluster = play(seed, commands, turns)
    session = cluster.talk.session
    assert session.pending_commands == 0 and session.in_flight == 0, "everything is answered once the cluster is kind"
    assert len(cluster.applied) == len(set(cluster.applied)) == commands
    assert cluster.host.state() == {"value": commands}
    outcomes = sorted(
        msgpack.decode(reply)[1] for label, reply in cluster.talk.answered.items() if "query" not in label
    )
    assert outcomes == list(range(1, commands + 1)), "each call got the reply of its own application"


def test_an_answered_command_is_never_offered_again() -> None:
    cluster = LossyCluster(Random(11))
    for _ in range(300):
        cluster.talk.submit(1, Counter.incr.signature.encode((), {}))
        before = {number for number, call in enumerate(cluster.talk.calls, start=1) if call.done()}
        waiting = len(cluster.waiting)
        cluster.turn()
        for _, message in list(cluster.waiting)[waiting:]:
            if isinstance(message, SubmitCommands):
                assert not before & {decode_command(command).sequence for command in message.commands}
