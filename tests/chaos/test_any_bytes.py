"""Whatever bytes come, decoders and links raise nothing but their typed errors, and lose nothing of what is whole.

The properties behind `test_bad_frames`, with bytes that nobody thought of.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from random import Random
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.codec import decode_command, decode_message, encode_message
from actors.control import ControlChannel, control_pair
from actors.deadlines import Deadlines
from actors.errors import BadFrame
from actors.links import LinkClosed, LinkReader, LinkWriter, link_pair
from actors.mailbox import Mailbox
from actors.peer import PeerTransport
from actors.protocol import Refused, SubmitQuery, decode_client_message, decode_peer_message, encode
from raft_core import RequestVote
from tests.chaos.support import PATIENCE


@given(st.binary())
def test_decoders_raise_nothing_but_bad_frame(data: bytes) -> None:
    for decode in (decode_message, decode_command, decode_client_message, decode_peer_message):
        with suppress(BadFrame):
            decode(data)


@given(st.data())
def test_a_damaged_message_is_a_message_or_a_bad_frame(data: st.DataObject) -> None:
    frames = [encode_message(RequestVote(3, "n2", 1, 1)), encode(SubmitQuery(1, "name", b"abc", "stale"))]
    frame = bytearray(data.draw(st.sampled_from([*frames, encode(Refused(1, False, "n3"))])))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_message, decode_client_message, decode_peer_message):
        with suppress(BadFrame):
            decode(bytes(frame))


@given(st.binary(max_size=200))
def test_a_control_channel_raises_nothing_but_bad_frame(data: bytes) -> None:
    ours, theirs = control_pair()
    with ours, theirs:
        if data:
            ours.send(data)
        ours.close()
        with suppress(BadFrame):
            ControlChannel(theirs).receive()


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 50), min_size=1))
def test_frames_arrive_whole_and_in_order_however_the_pipe_cuts_them(frames: list[bytes], sizes: list[int]) -> None:
    reading, writing = link_pair()
    reader = LinkReader(reading)
    with writing:
        arrived: list[bytes] = []
        stream, position, turn = b"".join([struct.pack("!I", len(frame)) + frame for frame in frames]), 0, 0
        while position < len(stream):
            size = sizes[turn % len(sizes)]
            os.write(writing.fileno(), stream[position : position + size])
            arrived += reader.get_available()
            position, turn = position + size, turn + 1
    assert arrived == frames
    with pytest.raises(LinkClosed):
        reader.get_available()
    reader.close()


@given(st.binary(min_size=1, max_size=2000))
def test_a_reader_raises_nothing_but_its_typed_errors(data: bytes) -> None:
    reading, writing = link_pair()
    reader = LinkReader(reading)
    with writing:
        os.write(writing.fileno(), data)
    with suppress(BadFrame, LinkClosed):
        while True:
            reader.get_available()
    reader.close()


def test_a_link_that_breaks_while_it_is_backed_up_gives_its_place_back() -> None:
    """A broken link's number is soon that of another one: the mailbox must have forgotten it by then."""
    mailbox = Mailbox(Deadlines(Random(0)))
    transport = PeerTransport(mailbox)
    reading, writing = link_pair()
    writer = LinkWriter(writing)
    number = writer.fileno()
    transport.attach("n2", writer)
    deadline = monotonic() + PATIENCE
    while not writer.backlog and monotonic() < deadline:
        transport.send("n2", RequestVote(1, "n1" * 10_000, 0, 0))
    reading.close()
    transport.send("n2", RequestVote(2, "n1", 0, 0))
    assert writer.is_closed
    new_reading, new_writing = link_pair()
    assert number in (new_reading.fileno(), new_writing.fileno())
    for end in (new_reading, new_writing):
        mailbox.watch(end.fileno(), list)
        mailbox.unwatch(end.fileno())
        end.close()
    mailbox.close()
