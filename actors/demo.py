"""What `actorum demo` does, apart from drawing it: load, kill, recover - and then prove that nothing was lost.

`run` is a generator of what happened, in order; whoever draws it decides what it looks like, and one who stops
listening stops the demonstration.  Nothing here is staged: processes are killed with SIGKILL while calls are under way,
every number is measured, and every call of every client is recorded with the instants of its invocation and its return,
so that at the end the whole run is checked for linearizability (paper section 8), not a sample of it.

Each client is a thread with a `Client`, thus a session, of its own; the sessions make retries exactly-once (thesis
6.3).  Threads share nothing but lists that one of them appends to and an instant that one of them writes.

Rejected: one client with many threads (one session, so one order of retries: less could go wrong); callbacks to note
the time of return (they hand every answer from a reading thread to another; here the thread that waits reads).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from actors.calls import Call
from actors.client import Client
from actors.cluster import Cluster
from actors.errors import ActorumError, NoQuorum, SafetyViolation
from actors.machines.counter import Counter
from actors.protocol import Status
from raft_core import ServerId
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import Operation
from raft_core.verify.linearizability import check

FULL_WINDOW = 64
"""Calls that a client keeps under way while throughput is measured."""
SMALL_WINDOW = 8
"""... and while peers are killed: enough to be under way at every instant, too few to slow the recovery down."""
READ_EVERY = 100
"""One call of so many is a linearizable read."""
PATIENCE = 60.0
"""Seconds a call waits, and seconds every step may take: far beyond any recovery, for a slow machine is no failure."""
_POLL = 0.005


class Plan(Struct, frozen=True, kw_only=True):
    """What to demonstrate."""

    data: Path
    """An empty directory for the logs."""
    increments: int = 20_000
    """Calls in the measured load; what goes on while peers are killed comes on top."""
    clients: int = 4
    nodes: int = 3
    engine: Literal["processes", "threads"] = "processes"


# --- What happens.  Durations are seconds unless their name says otherwise.


class Event(Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Base of what `run` reports."""


class Starting(Event):
    """The peers are about to be started."""

    nodes: int
    engine: str
    data: str


class Ready(Event):
    """A leader answers."""

    seconds: float
    leader: ServerId
    term: int


class Progress(Event):
    """The load goes on: so many calls have been answered."""

    done: int
    total: int


class Loaded(Event):
    """All increments of the measured load were answered."""

    increments: int
    clients: int
    seconds: float
    commits_per_second: float
    p50_ms: float
    p99_ms: float


class Killing(Event):
    """These peers are killed now, under load; `leader` is one of them."""

    servers: tuple[ServerId, ...]
    leader: ServerId


class TookOver(Event):
    """The leader's calls are answered by another one."""

    leader: ServerId
    term: int
    seconds: float
    """From the kill to the new leader's first answer."""
    waited: int
    """Calls that were under way when that answer came."""
    failed: int


class Restarting(Event):
    """A killed peer is started again, under load."""

    server: ServerId


class CaughtUp(Event):
    """It has everything that was committed when it came back."""

    server: ServerId
    recovered: int
    """Entries that it found in its storage."""
    entries: int
    """Entries it had missed."""
    start_seconds: float
    seconds: float


class Recovered(Event):
    """All peers were killed, and the cluster answers again, out of its storage alone."""

    recovered_term: int
    """The term in which the killed leader led; the new one's is higher, so it was not forgotten."""
    entries: int
    """Entries that the new leader found in its storage."""
    leader: ServerId
    term: int
    seconds: float
    """From the restart to the first answer."""
    waited: int
    failed: int


class Checking(Event):
    """The proof begins."""

    operations: int


class Proven(Event):
    """Everything held; had anything not, `SafetyViolation` were raised."""

    replicas: int
    value: int
    acknowledged: int
    unknown: int
    """Increments whose outcome no client knows; each may be in `value` or not."""
    lost: int
    doubled: int
    digest: str
    operations: int
    reads: int
    check_seconds: float
    linearizable: bool = True
    order: int = 0
    """Operations in the order that explains all results."""


Happening: TypeAlias = (
    Starting | Ready | Progress | Loaded | Killing | TookOver | Restarting | CaughtUp | Recovered | Checking | Proven
)


def run(plan: Plan) -> Iterator[Happening]:
    """Demonstrate.  Raises `SafetyViolation` if anything that Raft promises did not hold, `NoQuorum` if a step took
    longer than `PATIENCE`."""
    yield Starting(nodes=plan.nodes, engine=plan.engine, data=str(plan.data))
    began = monotonic()
    cluster_of = Counter.cluster(
        nodes=plan.nodes, engine=plan.engine, data=plan.data, storage="sqlite", timeout=PATIENCE
    )
    with cluster_of as counter, _load_on(counter.cluster, plan.clients) as load:
        status = _leader(counter.cluster)
        counter.get()
        yield Ready(seconds=monotonic() - began, leader=status.server_id, term=status.term)
        yield from load.measured(plan.increments)
        load.go_on()
        yield from _fail_over(counter.cluster, load)
        yield from _recover(counter.cluster, load)
        load.finish()
        history = load.history()
        yield Checking(operations=len(history))
        yield prove(history, counter.get(), _digests(counter.cluster))


# --- The load.


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
        self.settled_until = 0
        """Every call invoked before this instant is over."""
        self.is_told_to_stop = False
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
        self.settled_until = still[0].invoked if still else now
        return still

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
            sleep(4 * _POLL)
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
            _wait_until(lambda client=client: client.settled_until > instant, f"calls of {client.name} hang")  # type: ignore[misc]

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
def _load_on(cluster: Cluster, clients: int) -> Iterator[Load]:
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


# --- The faults.


def _fail_over(cluster: Cluster, load: Load) -> Iterator[Happening]:
    """Kill the leader under load, and start it again."""
    load.settle(monotonic_ns())
    old, failed = _leader(cluster), load.failed
    yield Killing(servers=(old.server_id,), leader=old.server_id)
    killed_at = monotonic_ns()
    cluster.kill(old.server_id)
    load.settle(monotonic_ns())
    load.settle(monotonic_ns())  # those that waited while the first ones were answered
    answered_at, waited = _end_of_silence(load.seen(), killed_at)
    new = _leader(cluster)
    _require_higher_term(new, old)
    seconds, failed = (answered_at - killed_at) / 1e9, load.failed - failed
    yield TookOver(leader=new.server_id, term=new.term, seconds=seconds, waited=waited, failed=failed)
    yield Restarting(server=old.server_id)
    yield _catch_up(cluster, old.server_id)


def _catch_up(cluster: Cluster, server_id: ServerId) -> CaughtUp:
    began = monotonic()
    cluster.restart(server_id)
    ready = monotonic()
    recovered = cluster.supervisor.recovered_index(server_id)
    committed = _leader(cluster).commit_index

    def has_caught_up() -> bool:
        status = cluster.status()[server_id]
        return status is not None and status.commit_index >= committed

    _wait_until(has_caught_up, f"{server_id} does not catch up")
    return CaughtUp(
        server=server_id,
        recovered=recovered,
        entries=max(0, committed - recovered),
        start_seconds=ready - began,
        seconds=monotonic() - ready,
    )


def _recover(cluster: Cluster, load: Load) -> Iterator[Happening]:
    """Kill all peers under load, the leader last, and start them from their storage."""
    old, failed = _leader(cluster), load.failed
    others = [server_id for server_id in cluster.nodes if server_id != old.server_id]
    yield Killing(servers=(*others, old.server_id), leader=old.server_id)
    for server_id in (*others, old.server_id):
        cluster.kill(server_id)
    died_at = monotonic_ns()
    with ThreadPoolExecutor(len(cluster.nodes)) as threads:
        list(threads.map(cluster.restart, cluster.nodes))
    load.settle(monotonic_ns())
    load.settle(monotonic_ns())
    answered_at, waited = _end_of_silence(load.seen(), died_at)
    new = _leader(cluster)
    _require_higher_term(new, old)
    yield Recovered(
        recovered_term=old.term,
        entries=cluster.supervisor.recovered_index(new.server_id),
        leader=new.server_id,
        term=new.term,
        seconds=(answered_at - died_at) / 1e9,
        waited=waited,
        failed=load.failed - failed,
    )


def _end_of_silence(seen: Sequence[Seen], since: int) -> tuple[int, int]:
    """The first answer after the longest silence since an instant, and how many calls were under way then."""
    returns = sorted(one.returned for one in seen if one.returned is not None and one.returned >= since)
    silences = zip([since, *returns], returns, strict=False)
    _, end = max(silences, key=lambda silence: silence[1] - silence[0])
    return end, sum(one.invoked < end and (one.returned is None or one.returned >= end) for one in seen)


def _leader(cluster: Cluster) -> Status:
    """How the leader is; waits for one."""
    found: list[Status] = []

    def look() -> bool:
        leaders = [status for status in cluster.status().values() if status and status.role == "leader"]
        found[:] = leaders
        return bool(found)

    _wait_until(look, "no leader was elected")
    return max(found, key=lambda status: status.term)


def _require_higher_term(new: Status, old: Status) -> None:
    if new.term <= old.term:
        raise SafetyViolation(
            f"{new.server_id} leads in term {new.term}, but {old.server_id} led in term {old.term} before it",
            why="a new leader needs a new term (paper 5.2): votes or terms were forgotten",
        )


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise NoQuorum(f"{otherwise} within {PATIENCE} s", fix="`actorum doctor` shows how fast this disk is")
        sleep(_POLL)


# --- The proof.


def _digests(cluster: Cluster) -> dict[ServerId, str]:
    """The replicas' fingerprints once all have applied the same number of entries - whether they are equal or not."""
    latest: dict[ServerId, tuple[int, str]] = {}

    def look() -> bool:
        answers = cluster.digests()
        latest.update({name: (answer.applied_index, answer.digest) for name, answer in answers.items() if answer})
        return None not in answers.values() and len({index for index, _ in latest.values()}) == 1

    _wait_until(look, "not all replicas applied the same entries")
    return {server_id: digest for server_id, (_, digest) in latest.items()}


def prove(history: Sequence[Operation], value: int, digests: dict[ServerId, str]) -> Proven:
    """Hold what the clients saw against what the replicas have.  Raises `SafetyViolation`, with all that is wrong.

    An increment returns the value it made, so every acknowledged one must have a value of its own, up to the final
    one: those that have not are lost.  Values that nobody was told of beyond the unknown outcomes are doubled."""
    increments = [operation for operation in history if operation.name == "incr"]
    acknowledged = [operation.result for operation in increments if operation.returned is not None]
    unknown = len(increments) - len(acknowledged)
    accounted = len({result for result in acknowledged if 1 <= result <= value})
    lost, doubled = len(acknowledged) - accounted, max(0, value - accounted - unknown)
    began = monotonic()
    verdict = check(history, CounterModel())
    wrong = [] if len(set(digests.values())) == 1 else [f"the replicas differ: {digests}"]
    if lost or doubled:
        wrong.append(f"{lost} increments lost, {doubled} doubled: value {value}, {len(acknowledged)} acknowledged")
    if not verdict:
        wrong.append(str(verdict))
    if wrong:
        raise SafetyViolation(
            "; ".join(wrong),
            why="what a client was told must stay true, whoever is killed (paper, Figure 3 and section 8)",
            fix="please report it and keep the data directory: it is left as it is",
        )
    return Proven(
        replicas=len(digests),
        value=value,
        acknowledged=len(acknowledged),
        unknown=unknown,
        lost=lost,
        doubled=doubled,
        digest=next(iter(digests.values())),
        operations=len(history),
        reads=len(history) - len(increments),
        check_seconds=monotonic() - began,
    )
