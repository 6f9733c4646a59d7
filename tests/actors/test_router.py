"""The router carries what the network lets through, in time, and ends a link with either of its ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from time import monotonic, sleep

import pytest

from actors.codec import decode_message, encode_message
from actors.links import LinkClosed, LinkReader, LinkWriter
from actors.links.router import Router
from actors.network import Faults, Network
from raft_core import RequestVote

PATIENCE = 20.0
NAMES = ("n1", "n2")


class Line:
    """Both ends of a link from n1 to n2 through a router."""

    def __init__(self, router: Router) -> None:
        reading, writing = router.link_pair("n1", "n2")
        self.reader, self.writer = LinkReader(reading), LinkWriter(writing)
        self.heard: list[int] = []

    def say(self, *terms: int, size: int = 1) -> None:
        for term in terms:
            self.writer.put(encode_message(RequestVote(term, "n" * size, 0, 0)))

    def listen(self, count: int) -> list[int]:
        """The terms that arrived, once there are `count` of them."""
        deadline = monotonic() + PATIENCE
        while len(self.heard) < count:
            assert monotonic() < deadline, f"only {self.heard} arrived"
            self.heard += [decode_message(frame).term for frame in self.reader.get_available()]
            sleep(0.001)
        return self.heard

    def until_closed(self) -> None:
        deadline = monotonic() + PATIENCE
        with pytest.raises(LinkClosed):
            while monotonic() < deadline:
                self.reader.get_available()
                sleep(0.001)

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@contextmanager
def routed() -> Iterator[tuple[Network, Router, Line]]:
    network = Network(NAMES)
    router = Router(network, Random(1))
    line = Line(router)
    try:
        yield network, router, line
    finally:
        router.close()
        line.close()


def test_without_faults_everything_arrives_in_order() -> None:
    with routed() as (network, _, line):
        line.say(*range(1, 500))
        assert line.listen(499) == list(range(1, 500))
        assert network.counts().requests == 499


def test_large_messages_pass_a_pipe_that_is_full() -> None:
    with routed() as (_, _, line):
        line.say(1, 2, 3, size=3 << 20)
        deadline = monotonic() + PATIENCE
        while len(line.heard) < 3 and monotonic() < deadline:
            line.writer.flush()
            line.heard += [decode_message(frame).term for frame in line.reader.get_available()]
        assert line.heard == [1, 2, 3]


def test_what_is_cut_is_lost_and_what_is_mended_arrives() -> None:
    with routed() as (network, _, line):
        network.cut("n1", "n2")
        line.say(1)
        deadline = monotonic() + PATIENCE
        while network.counts().lost < 1:
            assert monotonic() < deadline
            sleep(0.001)
        network.mend("n1", "n2")
        line.say(2)
        assert line.listen(1) == [2]


def test_a_delayed_message_is_overtaken() -> None:
    with routed() as (network, _, line):
        network.set(requests=Faults(delay=(0.3, 0.3)))
        line.say(1)
        deadline = monotonic() + PATIENCE
        while network.counts().requests < 1:
            assert monotonic() < deadline
            sleep(0.001)
        network.reliable()
        line.say(2)
        assert line.listen(2) == [2, 1]


def test_a_doubled_message_arrives_twice() -> None:
    with routed() as (network, _, line):
        network.set(requests=Faults(duplicate=1.0))
        line.say(7)
        assert line.listen(2) == [7, 7]


def test_when_the_sender_is_gone_the_receiver_is_told_after_everything_it_said() -> None:
    with routed() as (_, _, line):
        line.say(1, 2)
        line.writer.close()
        assert line.listen(2) == [1, 2]
        line.until_closed()


def test_when_the_receiver_is_gone_the_sender_is_told() -> None:
    with routed() as (_, _, line):
        line.reader.close()
        deadline = monotonic() + PATIENCE
        while not line.writer.is_closed:
            assert monotonic() < deadline
            line.say(1)
            sleep(0.001)


def test_when_the_receiver_is_gone_even_a_sender_that_cannot_be_heard_is_told() -> None:
    with routed() as (network, _, line):
        network.cut("n1", "n2")
        line.reader.close()
        deadline = monotonic() + PATIENCE
        while not line.writer.is_closed:
            assert monotonic() < deadline
            line.say(1)
            sleep(0.001)


@pytest.mark.parametrize("garbage", [b"", b"x", b"\x97\xbf\xff\xfe", b"\x97\xaaRequest", b"\xc1" * 100], ids=len)
def test_what_is_no_message_is_carried_for_the_receiver_to_refuse(garbage: bytes) -> None:
    with routed() as (network, _, line):
        line.writer.put(garbage)
        line.say(3)
        arrived: list[bytes] = []
        deadline = monotonic() + PATIENCE
        while len(arrived) < 2 and monotonic() < deadline:
            arrived += line.reader.get_available()
            sleep(0.001)
        assert arrived[0] == garbage
        assert decode_message(arrived[1]) == RequestVote(3, "n", 0, 0)
        assert network.counts().requests == 1


def test_what_was_held_back_is_lost_with_its_link_and_the_next_link_is_another() -> None:
    with routed() as (network, router, line):
        network.set(requests=Faults(delay=(0.2, 0.2)))
        line.say(1)
        line.writer.close()
        line.until_closed()
        network.reliable()
        successor = Line(router)
        successor.say(2)
        assert successor.listen(1) == [2]
        successor.writer.close()
        successor.until_closed()
        assert successor.heard == [2]
        successor.close()
