"""Work that gives way: what a peer does to catch up, it does in processor time that others leave.

Who was away, or is new, has work for a whole processor: a snapshot to load, and whatever was committed since.  On a
machine that it shares with those who serve, it would take that processor from them.  So a thread of lower priority does
such work, a piece at a time.

Rules of the file:

1. Only for a peer that has a process of its own, on Linux: in a common one others would wait for the interpreter's
   lock, and elsewhere a thread has no priority of its own.
2. Each piece has a thread of its own: without privileges a thread that has lowered its priority cannot raise it again.
3. Nobody gives way for ever: once a piece got less than a fifth of a processor, the next ones are done as any other
   work is, for `PAUSE` seconds.

Measured (store of 100,000 keys with sqlite, three peers and their client on two cores, medians of four windows each,
interleaved): while a follower is sent a snapshot and catches up, 0.79 of the throughput before are left, not 0.64.
Rejected: sleeping between pieces (it would take as much longer on a machine of its own); a lower priority for the whole
process (it could not be had back when the peer serves again).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic, thread_time
from typing import Final, Protocol, TypeVar

R = TypeVar("R")

CAN_GIVE_WAY: Final = sys.platform == "linux"
POLITENESS: Final = 10
"""By how much the priority is lower."""
SLOW: Final = 0.25
"""Seconds below which nobody asks how much of a processor a piece of work got."""
PAUSE: Final = 10.0
"""Seconds for which a peer that got too little gives way no more."""


class Doer(Protocol):
    """Does a piece of work and returns what it returns, or raises what it raises."""

    def __call__(self, work: Callable[[], R], /) -> R:
        """Do it."""


def at_once(work: Callable[[], R]) -> R:
    """Do it as any other work."""
    return work()


def doer_of(*, alone: bool) -> Doer:
    """How a peer catches up that is `alone` in its process, or not."""
    return GivingWay() if alone and CAN_GIVE_WAY else at_once


class GivingWay:
    """Does work in a thread of lower priority, while the caller waits."""

    def __init__(self, clock: Callable[[], float] = monotonic, used: Callable[[], float] = thread_time) -> None:
        """`clock` counts seconds, `used` the processor time of the calling thread."""
        self._clock = clock
        self._used = used
        self._insists_until = float("-inf")

    def __call__(self, work: Callable[[], R], /) -> R:
        """See the module."""
        began = self._clock()
        if began < self._insists_until:
            return work()
        result, error, used = self._in_thread(work)
        ended = self._clock()
        if ended - began > SLOW and used * 5 < ended - began:
            self._insists_until = ended + PAUSE
        if error is not None:
            raise error
        return result[0]

    def _in_thread(self, work: Callable[[], R]) -> tuple[list[R], BaseException | None, float]:
        results: list[R] = []
        errors: list[BaseException] = []
        used: list[float] = []

        def politely() -> None:
            with contextlib.suppress(OSError):  # then it goes as it is
                os.nice(POLITENESS)  # of this thread, on Linux
            began = self._used()
            try:
                results.append(work())
            except BaseException as error:  # the caller's to deal with
                errors.append(error)
            used.append(self._used() - began)

        thread = threading.Thread(target=politely, name="actorum-giving-way", daemon=True)
        thread.start()
        thread.join()
        return results, errors[0] if errors else None, used[0]
