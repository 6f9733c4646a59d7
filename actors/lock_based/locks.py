"""The lock of a peer: one that knows its owner and how long it was waited for and held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from time import perf_counter
from types import TracebackType

from msgspec import Struct

from actors.lock_based.threads import Lock
from actors.metrics import Durations


class LockNotHeld(RuntimeError):
    """Something was done without the lock, or with it where it must not be."""


class LockReport(Struct, frozen=True):
    """How a lock was used.  Times are seconds; percentiles cover the latest 1,024 acquisitions."""

    acquisitions: int
    contended: int
    wait_p50: float
    wait_p99: float
    wait_total: float
    hold_p50: float
    hold_p99: float
    hold_total: float


class InstrumentedLock:
    """A lock for `with`, not re-entrant."""

    def __init__(
        self,
        factory: Callable[[], Lock] = threading.Lock,
        *,
        clock: Callable[[], float] = perf_counter,
        current: Callable[[], Hashable] = threading.get_ident,
    ) -> None:
        self._lock = factory()
        self._clock = clock
        self._current = current
        self._owner: Hashable = None
        self._taken_at = 0.0
        self._waits = Durations()
        self._holds = Durations()
        self._acquisitions = self._contended = 0
        self._waited = self._held = 0.0

    def __enter__(self) -> bool:
        me = self._current()
        if self._owner == me:
            raise LockNotHeld(f"thread {me} asks for a lock that it holds: it would wait for itself for ever")
        clock, lock = self._clock, self._lock
        if lock.acquire(blocking=False):
            now, waited = clock(), 0.0
        else:
            asked_at = clock()
            lock.acquire()
            now = clock()
            waited = now - asked_at
            self._contended += 1
            self._waited += waited
        self._owner = me
        self._taken_at = now
        self._acquisitions += 1
        self._waits.add(waited)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.assert_owned()
        held = self._clock() - self._taken_at
        self._holds.add(held)
        self._held += held
        self._owner = None
        self._lock.release()

    def assert_owned(self) -> None:
        """Raise `LockNotHeld` unless the calling thread holds the lock."""
        me = self._current()
        if self._owner != me:
            raise LockNotHeld(f"thread {me} does not hold the lock it needs; thread {self._owner} does")

    def report(self) -> LockReport:
        """How it was used so far."""
        waits, holds = self._waits, self._holds
        return LockReport(
            self._acquisitions,
            self._contended,
            waits.percentile(0.5),
            waits.percentile(0.99),
            self._waited,
            holds.percentile(0.5),
            holds.percentile(0.99),
            self._held,
        )
