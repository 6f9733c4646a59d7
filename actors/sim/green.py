"""Threads that take turns in virtual time: the seams of the lock-based twin, in a simulation.

Each thread is a greenlet; one runs at a time, until it waits.  A lock that is taken, a condition, a sleep, a link with
nothing in it: all of these become events of the timeline.  So time passes only while all wait, the order in which
threads go on is drawn from the seed, and the same seed gives the same interleaving.

A thread may also lose the processor before it takes a lock: between two locked sections everything else may happen.
Inside one it may only where it waits - for the disk, say - and whoever comes then finds the lock taken.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, cast

from greenlet import GreenletExit, getcurrent, greenlet

from actors.sim.timeline import Delay, Timeline

T = TypeVar("T")

SWITCH = Delay(0.000_001, 0.000_05)
"""From the moment a thread can go on to the moment it does."""
PREEMPTION = 0.1
"""How often a thread loses the processor before it takes a lock."""


class GreenThreads:
    """The threads of one simulated process."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.is_alive = True
        self._threads: list[GreenThread] = []

    def lock(self) -> GreenLock:
        """A new lock."""
        return GreenLock(self)

    def condition(self) -> GreenCondition:
        """A new condition with a new lock."""
        return GreenCondition(self)

    def watch(self, thing: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """Nobody looks."""
        return thing

    def start(self, name: str, run: Callable[[], None]) -> GreenThread:
        """A thread that begins to run `run` a drawn moment from now."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = GreenThread(self, name, run)
        self._threads.append(thread)
        return thread

    def now(self) -> float:
        """Virtual seconds."""
        return self.timeline.now

    def wall(self) -> float:
        """Virtual seconds."""
        return self.timeline.now

    def clock(self) -> float:
        """Virtual seconds."""
        return self.timeline.now

    def sleep(self, seconds: float) -> None:
        """Hold up the calling thread."""
        self.current().park(self.timeline.now + seconds)

    def current(self) -> GreenThread:
        """The thread that runs."""
        return cast(GreenThread, getcurrent())

    @property
    def is_inside(self) -> bool:
        """Is it one of them that asks?"""
        return isinstance(getcurrent(), GreenThread)

    @property
    def running(self) -> set[str]:
        """Names of the threads that have not ended."""
        return {thread.name for thread in self._threads if thread.is_alive()}

    def kill(self) -> None:
        """No thread takes another step."""
        self.is_alive = False
        for thread in self._threads:
            if thread.is_alive():
                thread.parent = getcurrent()
                thread.throw(GreenletExit)
        self._threads.clear()


class GreenThread(greenlet):
    """A simulated thread."""

    def __init__(self, threads: GreenThreads, name: str, run: Callable[[], None]) -> None:
        super().__init__(run)
        self.name = name
        self._threads = threads
        self._waits = 0
        """Number of the wait it is in; what would end an earlier one comes too late."""
        self.unpark()

    def park(self, until: float | None = None) -> bool:
        """Stand still until `unpark`, or until the virtual time is `until`: then False."""
        self._waits += 1
        if until is not None:
            self._plan(until, False)
        assert self.parent is not None
        woken: bool = self.parent.switch()
        return woken

    def unpark(self) -> None:
        """Let it go on, a drawn moment from now, if it stands still now."""
        timeline = self._threads.timeline
        self._plan(timeline.draw(SWITCH), True)

    def _plan(self, time: float, value: bool) -> None:
        number = self._waits
        self._threads.timeline.at(time, lambda: self._go_on(number, value))

    def _go_on(self, number: int, value: bool) -> None:
        if number == self._waits and self._threads.is_alive and not self.dead:
            self._waits += 1
            self.parent = getcurrent()
            if self:
                self.switch(value)
            else:
                self.switch()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        until = None if timeout is None else self._threads.now() + timeout
        while self.is_alive() and (until is None or self._threads.now() < until):
            # Who ends tells nobody; joining is rare and time costs nothing here.
            self._threads.sleep(0.001)

    def is_alive(self) -> bool:
        """It has not ended."""
        return not self.dead


class GreenLock:
    """A lock; of those who wait for it, any may be next, and who comes in time may be before them."""

    def __init__(self, threads: GreenThreads) -> None:
        self._threads = threads
        self._is_held = False
        self._waiting: list[GreenThread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got."""
        timeline = self._threads.timeline
        if timeline.random.random() < PREEMPTION:
            self._pause()
        until = None if timeout < 0 else timeline.now + timeout
        while self._is_held:
            if not blocking:
                return False
            thread = self._threads.current()
            self._waiting.append(thread)
            if not thread.park(until):
                self._waiting.remove(thread)
                return False
        self._is_held = True
        return True

    def _pause(self) -> None:
        thread = getcurrent()
        if isinstance(thread, GreenThread):
            thread.park(self._threads.timeline.draw(SWITCH))

    def release(self) -> None:
        """Give it up."""
        self._is_held = False
        if self._waiting:
            self._waiting.pop(self._threads.timeline.random.randrange(len(self._waiting))).unpark()

    def locked(self) -> bool:
        """Somebody has it."""
        return self._is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class GreenCondition:
    """A condition with a lock of its own."""

    def __init__(self, threads: GreenThreads) -> None:
        self._threads = threads
        self._lock = GreenLock(threads)
        self._waiting: list[GreenThread] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Give up its lock until somebody notifies, or `timeout` seconds; False after a time-out."""
        thread = self._threads.current()
        self._waiting.append(thread)
        self._lock.release()
        woken = thread.park(None if timeout is None else self._threads.now() + timeout)
        if not woken and thread in self._waiting:
            self._waiting.remove(thread)
        self._lock.acquire()
        return woken

    def notify_all(self) -> None:
        """Wake all who wait."""
        waiting, self._waiting = self._waiting, []
        for thread in waiting:
            thread.unpark()
