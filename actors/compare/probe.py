"""What is measured inside a peer, by hooks that both designs have.

A probe is a peer's `Recorder`: it sees each turn as it is decided.  On top of that it looks at the one thing in which
the designs differ: the mailbox, or the lock.  It costs both sides the same few microseconds a turn, and it is the same
for every run, so it is in no difference; absolute figures are a little worse than without it.

* Until `begin`, turns go to the trace that proves that this is the same core (`raft_core.verify.replay`), at most
  `TRACED` of them: to record every turn would be measuring the recorder.
* From `begin` to `end`, it stamps the samples and counts.
* What came to the mailbox or to the lock is noted with its times, all of it, and nothing is sampled: a thread that
  looks from time to time gets the interpreter when nobody else wants it, and so would mostly see empty queues.

All times are of the monotonic clock, which is one for all processes of a machine.
"""

from __future__ import annotations

import resource
import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Literal, Protocol

from msgspec import Struct

from actors.compare.payloads import number_in
from actors.interpreter import Recorder
from actors.lock_based.peer import LockedPeer
from actors.mailbox import Turn
from actors.peer import RunningActor
from actors.spec import RunningPeer
from actors.storage.port import Storage, Stored
from raft_core import (
    AppendEntries,
    ApplyCommitted,
    Effect,
    Event,
    LogPersisted,
    PersistEffect,
    ProposalAccepted,
    Proposed,
    Send,
    Server,
    ServerId,
)

TRACED = 400
_PAGE = resource.getpagesize()


class Led(Struct, frozen=True):
    """A peer began to lead."""

    time: float
    term: int


class Visits(Struct, frozen=True):
    """What came to a mailbox or to a lock, in the order in which its turn came."""

    kind: Literal["mailbox", "lock"]
    arrived: list[float]
    """When the lock was asked for.  Of a mailbox, empty: who wrote to the link knows when."""
    began: list[float]
    """When the turn began, or the lock was got."""
    done: list[float]
    """When the turn ended, or the lock was given up."""
    frames: dict[int, list[int]]
    """Of a mailbox: for each client, how many frames of it were in each of these turns."""


class Seen(Struct, frozen=True, kw_only=True):
    """What a probe saw between `begin` and `end`."""

    peer: ServerId
    seconds: float
    visits: Visits
    processor: float
    voluntary: int
    involuntary: int
    resident: int
    fsyncs: int
    appends: int
    """AppendEntries with entries in them."""
    appended: int
    """Entries in these."""
    took: dict[int, float]
    """When the turn began that took a sample, at the peer that led."""
    decided: dict[int, float]
    stored: dict[int, float]
    committed: dict[int, float]
    applied: dict[int, float]


class Watched(Protocol):
    """The mailbox or the lock."""

    def visits(self) -> Visits:
        """All of them since the peer was started."""


class MeasuredStorage:
    """A log's storage whose transactions are counted, and may take longer.

    It is below the place where the designs differ: a thread of its own that writes to the disk, or the lock's owner."""

    def __init__(self, storage: Storage, seconds: float) -> None:
        """`seconds`: how much longer each transaction takes."""
        self.blocking = storage.blocking or seconds > 0
        """See `Storage.blocking`: one that was made slow is waited for, whatever it is made of."""
        self.fsyncs = 0
        self._is_synced = storage.blocking
        self._inner = storage
        self._pause = threading.Event()
        self._seconds = seconds

    def load(self) -> Stored:
        """See `Storage`."""
        return self._inner.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """See `Storage`."""
        self.fsyncs += self._is_synced
        if self._seconds:
            self._pause.wait(self._seconds)
        self._inner.write(changes)

    def close(self) -> None:
        """See `Storage`."""
        self._inner.close()


class Probe:
    """A peer's `Recorder` and what it measures."""

    def __init__(self, server_id: ServerId, trace: Recorder | None, storage: MeasuredStorage) -> None:
        self.server_id = server_id
        self.led: list[Led] = []
        self.pause = 0.0
        """Seconds for which the next turn is held up: as if the peer stood still."""
        self._trace = trace
        self._traced = 0
        self._storage = storage
        self._watched: Watched | None = None
        self._is_on = False
        self.applied: dict[int, float] = {}
        """When each sample was applied."""

    def watch(self, peer: RunningPeer) -> None:
        """Look at this peer's mailbox or lock."""
        if isinstance(peer, RunningActor):
            self._watched = WatchedMailbox(peer)
        elif isinstance(peer, LockedPeer):
            self._watched = WatchedLock(peer)
        else:
            raise TypeError(f"there is nothing to look at in a {type(peer).__name__}")

    def note_applied(self, number: int) -> None:
        """This replica has applied a sample."""
        if self._is_on:
            self.applied[number] = monotonic()

    # --- the recorder -------------------------------------------------------------------------------------------------

    def started(self, server: Server) -> None:
        """See `Recorder`."""
        if self._trace is not None:
            self._trace.started(server)

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """See `Recorder`."""
        if self._traced < TRACED and self._trace is not None:
            self._traced += 1
            self._trace.turn(now, events, before, after, effects)
        if after.role is not before.role and after.role_name == "leader" and before.role_name != "leader":
            self.led.append(Led(monotonic(), after.current_term))
        if self.pause:
            pause, self.pause = self.pause, 0.0
            threading.Event().wait(pause)
        if self._is_on:
            self._note(now, events, effects)

    def _note(self, now: float, events: Sequence[Event], effects: Sequence[Effect]) -> None:
        numbers: list[tuple[int, int, int]] = []
        for event in events:
            if isinstance(event, Proposed):
                for offset, command in enumerate(event.commands):
                    if (number := number_in(command)) is not None:
                        numbers.append((event.proposal_id, offset, number))
            elif isinstance(event, LogPersisted):
                _pass(event.index, self._storing, self._stored, monotonic())  # a lock's turn began before the write
        decided = monotonic() if numbers else 0.0
        for effect in effects:
            if isinstance(effect, Send):
                message = effect.message
                if isinstance(message, AppendEntries) and message.entries:
                    self._appends += 1
                    self._appended += len(message.entries)
            elif isinstance(effect, ApplyCommitted):
                last = effect.first_index + len(effect.entries) - 1
                _pass(last, self._committing, self._committed, monotonic())
            elif isinstance(effect, ProposalAccepted) and numbers:
                for proposal, offset, number in numbers:
                    if proposal == effect.proposal_id:
                        self._took[number], self._decided[number] = now, decided
                        self._storing.append((effect.first_index + offset, number))
                        self._committing.append((effect.first_index + offset, number))

    # --- the measurement ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Measure from now on, and trace no more."""
        self._traced = TRACED
        self._began = monotonic()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._fsyncs = self._storage.fsyncs
        self._appends = self._appended = 0
        self._storing: deque[tuple[int, int]] = deque()
        """Index and number of the samples that are not on this disk yet, in order."""
        self._committing: deque[tuple[int, int]] = deque()
        """Likewise, of those that are not committed."""
        self._took: dict[int, float] = {}
        self._decided: dict[int, float] = {}
        self._stored: dict[int, float] = {}
        self._committed: dict[int, float] = {}
        self.applied = {}
        self._is_on = True

    def end(self) -> Seen:
        """Measure no more; what was seen."""
        assert self._watched is not None
        self._is_on = False
        seconds = monotonic() - self._began
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Seen(
            peer=self.server_id,
            seconds=seconds,
            visits=self._watched.visits(),
            processor=_processor(usage) - _processor(self._usage),
            voluntary=usage.ru_nvcsw - self._usage.ru_nvcsw,
            involuntary=usage.ru_nivcsw - self._usage.ru_nivcsw,
            resident=resident_bytes(),
            fsyncs=self._storage.fsyncs - self._fsyncs,
            appends=self._appends,
            appended=self._appended,
            took=self._took,
            decided=self._decided,
            stored=self._stored,
            committed=self._committed,
            applied=self.applied,
        )


class WatchedMailbox:
    """The mailbox of an actor.

    A link is first in, first out.  So the n-th frame that a client wrote is the n-th that was taken from it, and the
    client's own notes say when it came."""

    def __init__(self, peer: RunningActor) -> None:
        self._inner = peer.mailbox.get
        self._began, self._done = array("d"), array("d")
        self._frames: dict[int, array[int]] = {}
        self._in_turn = False
        peer.mailbox.get = self._get  # type: ignore[method-assign]

    def _get(self) -> Any:
        if self._in_turn:
            self._done.append(monotonic())
            self._in_turn = False
        turn = self._inner()
        message = turn.message
        if isinstance(message, Turn) and message.from_clients:
            for client_id, _ in message.from_clients:
                self._count(client_id)
            self._began.append(message.now)
            self._in_turn = True
        return turn

    def _count(self, client_id: int) -> None:
        """One more frame of this client in the turn that begins."""
        turns = len(self._began)
        counts = self._frames.setdefault(client_id, array("l"))
        counts.extend([0] * (turns + 1 - len(counts)))
        counts[turns] += 1

    def visits(self) -> Visits:
        """See `Watched`."""
        done = list(self._done)
        frames = {client_id: list(counts[: len(done)]) for client_id, counts in list(self._frames.items())}
        return Visits("mailbox", [], list(self._began[: len(done)]), done, frames)


class WatchedLock:
    """The lock of the twin."""

    def __init__(self, peer: LockedPeer) -> None:
        self._acquire: Callable[..., bool] = peer.lock.acquire
        self._release: Callable[[], None] = peer.lock.release
        self._asked = self._got = 0.0
        self._arrived, self._began, self._done = array("d"), array("d"), array("d")
        peer.lock.acquire = self._timed_acquire  # type: ignore[method-assign]
        peer.lock.release = self._timed_release  # type: ignore[method-assign]

    def _timed_acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        asked = monotonic()
        acquired = self._acquire(blocking, timeout)
        if acquired:
            self._asked, self._got = asked, monotonic()  # the owner's, until it gives the lock up
        return acquired

    def _timed_release(self) -> None:
        self._arrived.append(self._asked)
        self._began.append(self._got)
        self._done.append(monotonic())
        self._release()

    def visits(self) -> Visits:
        """See `Watched`."""
        done = list(self._done)
        return Visits("lock", list(self._arrived[: len(done)]), list(self._began[: len(done)]), done, {})


def _pass(index: int, ahead: deque[tuple[int, int]], into: dict[int, float], time: float) -> None:
    """Everything up to `index` was reached."""
    while ahead and ahead[0][0] <= index:
        into[ahead.popleft()[1]] = time


def _processor(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Of this process, now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except FileNotFoundError:  # no Linux: the most that it was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
