"""Whole peers in simulated time, under an adversary and before an oracle: the instrument for broken *runtimes*.

The simulation of `raft_core.verify` carries the core's effects out by itself, so it cannot see a mistake of who does so
in production.  Here everything is the real one - interpreter, applier, machine with its sessions, the client's session,
the peer of either runtime, storages with their files - and only threads, clocks and pipes are simulated (`actors.sim`).
One seed draws the runtime, the storage, the settings and every misfortune.

What is watched:

* the rules of `raft_core.verify.invariants`: each turn, each message as it leaves, each write as it reaches the disk;
* a storage gives back what was written to it, to each new life of its peer, or refuses if a bit of its file has rotted;
* the twin uses nothing that is shared without its lock;
* what clients saw is linearizable, with unknown outcomes where a session has expired; each call ends, once all is well;
* then the state machines are equal, and nobody disturbs the leader any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeAlias

from msgspec.structs import replace

from actors.calls import DEFAULT_OPTIONS, Call
from actors.codec import decode_message
from actors.errors import ActorumError, ExitCode
from actors.lock_based.lockset import CheckedThreads, LocksetChecker
from actors.lock_based.threads import Threads
from actors.machine import MachineHost
from actors.network import Faults
from actors.protocol import Digest
from actors.runtimes import RUNTIMES
from actors.sim import locked, peer
from actors.sim.client import SimClient
from actors.sim.green import GreenThreads
from actors.sim.incarnation import Incarnation, PeerPlan, SimNetwork
from actors.sim.peers import SimPeers
from actors.sim.timeline import Delay, Timeline
from actors.spec import RuntimeName
from actors.storage.disk import Disk
from actors.storage.journal import JournalStorage
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import Storage, StorageError, Stored
from actors.storage.sqlite import SqliteStorage
from raft_core import ApplyCommitted, Effect, Event, Leader, PersistEffect, Server, ServerId, Settings
from raft_core.verify.history import NotLinearizable
from raft_core.verify.invariants import Oracle, Violation
from raft_core.verify.operations import Operation
from raft_core.verify.simulated_disk import SimulatedDisk
from tests.chaos.machines import Store
from tests.chaos.recorded import COUNTERS, judge

TROUBLE = 6.0
"""Virtual seconds with misfortunes."""
PATIENCE = 60.0
"""Virtual seconds that clients may wait for their answers once all is well."""
CALM = 3.0
"""Virtual seconds in which, after that, nobody may disturb the leader."""
SESSIONS = 8
"""Sessions that a machine remembers: few, so that some expire."""


class Plan(PeerPlan):
    """Peers whose machines remember few sessions."""

    def host(self) -> MachineHost:
        """A new state machine."""
        return MachineHost(self.machine(), max_sessions=SESSIONS)


Opened: TypeAlias = Callable[[Path], Storage]


class WatchedStorage:
    """A storage, and beside it what must be in it."""

    blocking = True

    def __init__(self, path: Path, oracle: Oracle, kept: SimulatedDisk, open_: Opened, random: Random) -> None:
        self._path = path
        self._oracle = oracle
        self._kept = kept
        self._open = open_
        self._random = random
        self._storage: Storage = open_(path)

    def load(self) -> Stored:
        """What the next life of a peer finds; it must not find anything else if a bit has rotted meanwhile."""
        if isinstance(self._storage, MemoryStorage):
            return self._storage.load()
        self._storage.close()
        self._look_at_rotten_copy()
        self._storage = self._open(self._path)
        return self._checked(self._storage.load())

    def _checked(self, stored: Stored) -> Stored:
        kept = self._kept
        if stored != Stored(kept.current_term, kept.voted_for, tuple(kept.entries)):
            raise Violation("Storage", f"{self._path.name} found something else than what was written")
        return stored

    def _look_at_rotten_copy(self) -> None:
        content = bytearray(self._path.read_bytes())
        content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        with tempfile.TemporaryDirectory(prefix="rotten-") as name:
            copy = Path(name) / self._path.name
            copy.write_bytes(content)
            with suppress(StorageError), closing(self._open(copy)) as storage:
                self._checked(storage.load())

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Write, and tell the oracle."""
        self._storage.write(changes)
        for change in changes:
            self._kept.make_durable(change)
            self._oracle.written(self._path.name, change)
        if isinstance(self._storage, MemoryStorage):  # it can be looked at without taking it from its peer
            self._checked(self._storage.load())

    def close(self) -> None:
        """The end."""
        self._storage.close()


class WatchedNetwork(SimNetwork):
    """The oracle hears every message as it leaves."""

    oracle: Oracle

    def send(self, sender: Incarnation, to: ServerId, frame: bytes) -> None:
        """Tell, then send."""
        self.oracle.sent(sender.server_id, to, decode_message(frame))
        super().send(sender, to, frame)


class Turns:
    """The oracle sees every turn of one server (a `Recorder`)."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.steps = 0

    def started(self, server: Server) -> None:
        """A new life."""
        self._oracle.started(server)

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """It took a turn."""
        self.steps += len(events)
        self._oracle.moved(before, after)
        if len(events) == 1:
            self._oracle.stepped(after, events[0], effects)
        for effect in effects:
            if isinstance(effect, ApplyCommitted):
                self._oracle.applied(after.server_id, effect.first_index, effect.entries)


@dataclass
class Caller:
    """A client with a session of its own that makes one call at a time."""

    number: int
    client: SimClient
    timeline: Timeline
    random: Random
    history: list[Operation] = field(default_factory=list)
    trouble: list[ActorumError] = field(default_factory=list)
    written: int = 0
    is_waiting: bool = False

    @property
    def think(self) -> float:
        """Mean time between two calls; the last client is slow enough for its session to expire."""
        return 1.5 if self.number == 5 else 0.03

    def ask(self) -> None:
        """Make a call."""
        key = self.random.choice((*COUNTERS, "a"))
        name, arguments = self._drawn(key)
        invoked = self._instant()
        method = Store._operations["count" if name == "get" and key in COUNTERS else name]
        submit = self.client.submit_command if method.kind == "command" else self.client.submit_query
        encoded = method.signature.encode((key, *arguments), {})
        call: Call[Any] = submit(method.name, encoded, method.signature.decode_reply, DEFAULT_OPTIONS)
        self.is_waiting = True
        asked = Operation(self.number, name, arguments, None, invoked, None, key)
        call.add_done_callback(lambda call: self._answered(call, asked))

    def _drawn(self, key: str) -> tuple[str, tuple[Any, ...]]:
        if self.random.random() < 0.4:
            return "get", ()
        if key in COUNTERS:
            return "incr", (1,)
        self.written += 1
        return "put", (self.number * 1_000 + self.written,)

    def _instant(self) -> int:
        return int(self.timeline.now * 1e9)

    def _answered(self, call: Call[Any], asked: Operation) -> None:
        self.is_waiting = False
        try:
            result = call.result()
        except ActorumError as error:
            self.outcome_unknown(asked, error)
        else:
            self.history.append(replace(asked, result=result, returned=self._instant()))

    def outcome_unknown(self, asked: Operation, error: ActorumError) -> None:
        """A session that was forgotten is no failure; every other error is."""
        match error.exit_code:
            case ExitCode.UNKNOWN:
                self.history.append(asked)
            case _:
                self.trouble.append(error)


class Play:
    """One seed."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = Random(seed)
        self.timeline = Timeline(seed)
        self.runtime: RuntimeName = RUNTIMES[seed % 2]
        self.names = tuple(f"n{number}" for number in range(1, self.random.choice((3, 3, 5)) + 1))
        self.disks = {name: SimulatedDisk() for name in self.names}
        self.oracle = Oracle(dict(self.disks))
        self.turns = {name: Turns(self.oracle) for name in self.names}
        self.settings = _settings(self.random)
        plan = Plan(self.names, self.settings, Store, runtime=self.runtime, recorder_of=self.turns.__getitem__)
        self.peers = SimPeers(plan, self.timeline)
        self.kind_of_storage = self.random.choice(("memory", "journal", "sqlite"))
        self.storages = {name: self._storage(name, directory) for name in self.names}
        # The one place where this reaches inside: what peers write and send passes the oracle.
        self.peers._disks = {name: Disk(storage, MemorySnapshots()) for name, storage in self.storages.items()}
        self.peers._links.__class__ = WatchedNetwork
        self.peers._links.oracle = self.oracle  # type: ignore[attr-defined]
        self.callers = [self._caller(number) for number in range(1, 6)]

    def _storage(self, name: ServerId, directory: Path) -> WatchedStorage:
        opened: dict[str, Opened] = {
            "memory": lambda path: MemoryStorage(),
            "journal": lambda path: JournalStorage(path, cluster_id="play", server_id=name),
            "sqlite": lambda path: SqliteStorage(path, cluster_id="play", server_id=name, synchronous="off"),
        }
        open_ = opened[self.kind_of_storage]
        return WatchedStorage(directory / name, self.oracle, self.disks[name], open_, self.random)

    def _caller(self, number: int) -> Caller:
        client = SimClient(self.timeline, timeout=PATIENCE, health=lambda: "")
        return Caller(number, client, self.timeline, self.random)

    @property
    def steps(self) -> int:
        """Events that reached a core."""
        return sum(turns.steps for turns in self.turns.values())

    # --- a run --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trouble, then peace, then the judgement."""
        self.peers.start()
        for caller in self.callers:
            caller.client.client_id = self.peers.add_listener(caller.client)
            self._later(caller.think, lambda caller=caller: self._ask(caller))  # type: ignore[misc]
        self._later(0.3, self._strike)
        self._until(lambda: False, TROUBLE)
        self._end_trouble()
        if not self._until(lambda: not any(caller.is_waiting for caller in self.callers), PATIENCE):
            raise Violation("Progress", "clients wait for answers although all is well")
        self._judge()
        self._must_stay_calm()

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        end = self.timeline.now + seconds
        while not condition():
            if not self.timeline.advance(end):
                return condition()
            for caller in self.callers:
                if caller.trouble:
                    raise Violation("An answer", str(caller.trouble[0]))
        return True

    def _later(self, mean: float, action: Callable[[], None]) -> None:
        self.timeline.at(self.timeline.now + self.random.expovariate(1 / mean), action)

    def _ask(self, caller: Caller) -> None:
        if self.timeline.now < TROUBLE:
            if not caller.is_waiting:
                caller.ask()
            self._later(caller.think, lambda: self._ask(caller))

    # --- misfortunes --------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        if self.timeline.now < TROUBLE:
            kinds = (self._kill, self._kill, self._return, self._return, self._cut, self._worsen, self._heal)
            self.random.choice(kinds)()
            self._later(0.3, self._strike)

    def _kill(self) -> None:
        up = [name for name in self.names if self.peers.peer(name).is_up]
        leaders = [name for name in up if isinstance(self.oracle.servers[name].role, Leader)]
        if up:
            victim = self.random.choice(leaders if leaders and self.random.random() < 0.6 else up)
            self.peers.kill(victim)
            self.oracle.stopped(victim)

    def _return(self) -> None:
        for name in self.names:
            if not self.peers.peer(name).is_up:
                self.peers.restart(name)

    def _cut(self) -> None:
        names = list(self.names)
        self.random.shuffle(names)
        middle = self.random.randint(1, len(names) - 1)
        match self.random.randrange(3):
            case 0:
                self.peers.network.partition(names[:middle], names[middle:])
            case 1:
                self.peers.network.disconnect(names[0])
            case _:
                self.peers.network.cut(sender=names[0])

    def _worsen(self) -> None:
        late = Faults(drop=0.1, duplicate=0.2, delay=(0.0, self.random.choice((0.01, 0.1))), hold_back=0.1)
        self.peers.network.set(requests=late, results=late)

    def _heal(self) -> None:
        self.peers.network.heal()

    def _end_trouble(self) -> None:
        self._heal()
        self._return()

    # --- the judgement ------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        history = [operation for caller in self.callers for operation in caller.history]
        verdict = judge(history).verdict
        if isinstance(verdict, NotLinearizable):
            raise Violation("Linearizability", str(verdict))
        client = self.callers[0].client
        self._until(lambda: False, 1.0)
        if not self._until(self._all_have_caught_up, PATIENCE):
            raise Violation("Progress", "a peer does not catch up although all is well")
        digests = {client.inspect(name, digest=True, timeout=PATIENCE) for name in self.names}
        states = {answer.digest if isinstance(answer, Digest) else None for answer in digests}
        if len(states) > 1:
            raise Violation("State Machine Safety", f"state machines differ: {digests}")

    def _all_have_caught_up(self) -> bool:
        """With slow disks and one entry a message that takes its time."""
        applied = {server.last_applied for server in self.oracle.servers.values()}
        return applied == {len(self.oracle.committed)}

    def _must_stay_calm(self) -> None:
        def terms() -> set[int]:
            return {server.current_term for server in self.oracle.servers.values()}

        before = terms()
        self._until(lambda: False, CALM)
        if len(before) > 1 or terms() != before:
            raise Violation("Stability", f"a leader of terms {before} was replaced although all was well")

    def close(self) -> None:
        """Give the files back."""
        self.peers.close()
        for storage in self.storages.values():
            storage.close()


def _settings(random: Random) -> Settings:
    return Settings(
        election_timeout=random.choice((150, 300)),
        heartbeat_interval=random.choice((20, 50)),
        max_entries_per_message=random.choice((1, 100)),
        pre_vote=random.random() < 0.7,
        check_quorum=random.random() < 0.7,
    )


@contextmanager
def _world(disk: Delay, races: list[LocksetChecker] | None) -> Iterator[None]:
    """Disks as slow as this, and threads that are watched if there is a list for what is found."""

    def watched(green: GreenThreads) -> Threads:
        assert races is not None
        races.append(LocksetChecker(green.current))
        return CheckedThreads(green, races[-1])

    before = peer.__dict__["DISK"], locked.threads_of
    peer.__dict__["DISK"] = locked.__dict__["DISK"] = disk
    if races is not None:
        locked.threads_of = watched
    try:
        yield
    finally:
        peer.__dict__["DISK"] = locked.__dict__["DISK"] = before[0]
        locked.threads_of = before[1]


class Outcome(NamedTuple):
    """What became of a seed."""

    violation: Violation | None
    steps: int
    calls: int


def play(seed: int) -> Outcome:
    """One run; a broken rule ends it."""
    races: list[LocksetChecker] | None = [] if seed % 8 == 1 else None
    disk = Delay(0.000_2, (0.2, 0.003, 0.003, 0.06)[seed // 2 % 4])
    with tempfile.TemporaryDirectory(prefix="play-") as directory, _world(disk, races):
        run = Play(seed, Path(directory))
        try:
            run.run()
            for race in (race for checker in races or () for race in checker.races):
                raise Violation("Lock Discipline", str(race).partition("\n")[0])
            violation = None
        except Violation as found:
            violation = found
        finally:
            run.close()
    return Outcome(violation, run.steps, sum(len(caller.history) for caller in run.callers))
