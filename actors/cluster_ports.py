"""What a `Cluster` stands on: somebody who runs the peers, and a client.

The engines differ in these two and in nothing else: finding the leader, comparing replicas, code commands are the same
lines of `Cluster` whether peers are processes, threads, or values in a simulation.

Rejected: an abstract cluster with one implementation for each engine (every one would find the leader in its own way,
and whoever wants the client or the peers of a running cluster would have to ask first which engine it is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from actors.calls import Call, SubmitOptions
from actors.errors import ActorumError
from actors.protocol import Administered, Administering, Asking, Digest, PeerAnswer, Status
from raft_core import ServerId, Settings

if TYPE_CHECKING:
    from actors.links.handing import LinkTaker
    from actors.supervisor import PeerState

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

    @property
    def settings(self) -> Settings:
        """Those with which peers are started."""

    def use_settings(self, settings: Settings) -> None:
        """Start peers with these from now on, as long as this program runs."""

    def use_log_level(self, level: str) -> None:
        """The same, with how much they log."""

    def remove_client(self, client_id: int) -> None:
        """This client needs no links any more."""

    def kill(self, server_id: ServerId) -> None:
        """End a peer without a chance to write or say anything; it stays down until `restart`."""

    def add(self, server_id: ServerId | None = None) -> ServerId:
        """Start a further peer with an empty disk, under this name or the next number; it is no member yet.  Raises
        `NameTaken` if somebody has that name or had it."""

    def retire(self, server_id: ServerId) -> None:
        """Stop a peer for good: it is not started any more, and its name is not given again."""

    def note_voters(self, voters: Iterable[ServerId]) -> None:
        """Whose majority is needed, for `health`."""

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

    def ask(self, server_id: ServerId, question: Callable[[int], Asking], *, timeout: float) -> PeerAnswer | None:
        """Ask one peer, once, what `question` makes of the number it is given; None if it does not answer within
        `timeout` seconds."""

    def administer(
        self, server_id: ServerId, request: Callable[[int], Administering], *, timeout: float
    ) -> Administered | None:
        """Ask one peer, once, for what `request` makes of the number it is given; None if there was no answer within
        `timeout` seconds: then the outcome is unknown."""
