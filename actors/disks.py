"""A disk that answers at once: whoever writes waits, so no other thread is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from actors.metrics import Durations
from actors.storage.disk import Arrival, Disk
from raft_core import PersistEffect


class InlineDisk:
    """A server's disk as the interpreter's `Disk`: written when `write` returns."""

    def __init__(self, disk: Disk, durations: Durations, clock: Callable[[], float] = perf_counter) -> None:
        """`durations` is told how long writes take, in seconds of `clock`."""
        self._disk = disk
        self._clock = clock
        self._durations = durations

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...]:
        """Written when this returns."""
        began = self._clock()
        arrivals = self._disk.write(changes)
        self._durations.add(self._clock() - began)
        return arrivals
