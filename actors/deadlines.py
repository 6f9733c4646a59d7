"""When something is due: the timers of paper 5.2 as plain numbers.

There are no timer objects and no timer messages: a deadline is compared with the time at which the mailbox looks, so an
expiry can never be stale, and one that is re-armed a thousand times costs a thousand assignments (paper 5.2, 9.3).
Times are seconds of a monotonic clock that the caller reads; randomness comes from the generator given.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from raft_core import (
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    StopHeartbeatTimer,
)

NEVER = float("inf")
THRESHOLD = 0.8
"""Part of the election timeout after which it has nearly run out."""

Announce: TypeAlias = Callable[[float, float, float], None]
"""Is told the time, how much of the election timeout has passed, and how long it is.  Seconds."""


class Deadlines:
    """The deadlines of a server: three of Raft, and those of applier, disk, state machine and those who watch."""

    def __init__(self, randomness: Random) -> None:
        self._random = randomness
        self._election = NEVER
        self._contact = NEVER
        self._heartbeat = NEVER
        self._timeout = 0.0
        self._announce: Announce | None = None
        self.delivery = NEVER
        """When a follower's applier is to be given what has been committed."""
        self.stall = NEVER
        """When the write that is under way has taken too long."""
        self.retry = NEVER
        """When a write that a full disk refused is tried again."""
        self.lease = NEVER
        """When the leader's lease is over (thesis 6.4.1).  It wakes nobody: it matters when somebody reads."""
        self.expiry = NEVER
        """When something in the state machine expires (see `replicated_clock`)."""
        self.threshold = NEVER
        """When those who watch are to be told that the election timer has nearly run out."""

    def set(self, effect: ResetElectionTimer | ResetHeartbeatTimer | StopHeartbeatTimer, now: float) -> None:
        """Carry out a timer effect at time `now`, in seconds."""
        match effect:
            case ResetElectionTimer(timeout=timeout, contact_timeout=contact_timeout):
                self._timeout = timeout / 1000
                self._election = now + self._timeout
                if self._announce is not None:
                    self.threshold = now + THRESHOLD * self._timeout
                self._contact = now + contact_timeout / 1000 if contact_timeout else NEVER
            case ResetHeartbeatTimer(interval=interval):
                self._heartbeat = now + interval / 1000
            case StopHeartbeatTimer():
                self._heartbeat = NEVER

    def announce(self, told: Announce | None) -> None:
        """From now on tell this one when the election timer has nearly run out; None: nobody."""
        self._announce = told
        self.threshold = NEVER if told is None else self._election - (1 - THRESHOLD) * self._timeout

    @property
    def next(self) -> float:
        """The time at which something is due, in seconds; infinite if nothing ever is."""
        raft = min(self._election, self._contact, self._heartbeat)
        return min(raft, self.delivery, self.stall, self.retry, self.expiry, self.threshold)

    def due(self, now: float) -> list[Event]:
        """The events that are due at `now`; each is given out once."""
        return self.due_for_heartbeat(now) + self.due_for_election(now)

    def due_for_heartbeat(self, now: float) -> list[Event]:
        """Of these, a leader's."""
        if now < self._heartbeat:
            return []
        self._heartbeat = NEVER
        return [HeartbeatTimeout()]

    def due_for_election(self, now: float) -> list[Event]:
        """Of these, the ones that ask for a leader's contact (for a leader: for its quorum's)."""
        events: list[Event] = []
        if now >= self.threshold and self._announce is not None:
            self.threshold = NEVER
            self._announce(now, now - self._election + self._timeout, self._timeout)
        if now >= self._contact:
            self._contact = NEVER
            events.append(LeaderContactExpired())
        if now >= self._election:
            self._election = NEVER
            events.append(ElectionTimeout(self._random.getrandbits(32)))
        return events
