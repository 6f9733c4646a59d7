"""A link carries whole frames from one writer to one reader, in order, and never makes anybody wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from actors.errors import BadFrame
from actors.links import LinkClosed, LinkReader, LinkWriter, link_pair, reader_of, writer_of
from actors.links.pipes import MAX_FRAME

MIB = 1 << 20


class Pair:
    """Both ends of a link in one thread; the reader's raw descriptor can be written to by `raw`."""

    def __init__(self, backlog_limit: int = 64 * MIB) -> None:
        reading, writing = link_pair()
        self.reader = LinkReader(reading)
        self.writer = LinkWriter(writing, backlog_limit=backlog_limit)

    def everything(self) -> list[bytes]:
        """All frames, moving the backlog along meanwhile."""
        frames: list[bytes] = []
        while True:
            self.writer.flush()
            got = self.reader.get_available()
            frames += got
            if not got and not self.writer.backlog:
                return frames

    def close(self) -> None:
        self.writer.close()
        self.reader.close()


@pytest.fixture
def link() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_a_frame_arrives_as_it_was_put(link: Pair) -> None:
    assert link.writer.put(b"hello")
    assert link.reader.get_available() == [b"hello"]


def test_nothing_there_is_no_frame_and_no_waiting(link: Pair) -> None:
    assert link.reader.get_available() == []


def test_an_empty_frame_is_a_frame(link: Pair) -> None:
    link.writer.put(b"")
    link.writer.put(b"x")
    assert link.reader.get_available() == [b"", b"x"]


def test_many_frames_keep_their_order_and_their_borders(link: Pair) -> None:
    sent = [bytes([number % 251]) * (number % 300) for number in range(5_000)]
    for frame in sent:
        assert link.writer.put(frame)
    assert link.everything() == sent


def test_frames_around_the_size_of_one_read_arrive_whole(link: Pair) -> None:
    sent = [bytes([size % 251]) * size for size in range(65_536 - 9, 65_536 + 9)]
    for frame in sent:
        link.writer.put(frame)
    assert link.everything() == sent


def test_a_frame_larger_than_the_pipe_is_kept_and_flushed_as_the_reader_reads(link: Pair) -> None:
    large = os.urandom(5 * MIB)
    assert link.writer.put(large)
    assert link.writer.backlog > 0, "the pipe cannot have taken all of it"
    assert link.everything() == [large]
    assert link.writer.backlog == 0


def test_what_is_put_behind_a_backlog_stays_behind_it(link: Pair) -> None:
    large = b"L" * (3 * MIB)
    for frame in (large, b"small", large, b"last"):
        link.writer.put(frame)
    assert link.everything() == [large, b"small", large, b"last"]


def test_a_frame_cut_anywhere_is_delivered_when_the_rest_has_come() -> None:
    whole = b"\0\0\0\x05first\0\0\0\0\0\0\0\x06second"
    for cut in range(len(whole) + 1):
        reading, writing = link_pair()
        reader = LinkReader(reading)
        frames = []
        for part in (whole[:cut], whole[cut:]):
            if part:
                os.write(writing.fileno(), part)
            frames += reader.get_available()
        assert frames == [b"first", b"", b"second"], f"cut at {cut}"
        writing.close()
        reader.close()


def test_a_frame_that_comes_byte_by_byte_is_delivered_once_and_whole() -> None:
    reading, writing = link_pair()
    reader = LinkReader(reading)
    frames = []
    for byte in b"\0\0\0\x03abc\0\0\0\x01d":
        os.write(writing.fileno(), bytes([byte]))
        frames += reader.get_available()
    assert frames == [b"abc", b"d"]
    writing.close()
    reader.close()


def test_beyond_its_limit_a_writer_drops_and_counts_what_it_drops() -> None:
    pair = Pair(backlog_limit=MIB)
    frame = b"x" * (MIB // 4)
    taken = [pair.writer.put(frame) for _ in range(20)]
    assert taken.count(False) == pair.writer.dropped > 0
    assert pair.writer.backlog <= MIB
    assert not pair.writer.is_closed, "a reader that does not keep up is no reason to end the link"
    assert pair.everything() == [frame] * taken.count(True), "only whole frames were dropped"
    assert pair.writer.put(b"again") and pair.everything() == [b"again"]
    pair.close()


def test_what_a_writer_left_in_the_pipe_arrives_before_its_end(link: Pair) -> None:
    link.writer.put(b"last words")
    link.writer.close()
    assert link.reader.get_available() == [b"last words"]
    with pytest.raises(LinkClosed):
        link.reader.get_available()


def test_a_partial_frame_of_a_dead_writer_is_never_delivered() -> None:
    reading, writing = link_pair()
    reader = LinkReader(reading)
    os.write(writing.fileno(), b"\0\0\0\x02ok\0\0\0\x0aonly ha")
    writing.close()
    assert reader.get_available() == [b"ok"]
    with pytest.raises(LinkClosed):
        reader.get_available()
    reader.close()


def test_a_frame_above_the_limit_is_refused_by_the_writer(link: Pair) -> None:
    assert not link.writer.put(bytes(MAX_FRAME + 1))
    assert link.writer.dropped == 1 and link.reader.get_available() == []


def test_a_length_above_the_limit_is_refused_by_the_reader_before_it_is_read() -> None:
    reading, writing = link_pair()
    reader = LinkReader(reading)
    os.write(writing.fileno(), (MAX_FRAME + 1).to_bytes(4, "big") + b"x")
    with pytest.raises(BadFrame, match="limit"):
        reader.get_available()
    writing.close()
    reader.close()


def test_a_put_to_a_reader_that_is_gone_drops_and_says_so(link: Pair) -> None:
    link.reader.close()
    assert not link.writer.put(b"x")
    assert link.writer.is_closed and link.writer.backlog == 0
    assert not link.writer.put(b"y") and link.writer.dropped == 1


def test_a_flush_to_a_reader_that_is_gone_ends_the_link_without_an_error(link: Pair) -> None:
    link.writer.put(bytes(3 * MIB))
    assert link.writer.backlog
    link.reader.close()
    link.writer.flush()
    assert link.writer.is_closed and link.writer.backlog == 0


def test_a_put_behind_a_backlog_to_a_reader_that_is_gone_ends_the_link_without_an_error(link: Pair) -> None:
    link.writer.put(bytes(3 * MIB))
    link.reader.close()
    assert not link.writer.put(b"x")
    assert link.writer.is_closed and link.writer.backlog == 0


def test_the_descriptor_of_a_broken_link_is_not_given_to_another_before_it_is_closed(link: Pair) -> None:
    link.reader.close()
    link.writer.put(b"x")
    assert link.writer.is_closed
    os.fstat(link.writer.fileno())  # still open: a selector that watches it would else watch whatever comes next


def test_closing_twice_does_nothing(link: Pair) -> None:
    for _ in range(2):
        link.writer.close()
        link.reader.close()


def test_an_end_handed_on_as_a_descriptor_works_in_its_new_place() -> None:
    reading, writing = link_pair()
    reader, writer = reader_of(os.dup(reading.fileno())), writer_of(os.dup(writing.fileno()))
    reading.close()
    writing.close()
    writer.put(b"over there")
    assert reader.get_available() == [b"over there"]
    writer.close()
    reader.close()


def test_one_writer_and_one_reader_in_two_threads_lose_nothing(link: Pair) -> None:
    sent = [os.urandom(number % 3000) for number in range(4_000)]

    def write() -> None:
        for frame in sent:
            link.writer.put(frame)
        while link.writer.backlog:
            link.writer.flush()
        link.writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    frames: list[bytes] = []
    with pytest.raises(LinkClosed):
        while True:
            frames += link.reader.get_available()
    thread.join()
    assert frames == sent


def test_one_call_of_the_reader_takes_a_bounded_part_so_that_others_get_their_turn() -> None:
    pair = Pair()
    for _ in range(40):
        pair.writer.put(bytes(100_000))
    pair.writer.flush()
    first = pair.reader.get_available()
    assert 0 < len(first) < 40
    pair.close()


def test_a_link_is_made_of_multiprocessing_connections() -> None:
    reading, writing = link_pair()
    assert isinstance(reading, Connection) and isinstance(writing, Connection)
    assert not reading.writable and not writing.readable
    reading.close()
    writing.close()
