"""A queue that one thread waits on: a monitor with a lock of its own.

Its lock is a *leaf*: whoever holds it takes no other, so it may be taken while a peer's lock is held and no cycle of
waiting can arise.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from actors.lock_based.threads import Threads

T = TypeVar("T")


class Mail(Generic[T]):
    """Any thread puts; one takes all there is."""

    def __init__(self, threads: Threads) -> None:
        self._now = threads.now
        self._condition = threads.condition()
        self._items: list[T] = []
        self._is_closed = False
        self._is_woken = False

    def put(self, items: list[T]) -> None:
        """Deposit `items` in order; dropped after `close` or `finish`."""
        with self._condition:
            if self._is_closed:
                return
            self._items.extend(items)
            self._condition.notify_all()

    def take(self, timeout: float | None = None) -> list[T] | None:
        """Wait for items and take all; [] if none came within `timeout` seconds or `wake` was called, None once it is
        closed, or finished and empty."""
        deadline = None if timeout is None else self._now() + timeout
        with self._condition:
            while not self._items and not self._is_closed:  # woken is not the same as "there is something"
                remaining = None if deadline is None else deadline - self._now()
                if self._is_woken or (remaining is not None and remaining <= 0):
                    self._is_woken = False
                    return []
                self._condition.wait(remaining)
            if not self._items:
                return None
            items, self._items = self._items, []
            return items

    def wake(self) -> None:
        """Whoever waits, or comes next, gets [] if there is nothing else."""
        with self._condition:
            self._is_woken = True
            self._condition.notify_all()

    def close(self) -> None:
        """Whoever waits, or comes, gets None; what is there is dropped."""
        with self._condition:
            self._items = []
            self._is_closed = True
            self._condition.notify_all()

    def finish(self) -> None:
        """Whoever waits, or comes, gets what is there, then None."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
