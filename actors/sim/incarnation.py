"""One life of a simulated peer: what all runtimes have in common in a simulation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple, Protocol

from msgspec import msgpack

from actors.applier import ClientId
from actors.codec import encode_message, message_kind
from actors.interpreter import Recorder
from actors.machine import MachineHost
from actors.network import Network
from actors.protocol import PeerMessage, encode
from actors.replicated import Replicated
from actors.sim.timeline import Delay, Timeline, Way
from actors.spec import PeerConfig, RuntimeName
from raft_core import Effect, LogIndex, Message, RoleChanged, ServerId, Settings

LINK = Delay(0.000_1, 0.001)
"""A frame on its way."""
DISK = Delay(0.000_2, 0.003)
"""A durable write."""


class PeerPlan(NamedTuple):
    """What the peers of a cluster have in common."""

    names: tuple[ServerId, ...]
    settings: Settings
    machine: type[Replicated]
    allow_code: bool = True
    check_determinism: bool = False
    runtime: RuntimeName = "actors"
    recorder_of: Callable[[ServerId], Recorder | None] = lambda server_id: None
    """Who records what happens to a server."""

    def host(self) -> MachineHost:
        """A new state machine."""
        return MachineHost(self.machine(), allow_code=self.allow_code, check_determinism=self.check_determinism)

    def config(self, server_id: ServerId, seed: int) -> PeerConfig:
        """What one peer is."""
        return PeerConfig(server_id=server_id, voters=self.names, settings=self.settings, seed=seed)


class Listener(Protocol):
    """A client, as the peers see it."""

    def attach(self, peer: Incarnation) -> None:
        """A new incarnation of a peer can be asked."""

    def detach(self, server_id: ServerId) -> None:
        """A peer is gone."""

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        """A frame arrived from a peer."""


class Surroundings(NamedTuple):
    """What the peers of a simulation stand in."""

    timeline: Timeline
    network: SimNetwork
    listeners: Mapping[ClientId, Listener]


class Incarnation(ABC):
    """A peer from its start to its death."""

    recovered_index: LogIndex
    """Last log index it found on its disk."""

    def __init__(self, server_id: ServerId, around: Surroundings) -> None:
        self.server_id = server_id
        self.is_up = True
        self.since = around.timeline.now
        """Virtual time of its start, or of its death."""
        self.timeline = around.timeline
        self._network = around.network

    @abstractmethod
    def meet(self, server_id: ServerId) -> None:
        """A new incarnation of another peer can be reached."""

    @abstractmethod
    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer arrived."""

    @abstractmethod
    def ask(self, client_id: ClientId, frame: bytes) -> None:
        """A frame from a client arrived."""

    def way(self, delay: Delay) -> Way:
        """A way that ends with this incarnation."""
        return Way(self.timeline, delay, lambda: self.is_up)

    def send(self, to: ServerId, message: Message) -> None:
        """Send to another peer; to nobody if it never was there."""
        self.send_frame(to, encode_message(message))

    def send_frame(self, to: ServerId, frame: bytes) -> None:
        """As `send`, for a message that has been encoded."""
        self._network.send(self, to, frame)

    def note_effect(self, effect: Effect) -> None:
        """The interpreter's boundary: who leads belongs into the trace."""
        if isinstance(effect, RoleChanged):
            self.timeline.note(self.server_id, f"{effect.role} in term {effect.term}", msgpack.encode(effect))

    def kill(self) -> None:
        """Everything in memory and on its way is gone."""
        self.is_up = False
        self.since = self.timeline.now
        self.timeline.note(self.server_id, "is killed")


class Voice:
    """One of the two sets of links on which a peer answers clients (a `Replies`): of consensus, or of the applier."""

    def __init__(self, peer: Incarnation, listeners: Mapping[ClientId, Listener]) -> None:
        self._peer = peer
        self._listeners = listeners
        self._ways: dict[ClientId, Way] = {}

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Send."""
        listener = self._listeners[client_id]
        if client_id not in self._ways:
            self._ways[client_id] = self._peer.way(LINK)
        frame = encode(message)
        self._ways[client_id].put(lambda: listener.hear(self._peer.server_id, frame))


class SimNetwork:
    """The links between incarnations.  A link ends with either of its ends, and with it what is on its way there."""

    def __init__(self, network: Network, timeline: Timeline) -> None:
        self.faults = network
        self._timeline = timeline
        self._random = Random(timeline.random.getrandbits(64))
        self._links: dict[tuple[ServerId, ServerId], tuple[Incarnation, Incarnation, Way]] = {}

    def connect(self, one: Incarnation, other: Incarnation) -> None:
        """New links between the two, in place of those of earlier incarnations."""
        self.faults.admit(one.server_id, other.server_id)
        for sender, receiver in ((one, other), (other, one)):
            way = Way(self._timeline, LINK, _both_up(sender, receiver))
            self._links[sender.server_id, receiver.server_id] = sender, receiver, way
            sender.meet(receiver.server_id)

    def send(self, sender: Incarnation, to: ServerId, frame: bytes) -> None:
        """Let a frame arrive, once, several times or never."""
        link = self._links.get((sender.server_id, to))
        if link is None or link[0] is not sender:
            return
        _, receiver, way = link
        for delay in self.faults.fates(sender.server_id, to, message_kind(frame), len(frame), self._random):
            way.put(lambda: receiver.receive(sender.server_id, frame), delay)


def _both_up(one: Incarnation, other: Incarnation) -> Callable[[], bool]:
    return lambda: one.is_up and other.is_up
