"""The simulated disk: writes are durable in order, a snapshot is there as a whole or not at all."""

from __future__ import annotations

from hashlib import sha256
from random import Random

from raft_core import (
    AppendToLog,
    CompactLog,
    Configured,
    Entry,
    Incoming,
    PersistEffect,
    PersistTermAndVote,
    ReceiveSnapshotChunk,
    RequestVote,
    Send,
    Snapshot,
    configuration,
)
from raft_core.verify.simulated_disk import SimulatedDisk

CONTENT = b"0123456789"
ANSWER = Send("n2", RequestVote(1, "n1", 0, 0))


def snapshot(index: int, term: int = 1, content: bytes = CONTENT) -> Snapshot:
    members = Configured(0, configuration(["n1"]))
    return Snapshot(index, term, members, len(content), sha256(content).hexdigest())


def entries(count: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(term, b"%d" % number) for number in range(1, count + 1))


def disk_with(count: int) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_durable(AppendToLog(0, entries(count), 1))
    return disk


def test_a_transaction_ends_where_an_answer_waits() -> None:
    disk = SimulatedDisk()
    writes: list[PersistEffect] = [PersistTermAndVote(1, "n1"), AppendToLog(0, entries(1), 1)]
    disk.stream.extend([*writes, ANSWER, AppendToLog(1, entries(1), 1)])
    assert disk.next_transaction() == writes


def test_a_log_that_was_cut_keeps_its_indices() -> None:
    disk = disk_with(5)
    disk.keep(snapshot(4), CONTENT)
    disk.make_durable(CompactLog(3, 1))
    assert (disk.last_index, disk.term_at(3), disk.term_at(2), disk.term_at(5)) == (5, 1, None, 1)
    disk.make_durable(AppendToLog(4, entries(2, term=2), 2))
    assert (disk.last_index, disk.term_at(4), disk.term_at(5), disk.term_at(6)) == (6, 1, 2, 2)
    assert disk.has(1, Entry(1, b"any")), "the snapshot has it"
    assert disk.has(6, Entry(2, b"2")) and not disk.has(6, Entry(2, b"other")) and not disk.has(7, Entry(2))


def test_a_snapshot_that_arrived_in_parts_is_durable_with_its_last() -> None:
    disk, whole = SimulatedDisk(), snapshot(7)
    assert disk.make_durable(ReceiveSnapshotChunk(whole, 0, CONTENT[:6]))
    assert disk.snapshot is None and disk.open() == Incoming(whole, 6)
    assert disk.make_durable(ReceiveSnapshotChunk(whole, 6, CONTENT[6:]))
    assert disk.content(whole) == CONTENT and disk.covered == 7 and disk.open() is None


def test_a_snapshot_that_is_not_what_was_sent_is_dropped() -> None:
    disk = SimulatedDisk()
    assert not disk.make_durable(ReceiveSnapshotChunk(snapshot(7), 0, b"0123456788"))
    assert disk.snapshot is None and disk.open() is None


def test_a_snapshot_begun_anew_forgets_what_had_arrived() -> None:
    disk, whole = SimulatedDisk(), snapshot(7)
    disk.make_durable(ReceiveSnapshotChunk(snapshot(5, content=b"another"), 0, b"ano"))
    assert disk.make_durable(ReceiveSnapshotChunk(whole, 0, CONTENT))
    assert disk.content(whole) == CONTENT


def test_the_two_latest_snapshots_are_kept_and_those_the_log_does_not_begin_behind() -> None:
    disk = disk_with(9)
    for index in (2, 4, 6, 8):
        disk.keep(snapshot(index), CONTENT)
    assert sorted(disk.snapshots) == [2, 4, 6, 8]
    disk.make_durable(CompactLog(5, 1))
    disk.keep(snapshot(9), CONTENT)
    assert sorted(disk.snapshots) == [6, 8, 9]
    assert disk.content(snapshot(4)) is None and disk.content(snapshot(9, term=2)) is None


def test_a_log_that_a_snapshot_has_overtaken_is_cut_at_the_next_start() -> None:
    disk = disk_with(3)
    disk.keep(snapshot(7), CONTENT)
    disk.open()
    assert (disk.entries, disk.last_included_index, disk.last_included_term) == ([], 7, 1)
    behind = disk_with(9)
    behind.keep(snapshot(7), CONTENT)
    behind.open()
    assert len(behind.entries) == 9, "what stands behind the snapshot stays"
    conflicting = disk_with(9)
    conflicting.keep(snapshot(7, term=2), CONTENT)
    conflicting.open()
    assert conflicting.entries == []


def test_what_is_torn_is_a_beginning_of_what_was_being_written() -> None:
    whole, kept = snapshot(7), set()
    for seed in range(80):
        disk = disk_with(1)
        changes: list[PersistEffect | Send] = [
            AppendToLog(1, entries(2), 1),
            ANSWER,
            ReceiveSnapshotChunk(whole, 0, CONTENT),
        ]
        disk.stream.extend(changes)
        there = disk.lose(Random(seed), tears=True)
        assert not disk.stream
        assert len(disk.entries) in (1, 2, 3) and (len(disk.entries) == 3 or len(there) < 2)
        assert disk.snapshot == (whole if disk.covered else None)
        kept.add((len(disk.entries), len(disk.received), disk.covered))
    assert {(1, 0, 0), (2, 0, 0), (3, 0, 0), (3, 0, 7)} <= kept
    assert any(0 < received < len(CONTENT) for _, received, _ in kept)


def test_without_tears_nothing_is_left_of_what_was_being_written() -> None:
    disk = disk_with(1)
    disk.stream.append(AppendToLog(1, entries(2), 1))
    assert disk.lose(Random(1), tears=False) == () and len(disk.entries) == 1
