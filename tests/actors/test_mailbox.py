"""A peer's mailbox: whatever happens is seen in the next turn, in order, and nothing is waited for in vain."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from random import Random
from time import monotonic

import pytest
from pykka._envelope import Envelope

from actors.deadlines import Deadlines
from actors.interpreter import Written
from actors.links import LinkReader, LinkWriter, link_pair
from actors.mailbox import Batch, DrainingInbox, Mailbox, ReplyLink, Turn
from actors.notes import AppliedUpTo, ClientGone, Failed
from raft_core import ResetElectionTimer

PATIENCE = 20.0


def reader_and_writer() -> tuple[LinkReader, LinkWriter]:
    reading, writing = link_pair()
    return LinkReader(reading), LinkWriter(writing)


class Box:
    """A mailbox whose `turn` fails instead of waiting for ever."""

    def __init__(self) -> None:
        self.deadlines = Deadlines(Random(1))
        self.mailbox = Mailbox(self.deadlines)

    def put(self, message: object) -> None:
        self.mailbox.put(Envelope(message))

    def turn(self, within: float = PATIENCE) -> Turn:
        self.deadlines.set(ResetElectionTimer(int(within * 1000)), monotonic())
        began = monotonic()
        message = self.mailbox.get().message
        assert monotonic() - began < within, "nothing woke it before the deadline"
        assert isinstance(message, Turn)
        return message


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    made.mailbox.close()


def test_what_was_put_before_get_is_seen_by_it(box: Box) -> None:
    box.put(Written(1))
    box.put(Written(2))
    assert box.turn().notes == [Written(1), Written(2)]
    assert box.mailbox.empty()


def test_a_put_from_another_thread_wakes_it(box: Box) -> None:
    waiting = threading.Event()

    def put_while_it_sleeps() -> None:
        waiting.wait(PATIENCE)
        box.put(Written(3))

    thread = threading.Thread(target=put_while_it_sleeps)
    thread.start()
    waiting.set()
    assert box.turn().notes == [Written(3)]
    thread.join()


def test_no_put_is_lost_whenever_it_comes(box: Box) -> None:
    """Each note waits for the one before it to be taken, so a put that wakes nobody would stop everything."""
    taken = threading.Semaphore(0)
    rounds = 2_000

    def put_one_after_the_other() -> None:
        for number in range(rounds):
            box.put(Written(number))
            taken.acquire(timeout=PATIENCE)

    thread = threading.Thread(target=put_one_after_the_other)
    thread.start()
    for number in range(rounds):
        notes = box.turn().notes
        while not notes:
            notes = box.turn().notes
        assert notes == [Written(number)]
        taken.release()
    thread.join()


def test_a_deadline_ends_the_wait(box: Box) -> None:
    began = monotonic()
    box.deadlines.set(ResetElectionTimer(30), began)
    turn = box.mailbox.get().message
    assert isinstance(turn, Turn)
    assert not turn.notes and not turn.from_peers and not turn.from_clients
    assert 0.03 <= turn.now - began < PATIENCE


def test_frames_of_peers_and_clients_come_in_order_per_link(box: Box) -> None:
    from_n2, n2 = reader_and_writer()
    from_n3, n3 = reader_and_writer()
    from_client, client = reader_and_writer()
    box.mailbox.read_peer("n2", from_n2)
    box.mailbox.read_peer("n3", from_n3)
    box.mailbox.read_client(7, from_client)
    for number in range(50):
        for writer in (n2, n3, client):
            writer.put(b"%d" % number)
    turn = box.turn()
    expected = [b"%d" % number for number in range(50)]
    assert [frame for sender, frame in turn.from_peers if sender == "n2"] == expected
    assert [frame for sender, frame in turn.from_peers if sender == "n3"] == expected
    assert turn.from_clients == [(7, frame) for frame in expected]
    assert box.mailbox.depth == 150
    for writer in (n2, n3, client):
        writer.close()


def test_a_client_that_closes_its_link_is_gone_after_its_last_words(box: Box) -> None:
    reader, writer = reader_and_writer()
    box.mailbox.read_client(7, reader)
    writer.put(b"bye")
    writer.close()
    first = box.turn()
    assert first.from_clients == [(7, b"bye")]
    assert first.notes + box.turn().notes == [ClientGone(7)]
    assert reader.is_closed


def test_a_peer_that_is_gone_is_no_event_and_its_link_is_read_no_more(box: Box) -> None:
    reader, writer = reader_and_writer()
    box.mailbox.read_peer("n2", reader)
    writer.close()
    turn = box.turn()
    assert turn.notes == [] and reader.is_closed
    box.put(Written(1))
    assert box.turn().notes == [Written(1)]


def test_a_damaged_stream_ends_that_link_alone_and_is_noted(box: Box) -> None:
    reading, writing = link_pair()
    other, good = reader_and_writer()
    box.mailbox.read_peer("n2", LinkReader(reading))
    box.mailbox.read_peer("n3", other)
    os.write(writing.fileno(), b"\xff\xff\xff\xff")
    good.put(b"fine")
    assert box.turn().from_peers == [("n3", b"fine")]
    assert [error.code for error in box.mailbox.bad_frames] == ["BAD-FRAME"]
    writing.close()
    good.close()


def test_progress_of_the_applier_wakes_nobody_and_comes_with_the_next_turn(box: Box) -> None:
    box.put(AppliedUpTo(5))
    box.put(AppliedUpTo(9))
    began = monotonic()
    box.deadlines.set(ResetElectionTimer(30), began)
    turn = box.mailbox.get().message
    assert isinstance(turn, Turn)
    assert turn.now - began >= 0.03, "it slept until the deadline"
    assert turn.notes == [AppliedUpTo(9)]
    box.put(Written(1))
    assert box.turn().notes == [Written(1)], "told once"


def test_a_writer_with_a_backlog_is_flushed_when_its_reader_reads(box: Box) -> None:
    reader, writer = reader_and_writer()
    large = bytes(4 << 20)
    writer.put(large)
    box.mailbox.flush(writer)
    frames: list[bytes] = []
    while not frames:
        frames = reader.get_available()
        if writer.backlog:
            box.turn()
    assert frames == [large] and not writer.backlog
    box.put(Written(1))
    assert box.turn().notes == [Written(1)], "and no more is it watched: that would wake the peer for ever"
    box.mailbox.discard(writer)
    reader.close()


def test_a_reader_that_dies_in_the_middle_of_a_backlog_does_not_harm_the_mailbox(box: Box) -> None:
    reader, writer = reader_and_writer()
    writer.put(bytes(4 << 20))
    box.mailbox.flush(writer)
    reader.close()
    writer.put(b"finds out")
    assert writer.is_closed
    newer, new_writer = reader_and_writer()
    box.mailbox.read_peer("n2", newer)
    new_writer.put(b"the next incarnation")
    received: list[tuple[str, bytes]] = []
    while not received:
        received = box.turn().from_peers
    assert received == [("n2", b"the next incarnation")]
    box.mailbox.discard(writer)
    new_writer.close()


def test_a_watched_source_is_asked_what_its_readiness_means(box: Box) -> None:
    reading, writing = os.pipe()
    box.mailbox.watch(reading, lambda: [Failed(ValueError(os.read(reading, 10).decode()))])
    os.write(writing, b"trouble")
    (note,) = box.turn().notes
    assert isinstance(note, Failed) and str(note.error) == "trouble"
    box.mailbox.unwatch(reading)
    os.write(writing, b"more")
    box.put(Written(1))
    assert box.turn().notes == [Written(1)]
    os.close(reading)
    os.close(writing)


def test_pykkas_own_messages_come_alone_after_the_turn_they_came_with(box: Box) -> None:
    box.put("stop, says pykka")
    box.put(Written(1))
    assert box.turn().notes == [Written(1)]
    assert box.mailbox.get().message == "stop, says pykka"


def test_closing_gives_every_descriptor_back() -> None:
    before = set(os.listdir("/proc/self/fd"))
    box = Box()
    reader, writer = reader_and_writer()
    flushed_reader, flushed = reader_and_writer()
    box.mailbox.read_peer("n2", reader)
    flushed.put(bytes(4 << 20))
    box.mailbox.flush(flushed)
    box.mailbox.close()
    writer.close()
    flushed_reader.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_comes_after_the_end_can_still_be_taken_out() -> None:
    """Pykka empties the inbox of an actor that has ended; it must come to an end."""
    box = Box()
    box.mailbox.close()
    for note in (Written(1), Written(2)):
        box.put(note)
    taken = []
    while not box.mailbox.empty():
        taken.append(box.mailbox.get().message)
    assert taken == [Written(1), Written(2)]


# --- the inbox of the workers -----------------------------------------------------------------------------------------


def test_a_draining_inbox_hands_over_all_that_waits_in_order() -> None:
    inbox = DrainingInbox()
    link = ReplyLink(1, None)
    for message in ([1], [2], link, [3]):
        inbox.put(Envelope(message))
    assert inbox.get().message == Batch([[1], [2], link, [3]])
    assert inbox.empty()


def test_a_draining_inbox_gives_pykkas_messages_alone_and_last() -> None:
    inbox = DrainingInbox()
    for message in ([1], "pykka", [2]):
        inbox.put(Envelope(message))
    assert inbox.get().message == Batch([[1], [2]])
    assert not inbox.empty()
    assert inbox.get().message == "pykka"
    assert inbox.empty()


def test_a_draining_inbox_waits_for_the_first_message() -> None:
    inbox = DrainingInbox()
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(inbox.get().message))
    thread.start()
    inbox.put(Envelope([1]))
    thread.join(PATIENCE)
    assert got == [Batch([[1]])]
