"""Whatever a cluster loses, refuses or forgets: each command is applied exactly once, and gets its own reply."""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from actors.codec import decode_command
from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.protocol import (
    Abandoned,
    ClientMessage,
    InspectPeer,
    PeerMessage,
    QueryResult,
    Refused,
    Results,
    SubmitCommands,
    SubmitQuery,
)
from tests.actors.talk import NAMES, Talk, status

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
        elif isinstance(message, SubmitCommands):
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
