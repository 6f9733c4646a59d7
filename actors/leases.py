"""How long a leader may read without asking anybody (thesis 6.4.1): what only a clock can tell of a lease.

When a majority has answered a round of heartbeats, nobody else is elected for an election timeout.  That counts from
when the round was *sent*: the answers may have been under way for long.  So the times of sending are remembered, and a
round of which the time is forgotten extends nothing: a lease that is too short costs a round of heartbeats, one that is
too long costs a stale read.

The core numbers rounds and says which are confirmed; when a lease runs out is looked at with the other deadlines.
"""

from __future__ import annotations

from collections import deque

from actors.deadlines import Deadlines
from raft_core import Event, LeaseExtended
from raft_core.types import Round

LEASE_SHARE = 0.9
"""Part of the election timeout that a lease lasts: clocks may drift by the rest (thesis 6.4.1)."""
SENT_ROUNDS = 1024
"""Rounds whose time of sending is remembered."""


class Leases:
    """The rounds that may extend a lease, and its end."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.sent_rounds: deque[tuple[Round, float]] = deque(maxlen=SENT_ROUNDS)
        """When rounds were sent."""

    def confirmed(self, confirmed: Round, now: float, election_timeout: int) -> list[Event]:
        """A majority answered: from when that round was sent, nobody else is elected for an election timeout."""
        # The latest of that number: rounds are numbered anew in each term.
        sent = next((time for number, time in reversed(self.sent_rounds) if number == confirmed), None)
        if sent is None:
            return []
        end = sent + LEASE_SHARE * election_timeout / 1000
        if end <= now:
            return []
        self._deadlines.lease = end
        return [LeaseExtended(confirmed)]
