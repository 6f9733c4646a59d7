"""Who runs the simulated peers: the supervisor's part, without a process to watch.

Each peer has a storage that outlives it.  A new incarnation gets new links with every peer that is up, and so do they
with it; a peer that was killed stays down until it is restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import NoReturn

from actors.applier import ClientId
from actors.errors import ActorumError, ClusterClosed, NoSuchNode, WrongArguments
from actors.links.handing import LinkTaker
from actors.network import Network
from actors.roster import Roster
from actors.sim.disk import Space, fillable
from actors.sim.incarnation import Incarnation, Listener, PeerPlan, SimNetwork, Surroundings
from actors.sim.timeline import Timeline
from actors.spec import RuntimeName
from actors.storage.disk import Disk
from actors.supervisor import PeerState
from raft_core import ServerId, Settings, majority

_PLACES: dict[RuntimeName, str] = {"actors": "actors.sim.peer:SimPeer", "locks": "actors.sim.locked:SimLockedPeer"}


class SimPeers:
    """All peers of one simulated cluster, across their incarnations (a `cluster_ports.Peers`)."""

    def __init__(self, plan: PeerPlan, timeline: Timeline) -> None:
        self._plan = plan
        self._timeline = timeline
        self._new_peer = _incarnation_of(plan.runtime)
        self._spaces = {name: Space() for name in plan.names}
        self._disks = {name: fillable(space) for name, space in self._spaces.items()}
        self._peers: dict[ServerId, Incarnation] = {}
        self._listeners: dict[ClientId, Listener] = {}
        self._roster = Roster(plan.names)
        self._voters = frozenset(plan.names)
        self._links = SimNetwork(Network(plan.names), timeline)
        self._is_closed = False

    @property
    def network(self) -> Network:
        """What may happen to messages between the peers."""
        return self._links.faults

    def peer(self, server_id: ServerId) -> Incarnation:
        """The present incarnation of a peer, or the one that died last."""
        self._check(server_id)
        return self._peers[server_id]

    def start(self) -> None:
        """Start all peers."""
        for name in self._plan.names:
            self._launch(name)

    def add_listener(self, listener: Listener) -> ClientId:
        """A client: it is told of all peers that are up, and whenever one starts or dies; its number."""
        client_id = len(self._listeners) + 1
        self._listeners[client_id] = listener
        for peer in self._peers.values():
            if peer.is_up:
                listener.attach(peer)
        return client_id

    def _launch(self, server_id: ServerId) -> None:
        around = Surroundings(self._timeline, self._links, self._listeners)
        peer = self._new_peer(server_id, self._plan, self._disks[server_id], around)
        self._timeline.note(server_id, "starts")
        for other in self._peers.values():
            if other.is_up:
                self._links.connect(peer, other)
        self._peers[server_id] = peer
        for listener in self._listeners.values():
            listener.attach(peer)

    def add(self, server_id: ServerId | None = None) -> ServerId:
        """Start a further peer with an empty disk; it is no member yet."""
        name = self._roster.claim(server_id)
        self._spaces[name] = Space()
        self._disks[name] = fillable(self._spaces[name])
        self._launch(name)
        return name

    def retire(self, server_id: ServerId) -> None:
        """End a peer for good.  Its disk stays, its name is not given again."""
        self.kill(server_id)
        self._roster.remove(server_id)
        del self._peers[server_id]

    def note_voters(self, voters: Iterable[ServerId]) -> None:
        """Whose majority is needed, for `health`."""
        self._voters = frozenset(voters)

    @property
    def settings(self) -> Settings:
        """Those with which peers are started."""
        return self._plan.settings

    def use_settings(self, settings: Settings) -> None:
        """Start peers with these from now on."""
        self._plan = self._plan._replace(settings=settings)

    def use_log_level(self, level: str) -> None:
        """There is one process, which has its level already."""

    def kill(self, server_id: ServerId) -> None:
        """End a peer at once; nothing happens if it is down already."""
        self._check(server_id)
        peer = self._peers[server_id]
        if peer.is_up:
            peer.kill()
            for listener in self._listeners.values():
                listener.detach(server_id)

    def restart(self, server_id: ServerId) -> None:
        """Start a peer from its disk, ending it first if it is up."""
        self.kill(server_id)
        self._launch(server_id)

    def fill_disk(self, server_id: ServerId, is_full: bool = True) -> None:
        """From now on, the disk of a peer takes nothing; or, `is_full` being False, everything again."""
        self._check(server_id)
        self._spaces[server_id].is_full = is_full
        self._timeline.note(server_id, f"disk {'is full' if is_full else 'has room'}")

    def _check(self, server_id: ServerId) -> None:
        if self._is_closed:
            raise ClusterClosed("the cluster is closed")
        if server_id not in self._peers:
            raise NoSuchNode(f"there is no node {server_id}", why=f"the nodes are {', '.join(self._peers)}")

    def members(self) -> dict[ServerId, tuple[PeerState, float, int]]:
        """State and virtual seconds since it changed; there are no processes."""
        now = self._timeline.now
        return {
            name: (PeerState.UP if peer.is_up else PeerState.DOWN, now - peer.since, 0)
            for name, peer in self._peers.items()
        }

    def health(self) -> str:
        """Who is down and since when, in words; empty if enough peers are up to serve."""
        members = {name: known for name, known in self.members().items() if name in self._voters}
        needed = majority(members)
        down = [(name, since) for name, (state, since, _) in members.items() if state is not PeerState.UP]
        if len(members) - len(down) >= needed:
            return ""
        who = ", ".join(f"{name} is down since {since:.1f} s" for name, since in down)
        return f"{who}; {needed} of {len(members)} peers are needed"

    def last_errors(self) -> dict[ServerId, ActorumError]:
        """Nothing: no simulated peer survives an error, and so does not the simulation."""
        return {}

    def recovered_index(self, server_id: ServerId) -> int:
        """Last log index that a peer's present incarnation found on its disk."""
        self._check(server_id)
        return self._peers[server_id].recovered_index

    def add_client(self, client: LinkTaker) -> NoReturn:
        """Raises `WrongArguments`."""
        raise WrongArguments(
            "a simulated cluster cannot be called over links",
            why="it runs in the thread of its one client, and there are no pipes",
            fix='engine="threads"',
        )

    def remove_client(self, client_id: ClientId) -> None:
        """There is none that has links."""

    def close(self) -> None:
        """The end: peers are dropped where they stand."""
        self._is_closed = True
        for peer in self._peers.values():
            if peer.is_up:
                peer.kill()


def _incarnation_of(runtime: RuntimeName) -> Callable[[ServerId, PeerPlan, Disk, Surroundings], Incarnation]:
    """The simulated form of a runtime; imported when it is used."""
    module, name = _PLACES[runtime].split(":")
    incarnation: Callable[[ServerId, PeerPlan, Disk, Surroundings], Incarnation]
    incarnation = getattr(import_module(module), name)
    return incarnation
