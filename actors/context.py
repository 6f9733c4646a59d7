"""`Context`: what a command may know of the world and still be the same on every replica.

    @command
    def acquire(self, owner: str, ttl: float, *, context: Context = HERE) -> int:
        ...

A command or query with such a parameter is handed the index and the term of its log entry, the replicated clock and a
source of random numbers.  Callers leave it out.  Inside a command `self.other()` gets the same context.  On a plain
object, outside a cluster, it is the start of time, or what the test says, in the call or for a whole block:

    >>> from actors.machines.lock import Lock
    >>> lock = Lock()
    >>> lock.acquire("ann", ttl=5.0, context=Context(clock=1_000))
    1
    >>> with at(clock=7_000):
    ...     lock.acquire("bob", ttl=5.0)
    2

Rules of the file: a context is values from the log and what is computed from them, never a look at this process.

Rejected: a first parameter that the decorator takes out of the signature (a type checker then has two readings of every
method whose first parameter is `Any`, and loses the types of both); a global function that gives the clock (nothing in
the signature says that a command depends on time); the leader's random numbers in the entry (they would cost space, and
the log's own numbers are as good a seed).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Final

from raft_core.types import LogIndex, Term


class Context:
    """Where and when a command is carried out, alike on every replica."""

    __slots__ = ("_random", "clock", "index", "term")

    def __init__(self, index: LogIndex = 0, term: Term = 0, clock: int = 0) -> None:
        self.index = index
        """Index of the log entry; for a query that of the last one applied."""
        self.term = term
        """Term of that entry."""
        self.clock = clock
        """The replicated clock: milliseconds since 1970.  It stands still between log entries and never goes back."""
        self._random: Random | None = None

    @property
    def random(self) -> Random:
        """Random numbers that are the same on every replica, and others in every entry: no secrets."""
        if self._random is None:
            self._random = Random(f"{self.index} {self.term} {self.clock}")
        return self._random

    def after(self, seconds: float) -> int:
        """The time on the replicated clock that is `seconds` from now, in milliseconds."""
        return self.clock + round(seconds * 1000)

    def __repr__(self) -> str:
        return f"Context(index={self.index}, term={self.term}, clock={self.clock})"


HERE: Final = Context()
"""The default of a parameter that takes a context: wherever the command is carried out."""

_current: ContextVar[Context | None] = ContextVar("context", default=None)


def current() -> Context:
    """The context of the command or query that this thread carries out, or one of its own."""
    return _current.get() or Context()


def enter(context: Context | None) -> None:
    """From now on this is the calling thread's context; None: none."""
    _current.set(context)


@contextmanager
def at(*, index: LogIndex = 0, term: Term = 0, clock: int = 0) -> Iterator[Context]:
    """Within the `with` block, commands on plain objects have this context: to test a machine without a cluster."""
    token = _current.set(Context(index, term, clock))
    try:
        yield current()
    finally:
        _current.reset(token)
