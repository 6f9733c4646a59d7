"""Mistakes that only actors can make, each as an actor that makes it."""

from __future__ import annotations

from actors.applier import Work
from actors.codec import decode_message
from actors.compare.mistakes.mistake import Mistake
from actors.compare.search.mailboxes import SearchedActor, WorkerWay
from actors.compare.search.waiting import Wait
from actors.interpreter import NOTHING_WRITTEN, Written
from actors.sim.incarnation import PeerPlan, Surroundings
from actors.sim.peer import TURN
from actors.storage.disk import Disk
from raft_core import AppendEntries, Event, Message, Received, RequestVote, RequestVoteResult, Server, ServerId


class SplitTransition(SearchedActor):
    """It decides on a request with one message, and with another to itself it takes over what it decided."""

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        super().__init__(server_id, plan, disk, around)
        self._to_itself = WorkerWay(self, "mailbox", TURN)

    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer arrived."""
        message = decode_message(frame)
        if not isinstance(message, RequestVote | AppendEntries):
            super().receive(sender, frame)
            return
        before, event = self.interpreter.server, Received(sender, message)
        self._to_itself.put(lambda: self._take_over(before, event))

    def _take_over(self, before: Server, event: Event) -> None:
        """What the first message found is taken for what is."""
        self.interpreter.server = before
        self.interpreter.serve(self.timeline.now, [event])
        self._plan_turn(self._deadlines.next)


class AskInHandler(SearchedActor):
    """It asks for a vote inside a handler and waits for the answer: until that comes, its mailbox is not served."""

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        self._asked_peer: ServerId | None = None
        super().__init__(server_id, plan, disk, around)

    def send(self, to: ServerId, message: Message) -> None:
        """Send to another peer."""
        super().send(to, message)
        waiting, me, other = self.timeline.waiting, f"{self.server_id} mailbox", f"{to} mailbox"
        if isinstance(message, RequestVoteResult) and waiting.owner_for(other) == me:
            waiting.ends(other)  # its answer is on the way
        if isinstance(message, RequestVote) and self._asked_peer is None:
            self._asked_peer = to
            self._held_until = float("inf")
            waiting.begins(Wait(me, f"an answer of {to}", lambda: other, "inside a handler", ()))

    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer arrived."""
        if sender == self._asked_peer:
            self._asked_peer, self._held_until = None, 0.0
            self.timeline.waiting.ends(f"{self.server_id} mailbox")
        super().receive(sender, frame)

    def kill(self) -> None:
        """The dead wait for nobody."""
        self.timeline.waiting.ends(f"{self.server_id} mailbox")
        super().kill()


class MutableMessage(SearchedActor):
    """It hands its applier a list and uses the list again for the next message."""

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        self._buffer: list[Work] = []
        super().__init__(server_id, plan, disk, around)

    def _give_applier(self, work: list[Work]) -> None:
        self._buffer[:] = work
        super()._give_applier(self._buffer)


class CallbackTouchesState(SearchedActor):
    """The disk's callback goes on with the peer's work itself, in the disk's thread."""

    def _confirmed(self, written: Written) -> None:
        self.timeline.note(self.server_id, f"disk confirms {written.count}")
        self.interpreter.serve(self.timeline.now, [], (), written)
        self._plan_turn(self._deadlines.next)


class AnswerBeforeTurn(SearchedActor):
    """What the disk confirmed is kept in a field that a later message reads, and a second one overwrites it."""

    def _confirmed(self, written: Written) -> None:
        self._written = NOTHING_WRITTEN
        super()._confirmed(written)


ACTOR_ONLY = (
    Mistake(
        "transition split in two messages",
        "a turn is one complete transition: what was decided may be true no more when the second message is served",
        actor=SplitTransition,
    ),
    Mistake(
        "ask inside a handler",
        "nothing waits inside a turn: two that ask each other wait for ever",
        actor=AskInHandler,
    ),
    Mistake(
        "mutable object in a message",
        "what was sent belongs to the receiver",
        actor=MutableMessage,
    ),
    Mistake(
        "callback touches state",
        "only its own turns touch an actor's state",
        actor=CallbackTouchesState,
    ),
    Mistake(
        "one field for many messages",
        "what arrives waits in a queue: a field holds the latest only",
        actor=AnswerBeforeTurn,
    ),
)
