"""What a `Cluster` stands on: somebody who runs the peers, and a client.

The engines differ in these two and in nothing else: finding the leader, comparing replicas, code commands are the same
lines of `Cluster` whether peers are processes, threads, or values in a simulation.

Rejected: an abstract cluster with one implementation for each engine (every one would find the leader in its own way,
and whoever wants the client or the peers of a running cluster would have to ask first which engine it is).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from actors.calls import Call, SubmitOptions
from actors.errors import ActorumError
from actors.protocol import Digest, Status
from raft_core import ServerId

if TYPE_CHECKING:
    from actors.supervisor import LinkTaker, PeerState

R = TypeVar("R")


class Peers(Protocol):
    """Who runs the peers."""

    def members(self) -> dict[ServerId, tuple[PeerState, float, int]]:
        """State, seconds since it changed, and process id (0 if it has none) of each peer."""

    def health(self) -> str:
        """Who is down and since when, in words; empty if enough peers are up to serve."""

    def last_errors(self) -> dict[ServerId, ActorumError]:
        """The last word of each peer that ever ended with one, even if it has been started again since."""

    def recovered_index(self, server_id: ServerId) -> int:
        """Last log index that a peer's present incarnation found in its storage."""

    def add_client(self, client: LinkTaker) -> int:
        """Give a further client links to all running peers, now and whenever one starts; its number.

        Raises `WrongArguments` where there are no links to give: in a simulation.
        """

    def kill(self, server_id: ServerId) -> None:
        """End a peer without a chance to write or say anything; it stays down until `restart`."""

    def restart(self, server_id: ServerId) -> None:
        """Start a peer from its storage; returns when it has recovered."""


class ClusterClient(Protocol):
    """Who calls the peers."""

    def submit_command(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a command; it is applied exactly once, however often it has to be sent."""

    def submit_query(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a query."""

    def attend(self, call: Call[Any]) -> None:
        """Nobody waits for `call` just now: see to it that it gets on all the same."""

    def inspect(self, server_id: ServerId, *, digest: bool, timeout: float) -> Status | Digest | None:
        """How one peer is, or what state it has; None if it does not answer within `timeout` seconds."""
