"""The control channel between the supervisor and a peer: small packets that may carry descriptors.

A pair of Unix sockets with message boundaries.  Links are made by the supervisor and handed to running peers as
descriptors (SCM_RIGHTS), which a queue object could not be.  The channel's end also tells of death: whichever dies, the
other reads end-of-file at once, so a killed supervisor leaves no peer behind and a killed peer is noticed in
microseconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TypeAlias

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from actors.codec import GARBAGE
from actors.errors import BadFrame
from raft_core import ServerId

_MAX_PACKET = 65_536
_MAX_DESCRIPTORS = 16


class AttachPeer(Struct, frozen=True, tag=1, array_like=True):
    """Supervisor to peer: links with another peer.  Descriptors: reading end, writing end."""

    server_id: ServerId


class AttachClient(Struct, frozen=True, tag=2, array_like=True):
    """Supervisor to peer: links with a client.  Descriptors: reading end, writing ends of consensus and applier."""

    client_id: int


class StopPeer(Struct, frozen=True, tag=3, array_like=True):
    """Supervisor to peer: stop in good order."""


class PeerReady(Struct, frozen=True, tag=4, array_like=True):
    """Peer to supervisor: recovered from storage, ready for links."""

    process_id: int
    last_index: int


class PeerEnded(Struct, frozen=True, tag=5, array_like=True):
    """Peer to supervisor: stopping; `error` is an `ActorumError.as_json`, empty after a stop in good order."""

    error: dict[str, str]


Packet: TypeAlias = AttachPeer | AttachClient | StopPeer | PeerReady | PeerEnded

_encode = Encoder().encode
_decode = Decoder(Packet).decode


class ControlChannel:
    """One end.  One thread reads, one writes."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, packet: Packet, descriptors: tuple[int, ...] = ()) -> bool:
        """Send, with copies of `descriptors`.  False if the other end is gone."""
        try:
            socket.send_fds(self._socket, [_encode(packet)], descriptors, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Packet, list[int]] | None:
        """The next packet and its descriptors; None when the other end is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _MAX_PACKET, _MAX_DESCRIPTORS)
        except OSError:
            return None
        if not data:
            return None
        try:
            return _decode(data), descriptors
        except GARBAGE as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise BadFrame("a control packet is none", why=str(error)) from None

    def close(self) -> None:
        """Close this end; the other reads end-of-file."""
        with contextlib.suppress(OSError):
            self._socket.close()


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
