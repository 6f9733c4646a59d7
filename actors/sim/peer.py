"""One incarnation of a simulated peer: the real interpreter and applier between simulated ways.

It does what `PeerActor` does, in the same order: what has arrived is taken as one turn, so batching is simulated, too;
deadlines are looked at when the turn comes.  A turn is planned a moment after something arrives, or for the next
deadline, whichever is earlier; of several planned turns only the earliest counts, it plans anew.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple, Protocol

from msgspec import msgpack

from actors.applier import Applier, ClientId, Work
from actors.codec import decode_message, encode_message
from actors.deadlines import NEVER, Deadlines
from actors.interpreter import Interpreter
from actors.machine import MachineHost
from actors.protocol import ClientMessage, InspectPeer, PeerMessage, Status, decode_client_message, encode
from actors.replicated import Replicated
from actors.sim.disk import SimDisk
from actors.sim.timeline import Delay, Timeline, Way
from actors.storage.port import Storage
from raft_core import (
    Applied,
    Effect,
    Event,
    LogIndex,
    Message,
    PeerRestarted,
    Received,
    RoleChanged,
    Server,
    ServerId,
    Settings,
    restore,
)

LINK = Delay(0.000_1, 0.001)
"""A frame on its way."""
TURN = Delay(0.000_01, 0.000_1)
"""From an arrival to the turn that takes it: what arrives meanwhile is taken with it."""
DISK = Delay(0.000_2, 0.003)
"""A durable write."""
APPLY = Delay(0.000_05, 0.000_5)
"""From what is committed to what is applied."""


class PeerPlan(NamedTuple):
    """What the peers of a cluster have in common."""

    names: tuple[ServerId, ...]
    settings: Settings
    machine: type[Replicated]
    allow_code: bool = True
    check_determinism: bool = False


class Listener(Protocol):
    """A client, as a peer sees it."""

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        """A frame arrived from this peer."""


class Voice:
    """One of the two links on which a peer answers its client (a `Replies`): of consensus, or of the applier."""

    def __init__(self, server_id: ServerId, listener: Listener, way: Way) -> None:
        self._server_id = server_id
        self._listener = listener
        self._way = way

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Send; there is one client."""
        frame = encode(message)
        self._way.put(lambda: self._listener.hear(self._server_id, frame))


class SimPeer:
    """A peer from its start to its death."""

    def __init__(
        self, server_id: ServerId, plan: PeerPlan, timeline: Timeline, storage: Storage, listener: Listener
    ) -> None:
        self.server_id = server_id
        self.is_up = True
        self.since = timeline.now
        """Virtual time of its start, or of its death."""
        self._timeline = timeline
        self._links: dict[ServerId, tuple[SimPeer, Way]] = {}
        self._events: list[Event] = []
        self._asked: list[tuple[ClientId, ClientMessage]] = []
        self._written = 0
        self._depth = 0
        self._next_turn = NEVER
        self._consensus_voice = Voice(server_id, listener, self._way(LINK))
        self._work = self._way(APPLY)
        machine = MachineHost(plan.machine(), allow_code=plan.allow_code, check_determinism=plan.check_determinism)
        self._applier = Applier(server_id, machine, Voice(server_id, listener, self._way(LINK)), self._applied)
        self._disk = SimDisk(timeline, self._way(DISK), storage, self._confirmed)
        randomness = Random(timeline.random.getrandbits(64))
        self._deadlines = Deadlines(randomness)
        self.interpreter = Interpreter(
            _restored(server_id, plan, storage, randomness.getrandbits(32)),
            transport=self,
            disk=self._disk,
            applier=self._give_applier,
            replies=self._consensus_voice,
            deadlines=self._deadlines,
            boundary=self._note,
        )
        self.recovered_index: LogIndex = self.interpreter.server.log.last_index
        """Last log index it found on its disk."""
        self.interpreter.start(timeline.now)
        self._plan_turn(self._deadlines.next)

    def _way(self, delay: Delay) -> Way:
        return Way(self._timeline, delay, lambda: self.is_up)

    # --- to others ----------------------------------------------------------------------------------------------------

    def attach(self, other: SimPeer) -> None:
        """From now on, another peer is reached as this incarnation; a link ends with either of its ends."""
        way = Way(self._timeline, LINK, lambda: self.is_up and other.is_up)
        self._links[other.server_id] = other, way
        self._arrived(PeerRestarted(other.server_id))

    def send(self, to: ServerId, message: Message) -> None:
        """Send to another peer (the interpreter's `Transport`); to nobody if it never was there."""
        link = self._links.get(to)
        if link is not None:
            receiver, way = link
            frame = encode_message(message)
            way.put(lambda: receiver.receive(self.server_id, frame))

    def _give_applier(self, work: list[Work]) -> None:
        self._work.put(lambda: self._applier.work(work))

    def _note(self, effect: Effect) -> None:
        """The interpreter's boundary: who leads belongs into the trace."""
        if isinstance(effect, RoleChanged):
            self._timeline.note(self.server_id, f"{effect.role} in term {effect.term}", msgpack.encode(effect))

    # --- what arrives -------------------------------------------------------------------------------------------------

    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer."""
        message = decode_message(frame)
        self._timeline.note(self.server_id, f"{sender} says {type(message).__name__}", frame)
        self._arrived(Received(sender, message))

    def ask(self, client_id: ClientId, frame: bytes) -> None:
        """A frame from a client."""
        message = decode_client_message(frame)
        self._timeline.note(self.server_id, f"client asks {type(message).__name__}", frame)
        self._asked.append((client_id, message))
        self._plan_turn(self._timeline.draw(TURN))

    def _confirmed(self, writes: int) -> None:
        self._timeline.note(self.server_id, f"disk confirms {writes}")
        self._written += writes
        self._plan_turn(self._timeline.draw(TURN))

    def _applied(self, index: LogIndex) -> None:
        self._timeline.note(self.server_id, f"applied {index}")
        self._arrived(Applied(index))

    def _arrived(self, event: Event) -> None:
        self._events.append(event)
        self._plan_turn(self._timeline.draw(TURN))

    # --- turns --------------------------------------------------------------------------------------------------------

    def _plan_turn(self, time: float) -> None:
        if time < self._next_turn:
            self._next_turn = time
            self._timeline.at(time, lambda: self._turn(time))

    def _turn(self, planned: float) -> None:
        if not self.is_up or planned != self._next_turn:
            return
        self._next_turn = NEVER
        events, asked, written = self._events, self._asked, self._written
        self._events, self._asked, self._written = [], [], 0
        self._depth = len(events) + len(asked) + written
        self.interpreter.serve(self._timeline.now, events, self._without_inspections(asked), written)
        self._plan_turn(self._deadlines.next)

    def _without_inspections(self, asked: list[tuple[ClientId, ClientMessage]]) -> list[tuple[ClientId, ClientMessage]]:
        """How it is, a peer says by itself; the rest is for the interpreter."""
        others: list[tuple[ClientId, ClientMessage]] = []
        for client_id, message in asked:
            if isinstance(message, InspectPeer) and not message.digest:
                self._consensus_voice.reply(client_id, self._status(message.batch_id))
            else:
                others.append((client_id, message))
        return others

    def _status(self, batch_id: int) -> Status:
        server = self.interpreter.server
        return Status(
            batch_id=batch_id,
            server_id=server.server_id,
            role=server.role_name,
            term=server.current_term,
            leader_id=server.leader_id,
            last_index=server.log.last_index,
            written_index=server.persisted_index,
            commit_index=server.commit_index,
            applied_index=server.last_applied,
            inbox_depth=self._depth,
            dropped_messages=0,
            fsync_p99=self._disk.durations.percentile(0.99),
            uptime=self._timeline.now - self.since,
            process_id=0,
        )

    def kill(self) -> None:
        """Everything in memory and on its way is gone."""
        self.is_up = False
        self.since = self._timeline.now
        self._timeline.note(self.server_id, "is killed")


def _restored(server_id: ServerId, plan: PeerPlan, storage: Storage, randomness: int) -> Server:
    stored = storage.load()
    return restore(
        server_id,
        plan.names,
        plan.settings,
        randomness=randomness,
        current_term=stored.current_term,
        voted_for=stored.voted_for,
        entries=stored.entries,
    )
