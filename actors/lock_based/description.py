"""How a locked peer is, for those who ask it: state that the peer's lock guards, and numbers that have a lock of their
own or need none.

Rule of the file: what can be read without the peer's lock is read before it is taken.  Who asks how a peer is, and how
busy its lock, must not keep others from it for longer than it takes to look.
"""

from __future__ import annotations

from msgspec.structs import asdict

from actors.lock_based.locks import InstrumentedLock
from actors.lock_based.shared import Shared
from actors.lock_based.world import World
from actors.metrics import Contacts, Durations
from actors.protocol import Report, Status


class Description:
    """Of one peer."""

    def __init__(
        self,
        shared: Shared,
        lock: InstrumentedLock,
        world: World,
        writes: Durations,
        contacts: Contacts,
        started: float,
        process_id: int,
    ) -> None:
        """`lock` is the peer's; `started` is when that began, by the clock of its threads."""
        self._shared = shared
        self._lock = lock
        self._world = world
        self._writes = writes
        self._contacts = contacts
        self._process_id = process_id
        self._now = world.threads.now
        self._started = started

    def status(self, batch_id: int) -> Status:
        """The answer to `InspectPeer`."""
        dropped = self._world.dropped
        with self._lock:
            return self._status_locked(batch_id, dropped)

    def report(self, batch_id: int) -> Report:
        """The answer to `DescribePeer`."""
        dropped, contacts = self._world.dropped, self._contacts.ages(self._now())
        usage = {f"lock_{name}": value for name, value in asdict(self._lock.report()).items()}
        with self._lock:
            metrics = {**usage, **self._writes.summary("write"), "refused_frames": len(self._shared.bad_frames)}
            status = self._status_locked(batch_id, dropped)
            return self._shared.interpreter.report(status, contacts, metrics)

    def _status_locked(self, batch_id: int, dropped: int) -> Status:
        self._lock.assert_owned()
        return self._shared.interpreter.status(
            batch_id,
            inbox_depth=self._shared.events_in_last_turn,
            dropped_messages=dropped,
            fsync_p99=self._writes.percentile(0.99),
            uptime=self._now() - self._started,
            process_id=self._process_id,
        )
