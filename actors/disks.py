"""A disk that answers at once: whoever writes waits, so no other thread is needed.  And what is done if it is full.

A write that a full disk refuses is taken back as a whole (`DiskFull`), so nothing has happened: it is tried again,
after pauses that grow, and what is to be written meanwhile waits behind it.  To the interpreter this is a disk that
answers later.  Whatever depends on the write is held back, so nothing is answered that is not persisted; after an
election timeout the core hears that the disk is stalled and neither leads nor campaigns, until the write is made.  Any
other failure is final, and ends the peer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter

from actors.deadlines import NEVER, Deadlines
from actors.interpreter import NOTHING_WRITTEN, Written
from actors.metrics import Durations
from actors.storage.disk import Arrival, Disk
from actors.storage.port import DiskFull
from raft_core import PersistEffect

LOG = logging.getLogger("actorum.storage")
"""A disk that is full, and that it is so no more (WARNING)."""

FIRST_PAUSE = 0.02
"""Seconds after which a refused write is tried again; doubled with each refusal."""
LONGEST_PAUSE = 0.5


class Patience:
    """How long to wait before a refused write is tried again.  It logs the first refusal, and the end."""

    def __init__(self) -> None:
        self._pause = 0.0

    def refused(self, error: DiskFull) -> float:
        """Refused, once more; seconds until the next attempt."""
        if not self._pause:
            LOG.warning("the disk is full, and writes to it wait: %s", error)
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        return self._pause

    def taken(self) -> None:
        """The disk takes writes."""
        if self._pause:
            LOG.warning("the disk takes writes again")
        self._pause = 0.0


class InlineDisk:
    """A server's disk as the interpreter's `Disk`: written when `write` returns, unless it is full."""

    def __init__(
        self, disk: Disk, durations: Durations, deadlines: Deadlines, clock: Callable[[], float] = perf_counter
    ) -> None:
        """`durations` is told how long writes take, in seconds of `clock`; `deadlines`, when to call `retry`."""
        self._disk = disk
        self._clock = clock
        self._durations = durations
        self._deadlines = deadlines
        self._patience = Patience()
        self._waiting = 0
        """Writes that were refused, or stand behind one that was."""

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...] | None:
        """Written when this returns; None if the disk is full: then `retry` will tell."""
        if self._waiting:
            self._disk.put_behind(changes)
            self._waiting += 1
            return None
        began = self._clock()
        try:
            arrivals = self._disk.write(changes)
        except DiskFull as error:
            self._patience.refused(error)
            self._waiting = 1
            self._deadlines.retry = 0.0  # as soon as somebody who knows the time asks
            return None
        self._durations.add(self._clock() - began)
        return arrivals

    def retry(self, now: float) -> Written:
        """Try what waits once more if it is time, in seconds of the deadlines; what that made durable."""
        if now < self._deadlines.retry:
            return NOTHING_WRITTEN
        try:
            arrivals = self._disk.go_on()
        except DiskFull as error:
            self._deadlines.retry = now + self._patience.refused(error)
            return NOTHING_WRITTEN
        self._patience.taken()
        written = Written(self._waiting, arrivals)
        self._waiting, self._deadlines.retry = 0, NEVER
        return written
