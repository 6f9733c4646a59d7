"""Who runs the simulated peers: the supervisor's part, without a process to watch.

Each peer has a storage that outlives it.  A new incarnation gets new links with every peer that is up, and so do they
with it; a peer that was killed stays down until it is restarted.
"""

from __future__ import annotations

from typing import NoReturn

from actors.errors import ActorumError, ClusterClosed, NoSuchNode, WrongArguments
from actors.sim.client import SimClient
from actors.sim.peer import PeerPlan, SimPeer
from actors.sim.timeline import Timeline
from actors.storage.memory import MemoryStorage
from actors.supervisor import LinkTaker, PeerState
from raft_core import ServerId, majority


class SimPeers:
    """All peers of one simulated cluster, across their incarnations (a `cluster_ports.Peers`)."""

    def __init__(self, plan: PeerPlan, timeline: Timeline) -> None:
        self._plan = plan
        self._timeline = timeline
        self._disks = {name: MemoryStorage() for name in plan.names}
        self._peers: dict[ServerId, SimPeer] = {}
        self._client: SimClient | None = None

    def start(self, client: SimClient) -> None:
        """Start all peers and connect `client` with them."""
        self._client = client
        for name in self._plan.names:
            self._launch(name, client)

    def _launch(self, server_id: ServerId, client: SimClient) -> None:
        peer = SimPeer(server_id, self._plan, self._timeline, self._disks[server_id], client)
        self._timeline.note(server_id, "starts")
        for other in self._peers.values():
            if other.is_up:
                peer.attach(other)
                other.attach(peer)
        self._peers[server_id] = peer
        client.attach(peer)

    def kill(self, server_id: ServerId) -> None:
        """End a peer at once; nothing happens if it is down already."""
        client = self._open_client(server_id)
        peer = self._peers[server_id]
        if peer.is_up:
            peer.kill()
            client.detach(server_id)

    def restart(self, server_id: ServerId) -> None:
        """Start a peer from its disk, ending it first if it is up."""
        self.kill(server_id)
        self._launch(server_id, self._open_client(server_id))

    def _open_client(self, server_id: ServerId) -> SimClient:
        if self._client is None:
            raise ClusterClosed("the cluster is closed")
        if server_id not in self._peers:
            raise NoSuchNode(f"there is no node {server_id}", why=f"the nodes are {', '.join(self._peers)}")
        return self._client

    def members(self) -> dict[ServerId, tuple[PeerState, float, int]]:
        """State and virtual seconds since it changed; there are no processes."""
        now = self._timeline.now
        return {
            name: (PeerState.UP if peer.is_up else PeerState.DOWN, now - peer.since, 0)
            for name, peer in self._peers.items()
        }

    def health(self) -> str:
        """Who is down and since when, in words; empty if enough peers are up to serve."""
        members = self.members()
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
        self._open_client(server_id)
        return self._peers[server_id].recovered_index

    def add_client(self, client: LinkTaker) -> NoReturn:
        """Raises `WrongArguments`."""
        raise WrongArguments(
            "a simulated cluster cannot be called over links",
            why="it runs in the thread of its one client, and there are no pipes",
            fix='engine="threads"',
        )

    def close(self) -> None:
        """The end: peers are dropped where they stand."""
        self._client = None
        for peer in self._peers.values():
            peer.is_up = False
