"""The seams of the twin: what it needs of threads, as small protocols, and their real form.

A peer makes its threads, locks and conditions through these and reads the clock through them, so that the same code
runs on the threads of the operating system or, one at a time and in a drawn order, in a simulation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from time import monotonic, perf_counter, sleep, time
from types import TracebackType
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lock(Protocol):
    """`threading.Lock`."""

    def __enter__(self) -> bool:
        """Take it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it up."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got."""

    def release(self) -> None:
        """Give it up."""


class Condition(Protocol):
    """`threading.Condition` with a lock of its own."""

    def __enter__(self) -> bool:
        """Take its lock."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it up."""

    def wait(self, timeout: float | None = None) -> bool:
        """Give up its lock until somebody notifies, or `timeout` seconds; False after a time-out."""

    def notify_all(self) -> None:
        """Wake all who wait."""


class Thread(Protocol):
    """A thread that runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""

    def is_alive(self) -> bool:
        """It has not ended."""


class Threads(Protocol):
    """Where threads, locks and the time come from."""

    def lock(self) -> Lock:
        """A new lock."""

    def condition(self) -> Condition:
        """A new condition with a new lock."""

    def watch(self, thing: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """`thing` is shared by threads and guarded by a lock; its methods in `reads` change nothing.  Itself, or a
        stand-in that sees to it that the lock is held."""

    def start(self, name: str, run: Callable[[], None]) -> Thread:
        """A thread that runs `run`."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""

    def wall(self) -> float:
        """Seconds since 1970, as far as is known."""

    def clock(self) -> float:
        """Seconds of the finest monotonic clock, for measurements."""

    def sleep(self, seconds: float) -> None:
        """Hold up the calling thread."""

    def current(self) -> Hashable:
        """The calling thread."""


class OsThreads:
    """Threads of the operating system."""

    def lock(self) -> Lock:
        """`threading.Lock`."""
        return threading.Lock()

    def condition(self) -> Condition:
        """`threading.Condition`."""
        return threading.Condition(threading.Lock())

    def watch(self, thing: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """Nobody looks."""
        return thing

    def start(self, name: str, run: Callable[[], None]) -> Thread:
        """A daemon thread: a peer whose program ends does not hold it up."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def now(self) -> float:
        """`time.monotonic`."""
        return monotonic()

    def wall(self) -> float:
        """`time.time`."""
        return time()

    def clock(self) -> float:
        """`time.perf_counter`."""
        return perf_counter()

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        sleep(seconds)

    def current(self) -> Hashable:
        """`threading.get_ident`."""
        return threading.get_ident()
