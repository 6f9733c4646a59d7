"""Whose turn it is to read a client's links: one thread at a time, and rather one that waits for an answer.

There is no thread between caller and peer: whoever waits for an answer reads the links itself and hands everybody's
answers out; the others sleep until theirs is there or the place is free.  Handing each answer from a reading thread to
a waiting one would cost as much as a hop between processes.

Only where calls are under way that nobody waits for (`submit`, callbacks, `await`) a background thread, the attendant,
takes the place.  It leaves it to whoever begins to wait, and keeps away as long as waiting threads come back within
`GRACE`: a program that keeps many calls under way waits for one result after the other.

Measured (64 calls under way, two cores, interleaved): without that rule every answer passed from the attendant to the
thread that waited, which cost 2 us of processor time for each command, of 21 in four processes.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final

GRACE: Final = 0.005
"""Seconds for which the place is kept for the threads that wait, after one has left it."""


class ReadersPlace:
    """The place, and the lock that guards it and whatever else a client keeps.  Hold `lock` to call anything here."""

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._called = threading.Condition(self.lock)
        self._reader: int | None = None
        self._depth = 0
        self._sleepers = 0
        self._attendant: int | None = None
        self._kept_until = 0.0

    @property
    def is_free(self) -> bool:
        """Nobody reads."""
        return self._reader is None

    @property
    def is_mine(self) -> bool:
        """The calling thread reads, or nobody does."""
        return self._reader in (None, threading.get_ident())

    def take(self) -> None:
        """The calling thread reads from now on; in a callback it may do so already."""
        self._reader = threading.get_ident()
        self._depth += 1

    def leave(self) -> None:
        """It has read, and dealt with what came; those who sleep look whether their answers are there."""
        self._depth -= 1
        if not self._depth:  # else a callback waited inside a read
            if self._sleepers or self._reader != self._attendant:
                self._kept_until = monotonic() + GRACE
            self._reader = None
        self.wake_all()

    def wake_all(self) -> None:
        """Something has changed for those who sleep."""
        if self._sleepers:
            self._changed.notify_all()

    def sleep(self, seconds: float | None) -> None:
        """Until the reader leaves, or so many seconds."""
        self._sleepers += 1
        try:
            self._changed.wait(seconds)
        finally:
            self._sleepers -= 1

    # --- the attendant ------------------------------------------------------------------------------------------------

    def is_for_attendant(self) -> bool:
        """Nobody reads, and nobody who waits has lately."""
        return self._reader is None and monotonic() >= self._kept_until

    def stand_by(self, *, is_needed: bool) -> None:
        """The attendant sleeps until it is called; if it `is_needed`, no longer than until it should look again."""
        self._attendant = threading.get_ident()
        self._called.wait(GRACE if is_needed else None)

    def call_attendant(self) -> None:
        """There is something for it to do."""
        self._called.notify()
