"""What a replica remembers of its clients (thesis 6.3): a reply for every command that might be sent again.

A session remembers its replies by sequence number until the client says, in `lowest_pending`, that it has them.  A
repeated command gets the kept reply.  Sequences may come in any order, hence a dict and not a "last sequence seen".
"""

from __future__ import annotations

from msgspec import Struct

from actors.replies import decode_refusal
from raft_core.types import LogIndex


class Session(Struct):
    """What is remembered of one client (thesis 6.3)."""

    last_applied: LogIndex
    """The latest log entry of this session: the oldest of these expires first."""
    lowest_pending: int = 0
    """The client has the answers to all sequences below."""
    replies: dict[int, bytes] = {}
    """The kept replies by sequence number, none below `lowest_pending`."""

    def acknowledge(self, lowest_pending: int) -> None:
        """Forget the replies the client has.  Amortised O(1): sequences are numbered without gaps."""
        acknowledged = lowest_pending - self.lowest_pending
        if acknowledged <= 0:
            return
        if acknowledged <= len(self.replies):
            for sequence in range(self.lowest_pending, lowest_pending):
                self.replies.pop(sequence, None)
        else:
            self.replies = {sequence: reply for sequence, reply in self.replies.items() if sequence >= lowest_pending}
        self.lowest_pending = lowest_pending


def session_digest(number: int, session: Session) -> tuple[object, ...]:
    replies = {sequence: _comparable(reply) for sequence, reply in session.replies.items()}
    return number, session.last_applied, session.lowest_pending, replies


def _comparable(reply: bytes) -> object:
    """A failure's message is the user's text and may list a set in any order; its kind and type may not differ."""
    refused = decode_refusal(reply)
    return reply if refused is None else (int(refused.kind), refused.exception)
