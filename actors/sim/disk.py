"""A disk that answers later: what is under way when its peer is killed was never written.

Writes that arrive during a write become the next one together, as with the real disk (group commit).  The storage
survives the peer; between the moment a write is durable and the moment the peer hears of it, the peer may be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.interpreter import Written
from actors.metrics import Durations
from actors.sim.timeline import Timeline, Way
from actors.storage.disk import Arrival, Disk
from raft_core import PersistEffect


class SimDisk:
    """The `Disk` of one incarnation."""

    def __init__(self, timeline: Timeline, way: Way, disk: Disk, confirm: Callable[[Written], None]) -> None:
        """`confirm` is told what more is durable."""
        self.durations = Durations()
        """How long writes took, in virtual seconds."""
        self._timeline = timeline
        self._way = way
        self._disk = disk
        self._confirm = confirm
        self._waiting: list[Sequence[PersistEffect]] = []
        self._is_writing = False

    def write(self, changes: Sequence[PersistEffect]) -> Sequence[Arrival] | None:
        """Handed over; `confirm` follows."""
        self._waiting.append(changes)
        if not self._is_writing:
            self._begin()
        return None

    def _begin(self) -> None:
        writes, self._waiting = self._waiting, []
        began = self._timeline.now
        self._is_writing = True
        self._way.put(lambda: self._end(writes, began))

    def _end(self, writes: list[Sequence[PersistEffect]], began: float) -> None:
        arrivals = self._disk.write([change for write in writes for change in write])
        self.durations.add(self._timeline.now - began)
        self._is_writing = False
        if self._waiting:
            self._begin()
        self._confirm(Written(len(writes), arrivals))
