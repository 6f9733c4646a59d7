"""The twin's threads under a schedule: green threads that go on until they wait, or until the schedule stops them.

As `actors.sim.green`, but a thread loses the processor only at the points that a schedule says, and locks have names
and know who holds them.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable
from pathlib import Path

from greenlet import getcurrent

from actors.compare.search.schedule import Schedule
from actors.compare.search.waiting import Wait, Waiting
from actors.sim.green import GreenCondition, GreenLock, GreenThread, GreenThreads
from actors.sim.timeline import Timeline

_PASSED = frozenset({"threads.py", "locks.py", "lockset.py", "green.py"})
"""Files that take locks on behalf of others."""


class SearchedThreads(GreenThreads):
    """The threads of one simulated process, whose name is `owner`."""

    def __init__(self, timeline: Timeline, owner: str, schedule: Schedule, waiting: Waiting) -> None:
        super().__init__(timeline)
        self.owner = owner
        self.waiting = waiting
        self._schedule = schedule
        self._names: dict[str, int] = {}
        """How often each was given."""

    def point(self, what: str) -> None:
        """The calling thread is about to do something: let it stand still, if the schedule says so."""
        until = self.timeline.now + self.seconds_lost(what)
        while self.timeline.now < until:
            self.current().park(until)

    def seconds_lost(self, what: str) -> float:
        """For how long the schedule says that the calling thread is to stand still before it goes on."""
        thread = getcurrent()
        if not isinstance(thread, GreenThread) or not self.is_alive:  # whoever is killed only gives back
            return 0.0
        return self._schedule.point(self.owner, thread.name, what)

    def lock(self) -> SearchedLock:
        """A new lock, named after the attribute that it becomes."""
        return SearchedLock(self, self._name())

    def condition(self) -> SearchedCondition:
        """A new condition with a new lock."""
        return SearchedCondition(self, self._name())

    def _name(self) -> str:
        file, line = _caller()
        assigned = re.match(r"\s*self\.(\w+)\b.*=", linecache.getline(file, line))
        return self._numbered(f"{self.owner}.{assigned[1].lstrip('_') if assigned else Path(file).stem}")

    def _numbered(self, name: str) -> str:
        """No two have one name: a thread may still end when the next of its kind begins."""
        self._names[name] = number = self._names.get(name, 0) + 1
        return name if number == 1 else f"{name} ({number})"

    def start(self, name: str, run: Callable[[], None]) -> GreenThread:
        """A thread that begins to run `run` a drawn moment from now."""
        self.point(f"starts {name}")
        return super().start(self._numbered(name), run)

    def sleep(self, seconds: float) -> None:
        """Hold up the calling thread."""
        self.point("sleeps")
        super().sleep(seconds)


def _caller() -> tuple[str, int]:
    """The innermost line of the program that is not of those who only pass on."""
    frame = sys._getframe(1)
    while Path(frame.f_code.co_filename).name in _PASSED and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _name_of_current() -> str:
    return str(getattr(getcurrent(), "name", "main"))


class SearchedLock(GreenLock):
    """A lock that knows who holds it."""

    def __init__(self, threads: SearchedThreads, name: str) -> None:
        super().__init__(threads)
        self._searched = threads
        self.name = name
        self.holder: str | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got."""
        self._searched.point(f"takes {self.name}")
        return self.take(blocking, timeout)

    def take(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `acquire`; nothing comes before."""
        threads, me = self._searched, _name_of_current()
        until = None if timeout < 0 else threads.now() + timeout
        while self._is_held:
            if not blocking:
                return False
            thread = threads.current()
            self._waiting.append(thread)
            self._waits(me)
            try:
                woken = thread.park(until)
            finally:  # it may be killed where it waits
                threads.waiting.ends(me)
            if not woken:
                self._waiting.remove(thread)
                return False
        self._is_held, self.holder = True, me
        threads.waiting.held.setdefault(me, []).append(self.name)
        return True

    def _waits(self, me: str) -> None:
        file, line = _caller()
        held = tuple(self._searched.waiting.held.get(me, ()))
        wait = Wait(me, self.name, lambda: self.holder, f"{Path(file).name}:{line}", held)
        self._searched.waiting.begins(wait)

    def release(self) -> None:
        """Give it up."""
        self.give_up()
        self._searched.point(f"goes on without {self.name}")

    def give_up(self) -> None:
        """As `release`; nothing comes behind."""
        held = self._searched.waiting.held.get(self.holder or "", [])
        if self.name in held:
            held.remove(self.name)
        self.holder = None
        super().release()


class SearchedCondition(GreenCondition):
    """A condition with a lock of its own."""

    def __init__(self, threads: SearchedThreads, name: str) -> None:
        super().__init__(threads)
        self._searched = threads
        self._own = SearchedLock(threads, name)
        self._lock = self._own
        self.name = name

    def wait(self, timeout: float | None = None) -> bool:
        """Give up its lock until somebody notifies, or `timeout` seconds; False after a time-out.

        A thread that loses its turn here is woken for nothing, which conditions are allowed to do."""
        threads = self._searched
        for_nothing = threads.seconds_lost(f"waits on {self.name}")
        thread = threads.current()
        self._waiting.append(thread)
        self._own.give_up()
        woken = thread.park(_earlier(threads.now(), timeout, for_nothing))
        if not woken and thread in self._waiting:
            self._waiting.remove(thread)
        self._own.take()
        return woken or bool(for_nothing)

    def notify_all(self) -> None:
        """Wake all who wait."""
        self._searched.point(f"wakes those at {self.name}")
        super().notify_all()


def _earlier(now: float, timeout: float | None, for_nothing: float) -> float | None:
    """When who waits goes on even if nobody notifies."""
    if not for_nothing:
        return None if timeout is None else now + timeout
    return now + (for_nothing if timeout is None else min(for_nothing, timeout))
