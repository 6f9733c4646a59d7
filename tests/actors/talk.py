"""A conversation with a session, by hand: what it says is read, what it hears is chosen, and time stands still."""

from __future__ import annotations

from typing import Any

from msgspec import msgpack

from actors.calls import Call, EventWaiter
from actors.codec import CommandEnvelope, decode_command
from actors.protocol import ClientMessage, PeerMessage, Status, SubmitCommands
from actors.replies import encode_result
from actors.session import Session

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
        self.session.routing.leader_id = leader
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
