"""A confirmation of the disk speaks of the write that was asked for then, not of what stands in its place now (ABA)."""

from __future__ import annotations

from actors.interpreter import Written
from actors.metrics import Durations
from actors.storage.disk import Disk
from actors.workers import StorageActor
from raft_core import AppendEntries, Entry, PersistTermAndVote
from tests.actors.test_interpreter import Bench


def test_an_old_write_that_is_confirmed_makes_nothing_durable_that_has_taken_its_place() -> None:
    bench = Bench(asynchronous=True)
    bench.turn(("n2", AppendEntries(1, "n2", 0, 0, (Entry(1, b"a"), Entry(1, b"b"), Entry(1, b"c")), 0)))
    bench.turn(("n3", AppendEntries(2, "n3", 1, 1, (Entry(2, b"B"),), 0)))
    bench.confirm()
    assert bench.interpreter.server.persisted_index == 0, "the second entry is not on the disk yet"
    bench.confirm()
    assert bench.interpreter.server.persisted_index == 2


def test_the_disks_actor_confirms_what_is_written_and_nothing_before() -> None:
    """Figure 2, persistent state: an answer that leaves with the confirmation must not overtake the write."""
    disk = Disk.in_memory()
    told: list[tuple[object, int]] = []
    actor = StorageActor.start(lambda note: told.append((note, disk.load().stored.current_term)), disk, Durations())
    actor.tell([PersistTermAndVote(3, None)])
    actor.stop()
    assert told == [(Written(1), 3)]
