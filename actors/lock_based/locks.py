"""The lock of a peer: one that knows its owner, and how long it was waited for and held.

The comparison with mailboxes needs two figures of a lock: how long threads wait for it (the dual of a message's time in
the mailbox) and how long it is held (the dual of a handler's time).  And a function named `..._locked` must be able to
refuse to go on without it.  Both need a lock that knows who has it, which `threading.Lock` does not.

The rules of the file:

1. Everything that is noted is noted by the owner, between taking and giving up: the measurements need no lock of their
   own.  A try that fails notes nothing.
2. The first try does not block: only where it fails is the clock read twice, and the acquisition counts as contended.
3. Not re-entrant.  A thread that asks for what it holds has lost track of where it is, and with one lock the place to
   find that out is there, not in a count.
4. It can be the lock of a `threading.Condition`: waiting gives it up and takes it again, so what is waited for a
   notification is neither hold time nor time waited for the lock.

Rejected: `threading.RLock` (knows its owner, but tells only by a private method, and hides rule 3); a profiler (sees
time in `acquire`, not which share of it is this lock's, and costs the more the more there is to see).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable
from time import perf_counter
from types import TracebackType

from msgspec import Struct

from actors.lock_based.threads import Lock
from actors.metrics import Durations


class LockNotHeld(RuntimeError):
    """Something was done without the lock that it needs.  A bug of the caller."""


class LockHeldAlready(RuntimeError):
    """A thread asked for a lock that it holds: it would have waited for itself for ever.  A bug of the caller."""


class LockReport(Struct, frozen=True):
    """How a lock was used.  Times are seconds; percentiles cover the latest 1,024 acquisitions."""

    acquisitions: int
    contended: int
    """How many of them found the lock taken."""
    wait_p50: float
    wait_p99: float
    wait_total: float
    hold_p50: float
    hold_p99: float
    hold_total: float
    seconds: float
    """Since the lock was made: what the totals are a share of."""


def name_of(thread: Hashable) -> str:
    """What to call a thread, given as `Threads.current` gives it: by an object with a name, or by its identity."""
    if isinstance(thread, int):
        return next((other.name for other in threading.enumerate() if other.ident == thread), str(thread))
    return str(getattr(thread, "name", thread))


class InstrumentedLock:
    """A lock for `with`, for `acquire` and `release`, and for `threading.Condition`."""

    def __init__(
        self,
        factory: Callable[[], Lock] = threading.Lock,
        *,
        clock: Callable[[], float] = perf_counter,
        current: Callable[[], Hashable] = threading.get_ident,
    ) -> None:
        """`factory` makes the plain lock; `clock` gives seconds; `current` the calling thread, never None."""
        self._lock = factory()
        self._clock = clock
        self._current = current
        self._owner: Hashable = None
        self._made_at = clock()
        self._taken_at = 0.0
        self._waits = Durations()
        self._holds = Durations()
        self._acquisitions = self._contended = 0
        self._waited = self._held = 0.0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got.

        Raises `LockHeldAlready` if the calling thread holds it.
        """
        me = self._current()
        if self._owner == me:  # nobody else makes it me, so this needs no lock
            raise LockHeldAlready(f"thread {name_of(me)} asks for a lock that it holds: it would wait for itself")
        waited = 0.0
        if not self._lock.acquire(False):
            asked_at = self._clock()
            if not blocking or not self._lock.acquire(True, timeout):
                return False
            waited = self._clock() - asked_at
            self._contended += 1
            self._waited += waited
        self._owner = me
        self._acquisitions += 1
        self._waits.add(waited)
        self._taken_at = self._clock()
        return True

    def release(self) -> None:
        """Give it up; `LockNotHeld` if the calling thread does not hold it."""
        if self._owner != self._current():
            raise LockNotHeld(self._who_does_not("wants to give up a lock that it does not hold"))
        held = self._clock() - self._taken_at
        self._holds.add(held)
        self._held += held
        self._owner = None
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def assert_owned(self) -> None:
        """Raise `LockNotHeld`, naming the calling function, unless the calling thread holds the lock."""
        if self._owner != self._current():
            function = sys._getframe(1).f_code.co_qualname
            raise LockNotHeld(self._who_does_not(f"is in {function} without the lock which that needs"))

    def _who_does_not(self, what: str) -> str:
        owner = self._owner
        holder = "nobody holds it" if owner is None else f"thread {name_of(owner)} holds it"
        return f"thread {name_of(self._current())} {what}; {holder}"

    def _is_owned(self) -> bool:
        """For `threading.Condition`: without it, that would find out by trying to take the lock."""
        return self._owner == self._current()

    def report(self) -> LockReport:
        """How it was used so far.  Any thread may ask; the acquisition that goes on meanwhile may be half in it."""
        waits, holds = self._waits, self._holds
        return LockReport(
            acquisitions=self._acquisitions,
            contended=self._contended,
            wait_p50=waits.percentile(0.5),
            wait_p99=waits.percentile(0.99),
            wait_total=self._waited,
            hold_p50=holds.percentile(0.5),
            hold_p99=holds.percentile(0.99),
            hold_total=self._held,
            seconds=self._clock() - self._made_at,
        )
