"""Numbered commands against peers that answer as it pleases them: whatever they say, the outcome is told as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Thread

import pytest

from actors.codec import decode_command
from actors.errors import ActorumError, NoQuorum, OutcomeUnknown, Overloaded
from actors.http.exactly_once import ClientSessions, Numbered
from actors.links import LinkClosed, LinkReader, LinkWriter, link_pair
from actors.protocol import Abandoned, PeerMessage, Refused, Results, SubmitCommands, decode_client_message, encode
from actors.replies import encode_result

Answering = Callable[[SubmitCommands], PeerMessage | None]
"""What a peer says to a batch; None: nothing, and it is gone."""


class StandIn:
    """A peer's ends of the links with one client, and a thread that answers."""

    def __init__(self, sessions: ClientSessions, server_id: str, answering: Answering) -> None:
        requests, to_write = link_pair()
        to_read, self._consensus = link_pair()
        to_read_too, self._applier = link_pair()
        self.asked: list[SubmitCommands] = []
        self._answering = answering
        self._requests: Connection = requests
        ends = {"requests": to_write, "consensus": to_read, "applier": to_read_too}
        self.thread = Thread(target=self._run)
        self.thread.start()
        sessions.raw.attach(server_id, ends)

    def _run(self) -> None:
        reader, voice = LinkReader(self._requests), LinkWriter(self._applier)
        alive = True
        while alive:
            self._requests.poll(None)
            try:
                frames = reader.get_available()
            except LinkClosed:
                break
            alive = all(self._answer(voice, frame) for frame in frames)
        for end in (reader, voice, self._consensus):
            end.close()

    def _answer(self, voice: LinkWriter, frame: bytes) -> bool:
        message = decode_client_message(frame)
        assert isinstance(message, SubmitCommands)
        self.asked.append(message)
        answer = self._answering(message)
        if answer is not None:
            voice.put(encode(answer))
        return answer is not None


@contextmanager
def peers(**answering: Answering) -> Iterator[tuple[ClientSessions, dict[str, StandIn]]]:
    sessions = ClientSessions()
    present = {name: StandIn(sessions, name, answer) for name, answer in answering.items()}
    try:
        yield sessions, present
    finally:
        sessions.raw.close()
        for one in present.values():
            one.thread.join()


def submit(sessions: ClientSessions, seconds: float = 10.0) -> bytes | ActorumError:
    async def ask() -> bytes:
        return await sessions.submit(Numbered(17, 3, 2), "incr", b"\x91\x01", seconds)

    try:
        return asyncio.run(ask())
    except ActorumError as error:
        return error


def result(message: SubmitCommands) -> PeerMessage:
    return Results(message.batch_id, 0, (encode_result("done"),))


def refusal(leader: str | None = None, *, overloaded: bool = False) -> Answering:
    return lambda message: Refused(message.batch_id, overloaded, leader)


def silence(message: SubmitCommands) -> None:
    return None


def test_the_command_carries_the_number_of_its_sender() -> None:
    with peers(n1=result) as (sessions, present):
        assert submit(sessions) == encode_result("done")
        envelope = decode_command(present["n1"].asked[0].commands[0])
    assert (envelope.session, envelope.sequence, envelope.lowest_pending) == (17, 3, 2)
    assert (envelope.name, envelope.arguments) == ("incr", b"\x91\x01")


def test_a_follower_says_who_leads_and_is_not_asked_again() -> None:
    with peers(n1=refusal("n3"), n2=refusal("n3"), n3=result) as (sessions, present):
        for _ in range(3):
            assert submit(sessions) == encode_result("done")
        assert len(present["n1"].asked) + len(present["n2"].asked) <= 1
        assert len(present["n3"].asked) == 3


def test_when_nobody_knows_a_leader_all_are_asked_and_nothing_has_happened() -> None:
    with peers(n1=refusal(), n2=refusal(), n3=refusal()) as (sessions, present):
        assert isinstance(submit(sessions, 0.3), NoQuorum)
        assert all(one.asked for one in present.values())


def test_without_any_peer_nothing_has_happened() -> None:
    with peers() as (sessions, _):
        assert isinstance(submit(sessions, 0.05), NoQuorum)


def test_a_leader_with_too_much_work_is_asked_again_and_nothing_has_happened() -> None:
    with peers(n1=refusal("n1", overloaded=True)) as (sessions, present):
        assert isinstance(submit(sessions, 0.2), Overloaded)
        assert len(present["n1"].asked) > 1


@pytest.mark.parametrize("last", [silence, lambda message: Abandoned(message.batch_id)])
def test_once_it_was_taken_by_somebody_who_never_answers_the_outcome_stays_unknown(last: Answering) -> None:
    with peers(n1=last, n2=refusal(overloaded=True), n3=refusal()) as (sessions, present):
        error = submit(sessions, 0.4)
        assert present["n1"].asked
    assert isinstance(error, OutcomeUnknown)


@pytest.mark.parametrize("first", [silence, lambda message: Abandoned(message.batch_id)])
def test_after_the_death_of_a_leader_the_same_number_goes_to_the_next(first: Answering) -> None:
    with peers(n1=first, n2=result) as (sessions, present):
        assert submit(sessions) == encode_result("done")
        assert present["n1"].asked[0].commands == present["n2"].asked[-1].commands
