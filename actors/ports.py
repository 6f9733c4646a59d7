"""The ports of the interpreter: how the core's effects get out, and what comes back from the disk.

Ring 2 says here what it needs; each runtime and each engine brings its own.  None of these waits for anybody but a
disk that answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from actors.storage.disk import Arrival
from raft_core import Effect, Event, LogPersisted, Message, PersistEffect, Send, Server, ServerId, Snapshot


class Written(Struct, frozen=True):
    """What the disk confirmed."""

    count: int
    """The oldest so many unconfirmed writes."""
    arrivals: tuple[Arrival, ...] = ()
    """The snapshots of which they had the last part."""

    def __add__(self, other: Written) -> Written:
        return Written(self.count + other.count, self.arrivals + other.arrivals)


NOTHING_WRITTEN = Written(0)


class Transport(Protocol):
    """The way to the other servers.  A message may be lost."""

    def send(self, to: ServerId, message: Message) -> None:
        """Send without waiting."""


class Disk(Protocol):
    """The way to stable storage."""

    def write(self, changes: Sequence[PersistEffect]) -> Sequence[Arrival] | None:
        """Make `changes` durable, in order.  They are if it returns something: the snapshots that came to their end.
        None: the same will be told later, with a turn (`Written`)."""


class SnapshotReader(Protocol):
    """Where parts of snapshots are read, for sending."""

    def read(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """Some of the content.  Raises `SnapshotGone`."""


class Recorder(Protocol):
    """Who keeps the turns of a server, so that they can be replayed (`raft_core.verify.replay`)."""

    def started(self, server: Server) -> None:
        """The server begins as this one."""

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """`step_all(before, events)` gave `after` and `effects`.  Nothing of them is carried out yet."""


class Held(NamedTuple):
    """A write that the disk has not confirmed, and what waits for it."""

    persisted: LogPersisted | None
    sends: list[Send]
    since: float
    """When it was handed over, in seconds."""
