"""What single peers were asked: how they are, or to do something that nobody else could do for them.

Commands and queries are for whoever can answer them, and are offered to another when one goes away (`actors.session`).
A question is for one peer.  The rules of the file:

* It is sent once.  If the peer goes away first, its answer is None: nobody knows what became of it.
* Whoever asks knows himself how long he waits; an answer for which nobody waits any more is dropped.
* What the session asks for itself, when it hears nothing for long, is asked of no peer twice at a time: nothing piles
  up for one that hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.protocol import PeerAnswer
from actors.under_way import Inspection, Outgoing, Question, Told
from raft_core import ServerId


class Questions:
    """Who is to be asked what, and who waits for the answer."""

    def __init__(self) -> None:
        self.unsent: list[Outgoing] = []
        """In order."""
        self.asked: dict[int, Inspection] = {}
        """By number, and not answered yet."""

    def ask(self, number: int, server_id: ServerId, question: Question, told: Told, now: float) -> None:
        """Ask a peer to which there are links."""
        self.asked[number] = Inspection(server_id, now, told)
        self.unsent.append(Outgoing(server_id, question(number)))

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self.asked.pop(number, None)

    def answered(self, message: PeerAnswer) -> bool:
        """Tell who waits for this answer; False if nobody does."""
        inspection = self.asked.pop(message.batch_id, None)
        if inspection is None:
            return False
        inspection.told(message)
        return True

    def lost(self, server_id: ServerId) -> None:
        """This peer is gone, and with it its answers."""
        for number in [number for number, asked in self.asked.items() if asked.server_id == server_id]:
            self.asked.pop(number).told(None)

    def close(self) -> None:
        """There will be no more answers."""
        inspections = list(self.asked.values())
        self.asked.clear()
        for inspection in inspections:
            inspection.told(None)

    def ask_around(
        self,
        server_ids: Iterable[ServerId],
        question: Question,
        numbers: Callable[[], int],
        now: float,
        patience: float,
    ) -> None:
        """Ask all these on the session's own behalf, but for those who have not answered the last time: they are asked
        again after `patience`."""
        ours = {number: asked for number, asked in self.asked.items() if asked.told is _nobody}
        for number in [number for number, asked in ours.items() if now - asked.sent_at > patience]:
            del self.asked[number]  # others know themselves how long they wait
            del ours[number]
        being_asked = {asked.server_id for asked in ours.values()}
        for server_id in server_ids:
            if server_id not in being_asked:
                self.ask(numbers(), server_id, question, _nobody, now)


def _nobody(answer: PeerAnswer | None) -> None:
    """Who is told of what the session asks for itself."""
