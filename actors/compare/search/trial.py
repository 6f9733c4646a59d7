"""One schedule: three whole peers of either design, three clients, trouble for a moment, then peace and the judgement.

Everything is the real one but threads, clocks and pipes, as in `actors.sim`.  The seed draws the settings, what befalls
messages, and the schedule.  The oracle is the same for both designs:

* the rules of `raft_core.verify.invariants` at each turn, each message as it leaves, each write as it reaches the disk;
* nobody waits in a circle (`waiting`), and once all is well every client gets its answer;
* nothing that is shared is used without its lock, or by another than its actor: the lockset checker looks at one
  schedule in four;
* what clients saw is linearizable, and at the end all state machines are equal;
* no part of a peer falls over its own state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from actors.calls import DEFAULT_OPTIONS, Call
from actors.compare.search.locked import SearchedLocked
from actors.compare.search.mailboxes import SearchedActor
from actors.compare.search.schedule import BOUND, Preemption, Schedule
from actors.compare.search.surroundings import SearchOracle, SearchTimeline, WatchedNetwork
from actors.compare.search.waiting import in_words
from actors.errors import ActorumError, ExitCode
from actors.machines.counter import Counter
from actors.network import Faults, Network
from actors.protocol import Digest
from actors.sim.client import SimClient
from actors.sim.incarnation import Incarnation, PeerPlan
from actors.sim.peers import SimPeers
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import Stored
from raft_core import ApplyCommitted, Effect, Event, PersistEffect, Server, ServerId, Settings
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import NotLinearizable
from raft_core.verify.invariants import Oracle, Violation
from raft_core.verify.linearizability import check
from raft_core.verify.operations import Operation
from raft_core.verify.simulated_disk import SimulatedDisk

Design: TypeAlias = Literal["actors", "locks"]
DESIGNS: Final[tuple[Design, ...]] = ("actors", "locks")

NAMES = ("n1", "n2", "n3", "n4", "n5")
FIVE = 4
"""Of so many schedules, one has five peers; the others have three."""
CLIENTS = 3
TROUBLE = 0.8
"""Virtual seconds with misfortunes."""
PATIENCE = 8.0
"""Virtual seconds that clients may wait for their answers once all is well."""
SETTLING = 8
"""Looks at the state machines until they are equal, a moment apart."""
CHECKED = 4
"""Of so many schedules, the lockset checker looks at one."""
PEERS: dict[Design, type[SearchedActor | SearchedLocked]] = {"actors": SearchedActor, "locks": SearchedLocked}


class Finding(NamedTuple):
    """What was wrong."""

    how: str
    """The rule that was broken."""
    detail: str
    cycle: str | None = None
    """Who waits for whom, if that is a circle."""


class Outcome(NamedTuple):
    """What became of a schedule."""

    finding: Finding | None
    operations: int
    """Points passed."""
    digest: str
    """Of the points and of everything that was said and written."""
    preemptions: tuple[Preemption, ...]
    answered: int
    """Calls of clients."""


class WatchedStorage:
    """A memory that outlives its peer, and beside it what must be in it."""

    blocking = True

    def __init__(self, name: ServerId, oracle: Oracle, kept: SimulatedDisk) -> None:
        self._name = name
        self._oracle = oracle
        self._kept = kept
        self._storage = MemoryStorage()

    def load(self) -> Stored:
        """What the next life of the peer finds."""
        return self._storage.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Write, and tell the oracle."""
        self._storage.write(changes)
        for change in changes:
            self._kept.make_durable(change)
            self._oracle.written(self._name, change)

    def close(self) -> None:
        """The end."""
        self._storage.close()


class Turns:
    """The oracle sees every turn of one server (a `Recorder`)."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def started(self, server: Server) -> None:
        """A new life."""
        self._oracle.started(server)

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """It took a turn."""
        self._oracle.moved(before, after)
        if len(events) == 1:
            self._oracle.stepped(after, events[0], effects)
        for effect in effects:
            if isinstance(effect, ApplyCommitted):
                self._oracle.applied(after.server_id, effect.first_index, effect.entries)


class SearchedPeers(SimPeers):
    """Peers whose disks and links are watched."""

    def __init__(
        self, plan: PeerPlan, timeline: SearchTimeline, oracle: Oracle, peer: type[Incarnation], disks: dict[str, Disk]
    ) -> None:
        super().__init__(plan, timeline)
        self._links = WatchedNetwork(Network(plan.names), timeline, oracle)
        self._new_peer = peer
        self._disks = disks


class Caller:
    """A client with a session of its own that makes one call at a time."""

    def __init__(self, number: int, timeline: SearchTimeline, random: Random) -> None:
        self.client = SimClient(timeline, timeout=PATIENCE, health=lambda: "")
        self.history: list[Operation] = []
        self.trouble: list[ActorumError] = []
        self.is_waiting = False
        self._number = number
        self._timeline = timeline
        self._random = random

    def ask(self) -> None:
        """Make a call."""
        name = "get" if self._random.random() < 0.4 else "incr"
        method = Counter._operations[name]
        submit = self.client.submit_command if method.kind == "command" else self.client.submit_query
        asked = Operation(self._number, name, (), None, self._instant(), None)
        self.is_waiting = True
        call: Call[Any] = submit(
            method.name, method.signature.encode((), {}), method.signature.decode_reply, DEFAULT_OPTIONS
        )
        call.add_done_callback(lambda call: self._answered(call, asked))

    def _instant(self) -> int:
        return int(self._timeline.now * 1e9)

    def _answered(self, call: Call[Any], asked: Operation) -> None:
        self.is_waiting = False
        try:
            result = call.result()
        except ActorumError as error:
            if error.exit_code is ExitCode.UNKNOWN:
                self.history.append(asked)
            else:
                self.trouble.append(error)
            return
        self.history.append(
            Operation(asked.client, asked.name, asked.arguments, result, asked.invoked, self._instant())
        )


class Trial:
    """One run."""

    def __init__(self, peer: type[Incarnation], schedule: Schedule) -> None:
        self.schedule = schedule
        self.random = Random(f"trial {schedule.seed}")
        self.timeline = SearchTimeline(schedule, is_checked=schedule.seed % CHECKED == 0)
        self.names = NAMES if schedule.seed % FIVE == 1 else NAMES[:3]
        disks = {name: SimulatedDisk() for name in self.names}
        self.oracle = SearchOracle(dict(disks))
        turns = {name: Turns(self.oracle) for name in self.names}
        plan = PeerPlan(self.names, _settings(self.random), Counter, recorder_of=turns.__getitem__)
        storages = {name: WatchedStorage(name, self.oracle, disks[name]) for name in self.names}
        kept = {name: Disk(storage, MemorySnapshots()) for name, storage in storages.items()}
        self.peers = SearchedPeers(plan, self.timeline, self.oracle, peer, kept)
        self.callers = [Caller(number, self.timeline, self.random) for number in range(1, CLIENTS + 1)]
        schedule.dies = self._dies

    def run(self) -> None:
        """Trouble, then peace, then the judgement."""
        self.peers.start()
        for caller in self.callers:
            caller.client.client_id = self.peers.add_listener(caller.client)
            self._later(0.03, lambda caller=caller: self._ask(caller))  # type: ignore[misc]
        if self.random.random() < 0.4:
            self._worsen()
        self._later(0.15, self._strike)
        self._until(lambda: False, TROUBLE)
        self.peers.network.heal()
        for name in self.names:
            self._restart(name)
        if not self._until(lambda: not any(caller.is_waiting for caller in self.callers), PATIENCE):
            raise Violation("Progress", "clients wait for answers although all is well")
        self._judge()

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        end = self.timeline.now + seconds
        while not condition():
            if not self.timeline.advance(end):
                return condition()
            if self.timeline.waiting.cycle:
                raise Violation("Deadlock", in_words(self.timeline.waiting.cycle))
            for caller in self.callers:
                if caller.trouble:
                    raise Violation("An Answer", str(caller.trouble[0]))
        return True

    def _later(self, mean: float, action: Callable[[], None]) -> None:
        self.timeline.at(self.timeline.now + self.random.expovariate(1 / mean), action)

    def _ask(self, caller: Caller) -> None:
        if self.timeline.now < TROUBLE:
            if not caller.is_waiting:
                caller.ask()
            self._later(0.03, lambda: self._ask(caller))

    # --- misfortunes --------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        if self.timeline.now >= TROUBLE:
            return
        network, victim = self.peers.network, self.random.choice(self.names)
        match self.random.randrange(5):
            case 0 | 1:
                network.disconnect(victim)
            case 2:
                self._worsen()
            case _:
                network.heal()
        self._later(0.15, self._strike)

    def _worsen(self) -> None:
        longest = self.random.choice((0.005, 0.05, 0.25))
        late = Faults(drop=0.05, duplicate=0.2, delay=(0.0, longest))
        self.peers.network.set(requests=late, results=late)

    def _dies(self, peer: str, after: float) -> None:
        self.timeline.at(self.timeline.now + after, lambda: self._kill(peer))

    def _kill(self, name: ServerId) -> None:
        if self.peers.peer(name).is_up:
            self.peers.kill(name)
            self.oracle.stopped(name)
            self._later(0.05, lambda: self._restart(name))

    def _restart(self, name: ServerId) -> None:
        if not self.peers.peer(name).is_up:
            self.peers.restart(name)

    # --- the judgement ------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        history = [operation for caller in self.callers for operation in caller.history]
        verdict = check(history, CounterModel())
        if isinstance(verdict, NotLinearizable):
            raise Violation("Linearizability", str(verdict))
        if not any(self._are_equal() for _ in range(SETTLING)):
            raise Violation("State Machine Safety", "state machines differ, although all is well for seconds")
        for race in (race for checker in self.timeline.checkers for race in checker.races):
            raise Violation("Lock Discipline", str(race).partition("\n")[0])

    def _are_equal(self) -> bool:
        """After a while: somebody may still stand still."""
        self._until(lambda: False, 0.3)
        client = self.callers[0].client
        answers = [client.inspect(name, digest=True, timeout=PATIENCE) for name in self.names]
        return len({answer.digest if isinstance(answer, Digest) else "" for answer in answers}) == 1


def _settings(random: Random) -> Settings:
    return Settings(
        election_timeout=random.choice((60, 150)),
        heartbeat_interval=20,
        max_entries_per_message=random.choice((1, 100)),
        pre_vote=random.random() < 0.5,
        check_quorum=random.random() < 0.5,
    )


def attempt(peer: type[Incarnation], seed: int, length: int, bound: int = BOUND) -> Outcome:
    """Try one schedule on peers of this kind."""
    schedule = Schedule(seed, length, bound)
    trial = Trial(peer, schedule)
    finding = None
    try:
        trial.run()
    except Violation as violation:
        cycle = violation.explanation if violation.rule == "Deadlock" else None
        finding = Finding(violation.rule, violation.explanation, cycle)
    except Exception as error:  # what is broken may fall over its own state: that is a find, too
        finding = Finding(f"falls over: {type(error).__name__}", str(error))
    finally:
        schedule.dies = lambda peer, after: None
        trial.peers.close()
    digest = f"{schedule.digest[:16]} {trial.timeline.digest[:16]}"
    answered = sum(len(caller.history) for caller in trial.callers)
    return Outcome(finding, schedule.operations, digest, tuple(schedule.preemptions), answered)
