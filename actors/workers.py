"""The two actors beside consensus: the disk's and the state machine's.

Only what may block has an actor of its own.  Durability and application are events of the core already, so moving them
to another thread changes nothing in the protocol: a disk that hangs or a command that takes a minute delays answers,
not heartbeats.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Any

from pykka import ActorDeadError, ActorRef, ThreadingActor

from actors.applier import Applier, Saved, Work
from actors.disks import Patience
from actors.giving_way import Doer
from actors.interpreter import Written
from actors.machine import MachineHost
from actors.mailbox import Batch, DrainingInbox, ReplyLink
from actors.metrics import Durations
from actors.notes import AppliedUpTo, Failed, Note, Taken
from actors.reply_links import ReplyLinks, wait_until_writable
from actors.snapshot_taking import SnapshotTaker
from actors.storage.disk import Arrival, Disk
from actors.storage.port import DiskFull
from raft_core import LogIndex, PersistEffect, ServerId, Snapshot

Tell = Callable[[Note], None]


class _Worker(ThreadingActor):
    """An actor that takes everything waiting at once and whose failure is its peer's failure."""

    use_daemon_thread = True

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    @staticmethod
    def _create_actor_inbox() -> DrainingInbox:
        return DrainingInbox()

    def on_failure(self, exception_type: Any, exception_value: BaseException | None, traceback: Any) -> None:
        """Fail-stop: tell the peer, which stops."""
        self._tell(Failed(exception_value or RuntimeError("unknown")))


class StorageActor(_Worker):
    """Writes to disk.  Writes that arrive during a write become the next one together (group commit)."""

    def __init__(self, tell: Tell, disk: Disk, durations: Durations) -> None:
        super().__init__(tell)
        self._disk = disk
        self._durations = durations
        self._patience = Patience()
        self._waiting = 0
        """Writes that are not made."""
        self._retry_at = 0.0
        """When to try again what a full disk refused."""

    def on_receive(self, message: Any) -> None:
        """A `Batch` of writes; an empty one if nothing came while a refused one waited."""
        assert isinstance(message, Batch)
        self._disk.put_behind([change for write in message.messages for change in write])
        self._waiting += len(message.messages)
        pause = self._retry_at - monotonic()
        self._wait_for(pause if pause > 0 else self._write())

    def _write(self) -> float | None:
        """Make all writes that wait, and tell; or seconds until the next attempt."""
        began = perf_counter()
        try:
            arrivals = self._disk.go_on()
        except DiskFull as error:
            return self._patience.refused(error)
        self._durations.add(perf_counter() - began)
        self._patience.taken()
        count, self._waiting = self._waiting, 0
        self._tell(Written(count, arrivals))
        return None

    def _wait_for(self, pause: float | None) -> None:
        """Nothing waits here: the actor may be stopped at any time."""
        assert isinstance(self.actor_inbox, DrainingInbox)
        self.actor_inbox.patience = pause
        self._retry_at = 0.0 if pause is None else monotonic() + pause


class ApplierActor(_Worker):
    """Applies committed entries and answers clients."""

    def __init__(
        self, tell: Tell, server_id: ServerId, machine: MachineHost, taker: SnapshotTaker, gently: Doer
    ) -> None:
        super().__init__(tell)
        self._machine = machine
        self._links = ReplyLinks()
        self._applier = Applier(server_id, machine, self._links, self._applied, taker, self._taken, self._later, gently)

    def _applied(self, index: LogIndex) -> None:
        self._tell(AppliedUpTo(index, self._machine.next_deadline))

    def _taken(self, snapshot: Snapshot) -> None:
        self._tell(Taken(snapshot))

    def _later(self, saved: Saved) -> None:
        """From the thread that waited for it."""
        with contextlib.suppress(ActorDeadError):
            self.actor_ref.tell([saved])

    def on_receive(self, message: Any) -> None:
        """A `Batch` of work and of client links, in order."""
        assert isinstance(message, Batch)
        work: list[Work] = []
        for item in message.messages:
            if isinstance(item, ReplyLink):
                self._attach(item)
            else:
                work.extend(item)
        self._applier.work(work)
        self._flush()

    def _attach(self, link: ReplyLink) -> None:
        if link.writer is None:
            self._links.detach(link.client_id)
            self._applier.forget(link.client_id)
        else:
            self._links.attach(link.client_id, link.writer)

    def _flush(self) -> None:
        """Wait a little for readers whose pipe is full; they read whenever somebody waits for an answer."""
        deadline = monotonic() + 1.0
        while (full := self._links.with_backlog()) and monotonic() < deadline:
            wait_until_writable(full, 0.05)
            for writer in full:
                writer.flush()

    def on_stop(self) -> None:
        """Give the links back."""
        self._links.close()


class DiskBehindActor:
    """A storage that may wait for a disk, behind its actor."""

    def __init__(self, actor: ActorRef[StorageActor]) -> None:
        self._actor = actor

    def write(self, changes: Sequence[PersistEffect]) -> Sequence[Arrival] | None:
        """Handed over; `Written` follows.  If the actor is gone, its `Failed` is on the way instead."""
        with contextlib.suppress(ActorDeadError):
            self._actor.tell(list(changes))
        return None
