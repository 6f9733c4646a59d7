"""What it costs to tell those who watch a peer, from the turn in which something happened to the listener.

    python -m benchmarks.events [--rounds 7] [--seconds 0.1] [--json FILE]

A leader commits one entry: that is the turn, again and again.  First the peer's side: to find out what happened and to
tell 1 or 10 watchers, or one who wants to know of something else.  Then the way: bytes of the message and back.  Then
the watching program: handing it to 1 or 10 streams that are read, and to a listener in a thread of its own.  While
nobody watches a turn costs one comparison, which is not worth a line.

Each figure is the median over the rounds, as in `benchmarks.codec`.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

from actors.applier import ClientId
from actors.happenings import CommitAdvanced, Happening, LeaderChanged
from actors.observer import Observer
from actors.protocol import ClientMessage, Happenings, PeerMessage, WatchPeer, decode_peer_message, encode
from actors.watching import EventStream, Watch
from benchmarks.codec import without_collections
from benchmarks.measuring import host, write_json
from raft_core import Effect, Event, Server, ServerId, follower, received, step_all
from raft_core.events import ElectionTimeout, LogPersisted, Proposed
from raft_core.messages import AppendEntriesResult, RequestVoteResult
from raft_core.types import Settings

BATCH = 1_000
"""Happenings that a listener gets before it is waited for."""

PATIENCE = 30.0
"""Seconds that a batch may take."""


@dataclass
class Speed:
    """One line of the table; the median over the rounds."""

    name: str
    per_second: float


@dataclass(frozen=True)
class Turn:
    """A turn in which one entry was committed."""

    events: list[Event]
    before: Server
    after: Server
    effects: tuple[Effect, ...]


def a_commit() -> Turn:
    """A leader of three that has an entry on its disk, and hears that it is on another."""
    server = follower("n1", ["n1", "n2", "n3"], settings=Settings(pre_vote=False))
    told: list[Event] = [ElectionTimeout(0), received("n2", RequestVoteResult(1, True)), Proposed(1, (b"x",))]
    before = step_all(server, [*told, LogPersisted(2, 1)]).server
    events: list[Event] = [received("n2", AppendEntriesResult(1, True, 0, 2))]
    after, effects = step_all(before, events)
    assert after.commit_index == 2
    return Turn(events, before, after, effects)


class Told:
    """Counts what a peer tells."""

    def __init__(self) -> None:
        self.count = 0

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Told."""
        self.count += 1


def observing(turn: Turn, watchers: int, kind: type[Happening]) -> tuple[Told, Callable[[], object]]:
    """Look at `turn` and tell so many watchers who want to know of `kind`."""
    told = Told()
    observer = Observer(told)
    for client_id in range(watchers):
        observer.watch(client_id, WatchPeer(1, (kind.__name__,)), turn.before)
    told.count = 0
    return told, partial(observer.turn, 1.0, turn.events, turn.before, turn.after, turn.effects)


class Nowhere:
    """A way to peers that are not there."""

    def send(self, server_id: ServerId, message: ClientMessage) -> None:
        """Gone."""

    def call(self, function: Callable[[], None]) -> None:
        """The caller is the only thread."""
        function()


def watching() -> tuple[Watch, Callable[[], None]]:
    """A program that watches n1, and what lets n1 commit an entry."""
    watch, numbers = Watch(), count(1)
    watch.connect(Nowhere())

    def commits() -> None:
        number = next(numbers)
        happened = CommitAdvanced(source="n1", at=1.0, previous=number - 1, value=number)
        watch.heard("n1", Happenings(1, number, (happened,)))

    return watch, commits


def reading(streams: list[EventStream], commits: Callable[[], None]) -> None:
    """One happening comes and is read from all streams."""
    commits()
    for stream in streams:
        assert stream.get(0) is not None


class Listener:
    """Counts what it is called for."""

    def __init__(self) -> None:
        self.called = 0
        self._done = threading.Semaphore(0)

    def __call__(self, happening: Happening) -> None:
        self.called += 1
        if self.called % BATCH == 0:
            self._done.release()

    def hear(self, commits: Callable[[], None]) -> None:
        """A batch happens; wait until it was called for all of it."""
        for _ in range(BATCH):
            commits()
        if not self._done.acquire(timeout=PATIENCE):
            raise TimeoutError(f"the listener was called {self.called} times only")


def measure(rounds: int, seconds: float) -> Iterator[Speed]:
    """All of it."""
    median = partial(without_collections, rounds, seconds=seconds)
    turn = a_commit()
    for watchers, kind, described in (
        (1, CommitAdvanced, "one watcher is told"),
        (10, CommitAdvanced, "ten watchers are told"),
        (1, LeaderChanged, "one watcher wants something else"),
    ):
        yield Speed(f"a turn that commits, {described}", median(observing(turn, watchers, kind)[1]))
    frame = encode(Happenings(1, 7, (CommitAdvanced(source="n1", at=1.0, previous=6, value=7),)))
    yield Speed(f"decode and encode {len(frame)} bytes", median(lambda: encode(decode_peer_message(frame))))
    for streams in (1, 10):
        watch, commits = watching()
        opened = [watch.stream((CommitAdvanced,)) for _ in range(streams)]
        yield Speed(f"through {streams} streams, and read", median(partial(reading, opened, commits)))
        watch.close()
    watch, commits = watching()
    listener = Listener()
    watch.listen(listener, watch.stream((CommitAdvanced,), capacity=BATCH))
    yield Speed("through a listener's thread", BATCH * median(partial(listener.hear, commits)))
    watch.close()


def main() -> None:
    """Measure, print a table, write JSON if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="of one round")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(f"{'':56} {'per second':>12} {'microseconds':>12}")
    speeds: list[Speed] = []
    for speed in measure(options.rounds, options.seconds):
        speeds.append(speed)
        print(f"{speed.name:56} {speed.per_second:12,.0f} {1e6 / speed.per_second:12.2f}", flush=True)
    if options.json is not None:
        write_json(options.json, {"host": host(), "speeds": speeds})


if __name__ == "__main__":
    main()
