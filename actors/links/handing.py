"""Links, made by the supervisor: it keeps no end, gives the peers theirs over their control channels, and clients
theirs by `attach`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Protocol, TypeAlias

from actors.control import AttachClient, AttachPeer, ControlChannel
from actors.links.pipes import link_pair
from raft_core import ServerId

PeerLink: TypeAlias = Callable[[ServerId, ServerId], tuple[Connection, Connection]]
"""Makes a link from one peer to another: (reading, writing) ends."""


class LinkTaker(Protocol):
    """Somebody who gets links to peers: a client of this process, or of another one."""

    def attach(self, server_id: ServerId, ends: Mapping[str, Connection]) -> None:
        """Take the client's ends of new links with a peer."""


def link_peers(
    one: tuple[ServerId, ControlChannel], other: tuple[ServerId, ControlChannel], peer_link: PeerLink
) -> None:
    """Two directed links, one each way."""
    (one_id, one_channel), (other_id, other_channel) = one, other
    from_one, to_other = peer_link(one_id, other_id)
    from_other, to_one = peer_link(other_id, one_id)
    one_channel.send(AttachPeer(other_id), (from_other.fileno(), to_other.fileno()))
    other_channel.send(AttachPeer(one_id), (from_one.fileno(), to_one.fileno()))
    for end in (from_one, to_other, from_other, to_one):
        end.close()


def link_client(peer: tuple[ServerId, ControlChannel], client_id: int, client: LinkTaker) -> None:
    """Three directed links: requests in, and one out for each of the peer's two voices."""
    server_id, channel = peer
    requests_in, requests_out = link_pair()
    consensus_in, consensus_out = link_pair()
    applier_in, applier_out = link_pair()
    peer_ends = (requests_in, consensus_out, applier_out)
    channel.send(AttachClient(client_id), tuple(end.fileno() for end in peer_ends))
    for end in peer_ends:
        end.close()
    client.attach(server_id, {"requests": requests_out, "consensus": consensus_in, "applier": applier_in})
