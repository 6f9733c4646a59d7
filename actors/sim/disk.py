"""A disk that answers later: what is under way when its peer is killed was never written.

Writes that arrive during a write become the next one together, as with the real disk (group commit).  The storage
survives the peer; between the moment a write is durable and the moment the peer hears of it, the peer may be killed.

It may be full for a while.  Then nothing is taken, of the log as of snapshots, and what was refused is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.disks import Patience
from actors.interpreter import Written
from actors.metrics import Durations
from actors.sim.timeline import Timeline, Way
from actors.storage.disk import Arrival, Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import DiskFull
from raft_core import Configured, LogIndex, PersistEffect, Snapshot, Term


class Space:
    """What a simulated disk has, or has not."""

    def __init__(self) -> None:
        self.is_full = False

    def check(self) -> None:
        """Raises `DiskFull`."""
        if self.is_full:
            raise DiskFull("the simulated disk is full", why="it was filled", fix="make room")


class FillableStorage(MemoryStorage):
    """A log that may find no room."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """All or nothing."""
        self.check(changes)
        self._space.check()
        super().write(changes)


class FillableSnapshots(MemorySnapshots):
    """Snapshots that may find no room."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def save(
        self, last_included_index: LogIndex, last_included_term: Term, configured: Configured, content: bytes
    ) -> Snapshot:
        """Keep one, or nothing of it."""
        self._space.check()
        return super().save(last_included_index, last_included_term, configured, content)

    def receive(self, snapshot: Snapshot, offset: int, data: bytes) -> bool | None:
        """Take a part, or give the whole snapshot up."""
        return super().receive(snapshot, -1 if self._space.is_full else offset, data)


def fillable(space: Space) -> Disk:
    """An empty disk that has, or has not, `space`."""
    return Disk(FillableStorage(space), FillableSnapshots(space))


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
        self._patience = Patience()
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
        self._disk.put_behind([change for write in writes for change in write])
        self._way.put(lambda: self._end(len(writes), began))

    def _end(self, count: int, began: float) -> None:
        try:
            arrivals = self._disk.go_on()
        except DiskFull as error:
            self._way.put(lambda: self._end(count, began), self._patience.refused(error))
            return
        self._patience.taken()
        self.durations.add(self._timeline.now - began)
        self._is_writing = False
        if self._waiting:
            self._begin()
        self._confirm(Written(count, arrivals))
