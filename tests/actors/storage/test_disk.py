"""Log and snapshots as one disk: in order, and understood again whatever step was the last one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import IO, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.storage.conformance import after, append, entries_of
from actors.storage.disk import Arrival, Disk, Recovered, reconcile
from actors.storage.journal import JournalStorage
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import CorruptStorage, LogGap, SnapshotGone, Stored
from actors.storage.snapshots import SnapshotFiles
from actors.storage.snapshots_conformance import MEMBERS, snapshot_of
from actors.storage.sqlite import SqliteStorage
from raft_core.configuration import Snapshot
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry

OpenDisk: TypeAlias = Callable[[Path], Disk]

CONTENT = b"state"


def files_beside(directory: Path) -> SnapshotFiles:
    return SnapshotFiles(directory / "snapshots", cluster_id="c", server_id="n1", synchronous=False)


def disk_with_sqlite(directory: Path) -> Disk:
    storage = SqliteStorage(directory / "log.db", cluster_id="c", server_id="n1", synchronous="off")
    return Disk(storage, files_beside(directory))


def disk_with_journal(directory: Path) -> Disk:
    return Disk(JournalStorage(directory / "log", cluster_id="c", server_id="n1"), files_beside(directory))


def disk_in_memory(_: Path) -> Disk:
    return Disk(MemoryStorage(), MemorySnapshots())


DISKS = pytest.mark.parametrize("open_disk", [disk_with_sqlite, disk_with_journal, disk_in_memory])
DISKS_WITH_FILES = pytest.mark.parametrize("open_disk", [disk_with_sqlite, disk_with_journal])


def parts_of(snapshot: Snapshot, content: bytes = CONTENT) -> list[ReceiveSnapshotChunk]:
    """`content`, as two parts."""
    half = len(content) // 2
    return [
        ReceiveSnapshotChunk(snapshot, 0, content[:half]),
        ReceiveSnapshotChunk(snapshot, half, content[half:]),
    ]


# --- a log beside a snapshot ------------------------------------------------------------------------------------------

ENTRIES = (*entries_of(1, 3), *entries_of(2, 3))
"""Index 1 to 6, three of term 1 and three of term 2."""


def behind(index: int) -> Stored:
    """The log of `ENTRIES`, compacted up to `index`."""
    return after(Stored(3, "n2"), [append(0, ENTRIES), CompactLog(index, ENTRIES[index - 1].term if index else 0)])


def test_a_whole_log_needs_no_snapshot() -> None:
    assert reconcile(behind(0), None) == (behind(0), ())


@pytest.mark.parametrize("base", range(7))
@pytest.mark.parametrize("index", range(1, 7))
def test_a_log_that_holds_the_snapshots_last_entry_stays_as_it_is(base: int, index: int) -> None:
    """Behind it, before it, or nothing more at all: how many entries are kept is the core's choice."""
    if index >= base:
        assert reconcile(behind(base), snapshot_of(index, ENTRIES[index - 1].term, CONTENT)) == (behind(base), ())


@pytest.mark.parametrize("base", [0, 2, 6])
@pytest.mark.parametrize("index", [7, 8, 1000])
def test_a_log_that_ends_before_the_snapshot_gives_way_to_it(base: int, index: int) -> None:
    compacted = Stored(3, "n2", (), index, 2)
    compaction = CompactLog(index, 2, discards_all=True)
    assert reconcile(behind(base), snapshot_of(index, 2, CONTENT)) == (compacted, (compaction,))


@pytest.mark.parametrize("index", [1, 3, 6])
def test_a_log_with_another_entry_at_the_snapshots_index_gives_way_to_it(index: int) -> None:
    compacted = Stored(3, "n2", (), index, 3)
    compaction = CompactLog(index, 3, discards_all=True)
    assert reconcile(behind(0), snapshot_of(index, 3, CONTENT)) == (compacted, (compaction,))


@pytest.mark.parametrize("snapshot", [None, snapshot_of(1, 1, CONTENT), snapshot_of(4, 2, CONTENT)])
def test_a_log_whose_beginning_no_snapshot_holds_is_damage(snapshot: Snapshot | None) -> None:
    with pytest.raises(CorruptStorage, match="the log begins behind index 5") as error:
        reconcile(behind(5), snapshot)
    assert "committed" in error.value.why


def test_a_log_that_begins_behind_another_entry_than_the_snapshots_last_is_damage() -> None:
    with pytest.raises(CorruptStorage, match=r"of term 2 at index 5, but the snapshot .* term 9"):
        reconcile(behind(5), snapshot_of(5, 9, CONTENT))


@pytest.mark.parametrize("index", [6, 7])
def test_a_snapshot_of_a_later_term_brings_its_term_and_no_vote(index: int) -> None:
    """An entry is applied before it, and the term it came in, are on this disk; then a snapshot is durable first."""
    reconciled, changes = reconcile(behind(2), snapshot_of(index, 5, CONTENT))
    assert reconciled == Stored(5, None, (), index, 5)
    assert changes == (PersistTermAndVote(5, None), CompactLog(index, 5, discards_all=True))


@given(base=st.integers(0, 6), index=st.integers(1, 9), term=st.integers(1, 5))
def test_what_is_reconciled_is_what_the_compaction_leaves_on_disk(base: int, index: int, term: int) -> None:
    stored = behind(base)
    try:
        reconciled, changes = reconcile(stored, snapshot := snapshot_of(index, term, CONTENT))
    except CorruptStorage:
        assert index < base or (index == base and term != stored.last_included_term)
        return
    assert reconciled == after(stored, changes)
    assert reconciled.current_term >= term or not changes
    assert reconcile(reconciled, snapshot) == (reconciled, ())


# --- order ------------------------------------------------------------------------------------------------------------


@DISKS
def test_parts_and_changes_of_the_log_are_carried_out_in_order(tmp_path: Path, open_disk: OpenDisk) -> None:
    """A snapshot that replaces the log arrives, and the log is cut, in one write: before its last part, not covered."""
    snapshot = snapshot_of(10, 2, CONTENT)
    first, last = parts_of(snapshot)
    with closing(open_disk(tmp_path)) as disk:
        assert disk.write([PersistTermAndVote(2, "n2"), append(0, entries_of(1, 3)), first]) == ()
        changes: list[PersistEffect] = [last, CompactLog(10, 2, discards_all=True), append(10, entries_of(2, 2))]
        assert disk.write(changes) == (Arrival(snapshot, True),)
        expected = Recovered(Stored(2, "n2", entries_of(2, 2), 10, 2), snapshot)
        assert disk.load() == expected
        assert disk.snapshots.load(snapshot) == CONTENT


@DISKS
def test_a_log_is_not_cut_before_the_part_that_makes_its_snapshot_durable(tmp_path: Path, open_disk: OpenDisk) -> None:
    snapshot = snapshot_of(3, 1, CONTENT)
    first, last = parts_of(snapshot)
    with closing(open_disk(tmp_path)) as disk:
        disk.write([append(0, entries_of(1, 4))])
        with pytest.raises(LogGap, match="behind index 3, but there is no snapshot"):
            disk.write([first, CompactLog(3, 1), last])
        assert disk.load() == Recovered(Stored(entries=entries_of(1, 4)), None)


@DISKS
def test_a_log_is_not_cut_for_a_snapshot_that_was_spoiled(tmp_path: Path, open_disk: OpenDisk) -> None:
    snapshot = snapshot_of(3, 1, CONTENT)
    with closing(open_disk(tmp_path)) as disk:
        disk.write([append(0, entries_of(1, 4))])
        assert disk.write([ReceiveSnapshotChunk(snapshot, 0, b"dirty")]) == (Arrival(snapshot, False),)
        with pytest.raises(LogGap):
            disk.write([CompactLog(3, 1)])
        assert disk.load() == Recovered(Stored(entries=entries_of(1, 4)), None)


@DISKS
def test_a_log_is_not_cut_beyond_the_newest_snapshot(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path)) as disk:
        disk.write([append(0, entries_of(1, 9))])
        snapshot = disk.snapshots.save(5, 1, MEMBERS, CONTENT)
        with pytest.raises(LogGap, match="behind index 6, but the newest snapshot ends at index 5"):
            disk.write([CompactLog(4, 1), CompactLog(6, 1)])
        assert disk.load() == Recovered(Stored(entries=entries_of(1, 9)), snapshot)


@DISKS
def test_several_snapshots_that_arrive_in_one_write_are_answered_in_order(tmp_path: Path, open_disk: OpenDisk) -> None:
    good, bad, better = (snapshot_of(index, 1, CONTENT) for index in (3, 4, 5))
    with closing(open_disk(tmp_path)) as disk:
        chunks = [*parts_of(good), *parts_of(bad, b"dirty"), *parts_of(better)]
        assert disk.write(chunks) == (Arrival(good, True), Arrival(bad, False), Arrival(better, True))


@DISKS
def test_older_snapshots_are_forgotten_once_the_log_is_cut_and_not_before(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path)) as disk:
        disk.write([append(0, entries_of(1, 9))])
        older, newer = (disk.snapshots.save(index, 1, MEMBERS, CONTENT) for index in (5, 8))
        assert disk.snapshots.load(older) == CONTENT
        disk.write([CompactLog(2, 1)])
        with pytest.raises(SnapshotGone):
            disk.snapshots.load(older)
        assert disk.load().snapshot == newer


@DISKS
def test_a_write_without_snapshots_is_the_storages(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path)) as disk:
        assert disk.write([]) == ()
        assert disk.write([PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))]) == ()
        assert disk.load() == Recovered(Stored(1, "n1", entries_of(1, 2)), None)
        assert disk.blocking is disk.storage.blocking


# --- a crash after each step ------------------------------------------------------------------------------------------


def history(disk: Disk) -> Iterator[None]:
    """Two snapshots of the server's own and two of a leader's, one of which replaces the log; stops after each step."""
    disk.write([PersistTermAndVote(1, "n1"), append(0, entries_of(1, 10))])
    yield
    disk.snapshots.save(6, 1, MEMBERS, b"six")
    yield
    disk.write([CompactLog(4, 1)])
    yield
    disk.write([append(10, entries_of(1, 5))])
    yield
    disk.snapshots.save(12, 1, MEMBERS, b"twelve")
    yield
    disk.write([CompactLog(12, 1)])
    yield
    for index, discards_all in ((14, False), (40, True)):
        changes: list[PersistEffect] = [*parts_of(snapshot_of(index, 1, CONTENT))]
        for change in [*changes, CompactLog(index, 1, discards_all)]:
            disk.write([change])
            yield
    disk.write([append(40, entries_of(2, 2))])
    yield


def check_whole(recovered: Recovered, log_holds: range) -> None:
    """Snapshot and log together are everything from 1 to where the log ends, and the log is what it was."""
    stored, snapshot = recovered
    covered = snapshot.last_included_index if snapshot else 0
    assert stored.last_included_index <= covered
    assert stored.last_index >= covered
    assert range(stored.last_included_index + 1, stored.last_index + 1) == log_holds


LOGS = [
    range(1, 11),
    range(1, 11),
    range(5, 11),
    range(5, 16),
    range(5, 16),
    range(13, 16),
    *[range(13, 16)] * 2,
    range(15, 16),
    range(15, 16),
    range(41, 41),  # the snapshot of 40 is durable, and the log would have given way to it in the next step
    range(41, 41),
    range(41, 43),
]


@DISKS_WITH_FILES
def test_a_crash_between_any_two_steps_loses_nothing(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path / "running")) as disk:
        disk.load()
        for step, _ in enumerate(history(disk)):
            shutil.copytree(tmp_path / "running", tmp_path / f"crash-{step}")
    assert len(LOGS) == step + 1
    for step, log_holds in enumerate(LOGS):
        for _ in range(2):  # what the first start repaired, the second finds in order
            with closing(open_disk(tmp_path / f"crash-{step}")) as disk:
                recovered = disk.load()
                check_whole(recovered, log_holds)
                assert disk.storage.load() == recovered.stored, "the disk says what the server was told"


@DISKS_WITH_FILES
def test_a_log_that_was_cut_without_its_snapshots_is_damage_at_every_step(tmp_path: Path, open_disk: OpenDisk) -> None:
    """What must never happen, a log cut before its snapshot was durable, is at least not taken for whole."""
    with closing(open_disk(tmp_path / "running")) as disk:
        disk.load()
        for step, _ in enumerate(history(disk)):
            shutil.copytree(tmp_path / "running", tmp_path / f"crash-{step}")
            shutil.rmtree(tmp_path / f"crash-{step}" / "snapshots")
    for step in range(len(LOGS)):
        with closing(open_disk(tmp_path / f"crash-{step}")) as disk:
            if step < 2:
                assert disk.load().stored.entries == entries_of(1, 10)
            else:
                with pytest.raises(CorruptStorage, match="there is no snapshot"):
                    disk.load()


@DISKS_WITH_FILES
def test_a_damaged_snapshot_that_the_log_was_not_cut_for_is_passed_over(tmp_path: Path, open_disk: OpenDisk) -> None:
    with closing(open_disk(tmp_path)) as disk:
        disk.write([append(0, entries_of(1, 9))])
        older = disk.snapshots.save(5, 1, MEMBERS, CONTENT)
        disk.write([CompactLog(5, 1)])
        disk.snapshots.save(7, 1, MEMBERS, CONTENT)
    newest = max((tmp_path / "snapshots").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    with closing(open_disk(tmp_path)) as disk:
        assert disk.load() == Recovered(after(Stored(), [append(0, entries_of(1, 9)), CompactLog(5, 1)]), older)
        disk.snapshots.save(8, 1, MEMBERS, CONTENT)
        disk.write([CompactLog(8, 1)])
    newest = max(path for path in (tmp_path / "snapshots").iterdir() if path.suffix == ".snapshot")
    newest.write_bytes(newest.read_bytes()[:-1])
    with closing(open_disk(tmp_path)) as disk, pytest.raises(CorruptStorage, match="its content fails its checksum"):
        disk.load()


# --- killed processes -------------------------------------------------------------------------------------------------

WRITER = """
import os, sys
from pathlib import Path
import test_disk
disk = getattr(test_disk, sys.argv[2])(Path(sys.argv[1]))
for number in test_disk.work(disk):
    os.write(1, b"%d\\n" % number)
"""


def work(disk: Disk) -> Iterator[int]:
    """Rounds: a term, seven entries that say so, sometimes a snapshot (ours, or one that arrives and replaces the log),
    and a compaction to it or a little before.  Yields the number of each round that was carried out."""
    stored = disk.load().stored
    number, end = stored.current_term, stored.last_index
    while True:
        number += 1
        disk.write([PersistTermAndVote(number, None), AppendToLog(end, entries_of_round(number), number)])
        end += 7
        if number % 3 == 0:
            disk.snapshots.save(end, number, MEMBERS, content_at(end))
            disk.write([CompactLog(end - number % 7, number)])
        elif number % 7 == 0:
            end += 20
            snapshot = snapshot_of(end, number, content_at(end))
            chunks: list[PersistEffect] = [*parts_of(snapshot, content_at(end))]
            disk.write([*chunks, CompactLog(end, number, discards_all=True)])
            disk.keeper.stands_behind(end)  # as a state machine does that took its state from there
        yield number


def entries_of_round(number: int) -> tuple[Entry, ...]:
    return tuple(Entry(number, b"%d-%d " % (number, place) * 40) for place in range(7))


def content_at(index: int) -> bytes:
    return b"%d " % index * 2000


def output_of(writer: subprocess.Popen[bytes]) -> IO[bytes]:
    assert writer.stdout is not None
    return writer.stdout


def kill(writer: subprocess.Popen[bytes]) -> list[bytes]:
    writer.send_signal(signal.SIGKILL)
    unread = output_of(writer).read().splitlines(keepends=True)
    output_of(writer).close()
    writer.wait()
    return [line for line in unread if line.endswith(b"\n")]


@DISKS_WITH_FILES
def test_what_a_killed_process_reported_is_there_after_each_of_ten_kills(tmp_path: Path, open_disk: OpenDisk) -> None:
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{':'.join(sys.path)}"}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "data"), open_disk.__name__]
    randomness = Random(5)
    for _ in range(10):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        reported = [output_of(writer).readline() for _ in range(randomness.randint(1, 40))]
        reported += kill(writer)
        with closing(open_disk(tmp_path / "data")) as disk:
            check_rounds(disk, int(reported[-1]))


def check_rounds(disk: Disk, reported: int) -> None:
    """Everything up to the round that was reported is in the snapshot or in the log, in order and whole."""
    (stored, snapshot) = disk.load()
    assert reported <= stored.current_term <= reported + 1
    assert all(1 <= entry.term <= stored.current_term for entry in stored.entries)
    if snapshot is None:
        assert stored.last_included_index == 0
        assert stored.last_index == stored.current_term * 7
        return
    assert disk.snapshots.load(snapshot) == content_at(snapshot.last_included_index)
    assert stored.last_included_index <= snapshot.last_included_index <= stored.last_index
    rounds_behind = stored.current_term - snapshot.last_included_term
    assert stored.last_index == snapshot.last_included_index + 7 * rounds_behind
    assert isinstance(disk.snapshots, SnapshotFiles)
    assert len(os.listdir(disk.snapshots.directory)) <= 3, "older ones are forgotten"
    expected = [entry for number in range(1, stored.current_term + 1) for entry in entries_of_round(number)]
    assert stored.entries == tuple(expected[len(expected) - len(stored.entries) :])
