"""Virtual time: what will happen, in which order, and what has happened.

Everything is one heap of (time, number, what happens).  Equal times are ordered by number, the order in which things
were planned, so nothing ever depends on the identity or the hash of an object.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import NamedTuple
from zlib import crc32

KEPT_LINES = 10_000
"""Lines of the trace that can be looked at; its digest covers all there ever were."""

Happening = Callable[[], None]


class Delay(NamedTuple):
    """How long something takes, in seconds: anything between the two, evenly."""

    shortest: float
    longest: float


class Timeline:
    """The clock, the randomness and the future of one simulation.  One thread at a time."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        """Virtual seconds since the simulation began."""
        self.random = Random(seed)
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        """The latest events: time, who, what, checksum of the bytes involved."""
        self._digest = hashlib.sha256()
        self._future: list[tuple[float, int, Happening]] = []
        self._numbers = count()

    def at(self, time: float, happening: Happening) -> None:
        """At `time`, let this happen."""
        heappush(self._future, (time, next(self._numbers), happening))

    def draw(self, delay: Delay) -> float:
        """A time that lies a drawn `delay` ahead."""
        return self.now + self.random.uniform(*delay)

    def advance(self, until: float) -> bool:
        """Let the next thing happen that is due by `until`.  False if there is none: then it is `until`.

        What happens may advance the time itself: a callback may make a call and wait for it.
        """
        if not self._future or self._future[0][0] > until:
            self.now = max(self.now, until)
            return False
        time, _, happening = heappop(self._future)
        self.now = max(self.now, time)
        happening()
        return True

    def run_until(self, time: float) -> None:
        """Let everything happen that is due by `time`."""
        while self.advance(time):
            pass

    def note(self, who: str, what: str, content: bytes = b"") -> None:
        """Write a line of the trace."""
        line = f"{self.now:.9f} {who} {what} {crc32(content):08x}"
        self.lines.append(line)
        self._digest.update(line.encode() + b"\n" + content)

    @property
    def digest(self) -> str:
        """SHA-256 of all lines with all bytes involved: equal if and only if two runs were the same."""
        return self._digest.hexdigest()


class Way:
    """What takes time and keeps its order: a link, an applier's work, a disk.  Once it is closed, nothing arrives."""

    def __init__(self, timeline: Timeline, delay: Delay, is_open: Callable[[], bool]) -> None:
        self._timeline = timeline
        self._delay = delay
        self._is_open = is_open
        self._latest = 0.0

    def put(self, happening: Happening, later: float = 0.0) -> None:
        """Let this happen after a drawn delay, and after everything that was put before, if the way is open then.

        What comes `later` than that, in seconds, is overtaken by what is put meanwhile.
        """
        if later:
            self._timeline.at(self._timeline.draw(self._delay) + later, lambda: self._arrive(happening))
            return
        self._latest = max(self._latest, self._timeline.draw(self._delay))
        self._timeline.at(self._latest, lambda: self._arrive(happening))

    def _arrive(self, happening: Happening) -> None:
        if self._is_open():
            happening()
