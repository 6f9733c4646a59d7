"""What surrounds a locked peer, as protocols: its threads, and its links with peers, clients and supervisor."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

from actors.applier import ClientId, Replies
from actors.errors import ActorumError
from actors.lock_based.threads import Threads
from actors.notes import ClientGone, Failed, Shutdown
from raft_core import ServerId


class Outlet(Protocol):
    """The way to another peer, across its incarnations.  Any thread may use it; it never waits."""

    def send(self, frame: bytes) -> None:
        """Send, or drop: Raft asks again."""


class Inlet(Protocol):
    """Frames of one incarnation of another peer.  One thread takes them."""

    def get(self) -> list[bytes] | None:
        """Wait for frames; None when the link has ended, or `World.wake` was called.  `BadFrame` ends the link, too."""


class PeerCame(NamedTuple):
    """A new incarnation of another peer can be reached, and heard over `inlet`."""

    server_id: ServerId
    inlet: Inlet


Note: TypeAlias = PeerCame | ClientGone | Shutdown | Failed


class Arrived(NamedTuple):
    """What the acceptor got."""

    notes: list[Note]
    asked: list[tuple[ClientId, bytes]]
    refused: list[ActorumError]
    """Why links were closed for what came over them."""


class World(Protocol):
    """Where a locked peer lives."""

    @property
    def threads(self) -> Threads:
        """Threads, locks and the time."""

    @property
    def consensus_voice(self) -> Replies:
        """Where consensus answers clients; for any thread."""

    @property
    def applier_voice(self) -> Replies:
        """Where the applier answers clients."""

    def outlet(self, server_id: ServerId) -> Outlet:
        """The way to another peer; it is there before the peer is."""

    def accept(self) -> Arrived:
        """Wait until the supervisor or clients say something, or `wake` is called."""

    def flush(self) -> None:
        """Send what a full link kept back.  Never waits."""

    @property
    def dropped(self) -> int:
        """Messages to peers that were dropped because a link was full or its reader gone."""

    def wake(self) -> None:
        """The peer ends: nobody shall wait for a link any more."""

    def close(self) -> None:
        """Give the links back, when all threads have ended."""
