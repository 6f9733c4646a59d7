"""The load: clients that increment the counter, and note every call with the instants of its invocation and its return.

Each client is a thread with a `Client`, thus a session, of its own; the sessions make retries exactly-once (thesis
6.3).  Threads share nothing but lists that one of them appends to and an instant that one of them writes.

Rejected: one client with many threads (one session, so one order of retries: less could go wrong); callbacks to note
the time of return (they hand every answer from a reading thread to another; here the thread that waits reads).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic_ns, sleep
from typing import Any, Literal, NamedTuple

from actors.calls import Call
from actors.client import Client
from actors.cluster import Cluster
from actors.demo.happenings import Loaded, Progress
from actors.demo.patience import PATIENCE, POLL, wait_until
from actors.errors import ActorumError
from actors.machines.counter import Counter
from raft_core.verify.history import Operation

FULL_WINDOW = 64
"""Calls that a client keeps under way while throughput is measured."""
SMALL_WINDOW = 8
"""... and while peers are killed: enough to be under way at every instant, too few to slow the recovery down."""
READ_EVERY = 100
"""One call of so many is a linearizable read."""


class Seen(NamedTuple):
    """A call as its client saw it.  Instants are nanoseconds of this process's monotonic clock."""

    name: Literal["incr", "get"]
    invoked: int
    returned: int | None
    """None: the outcome is unknown."""
    result: int


class _Pending(NamedTuple):
    name: Literal["incr", "get"]
    invoked: int
    call: Call[int]


class _Handle:
    """What a load client's machine is bound to.  Whoever submits here waits soon, and reads the links meanwhile."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self.submit_command = client.submit_command
        self.submit_query = client.submit_query
        self.cluster = cluster

    def attend(self, call: Call[Any]) -> None:
        """Nobody else needs to."""


class LoadClient:
    """One client and what it saw.  `work` is run by one thread; the rest may be looked at by another."""

    def __init__(self, name: str, client: Client, counter: Counter) -> None:
        self.name = name
        self.client = client
        self.seen: list[Seen] = []
        """Calls that are over, in the order in which they ended."""
        self.failed = 0
        """Calls without a result: refused, or of unknown outcome."""
        self.is_told_to_stop = False
        self._settled_until = 0
        self._counter = counter
        self._submitted = 0

    def work(self, window: int, limit: int | None) -> None:
        """Keep `window` calls under way until `limit` increments were made or it is told to stop."""
        pending: deque[_Pending] = deque()
        increments = 0
        while True:
            is_over = self.is_told_to_stop or increments == limit
            if len(pending) < window and not is_over:
                pending.append(self._submitted_one())
                increments += pending[-1].name == "incr"
            elif pending:
                pending = self._settle(pending)
            else:
                return

    def _submitted_one(self) -> _Pending:
        self._submitted += 1
        if self._submitted % READ_EVERY == 0:
            return _Pending("get", monotonic_ns(), self._counter.get.submit())
        return _Pending("incr", monotonic_ns(), self._counter.incr.submit())

    def _settle(self, pending: deque[_Pending]) -> deque[_Pending]:
        """Wait for the oldest call, note all that are over, and return the others."""
        with suppress(ActorumError):
            pending[0].call.result()
        now = monotonic_ns()
        still: deque[_Pending] = deque()
        for number, one in enumerate(pending):
            if number == 0 or one.call.done():
                self._note(one, now)
            else:
                still.append(one)
        self._settled_until = still[0].invoked if still else now
        return still

    def has_settled(self, instant: int) -> bool:
        """Is every call invoked before `instant` over?"""
        return self._settled_until > instant

    def _note(self, one: _Pending, now: int) -> None:
        try:
            self.seen.append(Seen(one.name, one.invoked, now, one.call.result(0.0)))
        except ActorumError:
            self.failed += 1
            if one.name == "incr" and not one.call.safe_to_retry:
                self.seen.append(Seen(one.name, one.invoked, None, 0))


class Load:
    """All clients together."""

    def __init__(self, clients: Sequence[LoadClient], threads: ThreadPoolExecutor) -> None:
        self._clients = clients
        self._threads = threads
        self._working: list[Future[None]] = []

    def measured(self, increments: int) -> Iterator[Progress | Loaded]:
        """As many increments, as fast as it goes; how fast that was."""
        each, rest = divmod(increments, len(self._clients))
        self._start(FULL_WINDOW, [each + (number < rest) for number in range(len(self._clients))])
        while not all(future.done() for future in self._working):
            yield Progress(done=min(increments, len(self.seen())), total=increments)
            sleep(4 * POLL)
        self.finish()
        yield _measured(self.seen(), len(self._clients))

    def go_on(self) -> None:
        """A smaller load, until `finish`."""
        self._start(SMALL_WINDOW, [None] * len(self._clients))

    def _start(self, window: int, limits: Sequence[int | None]) -> None:
        self._working = [
            self._threads.submit(client.work, window, limit)
            for client, limit in zip(self._clients, limits, strict=True)
        ]

    def finish(self) -> None:
        """No new calls; wait for those under way."""
        self.stop()
        for future in self._working:
            future.result(PATIENCE)
        for client in self._clients:
            client.is_told_to_stop = False

    def stop(self) -> None:
        """No new calls."""
        for client in self._clients:
            client.is_told_to_stop = True

    def settle(self, instant: int) -> None:
        """Wait until every call invoked before `instant` is over."""
        for client in self._clients:
            wait_until(partial(client.has_settled, instant), f"the calls of {client.name} were not answered")

    def seen(self) -> list[Seen]:
        """Calls that are over."""
        return [seen for client in self._clients for seen in client.seen]

    @property
    def failed(self) -> int:
        """Calls without a result, so far."""
        return sum(client.failed for client in self._clients)

    def history(self) -> list[Operation]:
        """Everything any client saw."""
        return [
            Operation(client.name, seen.name, (), seen.result, invoked=seen.invoked, returned=seen.returned)
            for client in self._clients
            for seen in client.seen
        ]


@contextmanager
def load_on(cluster: Cluster, clients: int) -> Iterator[Load]:
    """Clients with links to all peers, and threads for them."""
    members = [_load_client(f"c{number}", cluster) for number in range(1, clients + 1)]
    threads = ThreadPoolExecutor(clients, thread_name_prefix="actorum-demo")
    load = Load(members, threads)
    try:
        yield load
    finally:
        load.stop()
        for member in members:
            member.client.close()  # ends what still waits, if this is no good end
        threads.shutdown()


def _load_client(name: str, cluster: Cluster) -> LoadClient:
    client = Client(timeout=PATIENCE, health=cluster.supervisor.health)
    cluster.supervisor.add_client(client)
    return LoadClient(name, client, Counter._bound(_Handle(client, cluster)))


def _measured(seen: Sequence[Seen], clients: int) -> Loaded:
    calls = [(one.invoked, one.returned) for one in seen if one.name == "incr" and one.returned is not None]
    latencies = sorted(returned - invoked for invoked, returned in calls)
    seconds = (max(returned for _, returned in calls) - min(invoked for invoked, _ in calls)) / 1e9
    return Loaded(
        increments=len(calls),
        clients=clients,
        seconds=seconds,
        commits_per_second=len(calls) / seconds,
        p50_ms=latencies[len(latencies) // 2] / 1e6,
        p99_ms=latencies[len(latencies) * 99 // 100] / 1e6,
    )
