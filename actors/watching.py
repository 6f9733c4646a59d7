"""Watching a cluster: what happens to its peers, as a stream to read or a listener to be called.

One link to each peer carries what any stream of this program wants; a peer that is started again is asked again.  What
the rules are:

1. In order for each peer.  Between peers there is no order but that of `at`.
2. A stream holds so many happenings as it was made for.  When it is full the oldest is dropped and counted (`lost`):
   who does not read sees the latest, and what he missed.  What the way lost, as the peer's numbers show, counts too.
3. A listener is called by a thread of its own, one happening after the other (in a simulation by whoever moves the
   time).  What it raises is logged ("actorum.events"); it hurts neither the peer nor other listeners.
4. Nothing that happened before a stream was opened is in it, and everything that happens after `open` returned is.

Rejected: calling listeners in the peer's own turn, as goraft does (a slow listener would cost the leadership, and one
that raises the peer); a queue without an end (a listener that hangs would eat the memory of its program).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Protocol

from actors.errors import ClusterClosed, WrongArguments
from actors.happenings import KINDS, Happening
from actors.protocol import ClientMessage, Happenings, PeerMessage, WatchPeer
from raft_core import ServerId

LOG = logging.getLogger("actorum.events")
"""Listeners that raised (ERROR)."""

CAPACITY = 4096
"""Happenings that a stream holds unless it is told otherwise."""
PATIENCE = 5.0
"""Seconds that a listener which is stopped gets to return."""


_NOTHING = (-1, 0)


class Wire(Protocol):
    """The way to the peers (a `RawClient`)."""

    def send(self, server_id: ServerId, message: ClientMessage) -> None:
        """Say this to whichever incarnation is there."""


class Patience(Protocol):
    """How to wait for what another thread, or the simulation, does."""

    def now(self) -> float:
        """Seconds of the clock by which it is waited."""

    def wait(self, changed: threading.Condition, deadline: float | None) -> None:
        """Wait for `changed`, which is held, until it is notified, or for `deadline`; perhaps for less."""


class RealPatience:
    """Time passes by itself."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return monotonic()

    def wait(self, changed: threading.Condition, deadline: float | None) -> None:
        """Sleep."""
        changed.wait(None if deadline is None else max(0.0, deadline - monotonic()))


class EventStream:
    """Happenings of some kinds.  Any thread may read; each is read once.  Close it, or use it in a `with` block."""

    def __init__(self, watch: Watch, kinds: frozenset[type[Happening]], capacity: int) -> None:
        self.kinds = kinds
        self.lost = 0
        """Happenings that were dropped because nobody read in time, or on the way."""
        self._watch = watch
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[Happening] = deque()
        self._is_closed = False

    def get(self, timeout: float | None = None) -> Happening | None:
        """The next one; None if there was none within `timeout` seconds, or the stream is closed."""
        patience = self._watch.patience
        deadline = None if timeout is None else patience.now() + timeout
        with self._changed:
            while not self._waiting and not self._is_closed:
                if deadline is not None and patience.now() >= deadline:
                    return None
                patience.wait(self._changed, deadline)
            return self._waiting.popleft() if self._waiting else None

    def __iter__(self) -> Iterator[Happening]:
        """All of them, until the stream is closed or the cluster ends."""
        while (happening := self.get()) is not None:
            yield happening

    def put(self, happening: Happening) -> None:
        """It happened."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(happening)
            self._changed.notify()

    def miss(self, count: int) -> None:
        """So many were lost on the way."""
        with self._changed:
            self.lost += count

    def end(self) -> None:
        """Nothing comes any more; what has come can still be read."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody reads any more."""
        self._watch.remove(self)
        self.end()
        with self._changed:
            self._waiting.clear()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Listening:
    """A function that is called for each happening of some kinds, until `stop`."""

    def __init__(self, stream: EventStream, callback: Callable[[Happening], object], *, is_threaded: bool) -> None:
        self._stream = stream
        self._callback = callback
        self._thread = threading.Thread(target=self._run, name="actorum-listener", daemon=True) if is_threaded else None
        if self._thread is not None:
            self._thread.start()

    @property
    def lost(self) -> int:
        """Happenings for which it was not called: it took too long over others."""
        return self._stream.lost

    def _run(self) -> None:
        for happening in self._stream:
            self._call(happening)

    def call_waiting(self) -> None:
        """Without a thread: call it for all that is there."""
        while (happening := self._stream.get(0)) is not None:
            self._call(happening)

    def _call(self, happening: Happening) -> None:
        try:
            self._callback(happening)
        except Exception:
            LOG.exception("a listener raised at %s of %s", type(happening).__name__, happening.source)

    def stop(self) -> None:
        """It is not called any more; a call that has begun is waited for, unless it is the one that stops it."""
        self._stream.close()
        self.join()

    def join(self) -> None:
        """Wait until the last call is over, at most `PATIENCE` seconds."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)


class Watch:
    """What one program watches (a `RawListener`)."""

    def __init__(self, patience: Patience | None = None, *, is_threaded: bool = True) -> None:
        """`patience`: how readers wait; `is_threaded`: listeners have threads of their own."""
        self.patience = patience or RealPatience()
        self._is_threaded = is_threaded
        self._wire: Wire | None = None
        self._lock = threading.Lock()
        self._streams: list[EventStream] = []
        self._listening: list[Listening] = []
        self._attached: set[ServerId] = set()
        self._is_closed = False
        self._batch_id = 0
        self._expected: dict[ServerId, tuple[int, int]] = {}
        """Of each peer: to which question it answers now, and the number of what it tells next."""

    def connect(self, wire: Wire) -> None:
        """Here the peers can be reached; say this before the first is attached."""
        self._wire = wire

    def open(self, kinds: Iterable[type[Happening] | str], capacity: int = CAPACITY) -> EventStream:
        """A stream of these kinds, or of all if none is named."""
        if capacity < 1:
            raise WrongArguments(f"a stream cannot hold {capacity} happenings", fix="capacity=4096")
        stream = EventStream(self, kinds_of(kinds), capacity)
        with self._lock:
            if self._is_closed:
                raise ClusterClosed("the cluster is closed", why="its `with` block has ended", fix="watch it inside")
            self._streams = [*self._streams, stream]
            self._ask_all()
        return stream

    def listen(self, callback: Callable[[Happening], object], stream: EventStream) -> Listening:
        """Call `callback` for what is in `stream`."""
        listening = Listening(stream, callback, is_threaded=self._is_threaded)
        with self._lock:
            self._listening = [*self._listening, listening]
        return listening

    def remove(self, stream: EventStream) -> None:
        """It wants nothing any more."""
        with self._lock:
            self._listening = [listening for listening in self._listening if listening._stream is not stream]
            if stream in self._streams:
                self._streams = [other for other in self._streams if other is not stream]
                self._ask_all()

    def is_told_by(self, server_ids: Iterable[ServerId]) -> bool:
        """Have these peers begun to tell what is wanted now?"""
        with self._lock:
            return all(self._expected.get(name, _NOTHING)[0] == self._batch_id for name in server_ids)

    def close(self) -> None:
        """The end of all streams, when no peer can be heard any more."""
        with self._lock:
            self._is_closed = True
            streams, listening = self._streams, self._listening
            self._streams, self._listening = [], []
        for stream in streams:
            stream.end()
        for one in listening:
            one.join()

    def _ask_all(self) -> None:
        self._batch_id += 1
        for server_id in self._attached:
            self._ask(server_id)

    def _ask(self, server_id: ServerId) -> None:
        assert self._wire is not None
        names = sorted({kind.__name__ for stream in self._streams for kind in stream.kinds})
        self._wire.send(server_id, WatchPeer(self._batch_id, tuple(names)))

    # --- what the wire tells ------------------------------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """A new incarnation of a peer can be spoken to."""
        with self._lock:
            self._attached.add(server_id)
            self._expected.pop(server_id, None)
            self._ask(server_id)

    def gone(self, server_id: ServerId) -> None:
        """It will say nothing any more."""
        with self._lock:
            self._attached.discard(server_id)
            self._expected.pop(server_id, None)

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """A peer said something."""
        if not isinstance(message, Happenings):
            return
        with self._lock:
            batch_id, expected = self._expected.get(server_id, _NOTHING)
            missing = message.number - (expected if batch_id == message.batch_id else 1)
            self._expected[server_id] = message.batch_id, message.number + len(message.happenings)
            streams, listening = self._streams, self._listening
        for stream in streams:
            if missing:
                stream.miss(missing)
            for happening in message.happenings:
                if type(happening) in stream.kinds:
                    stream.put(happening)
        if not self._is_threaded:
            for one in listening:
                one.call_waiting()


def kinds_of(kinds: Iterable[type[Happening] | str]) -> frozenset[type[Happening]]:
    """Types or names of types; all if there are none.  Raises `WrongArguments` for a name that is none."""
    named = [kind if isinstance(kind, str) else kind.__name__ for kind in kinds]
    if unknown := [name for name in named if name not in KINDS]:
        raise WrongArguments(
            f"nothing of the kind {', '.join(unknown)} ever happens",
            why=f"known are {', '.join(KINDS)}",
            fix="cluster.events(happenings.LeaderChanged)",
        )
    return frozenset(KINDS[name] for name in named or KINDS)


@contextlib.contextmanager
def closing(stream: EventStream) -> Iterator[EventStream]:
    """Close it if what is done meanwhile fails."""
    try:
        yield stream
    except BaseException:
        stream.close()
        raise
