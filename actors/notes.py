"""What a peer is told from outside its protocol: by its workers, and by the supervisor over the control channel."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from actors.applier import ClientId
from actors.control import AttachClient, AttachPeer, ControlChannel, StopPeer
from actors.errors import BadFrame
from actors.interpreter import Written
from actors.links import LinkReader, LinkWriter, reader_of, writer_of
from raft_core import LogIndex, ServerId, Snapshot


class EndedFromOutside(Exception):
    """A peer is ended by somebody else; there is nothing to report of it."""


class Orphaned(EndedFromOutside):
    """The supervisor is gone."""


class AppliedUpTo(Struct, frozen=True):
    """The state machine has applied everything up to `index`."""

    index: LogIndex
    expiry: int | None = None
    """When something in it expires, by the replicated clock; None: nothing does."""


class Taken(Struct, frozen=True):
    """A snapshot of the state machine is on disk."""

    snapshot: Snapshot


class Failed(Struct, frozen=True):
    """Something without which this peer cannot go on has failed, and so the peer must not."""

    error: BaseException


class PeerLinks(Struct, frozen=True):
    """New links from and to another peer; they replace those of its earlier incarnation."""

    server_id: ServerId
    reader: LinkReader
    writer: LinkWriter


class ClientLinks(Struct, frozen=True):
    """New links of a client: what it says, what consensus answers, what the applier answers."""

    client_id: ClientId
    reader: LinkReader
    consensus_writer: LinkWriter
    applier_writer: LinkWriter


class ClientGone(Struct, frozen=True):
    """A client closed its links."""

    client_id: ClientId


class Shutdown(Struct, frozen=True):
    """Stop in good order."""


FromSupervisor: TypeAlias = PeerLinks | ClientLinks | Shutdown | Failed
Note: TypeAlias = Written | AppliedUpTo | Taken | ClientGone | FromSupervisor


def note_from(channel: ControlChannel) -> FromSupervisor:
    """The next packet of the supervisor, once its channel is readable."""
    try:
        received = channel.receive()
    except BadFrame as error:
        return Failed(error)
    if received is None:
        return Failed(Orphaned())
    packet, descriptors = received
    match packet:
        case AttachPeer(server_id=server_id):
            return PeerLinks(server_id, reader_of(descriptors[0]), writer_of(descriptors[1]))
        case AttachClient(client_id=client_id):
            reader, consensus, applier = descriptors
            return ClientLinks(client_id, reader_of(reader), writer_of(consensus), writer_of(applier))
        case StopPeer():
            return Shutdown()
        case _:
            return Failed(BadFrame(f"a peer does not understand {type(packet).__name__}"))
