"""Bytes that are no message, on every kind of link: they end at most the link they came on, with a typed error.

A peer alone in its cluster, so that it leads and serves, is fed by hand: as another peer would (RPCs), as a client
(requests), as the supervisor (control channel).  A client is fed as a peer would, on both of its voices.  Where the
framing still holds, only the frame is refused; where it is broken, nothing behind it can be trusted and the link is
closed.  Nobody else notices.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import cast

import pytest

from actors.bound import Handle
from actors.client import Client
from actors.codec import encode_message
from actors.control import AttachClient, AttachPeer, ControlChannel, PeerEnded, PeerReady, StopPeer, control_pair
from actors.errors import ActorumError, BadFrame, ClusterClosed, PeerFailed, error_from_json
from actors.links import LinkClosed, LinkReader, link_pair
from actors.links.pipes import MAX_FRAME
from actors.machines.counter import Counter
from actors.process import start_peer
from actors.protocol import (
    InspectPeer,
    Refused,
    Status,
    SubmitCommands,
    SubmitQuery,
    decode_peer_message,
    encode,
)
from actors.replicated import machine_reference
from actors.spec import PeerConfig, PeerSpec
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import RequestVote, Settings
from tests.chaos.support import PATIENCE, eventually
from tests.runtimes import runtime

pytestmark = pytest.mark.usefixtures("each_runtime")


def framed(payload: bytes) -> bytes:
    return struct.pack("!I", len(payload)) + payload


NOT_UTF8 = encode(SubmitQuery(1, "name", b"", "stale")).replace(b"name", b"\xff\xff\xff\xff")
REFUSED_FRAMES = {
    "empty": b"",
    "noise": bytes(range(256)),
    "a number": b"\x01",
    "nested too deep": b"\x91" * 100_000,
    "a text that is none": NOT_UTF8,
    "a reply": encode(Refused(1, False, None)),
    "half a message": encode_message(RequestVote(1, "n2", 0, 0))[:-2],
    "a negative term": encode_message(RequestVote(1, "n2", 0, 0)).replace(b"\x01\xa2n2", b"\xff\xa2n2"),
}
"""Payloads that neither a peer nor a client may send."""
BROKEN_STREAMS = {
    "too long a frame": struct.pack("!I", MAX_FRAME + 1) + b"x" * 100,
    "all ones": b"\xff" * 5000,
    "text": b"GET / HTTP/1.1\r\n\r\n",
}
CUT_STREAMS = {
    "half a length": b"\x00\x00",
    "half a frame": framed(b"x" * 1000)[:-1],
    "nothing": b"",
}


class LonePeer:
    """A peer alone in its cluster, and everything one needs to talk to it by hand."""

    def __init__(self) -> None:
        ours, theirs = control_pair()
        self.channel = ControlChannel(ours)
        self.their_channel = ControlChannel(theirs)
        self.raw_channel = ours
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()
        spec = PeerSpec(
            config=PeerConfig(
                server_id="n1", voters=("n1",), settings=Settings(election_timeout=40, heartbeat_interval=20)
            ),
            cluster_id="lone",
            machine=machine_reference(Counter),
            directory=None,
            runtime=runtime(),
        )
        self.storage = MemoryStorage()
        peer = start_peer(spec, Disk(self.storage, MemorySnapshots()), self.their_channel, self.ended.put)
        self.peer = peer
        received = self.channel.receive()
        assert received is not None
        assert isinstance(received[0], PeerReady)
        self.next_client = 1
        self.open_ends: list[Connection] = []

    def peer_link(self) -> Connection:
        """The sending end of a link that looks as if n2 had it."""
        reading, to_peer = link_pair()
        from_peer, writing = link_pair()
        self.channel.send(AttachPeer("n2"), (reading.fileno(), writing.fileno()))
        reading.close()
        writing.close()
        self.open_ends += [to_peer, from_peer]
        return to_peer

    def client_links(self) -> dict[str, Connection]:
        """A client's ends, as the supervisor would hand them out."""
        requests_in, requests_out = link_pair()
        consensus_in, consensus_out = link_pair()
        applier_in, applier_out = link_pair()
        theirs = (requests_in, consensus_out, applier_out)
        self.channel.send(AttachClient(self.next_client), tuple(end.fileno() for end in theirs))
        self.next_client += 1
        for end in theirs:
            end.close()
        ends = {"requests": requests_out, "consensus": consensus_in, "applier": applier_in}
        self.open_ends += ends.values()
        return ends

    def end(self) -> BaseException | None:
        """Stop it in good order, if it has not ended; what it ended with."""
        self.channel.send(StopPeer())
        error = self.ended.get(timeout=PATIENCE)
        self.channel.close()
        self.their_channel.close()
        for end in self.open_ends:
            with suppress(OSError):
                end.close()
        return error


@contextmanager
def lone_peer() -> Iterator[LonePeer]:
    peer = LonePeer()
    try:
        yield peer
    finally:
        error = peer.end()
    assert error is None, f"the peer did not survive: {error!r}"


@contextmanager
def client_of(*peers: LonePeer) -> Iterator[tuple[Client, Counter]]:
    client = Client(timeout=PATIENCE, health=lambda: "")
    try:
        for number, peer in enumerate(peers, start=1):
            client.attach(f"n{number}", peer.client_links())
        yield client, counter_of(client)
    finally:
        client.close()


def counter_of(client: Client) -> Counter:
    return Counter._bound(cast(Handle, client))


def pour(end: Connection, data: bytes) -> None:
    """Write raw bytes; the other side may hang up meanwhile."""
    os.set_blocking(end.fileno(), True)
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(end.fileno(), data) :]


def was_hung_up(end: Connection) -> bool:
    """Has the reader of this link closed its end?"""
    try:
        os.write(end.fileno(), framed(b""))
    except BrokenPipeError:
        return True
    return False


Link = Callable[[LonePeer], Connection]
LINKS: dict[str, Link] = {
    "from a peer": LonePeer.peer_link,
    "from a client": lambda peer: peer.client_links()["requests"],
}
every_link = pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())


@every_link
@pytest.mark.parametrize("payload", REFUSED_FRAMES.values(), ids=REFUSED_FRAMES.keys())
def test_a_frame_that_is_no_message_is_refused_by_name_and_the_link_lives_on(link: Link, payload: bytes) -> None:
    with lone_peer() as peer, client_of(peer) as (_, counter):
        assert counter.incr() == 1
        end = link(peer)
        pour(end, framed(payload))
        eventually(lambda: len(peer.peer.bad_frames) == 1, "the refusal of the frame")
        assert isinstance(peer.peer.bad_frames[0], BadFrame)
        assert counter.incr() == 2
        pour(end, framed(payload))
        eventually(lambda: len(peer.peer.bad_frames) == 2, "the refusal of the second frame on the same link")
        assert counter.incr() == 3


@every_link
@pytest.mark.parametrize("data", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
def test_a_link_whose_framing_is_broken_is_closed_and_the_peer_serves_others(link: Link, data: bytes) -> None:
    with lone_peer() as peer, client_of(peer) as (_, counter):
        assert counter.incr() == 1
        end = link(peer)
        pour(end, data)
        eventually(lambda: was_hung_up(end), "the end of the link")
        assert [type(error) for error in peer.peer.bad_frames] == [BadFrame]
        assert counter.incr() == 2


@every_link
@pytest.mark.parametrize("data", CUT_STREAMS.values(), ids=CUT_STREAMS.keys())
def test_half_a_frame_of_a_dead_writer_is_never_delivered(link: Link, data: bytes) -> None:
    with lone_peer() as peer, client_of(peer) as (_, counter):
        end = link(peer)
        pour(end, data)
        end.close()
        assert [counter.incr() for _ in range(5)] == [1, 2, 3, 4, 5]
        assert peer.peer.bad_frames == []


def test_a_good_frame_before_a_bad_one_is_served() -> None:
    with lone_peer() as peer, client_of(peer) as (_, counter):
        assert counter.incr() == 1
        ends = peer.client_links()
        reader = LinkReader(ends["consensus"])
        pour(
            ends["requests"],
            framed(encode(InspectPeer(7, False))) + framed(b"\xff") + framed(encode(InspectPeer(8, False))),
        )
        answers: list[bytes] = []
        eventually(lambda: len(collected(reader, answers)) == 2, "the answers to both good frames")
        statuses = [decode_peer_message(answer) for answer in answers]
        assert [status.batch_id for status in statuses if isinstance(status, Status)] == [7, 8]
        assert all(isinstance(status, Status) and status.role == "leader" for status in statuses)
        assert len(peer.peer.bad_frames) == 1


def collected(reader: LinkReader, frames: list[bytes]) -> list[bytes]:
    frames += reader.get_available()
    return frames


def test_commands_that_are_none_are_answered_and_change_nothing() -> None:
    with lone_peer() as peer, client_of(peer) as (_, counter):
        assert counter.incr() == 1
        ends = peer.client_links()
        for number, commands in enumerate([(), (b"",), (b"\xff" * 100, b"\x95\x01\x01\x01\xa4incr\xc4\x00")]):
            pour(ends["requests"], framed(encode(SubmitCommands(number, commands))))
        assert [counter.incr() for _ in range(5)] == [2, 3, 4, 5, 6]


# --- the control channel ----------------------------------------------------------------------------------------------


def last_word(peer: LonePeer) -> tuple[BaseException | None, ActorumError]:
    """What the peer ended with, and what its supervisor would be told of it."""
    from actors.process import report_end

    error = peer.ended.get(timeout=PATIENCE)
    report_end(peer.their_channel, error)
    peer.ended.put(error)
    while (received := peer.channel.receive()) is not None:
        if isinstance(received[0], PeerEnded):
            return error, error_from_json(received[0].error)
    raise AssertionError("the peer said nothing")


CONTROL_NOISE = {
    "noise": bytes(range(256)),
    "a text that is none": b"\x92\x01\xa2\xff\xff",
    "larger than a packet may be": b"\x00" * 100_000,
    "a packet for supervisors": b"\x92\x05\x80",
}


@pytest.mark.parametrize("packet", CONTROL_NOISE.values(), ids=CONTROL_NOISE.keys())
def test_noise_from_its_own_supervisor_ends_a_peer_with_a_typed_word(packet: bytes) -> None:
    """Whoever speaks there can do anything with the peer: if that is not the supervisor's voice, better to stop."""
    peer = LonePeer()
    try:
        peer.raw_channel.send(packet)
        error, told = last_word(peer)
        assert isinstance(error, BadFrame)
        assert isinstance(told, BadFrame)
    finally:
        peer.end()


def test_a_packet_without_its_descriptors_ends_a_peer_instead_of_leaving_it_deaf() -> None:
    peer = LonePeer()
    try:
        peer.channel.send(AttachClient(1))
        _, told = last_word(peer)
        assert isinstance(told, PeerFailed)
    finally:
        peer.end()


# --- the client -------------------------------------------------------------------------------------------------------


class FalsePeer:
    """The peer's ends of a client's links, in the hands of the test."""

    def __init__(self) -> None:
        self.requests, requests_out = link_pair()
        consensus_in, self.consensus = link_pair()
        applier_in, self.applier = link_pair()
        self.client_ends = {"requests": requests_out, "consensus": consensus_in, "applier": applier_in}
        self.reader = LinkReader(self.requests)

    def wait_until_asked(self) -> None:
        """Wait for the first request."""
        frames: list[bytes] = []
        eventually(lambda: len(collected(self.reader, frames)) > 0, "a request")

    def was_let_go(self) -> bool:
        """Has the client closed its end of the requests' link?"""
        try:
            self.reader.get_available()
        except LinkClosed:
            return True
        return False

    def close(self) -> None:
        """Give the ends back."""
        self.reader.close()
        self.consensus.close()
        self.applier.close()


REPLY_NOISE = {
    **{name: framed(payload) for name, payload in REFUSED_FRAMES.items() if name != "a reply"},
    **BROKEN_STREAMS,
    "a request": framed(encode(InspectPeer(1, False))),
}


@pytest.mark.parametrize("voice", ["consensus", "applier"])
@pytest.mark.parametrize("data", REPLY_NOISE.values(), ids=REPLY_NOISE.keys())
def test_a_client_leaves_a_peer_that_talks_nonsense_and_asks_another(voice: str, data: bytes) -> None:
    false = FalsePeer()
    client = Client(timeout=PATIENCE, health=lambda: "")
    try:
        with lone_peer() as peer:
            client.attach("false", false.client_ends)
            call = counter_of(client).incr.submit()
            false.wait_until_asked()
            pour(getattr(false, voice), data)
            eventually(false.was_let_go, "the end of the link")
            client.attach("n1", peer.client_links())
            assert call.result() == 1
            assert [counter_of(client).incr() for _ in range(5)] == [2, 3, 4, 5, 6]
    finally:
        client.close()
        false.close()


def test_a_client_that_is_closed_takes_no_more_links() -> None:
    client = Client(timeout=1.0, health=lambda: "")
    client.close()
    false = FalsePeer()
    client.attach("late", false.client_ends)
    assert false.was_let_go()
    false.close()
    with pytest.raises(ClusterClosed):
        counter_of(client).incr()
