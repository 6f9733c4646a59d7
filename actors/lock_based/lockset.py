"""A checker of locking discipline, for debugging: is everything that threads share guarded by a lock, always the same?

It is Eraser (Savage, Burrows, Nelson, Sobalvarro, Anderson: "Eraser: A Dynamic Data Race Detector for Multithreaded
Programs", 1997).  Every access of a watched field is noted with the locks its thread holds.  A field is *virgin*, then
*exclusive* to the thread that first touches it (so initialisation needs no lock), *shared* once a second thread reads
it, *shared-modified* once a second thread writes it or anybody writes it while shared.  From the second thread on, its
candidate locks are those held at every access.  Shared-modified without a candidate is a `Race`, in whatever order the
threads happened to run: it is the discipline that is checked, not the accident of one run.

What is a field:

1. An attribute of a watched object: reading it is a read, setting or deleting it a write.
2. A watched object as a whole: a call of any of its methods, or the use of a property, is a write of the whole, unless
   its name is in `reads`.  What the method does inside is not seen, so reading any attribute is a read of the whole as
   well.  Watch an object that somebody else's lock guards, and not one that has a lock of its own.
3. The contents of a dict, list, deque or set that is an attribute of a watched object, or is watched itself.  When
   another container takes its place in the attribute, it has left the object and belongs to whoever uses it next.

Views and iterators of a container are watched as the container is: each step is a read of it.  What is not seen: what
holds the bare object, what C code does with a bare container, and values inside containers, unless they are watched.

A queue or the start of a thread hands something over without a lock; say so with `hand_over`.

Rejected: annotations ("guarded by", as Clang checks them; no checker for Python knows them, and they say what was
meant, not what happens); ThreadSanitizer (finds races on memory; the interpreter lock orders those, and a race between
two bytecodes is none to it); happens-before clocks (no false alarm at a hand-over, but they find a race only if it
nearly happened in this run); `sys.settrace` (sees lines, not objects, and slows down all rather than what is watched).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from itertools import count
from types import TracebackType
from typing import TypeVar, cast

from actors.lock_based.locks import name_of
from actors.lock_based.races import Access, Field, Race, stack_of_caller
from actors.lock_based.stand_ins import forget, stand_in_for
from actors.lock_based.threads import Condition, Lock, Thread, Threads

T = TypeVar("T")


class WatchedLock:
    """A plain lock (not a re-entrant one) of which the checker knows who holds it."""

    def __init__(self, checker: LocksetChecker, inner: Lock, name: str) -> None:
        self.name = name
        self.holder: Hashable = None
        self._checker = checker
        self._inner = inner

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got."""
        is_taken = self._inner.acquire(blocking, timeout)
        if is_taken:
            self._checker._note_taken(self)
        return is_taken

    def release(self) -> None:
        """Give it up."""
        self._checker._note_given_up(self)  # first: afterwards it may be another thread's
        self._inner.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class LocksetChecker:
    """Notes who uses what while holding which locks.

    `current` gives the calling thread and must never give two threads the same value, not even one after the other:
    `threading.get_ident` may.
    """

    def __init__(self, current: Callable[[], Hashable] = threading.current_thread) -> None:
        self._current = current
        self._lock = threading.RLock()  # re-entrant: a finalizer may run anywhere, and use a watched object
        self._held: dict[Hashable, frozenset[WatchedLock]] = {}
        self._races: dict[str, Race] = {}

    @property
    def races(self) -> list[Race]:
        """What was found: the first race of each field, in the order found.  Fields of one name count as one."""
        with self._lock:
            return list(self._races.values())

    def lock(self, inner: Lock, name: str) -> WatchedLock:
        """`inner`, watched.  Two locks may have one name; they are still two."""
        return WatchedLock(self, inner, name)

    def watch(self, watched: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """A stand-in for `watched` of which every use is noted.

        `reads` names the methods and properties that change nothing; of dicts, lists, deques and sets they are known.
        """
        return cast(T, stand_in_for(self, watched, name, reads))

    def hand_over(self, watched: object) -> None:
        """Whoever uses `watched` (which `watch` gave, or a container in an attribute of that) next has it alone.

        For what a lock has no part in: before a thread is started that gets it, after one was joined that had it.
        """
        with self._lock:
            forget(watched)

    def _note(self, field: Field, is_write: bool, deed: str) -> None:
        thread, stack = self._current(), stack_of_caller()
        with self._lock:
            access = Access(name_of(thread), deed, is_write, self._held.get(thread, frozenset()), stack)
            race = field.take(thread, access)
            if race is not None:
                self._races.setdefault(race.field, race)

    def _note_taken(self, lock: WatchedLock) -> None:
        thread = self._current()
        with self._lock:
            self._held[thread] = self._held.get(thread, frozenset()) | {lock}
            lock.holder = thread

    def _note_given_up(self, lock: WatchedLock) -> None:
        with self._lock:
            thread = lock.holder  # a plain lock may be given up by another thread
            self._held[thread] = self._held.get(thread, frozenset()) - {lock}


class CheckedThreads:
    """The threads of a peer, with all its locks known to a checker and all it shares watched by it (`Threads`)."""

    def __init__(self, threads: Threads, checker: LocksetChecker) -> None:
        self._threads = threads
        self._checker = checker
        self._numbers = count(1)

    def lock(self) -> Lock:
        """A new lock."""
        return self._checker.lock(self._threads.lock(), f"lock {next(self._numbers)}")

    def condition(self) -> Condition:
        """A new condition; nothing that is watched is guarded by its lock."""
        return self._threads.condition()

    def watch(self, thing: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """A stand-in for `thing`."""
        return self._checker.watch(thing, name, reads)

    def start(self, name: str, run: Callable[[], None]) -> Thread:
        """A new thread."""
        return self._threads.start(name, run)

    def now(self) -> float:
        """Seconds."""
        return self._threads.now()

    def wall(self) -> float:
        """Seconds since 1970."""
        return self._threads.wall()

    def clock(self) -> float:
        """Seconds, for measurements."""
        return self._threads.clock()

    def sleep(self, seconds: float) -> None:
        """Hold up the calling thread."""
        self._threads.sleep(seconds)

    def current(self) -> Hashable:
        """The calling thread."""
        return self._threads.current()
