"""Three servers in one thread and virtual time: the real interpreter, storage, applier, machine and client session.

Only what waits is replaced: the links by a list of deliveries, the clock by a number, the two worker actors by
deliveries too.  Nothing is random, so a run is the same run every time, up to the point at which a server is killed.

A *point* is a place where a kill can strike: before each effect is carried out (the interpreter's own hook), before and
after each write to disk, before each message leaves, before the state machine gets work.  Points are numbered through
the whole run; a run that is told to kill at point N throws away the memory of whichever server was there, and starts it
again from its storage a little later.  The scenario goes on with whoever leads.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import count
from random import Random

from actors.applier import Applier, Apply, ClientId, Work
from actors.calls import Call, EventWaiter
from actors.deadlines import Deadlines
from actors.interpreter import Interpreter, Written
from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.protocol import ClientMessage, InspectPeer, PeerMessage, Results, Status
from actors.session import Session
from actors.snapshot_taking import SnapshotTaker
from actors.storage.disk import Arrival
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import Storage
from raft_core import (
    Applied,
    Effect,
    Event,
    Message,
    PeerRestarted,
    PersistEffect,
    Received,
    ServerId,
    Settings,
    restore,
)
from tests.chaos.witness import Witness, WitnessedStorage

NAMES = ("n1", "n2", "n3")
SETTINGS = Settings(election_timeout=100, heartbeat_interval=40)
CLIENT: ClientId = 1
_REMOTENESS = {"n1": 0.0, "n2": 0.0004, "n3": 0.0007}
"""Seconds by which servers differ, so that nothing happens at the same time by accident."""


class Killed(Exception):
    """The server at this point is dead."""


class Node:
    """One server; what is behind its storage survives it, everything else is made anew with each life."""

    def __init__(
        self, server_id: ServerId, open_storage: Callable[[], Storage], cluster: LittleCluster, asynchronous: bool
    ) -> None:
        self.server_id = server_id
        self.storage: Storage = MemoryStorage()
        self.cluster = cluster
        self._open_storage = open_storage
        self.asynchronous = asynchronous
        self.lives = 0
        self.is_alive = False

    def begin(self) -> None:
        """A new life, from storage."""
        self.lives += 1
        self.is_alive = True
        randomness = Random(f"{self.server_id} {self.lives}")
        self.deadlines = Deadlines(randomness)
        self.events: list[Event] = []
        self.asked: list[tuple[ClientId, ClientMessage]] = []
        self.confirmed = 0
        self.has_turn = False
        self.unwritten: deque[list[PersistEffect]] = deque()
        self.machine = MachineHost(Counter())
        self.storage.close()
        self.storage = WitnessedStorage(self._open_storage(), self.server_id, self.cluster.witness)
        stored = self.storage.load()
        server = restore(
            self.server_id,
            NAMES,
            SETTINGS,
            randomness=randomness.getrandbits(32),
            current_term=stored.current_term,
            voted_for=stored.voted_for,
            entries=stored.entries,
        )
        taker = SnapshotTaker(self.machine, MemorySnapshots(), SETTINGS, None, server.configurations[0])
        self.applier = Applier(self.server_id, self.machine, self, self._applied, taker, lambda snapshot: None)
        self.cluster.witness.restarts(server)
        self.interpreter = Interpreter(
            server,
            transport=self,
            disk=self,
            snapshots=MemorySnapshots(),
            applier=self._work,
            replies=self,
            deadlines=self.deadlines,
            boundary=self._boundary,
        )
        self.interpreter.start(self.cluster.now)

    def turn(self) -> None:
        """Everything that happened since the last one."""
        events, self.events = self.events, []
        asked, self.asked = self.asked, []
        confirmed, self.confirmed = self.confirmed, 0
        self.has_turn = False
        self.interpreter.serve(self.cluster.now, events, asked, Written(confirmed))
        self.cluster.witness.moves(self.interpreter.server)

    # --- the ports of the interpreter ---------------------------------------------------------------------------------

    def _boundary(self, effect: Effect) -> None:
        self.cluster.point(self)

    def send(self, to: ServerId, message: Message) -> None:
        """The transport."""
        self.cluster.point(self)
        self.cluster.witness.sends(self.server_id, to, message)
        self.cluster.carry(self, to, message)

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...] | None:
        """The disk: at once, or a little later together with what comes until then (group commit)."""
        self.cluster.point(self)
        if not self.asynchronous:
            self.storage.write(changes)
            self.cluster.point(self)
            return ()
        self.unwritten.append(list(changes))
        if len(self.unwritten) == 1:
            self.cluster.later(0.003, self, self._write_all)
        return None

    def _write_all(self) -> None:
        self.cluster.point(self)
        writes, self.unwritten = self.unwritten, deque()
        self.storage.write([change for write in writes for change in write])
        self.cluster.point(self)
        self.cluster.later(0.0005, self, lambda: self._written(len(writes)))

    def _written(self, number: int) -> None:
        self.confirmed += number
        self.cluster.give_turn(self)

    def _work(self, items: list[Work]) -> None:
        for item in items:
            if isinstance(item, Apply):
                self.cluster.witness.applies(self.interpreter.server, item.first_index, item.entries)
        self.cluster.later(0.001, self, lambda: self._apply(items))

    def _apply(self, items: list[Work]) -> None:
        self.cluster.point(self)
        self.applier.work(items)

    def _applied(self, index: int) -> None:
        self.events.append(Applied(index))
        self.cluster.give_turn(self)

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """The voice to clients."""
        if isinstance(message, Results):
            self.cluster.witness.check_on_majority(self.applier.applied_index)
        self.cluster.answer(self, message)

    def status(self, batch_id: int) -> Status:
        """What an inspection tells."""
        server = self.interpreter.server
        place = (server.log.last_index, server.persisted_index, server.commit_index, server.last_applied)
        return Status(
            batch_id, self.server_id, server.role_name, server.current_term, server.leader_id, *place, 0, 0, 0, 0, 0
        )


class LittleCluster:
    """Virtual time, three nodes, one client."""

    def __init__(
        self, storage: Callable[[ServerId], Storage], *, asynchronous: bool, kill_at: Collection[int] = ()
    ) -> None:
        self.now = 0.0
        self.points = 0
        self.kills = 0
        self.witness = Witness(NAMES)
        self.session = Session()
        self.calls: list[Call[int]] = []
        self._kill_at = frozenset(kill_at)
        self._cut: ServerId | None = None
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.nodes = {name: Node(name, partial(storage, name), self, asynchronous) for name in NAMES}
        for node in self.nodes.values():
            self._begin(node)

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at `time`."""
        heapq.heappush(self._agenda, (time, next(self._numbers), action))

    def later(self, delay: float, node: Node, action: Callable[[], None]) -> None:
        """Something happens inside `node` after `delay` seconds, if it still has the same life then."""
        life = node.lives

        def happen() -> None:
            if node.is_alive and node.lives == life:
                self._in(node, action)

        self.at(self.now + delay, happen)

    def give_turn(self, node: Node) -> None:
        """Something waits in the inbox of `node`."""
        if not node.has_turn:
            node.has_turn = True
            self.later(0.0002, node, node.turn)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, until `done` or the time `until`."""
        while not done():
            alive = [node for node in self.nodes.values() if node.is_alive]
            first = min(alive, key=lambda node: node.deadlines.next, default=None)
            due = first.deadlines.next if first is not None else until
            if self._agenda and self._agenda[0][0] <= min(due, until):
                self.now, _, action = heapq.heappop(self._agenda)
                action()
            elif first is not None and due <= until:
                self.now = max(self.now, due)
                self._in(first, first.turn)
            else:
                self.now = until
                return

    # --- life and death -----------------------------------------------------------------------------------------------

    def point(self, node: Node) -> None:
        """A place where a kill can strike."""
        self.points += 1
        if self.points in self._kill_at:
            raise Killed

    def _in(self, node: Node, action: Callable[[], None]) -> None:
        try:
            action()
        except Killed:
            self._end(node)

    def _end(self, node: Node) -> None:
        self.kills += 1
        node.is_alive = False
        self.witness.stops(node.server_id)
        self.session.detached(node.server_id)
        self.at(self.now + 0.03, lambda: self._begin(node))

    def _begin(self, node: Node) -> None:
        node.begin()
        self.session.attached(node.server_id)
        for other in self.nodes.values():
            if other is not node and other.is_alive:
                for here, there in ((node, other), (other, node)):
                    here.events.append(PeerRestarted(there.server_id))
                    self.give_turn(here)

    def cut_leader_off(self) -> None:
        """From now on whoever leads cannot reach the others, nor they it; clients can."""
        leaders = [
            node for node in self.nodes.values() if node.is_alive and node.interpreter.server.role_name == "leader"
        ]
        if leaders:
            self._cut = max(leaders, key=lambda node: node.interpreter.server.current_term).server_id

    def heal(self) -> None:
        """All reach all again."""
        self._cut = None

    # --- links --------------------------------------------------------------------------------------------------------

    def carry(self, sender: Node, to: ServerId, message: Message) -> None:
        """What is in a pipe arrives even if its sender is dead by then."""
        if self._cut in (sender.server_id, to):
            return
        node, life = self.nodes[to], self.nodes[to].lives

        def arrive() -> None:
            if node.is_alive and node.lives == life:
                node.events.append(Received(sender.server_id, message))
                self.give_turn(node)

        self.at(self.now + 0.001 + _REMOTENESS[sender.server_id] + _REMOTENESS[to], arrive)

    def answer(self, node: Node, message: PeerMessage) -> None:
        """A peer says something to the client."""

        def arrive() -> None:
            for call, reply in self.session.received(node.server_id, message, self.now):
                call._resolve(reply)
            self.speak()

        self.at(self.now + 0.001, arrive)

    # --- the client ---------------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """One more increment."""
        signature = Counter.incr.signature
        call = Call(signature.decode_reply, EventWaiter(), label="incr", safe_to_retry=True)
        self.calls.append(call)
        self.session.submit("incr", signature.encode((), {}), call)
        self.speak()

    def speak(self) -> None:
        """Everything the client wants to say now."""
        for server_id, message in self.session.outgoing(self.now):
            self._ask(self.nodes[server_id], message)

    def tick(self) -> None:
        """The client looks at its clock."""
        self.speak()
        self.at(self.now + 0.02, self.tick)

    def _ask(self, node: Node, message: ClientMessage) -> None:
        life = node.lives

        def arrive() -> None:
            if node.is_alive and node.lives == life:
                if isinstance(message, InspectPeer):
                    self.answer(node, node.status(message.batch_id))
                else:
                    node.asked.append((CLIENT, message))
                    self.give_turn(node)

        self.at(self.now + 0.001, arrive)

    # --- the end ------------------------------------------------------------------------------------------------------

    def has_converged(self) -> bool:
        """All are alive, have applied the same, and the client has all answers."""
        if self.session.pending_commands or not all(node.is_alive for node in self.nodes.values()):
            return False
        last = {node.interpreter.server.log.last_index for node in self.nodes.values()}
        applied = {node.applier.applied_index for node in self.nodes.values()}
        return len(last) == 1 and applied == last

    def digests(self) -> set[str]:
        """Fingerprints of the replicated states."""
        return {node.machine.state_digest() for node in self.nodes.values()}

    def close(self) -> None:
        """Give the storages back."""
        for node in self.nodes.values():
            node.storage.close()
