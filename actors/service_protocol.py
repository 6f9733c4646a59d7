"""The local service's socket: how two programs on one machine meet, prove themselves, and what they say.

A Unix socket with message boundaries in the data directory.  Before anything is parsed both sides prove that they hold
the key in `control.key` (mode 0600): the server sends a random challenge, the client answers with an HMAC-SHA256 over
both challenges and sends its own, the server answers that.  Only then do packets flow: tagged msgspec structs of
bounded size, never unpickled.  Links to peers travel as descriptors beside a packet.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from msgspec import MsgspecError, Struct
from msgspec.msgpack import Decoder, Encoder

from actors.errors import ActorumError, AuthenticationFailed, BadFrame
from actors.network import NetworkState
from actors.protocol import Status
from actors.remote_administration import Operation, Outcome
from actors.remote_network import Change
from raft_core import ServerId

SOCKET_NAME = "control.sock"
KEY_NAME = "control.key"
MAX_PACKET = 65_536
MAX_DESCRIPTORS = 3
HANDSHAKE_TIMEOUT = 5.0
"""Seconds within which a new connection must have proved itself."""
_NONCE, _DIGEST = 32, 32


class AskStatus(Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """How are the peers?"""


class KillPeer(Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """SIGKILL a peer and leave it down; None: whoever leads."""

    server_id: ServerId | None


class RestartPeer(Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    """Start a peer from its storage."""

    server_id: ServerId


class StopCluster(Struct, frozen=True, array_like=True, tag=4, forbid_unknown_fields=True):
    """Stop all peers and the service."""


class Attach(Struct, frozen=True, array_like=True, tag=5, forbid_unknown_fields=True):
    """Become a client: `Links` follow for every running peer, and whenever one starts, until this connection ends."""


class AskNetwork(Struct, frozen=True, array_like=True, tag=6, forbid_unknown_fields=True):
    """What happens to messages between the peers, and how many were there?"""


class ChangeNetwork(Struct, frozen=True, array_like=True, tag=7, forbid_unknown_fields=True):
    """Make the network between the peers worse, or better."""

    change: Change


class Administer(Struct, frozen=True, array_like=True, tag=8, forbid_unknown_fields=True):
    """Change the members, the leader, or the length of a log."""

    operation: Operation


class NodeReport(Struct, frozen=True, array_like=True, tag=11, forbid_unknown_fields=True):
    """One peer as the supervisor sees it, and as it sees itself (None: it did not answer)."""

    server_id: ServerId
    state: str
    seconds: float
    """Since when it is in this state."""
    process_id: int
    status: Status | None
    error: dict[str, str]
    """The last error it ended with; empty if there is none."""


class ClusterReport(Struct, frozen=True, array_like=True, tag=12, forbid_unknown_fields=True):
    """All peers."""

    name: str
    machine: str
    nodes: tuple[NodeReport, ...]
    recoveries: tuple[str, ...] = ()
    """When, and with whom, it went on without a majority."""


class Done(Struct, frozen=True, array_like=True, tag=13, forbid_unknown_fields=True):
    """It is done; `server_id` is the peer that it was done to."""

    server_id: ServerId | None


class Refusal(Struct, frozen=True, array_like=True, tag=14, forbid_unknown_fields=True):
    """It cannot be done: an `ActorumError.as_json`."""

    error: dict[str, str]


class Links(Struct, frozen=True, array_like=True, tag=15, forbid_unknown_fields=True):
    """Links with a peer.  Descriptors: requests (to write), consensus and applier (to read)."""

    server_id: ServerId


class Attached(Struct, frozen=True, array_like=True, tag=16, forbid_unknown_fields=True):
    """Links to all running peers have been sent."""


class NetworkReport(Struct, frozen=True, array_like=True, tag=17, forbid_unknown_fields=True):
    """All links between the peers."""

    state: NetworkState


class Operated(Struct, frozen=True, array_like=True, tag=18, forbid_unknown_fields=True):
    """What came of an `Administer`."""

    outcome: Outcome


Request: TypeAlias = AskStatus | KillPeer | RestartPeer | StopCluster | Attach | AskNetwork | ChangeNetwork | Administer
Answer: TypeAlias = ClusterReport | Done | Refusal | Links | Attached | NetworkReport | Operated

_encode = Encoder().encode
_decode_request = Decoder(Request).decode
_decode_answer = Decoder(Answer).decode


class Connection:
    """One end of a connection that has been proved."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, packet: Request | Answer, descriptors: tuple[int, ...] = ()) -> bool:
        """Send with copies of `descriptors`; False if the other side is gone or does not read.  Never waits: whoever
        leaves hundreds of packets unread must not hold up the others."""
        try:
            socket.send_fds(self._socket, [_encode(packet)], descriptors, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive_request(self) -> Request | None:
        """The next request; None at the end.  Raises `BadFrame` for anything else; descriptors are not wanted."""
        data, descriptors = self._receive()
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            return _decode_request(data) if data else None
        except (MsgspecError, ActorumError) as error:  # the latter: faults that cannot be
            raise BadFrame("a packet on the control socket is no request", why=str(error)) from None

    def receive_answer(self) -> tuple[Answer, list[int]] | None:
        """The next answer and its descriptors; None at the end."""
        data, descriptors = self._receive()
        try:
            return (_decode_answer(data), descriptors) if data else None
        except MsgspecError as error:
            raise BadFrame("a packet on the control socket is no answer", why=str(error)) from None

    def _receive(self) -> tuple[bytes, list[int]]:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, MAX_PACKET, MAX_DESCRIPTORS)
        except OSError:
            return b"", []
        if flags & socket.MSG_TRUNC:
            raise BadFrame(f"a packet of more than {MAX_PACKET} bytes on the control socket")
        return data, descriptors

    def close(self) -> None:
        """End it, even while another thread is receiving."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def short_path(directory: Path, name: str) -> Iterator[str]:
    """A path to `name` in `directory` that fits into a socket address, however deep the directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def prove_to_server(end: socket.socket, key: bytes) -> None:
    """The client's part of the handshake.  Raises `AuthenticationFailed`."""
    end.settimeout(HANDSHAKE_TIMEOUT)
    try:
        theirs = end.recv(_NONCE + 1)
        ours = secrets.token_bytes(_NONCE)
        end.send(ours + _proof(key, b"client", theirs + ours))
        answer = end.recv(_DIGEST + 1)
    except OSError:
        answer = b""
    if not hmac.compare_digest(answer, _proof(key, b"server", ours + theirs) if answer else b"?"):
        raise AuthenticationFailed(
            "the service refused this program's key, or could not prove its own",
            why="the key is in the file control.key of the data directory; only its owner may read it",
            fix="use the data directory with which `actorum up` was started",
        )
    end.settimeout(None)


def prove_to_client(end: socket.socket, key: bytes) -> bool:
    """The server's part of the handshake; False: the other side does not hold the key."""
    try:
        end.settimeout(HANDSHAKE_TIMEOUT)  # the service may be closing it just now
        ours = secrets.token_bytes(_NONCE)
        end.send(ours)
        answer = end.recv(_NONCE + _DIGEST + 1)
        theirs, proof = answer[:_NONCE], answer[_NONCE:]
        if len(answer) != _NONCE + _DIGEST or not hmac.compare_digest(proof, _proof(key, b"client", ours + theirs)):
            return False
        end.send(_proof(key, b"server", theirs + ours))
        end.settimeout(None)
    except OSError:
        return False
    return True


def _proof(key: bytes, who: bytes, challenges: bytes) -> bytes:
    return hmac.new(key, who + challenges, hashlib.sha256).digest()
