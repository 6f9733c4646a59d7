"""A peer whose disk is full: it answers nothing that is not persisted, leads no more, and comes back by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random
from threading import Event

import pytest

from actors.deadlines import NEVER, Deadlines
from actors.disks import FIRST_PAUSE, LONGEST_PAUSE, InlineDisk
from actors.interpreter import HELD_SENDS, NOTHING_WRITTEN, Written
from actors.metrics import Durations
from actors.notes import Note
from actors.storage.disk import Arrival, Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import DiskFull, StorageError, Stored
from actors.workers import StorageActor
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Message,
    PersistEffect,
    PersistTermAndVote,
    RequestVote,
    ServerId,
    TimeoutNow,
)
from tests.actors.test_interpreter import SETTINGS, Bench, ask, entry, from_leader, kinds


class SmallStorage(MemoryStorage):
    """It has room, or it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.refusals = 0
        self.refused = Event()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Write, or refuse."""
        if self.is_full:
            self.refusals += 1
            self.refused.set()
            raise DiskFull("there is no room", why="a test says so")
        super().write(changes)


VOTE = [PersistTermAndVote(1, "n1")]


class InlineBench:
    """An inline disk that may be full."""

    def __init__(self) -> None:
        self.storage = SmallStorage()
        self.deadlines = Deadlines(Random(1))
        self.disk = InlineDisk(Disk(self.storage, MemorySnapshots()), Durations(), self.deadlines)


def test_a_refused_write_is_confirmed_with_what_stood_behind_it_once_there_is_room() -> None:
    bench = InlineBench()
    assert bench.disk.write(VOTE) == ()
    bench.storage.is_full = True
    assert bench.disk.write([PersistTermAndVote(2, "n2")]) is None
    assert bench.disk.write([PersistTermAndVote(3, "n3")]) is None
    assert bench.disk.retry(5.0) == NOTHING_WRITTEN
    assert bench.storage.load() == Stored(1, "n1")
    bench.storage.is_full = False
    assert bench.disk.write([PersistTermAndVote(4, "n1")]) is None, "it must not overtake what was refused"
    assert bench.disk.retry(6.0) == Written(3)
    assert bench.storage.load() == Stored(4, "n1")
    assert bench.disk.retry(7.0) == NOTHING_WRITTEN
    assert bench.disk.write([PersistTermAndVote(5, "n1")]) == ()


def test_a_refused_write_is_tried_again_after_pauses_that_grow_up_to_a_limit_and_somebody_is_woken_for_it() -> None:
    bench = InlineBench()
    bench.storage.is_full = True
    bench.disk.write(VOTE)
    now, pauses = 100.0, []
    assert bench.deadlines.next <= now
    for _ in range(12):
        bench.disk.retry(now)
        refusals = bench.storage.refusals
        assert bench.disk.retry(bench.deadlines.next - 0.001) == NOTHING_WRITTEN
        assert bench.storage.refusals == refusals, "it is not asked before its time"
        pauses.append(bench.deadlines.next - now)
        now = bench.deadlines.next
    assert pauses == sorted(pauses)
    assert pauses[0] >= FIRST_PAUSE
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    bench.storage.is_full = False
    assert bench.disk.retry(now) == Written(1)
    assert bench.deadlines.next == NEVER


def test_a_full_disk_is_told_of_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    bench = InlineBench()
    bench.storage.is_full = True
    with caplog.at_level(logging.WARNING, logger="actorum.storage"):
        bench.disk.write(VOTE)
        for now in range(100):
            bench.disk.retry(float(now))
        bench.storage.is_full = False
        bench.disk.retry(1000.0)
        bench.disk.write(VOTE)
    assert [record.getMessage()[:24] for record in caplog.records] == [
        "the disk is full, and wr",
        "the disk takes writes ag",
    ]


# --- behind its actor -------------------------------------------------------------------------------------------------


def test_the_disks_actor_tries_again_until_there_is_room_and_confirms_then_only() -> None:
    storage, told, done = SmallStorage(), list[Note](), Event()
    storage.is_full = True

    def tell(note: Note) -> None:
        told.append(note)
        done.set()

    actor = StorageActor.start(tell, Disk(storage, MemorySnapshots()), Durations())
    actor.tell(VOTE)
    assert storage.refused.wait(20)
    storage.refused.clear()
    assert storage.refused.wait(20), "it was to try again"
    assert told == []
    storage.is_full = False
    assert done.wait(20)
    assert told == [Written(1)]
    assert storage.load() == Stored(1, "n1")
    actor.stop()


def test_a_peer_that_ends_does_not_wait_for_its_full_disk() -> None:
    storage, told = SmallStorage(), list[Note]()
    storage.is_full = True
    actor = StorageActor.start(told.append, Disk(storage, MemorySnapshots()), Durations())
    actor.tell(VOTE)
    assert storage.refused.wait(20)
    actor.stop(timeout=20)
    assert told == []


def test_another_failure_of_the_disk_ends_its_actor_even_after_a_refusal() -> None:
    class Failing(SmallStorage):
        def write(self, changes: Sequence[PersistEffect]) -> None:
            if not self.is_full:
                raise StorageError("fsync failed")
            super().write(changes)

    storage, told, done = Failing(), list[Note](), Event()
    storage.is_full = True

    def tell(note: Note) -> None:
        told.append(note)
        done.set()

    actor = StorageActor.start(tell, Disk(storage, MemorySnapshots()), Durations())
    actor.tell(VOTE)
    assert storage.refused.wait(20)
    storage.is_full = False
    assert done.wait(20)
    assert [type(note).__name__ for note in told] == ["Failed"]


# --- consensus --------------------------------------------------------------------------------------------------------


class FullBench(Bench):
    """A server on a disk that answers at once, unless it is full."""

    def __init__(self) -> None:
        self.storage = SmallStorage()
        self.disk: InlineDisk | None = None
        super().__init__()
        self.disk = InlineDisk(Disk(self.storage, MemorySnapshots()), Durations(), self.deadlines)

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...] | None:
        assert self.disk is not None
        return self.disk.write(changes)

    def serve(self, *messages: tuple[ServerId, Message], asked: Sequence[object] = ()) -> list[object]:
        """As both runtimes do it."""
        assert self.disk is not None
        return self.turn(*messages, written=self.disk.retry(self.now).count, asked=asked)


TIMEOUT = SETTINGS.election_timeout / 1000


def test_a_leader_whose_disk_is_full_leads_an_election_timeout_longer_and_no_more_until_there_is_room() -> None:
    bench = FullBench()
    bench.lead()
    bench.serve(bench.acknowledge("n2", 1))
    bench.storage.is_full = True
    began = bench.now
    bench.serve(asked=ask(b"x"))
    bench.now = began + TIMEOUT - 0.001
    bench.serve(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    assert bench.interpreter.server.role_name == "leader"
    bench.now = began + TIMEOUT
    assert bench.deadlines.next <= bench.now, "it wakes up by itself"
    said = bench.serve()
    assert bench.interpreter.server.role_name == "follower"
    assert ("n2", TimeoutNow(1, "n1")) in said, "who takes over need not wait"
    for _ in range(20):
        bench.now += TIMEOUT
        bench.serve()
        assert bench.interpreter.server.role_name == "follower", "it campaigns though it could not even vote for itself"
    bench.storage.is_full = False
    bench.now = bench.deadlines.next
    bench.serve()
    assert not bench.interpreter.server.disk_is_stalled
    assert bench.storage.load().entries[-1].command == b"x"


def test_a_follower_whose_disk_is_full_says_nothing_of_its_log_or_its_vote_until_it_is_persisted() -> None:
    bench = FullBench()
    bench.storage.is_full = True
    assert bench.serve(("n2", RequestVote(1, "n2", 0, 0))) == []
    assert bench.serve(("n2", from_leader(1, entry(1)))) == []
    bench.storage.is_full = False
    bench.now = bench.deadlines.next + LONGEST_PAUSE
    assert kinds(bench.serve())[:2] == ["RequestVoteResult", "AppendEntriesResult"]
    assert bench.storage.load() == Stored(1, "n2", (entry(1),))


def test_messages_that_wait_for_the_disk_are_bounded_and_the_latest_are_kept() -> None:
    bench = Bench(asynchronous=True)
    bench.turn(("n2", from_leader(1, entry(1))))
    bench.journal.clear()
    for number in range(HELD_SENDS + 50):
        bench.turn(("n2", AppendEntries(1, "n2", 0, 0, (), 0, number)))
    bench.confirm_all()
    said = [item for item in bench.journal if isinstance(item, tuple)]
    assert len(said) == HELD_SENDS
    assert said[-1] == ("n2", AppendEntriesResult(1, True, 0, 0, round=HELD_SENDS + 49))
