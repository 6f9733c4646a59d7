"""Watching a cluster: what happens to its peers, as a stream to read or a listener to be called.

One link to each peer carries what any stream of this program wants; a peer that is started again is asked again.  What
the rules are:

1. In order for each peer.  Between peers there is no order but that of `at`.
2. A stream holds so many happenings as it was made for.  When it is full the oldest is dropped and counted (`lost`):
   who does not read sees the latest, and what he missed.  What the way lost, as the peer's numbers show, counts too.
3. A listener is called by a thread of its own, one happening after the other (in a simulation by whoever moves the
   time).  What it raises is logged ("actorum.events"); it hurts neither the peer nor other listeners.
4. Nothing that happened before a stream was opened is in it, and everything that happens after `events()` returned is.

No memory is shared: who watches what belongs to the thread that reads the links, and a stream is a queue.

Rejected: calling listeners in the peer's own turn, as goraft does (a slow listener would cost the leadership, and one
that raises the peer); a queue without an end (a listener that hangs would eat the memory of its program).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Protocol, TypeAlias

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

Waiting: TypeAlias = "SimpleQueue[Happening | None]"
"""What a stream holds; None: nothing comes any more."""
Receive: TypeAlias = Callable[[Waiting, float | None], Happening | None]
"""How to wait for the next: until it is there, at most so many seconds."""


class Wire(Protocol):
    """The way to the peers, and the thread that reads their links (a `RawClient`)."""

    def send(self, server_id: ServerId, message: ClientMessage) -> None:
        """Say this to whichever incarnation is there."""

    def call(self, function: Callable[[], None]) -> None:
        """Have that thread call `function`."""


def receive(waiting: Waiting, timeout: float | None) -> Happening | None:
    """Time passes by itself."""
    try:
        return waiting.get(timeout=None if timeout is None else max(0.0, timeout))
    except Empty:
        return None


class EventStream:
    """Happenings of some kinds.  Any thread may read; each is read once.  Close it, or use it in a `with` block."""

    def __init__(self, watch: Watch, kinds: frozenset[type[Happening]], capacity: int) -> None:
        self.kinds = kinds
        self.lost = 0
        """Happenings that were dropped because nobody read in time, or on the way."""
        self._watch = watch
        self._capacity = capacity
        self._waiting: Waiting = SimpleQueue()
        self._is_closed = False

    def get(self, timeout: float | None = None) -> Happening | None:
        """The next one; None if there was none within `timeout` seconds, or the stream has ended."""
        happening = self._watch.receive(self._waiting, timeout)
        if happening is None and self._is_closed:
            self._waiting.put(None)  # for the next reader
        return happening

    def __iter__(self) -> Iterator[Happening]:
        """All of them, until the stream is closed or the cluster ends."""
        while (happening := self.get()) is not None:
            yield happening

    def put(self, happening: Happening) -> None:
        """It happened."""
        while self._waiting.qsize() >= self._capacity and not self._is_closed:
            with contextlib.suppress(Empty):
                if self._waiting.get_nowait() is not None:
                    self.lost += 1
        if not self._is_closed:
            self._waiting.put(happening)

    def end(self) -> None:
        """Nothing comes any more; what has come can still be read."""
        self._is_closed = True
        self._waiting.put(None)

    def close(self) -> None:
        """Nobody reads any more."""
        self._watch.remove(self)
        self.end()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Listening:
    """A function that is called for each happening of some kinds, until `stop`."""

    def __init__(self, stream: EventStream, callback: Callable[[Happening], object], *, is_threaded: bool) -> None:
        self.stream = stream
        self._callback = callback
        self._is_stopped = False
        self._thread = Thread(target=self._run, name="actorum-listener", daemon=True) if is_threaded else None
        if self._thread is not None:
            self._thread.start()

    @property
    def lost(self) -> int:
        """Happenings for which it was not called: it took too long over others."""
        return self.stream.lost

    def _run(self) -> None:
        for happening in self.stream:
            self._call(happening)

    def call_waiting(self) -> None:
        """Without a thread: call it for all that is there."""
        while (happening := self.stream.get(0)) is not None:
            self._call(happening)

    def _call(self, happening: Happening) -> None:
        if self._is_stopped:
            return
        try:
            self._callback(happening)
        except Exception:
            LOG.exception("a listener raised at %s of %s", type(happening).__name__, happening.source)

    def stop(self) -> None:
        """It is not called any more; a call that has begun is waited for, unless it is the one that stops it."""
        self._is_stopped = True
        self.stream.close()
        self.join()

    def join(self) -> None:
        """Wait until the last call is over, at most `PATIENCE` seconds."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # it is its own thread that stops it
                self._thread.join(PATIENCE)


class Watch:
    """What one program watches (a `RawListener`).  Its lists belong to the wire's thread; others look at most."""

    def __init__(self, receive: Receive = receive, *, is_threaded: bool = True) -> None:
        """`receive`: how readers wait; `is_threaded`: listeners have threads of their own."""
        self.receive = receive
        self._is_threaded = is_threaded
        self._wire: Wire | None = None
        self._is_closed = False
        self._streams: list[EventStream] = []
        self._listening: list[Listening] = []
        self._attached: set[ServerId] = set()
        self._question = 0
        self._expected: dict[ServerId, tuple[int, int]] = {}
        """Of each peer: which question it answers now, and the number of what it tells next."""

    def connect(self, wire: Wire) -> None:
        """Here the peers can be reached; say this before the first is attached."""
        self._wire = wire

    def stream(self, kinds: Iterable[type[Happening] | str], capacity: int = CAPACITY) -> EventStream:
        """A stream of these kinds, or of all if none is named."""
        if capacity < 1:
            raise WrongArguments(f"a stream cannot hold {capacity} happenings", fix="capacity=4096")
        if self._is_closed:
            raise ClusterClosed("the cluster is closed", why="its `with` block has ended", fix="watch it inside")
        stream = EventStream(self, kinds_of(kinds), capacity)
        self._in_its_thread(lambda: self._add(stream))
        return stream

    def listen(self, callback: Callable[[Happening], object], stream: EventStream) -> Listening:
        """Call `callback` for what is in `stream`."""
        listening = Listening(stream, callback, is_threaded=self._is_threaded)
        self._in_its_thread(lambda: self._listening.append(listening))
        return listening

    def remove(self, stream: EventStream) -> None:
        """It wants nothing any more."""
        if not self._is_closed:
            self._in_its_thread(lambda: self._remove(stream))

    def is_told_by(self, server_ids: Iterable[ServerId], stream: EventStream) -> bool:
        """Have these peers begun to tell what `stream` wants?"""
        asked = stream in self._streams
        return asked and all(self._expected.get(name, _NOTHING)[0] == self._question for name in server_ids)

    def close(self) -> None:
        """The end of all streams."""
        self._is_closed = True
        listening = list(self._listening)
        self._in_its_thread(self._end)
        for one in listening:
            one.join()

    def _in_its_thread(self, function: Callable[[], None]) -> None:
        assert self._wire is not None
        self._wire.call(function)

    # --- the wire's thread --------------------------------------------------------------------------------------------

    def _add(self, stream: EventStream) -> None:
        self._question += 1
        self._streams.append(stream)
        self._ask_all()

    def _remove(self, stream: EventStream) -> None:
        self._listening = [one for one in self._listening if one.stream is not stream]
        if stream in self._streams:
            self._question += 1
            self._streams.remove(stream)
            self._ask_all()

    def _end(self) -> None:
        for stream in self._streams:
            stream.end()
        self._streams, self._listening = [], []

    def _ask_all(self) -> None:
        for server_id in self._attached:
            self._ask(server_id)

    def _ask(self, server_id: ServerId) -> None:
        assert self._wire is not None
        names = sorted({kind.__name__ for stream in self._streams for kind in stream.kinds})
        self._wire.send(server_id, WatchPeer(self._question, tuple(names)))

    def attached(self, server_id: ServerId) -> None:
        """A new incarnation of a peer can be spoken to."""
        self._attached.add(server_id)
        self._expected.pop(server_id, None)
        self._ask(server_id)

    def gone(self, server_id: ServerId) -> None:
        """It will say nothing any more."""
        self._attached.discard(server_id)
        self._expected.pop(server_id, None)

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """A peer said something."""
        if not isinstance(message, Happenings):
            return
        question, expected = self._expected.get(server_id, _NOTHING)
        missing = message.number - (expected if question == message.batch_id else 1)
        self._expected[server_id] = message.batch_id, message.number + len(message.happenings)
        for stream in self._streams:
            stream.lost += missing
            for happening in message.happenings:
                if type(happening) in stream.kinds:
                    stream.put(happening)
        if not self._is_threaded:
            for listening in list(self._listening):
                listening.call_waiting()


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
