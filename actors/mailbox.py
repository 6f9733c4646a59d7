"""The mailbox of a peer: everything that happens to it, one turn at a time.

Pykka lets an actor type bring its own inbox (`put`, `get`, `empty`).  This one's `get` waits, in the actor's thread, on
all inbound links, on a wake-up descriptor for what other threads `put`, and on the next deadline, and returns all
that is there as one `Turn`.  So there are no bridge threads and no hand-off, batches come for free, and a timer is
compared with the clock when its turn comes instead of being queued.

`DrainingInbox` is the inbox of the actors that may block (disk, state machine): it hands over everything that waits as
one message, which is group commit.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from pykka._envelope import Envelope

from actors.applier import ClientId
from actors.deadlines import NEVER, Deadlines
from actors.errors import ActorumError, BadFrame
from actors.links import LinkClosed, LinkReader, LinkWriter, Poll
from actors.notes import AppliedUpTo, ClientGone, Failed, Note
from raft_core import ServerId


class Turn(NamedTuple):
    """What happened since the last turn."""

    now: float
    """Seconds of the monotonic clock."""
    notes: list[Note]
    from_peers: list[tuple[ServerId, bytes]]
    from_clients: list[tuple[ClientId, bytes]]


class _Watched(Protocol):
    def fileno(self) -> int: ...


class Mailbox:
    """Inbox of a `PeerActor`.  `put` is for any thread; everything else for the actor's own."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._poll: Poll[Callable[[], None]] = Poll()
        self._readers: set[LinkReader] = set()
        self._notes: deque[Envelope[Any]] = deque()
        self._others: deque[Envelope[Any]] = deque()
        self._applied: AppliedUpTo | None = None
        self._told: AppliedUpTo | None = None
        self._sleeping = False
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._poll.watch(self._wake_reader, self._drain_wake_ups)
        self._flushing: set[LinkWriter] = set()
        self._turn = Turn(0.0, [], [], [])
        self.depth = 0
        """Messages taken in the last turn."""
        self.bad_frames: list[ActorumError] = []
        """Why links were closed for what came over them; the latest few."""

    # --- for any thread -----------------------------------------------------------------------------------------------

    def put(self, envelope: Envelope[Any], /) -> None:
        """Deposit a message.  What is deposited before `get` looks is seen by it; otherwise it is woken.

        `AppliedUpTo` wakes nobody: nothing has to be done about it, so it is taken with whatever comes next.  A turn
        for it alone would cost as much as one for a command.
        """
        if isinstance(envelope.message, AppliedUpTo):
            self._applied = envelope.message
            return
        self._notes.append(envelope)
        if self._sleeping:
            with contextlib.suppress(OSError):
                os.write(self._wake_writer, b"!")

    def empty(self) -> bool:
        """Nothing was `put` that has to be got."""
        return not self._notes and not self._others

    # --- for the actor's thread ---------------------------------------------------------------------------------------

    def get(self) -> Envelope[Any]:
        """Wait for something to happen, and return all of it: as a `Turn`, or as it came if it is Pykka's own."""
        if self._others:
            return self._others.popleft()
        if self._is_closed and self._notes:  # Pykka empties the inbox of an actor that has ended
            return self._notes.popleft()
        try:
            return Envelope(self._next_turn())
        except Exception as error:  # Pykka does not guard `get`: the thread would end, and nobody would be told
            return Envelope(Turn(monotonic(), [Failed(error)], [], []))

    def _next_turn(self) -> Turn:
        turn = self._turn = Turn(0.0, [], [], [])
        self._sleeping = True
        timeout = 0.0 if self._notes else self._until_next_deadline()
        ready = self._poll.wait(timeout)
        self._sleeping = False
        for happened in ready:
            happened()
        self._take_notes(turn)
        self.depth = len(turn.from_peers) + len(turn.from_clients) + len(turn.notes)
        return Turn(monotonic(), turn.notes, turn.from_peers, turn.from_clients)

    def _until_next_deadline(self) -> float | None:
        due = self._deadlines.next
        return None if due == NEVER else max(0.0, due - monotonic())

    def _take_notes(self, turn: Turn) -> None:
        applied = self._applied
        if applied is not None and applied is not self._told:
            self._told = applied
            turn.notes.append(applied)
        while self._notes:
            envelope = self._notes.popleft()
            if isinstance(envelope.message, Note):
                turn.notes.append(envelope.message)
            else:
                self._others.append(envelope)

    def _drain_wake_ups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)

    def read_peer(self, server_id: ServerId, reader: LinkReader) -> None:
        """From now on, messages of this peer come over `reader`."""

        def accept(frames: list[bytes]) -> None:
            self._turn.from_peers.extend([(server_id, frame) for frame in frames])

        self._read(reader, accept, lambda: None)

    def read_client(self, client_id: ClientId, reader: LinkReader) -> None:
        """From now on, requests of this client come over `reader`."""

        def accept(frames: list[bytes]) -> None:
            self._turn.from_clients.extend([(client_id, frame) for frame in frames])

        self._read(reader, accept, lambda: self._turn.notes.append(ClientGone(client_id)))

    def _read(self, reader: LinkReader, accept: Callable[[list[bytes]], None], ended: Callable[[], None]) -> None:
        def ready() -> None:
            try:
                accept(reader.get_available())
            except (LinkClosed, BadFrame) as error:
                if isinstance(error, BadFrame):
                    self.refuse(error)
                self.forget(reader)
                ended()

        self._readers.add(reader)
        self._poll.watch(reader, ready)

    def refuse(self, error: ActorumError) -> None:
        """Note why something that came over a link was not taken."""
        self.bad_frames = [*self.bad_frames[-15:], error]

    def forget(self, reader: LinkReader) -> None:
        """Read this link no more."""
        if not reader.is_closed:
            self._poll.forget(reader)
            self._readers.discard(reader)
            reader.close()

    def watch(self, source: _Watched | int, happened: Callable[[], Iterable[Note]]) -> None:
        """When `source` is readable, `happened` says what that means."""
        self._poll.watch(source, lambda: self._turn.notes.extend(happened()))

    def unwatch(self, source: _Watched | int) -> None:
        """Look at `source` no more."""
        with contextlib.suppress(KeyError, ValueError):
            self._poll.forget(source)

    def flush(self, writer: LinkWriter) -> None:
        """The pipe of `writer` was full: send the rest when it is not."""
        if writer in self._flushing or writer.is_closed:
            return
        self._flushing.add(writer)
        self._poll.watch(writer, lambda: self._flush(writer), to_write=True)

    def _flush(self, writer: LinkWriter) -> None:
        descriptor = writer.fileno()
        writer.flush()
        if not writer.backlog:
            self._flushing.discard(writer)
            self._poll.forget(descriptor)

    def discard(self, writer: LinkWriter) -> None:
        """Write to this link no more."""
        if writer in self._flushing:
            self._flushing.discard(writer)
            self._poll.forget(writer.fileno())
        writer.close()

    def close(self) -> None:
        """Give the descriptors back."""
        self._is_closed = True
        for reader in self._readers:
            reader.close()
        for writer in self._flushing:
            writer.close()
        self._poll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)


class ReplyLink(Struct, frozen=True):
    """The applier answers this client over `writer` from now on; None: the client is gone."""

    client_id: ClientId
    writer: LinkWriter | None


class Batch(NamedTuple):
    """Everything that waited in a `DrainingInbox`, in order."""

    messages: list[Any]


class DrainingInbox:
    """Inbox of a worker: `get` returns all that waits, as one `Batch`.  Pykka's own messages come alone, and last."""

    def __init__(self) -> None:
        self.patience: float | None = None
        """Seconds after which `get` returns an empty `Batch` if nothing came; None: it waits."""
        self._queue: SimpleQueue[Envelope[Any]] = SimpleQueue()
        self._others: deque[Envelope[Any]] = deque()

    def put(self, envelope: Envelope[Any], /) -> None:
        """Deposit a message."""
        self._queue.put(envelope)

    def get(self) -> Envelope[Any]:
        """Wait for a message; return it and all behind it."""
        if self._others:
            return self._others.popleft()
        batch: list[Any] = []
        try:
            envelope: Envelope[Any] | None = self._queue.get(timeout=self.patience)
        except Empty:
            return Envelope(Batch([]))
        while envelope is not None:
            if isinstance(envelope.message, list | ReplyLink):
                batch.append(envelope.message)
            else:
                self._others.append(envelope)
            envelope = self._next()
        return Envelope(Batch(batch)) if batch else self._others.popleft()

    def _next(self) -> Envelope[Any] | None:
        return None if self._queue.empty() else self._queue.get()  # nobody else takes from it

    def empty(self) -> bool:
        """Nothing was `put` that has not been got."""
        return self._queue.empty() and not self._others
