"""A lock that its holder may lose without noticing, and that is safe all the same: by fencing tokens.

Whoever holds a lock with a time limit may be held up - by a pause, a page fault, a partition - and come back after it
has expired, still believing.  No lock service can prevent that.  So each `acquire` gives a number that is greater than
all before it, the *fencing token*; the holder sends it along with what it does, and whatever the lock protects refuses
tokens smaller than the greatest it has seen.

    >>> from actors.context import at
    >>> lock = Lock()
    >>> with at(clock=0):
    ...     lock.acquire("ann", ttl=5.0)
    1
    >>> with at(clock=4_000):
    ...     lock.acquire("bob", ttl=5.0) is None, lock.renew("ann", 1, ttl=5.0)
    (True, True)
    >>> with at(clock=9_001):
    ...     lock.acquire("bob", ttl=5.0), lock.release("ann", 1)
    (2, False)
"""

from __future__ import annotations

from msgspec import Struct

from actors.context import HERE, Context
from actors.replicated import Replicated, command, query


class Holding(Struct, frozen=True):
    """Who holds the lock."""

    owner: str
    token: int
    """The fencing token; greater than that of every earlier holder."""
    deadline: int
    """When it expires, on the replicated clock, in milliseconds."""


class Lock(Replicated):
    """A lock that expires."""

    holding: Holding | None = None
    tokens: int = 0
    """The latest token given."""

    @command
    def acquire(self, owner: str, ttl: float, *, context: Context = HERE) -> int | None:
        """Take the lock for `ttl` seconds: its fencing token, or None if another holds it.

        Its holder gets the token that it has, and `ttl` seconds from now.
        """
        deadline, holding = context.after(ttl), self._held(context)
        if holding is not None and holding.owner != owner:
            return None
        if holding is None:
            self.tokens += 1
        self.holding = Holding(owner, self.tokens, deadline)
        return self.tokens

    @command
    def renew(self, owner: str, token: int, ttl: float, *, context: Context = HERE) -> bool:
        """Keep the lock for `ttl` seconds from now; False if it is lost."""
        holding = self._held(context)
        if holding is None or (holding.owner, holding.token) != (owner, token):
            return False
        self.holding = Holding(owner, token, context.after(ttl))
        return True

    @command
    def release(self, owner: str, token: int, *, context: Context = HERE) -> bool:
        """Give the lock back; False if it was lost before."""
        holding = self._held(context)
        if holding is None or (holding.owner, holding.token) != (owner, token):
            return False
        self.holding = None
        return True

    @query
    def holder(self, *, context: Context = HERE) -> Holding | None:
        """Who holds the lock; None if it is free."""
        return self._held(context)

    def on_clock(self, context: Context) -> None:
        """Who held it too long does so no more."""
        self.holding = self._held(context)

    def next_deadline(self) -> int | None:
        """When the lock expires."""
        return None if self.holding is None else self.holding.deadline

    def _held(self, context: Context) -> Holding | None:
        holding = self.holding
        return None if holding is None or holding.deadline <= context.clock else holding
