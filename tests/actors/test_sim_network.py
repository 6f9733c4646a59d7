"""Links of a simulation: they keep their order unless faults say otherwise, and end with either of their ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.applier import ClientId
from actors.codec import decode_message, encode_message
from actors.machines.counter import Counter
from actors.network import Faults, Network
from actors.protocol import InspectPeer, PeerMessage, Status, decode_peer_message, encode
from actors.sim import SimCluster
from actors.sim.incarnation import Incarnation, SimNetwork, Surroundings
from actors.sim.timeline import Timeline
from actors.spec import RuntimeName
from raft_core import RequestVote, ServerId

NAMES = ("n1", "n2", "n3")


class Ear(Incarnation):
    """A peer that only remembers what it hears: the term of each message, with the time."""

    recovered_index = 0

    def __init__(self, server_id: ServerId, around: Surroundings) -> None:
        super().__init__(server_id, around)
        self.heard: list[tuple[float, int]] = []
        self.met: list[ServerId] = []

    @property
    def terms(self) -> list[int]:
        return [term for _, term in self.heard]

    def meet(self, server_id: ServerId) -> None:
        self.met.append(server_id)

    def receive(self, sender: ServerId, frame: bytes) -> None:
        self.heard.append((self.timeline.now, decode_message(frame).term))

    def ask(self, client_id: ClientId, frame: bytes) -> None:
        raise AssertionError("there are no clients")

    def say(self, to: ServerId, *terms: int) -> None:
        for term in terms:
            self.send_frame(to, encode_message(RequestVote(term, self.server_id, 0, 0)))


class World:
    """n1 and n2 with links between them."""

    def __init__(self, seed: int = 1) -> None:
        self.timeline = Timeline(seed)
        self.faults = Network(NAMES)
        self.network = SimNetwork(self.faults, self.timeline)
        self.one, self.other = self.born("n1"), self.born("n2")
        self.network.connect(self.one, self.other)

    def born(self, server_id: ServerId) -> Ear:
        return Ear(server_id, Surroundings(self.timeline, self.network, {}))

    def run(self, seconds: float = 10.0) -> None:
        self.timeline.run_until(self.timeline.now + seconds)


def test_without_faults_a_link_keeps_its_order_and_both_ends_meet() -> None:
    world = World()
    assert (world.one.met, world.other.met) == (["n2"], ["n1"])
    world.one.say("n2", *range(200))
    world.run()
    assert world.other.terms == list(range(200))
    assert (world.one.terms, world.faults.counts().requests) == ([], 200)


def test_what_is_late_is_overtaken_in_virtual_time() -> None:
    world = World()
    world.faults.set(requests=Faults(delay=(5.0, 5.0)))
    world.one.say("n2", 1)
    world.faults.reliable()
    world.one.say("n2", 2)
    world.run()
    assert world.other.terms == [2, 1]
    assert world.other.heard[1][0] >= 5.0 > world.other.heard[0][0]


def test_what_is_dropped_or_cut_does_not_arrive_and_what_is_doubled_arrives_twice() -> None:
    world = World()
    world.faults.set(requests=Faults(drop=1.0))
    world.one.say("n2", 1)
    world.faults.heal()
    world.faults.cut("n1", "n2")
    world.one.say("n2", 2)
    world.other.say("n1", 3)
    world.faults.heal()
    world.faults.set(requests=Faults(duplicate=1.0))
    world.one.say("n2", 4)
    world.run()
    assert (world.other.terms, world.one.terms) == ([4, 4], [3])
    assert world.faults.counts().lost == 2


def test_a_cut_does_not_take_what_is_on_its_way_already() -> None:
    world = World()
    world.one.say("n2", 1)
    world.faults.cut("n1", "n2")
    world.run()
    assert world.other.terms == [1]


@pytest.mark.parametrize("delay", [0.0, 3.0])
@pytest.mark.parametrize("victim", ["sender", "receiver"])
def test_what_is_on_its_way_is_lost_with_either_end_and_not_given_to_the_next(victim: str, delay: float) -> None:
    world = World()
    world.faults.set(requests=Faults(delay=(delay, delay)))
    world.one.say("n2", 1)
    dead = world.one if victim == "sender" else world.other
    dead.kill()
    heir = world.born(dead.server_id)
    world.network.connect(heir, world.other if victim == "sender" else world.one)
    world.run()
    assert world.one.terms == world.other.terms == heir.terms == []


def test_a_dead_incarnation_cannot_speak_on_the_links_of_the_next() -> None:
    world = World()
    world.one.kill()
    heir = world.born("n1")
    world.network.connect(heir, world.other)
    world.one.say("n2", 1)
    heir.say("n2", 2)
    world.run()
    assert world.other.terms == [2]


def test_what_is_said_to_somebody_who_never_was_there_is_lost() -> None:
    world = World()
    world.one.say("n3", 1)
    world.run()
    assert world.faults.counts().requests == 0


def test_misfortunes_are_those_of_the_seed() -> None:
    def life(seed: int) -> list[tuple[float, int]]:
        world = World(seed)
        world.faults.set(requests=Faults(drop=0.3, delay=(0.0, 1.0), hold_back=0.5, duplicate=0.3))
        world.one.say("n2", *range(50))
        world.run()
        return world.other.heard

    assert life(1) == life(1)
    assert life(1) != life(2)


# --- who listens ------------------------------------------------------------------------------------------------------


class Witness:
    """A client that asks whoever appears how it is, and remembers what it is told."""

    def __init__(self) -> None:
        self.peers: dict[ServerId, Incarnation] = {}
        self.attached: list[ServerId] = []
        self.detached: list[ServerId] = []
        self.heard: list[tuple[ServerId, PeerMessage]] = []

    def attach(self, peer: Incarnation) -> None:
        self.attached.append(peer.server_id)
        self.peers[peer.server_id] = peer

    def detach(self, server_id: ServerId) -> None:
        self.detached.append(server_id)

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        self.heard.append((server_id, decode_peer_message(frame)))

    def of(self, kind: Callable[[PeerMessage], bool]) -> list[ServerId]:
        return [server_id for server_id, message in self.heard if kind(message)]


def is_status(batch_id: int) -> Callable[[PeerMessage], bool]:
    return lambda message: isinstance(message, Status) and message.batch_id == batch_id


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_every_listener_gets_its_own_answers_of_every_incarnation(runtime: RuntimeName) -> None:
    with Counter.cluster(nodes=3, engine="sim", seed=3, runtime=runtime) as counter:
        cluster = counter.cluster
        assert isinstance(cluster, SimCluster)
        first, second = Witness(), Witness()
        first_id, second_id = cluster.peers.add_listener(first), cluster.peers.add_listener(second)
        assert first_id != second_id
        first.peers["n1"].ask(first_id, encode(InspectPeer(7, False)))
        second.peers["n2"].ask(second_id, encode(InspectPeer(8, False)))
        cluster.run_for(0.1)
        cluster.restart("n1")
        first.peers["n1"].ask(first_id, encode(InspectPeer(9, False)))
        cluster.run_for(0.1)
        assert first.attached == second.attached == [*NAMES, "n1"]
        assert first.detached == second.detached == ["n1"]
        assert (first.of(is_status(7)), first.of(is_status(8)), first.of(is_status(9))) == (["n1"], [], ["n1"])
        assert (second.of(is_status(7)), second.of(is_status(8)), second.of(is_status(9))) == ([], ["n2"], [])
        assert counter.incr() == 1
