"""The contract of a storage as tests: run your own backend against them.

Subclass `StorageConformance` in a test module and say how to make a storage and how to reopen it::

    class TestMyStorage(StorageConformance):
        def make_storage(self):
            return MyStorage(tempfile.mkdtemp())

        def reopen(self, storage):
            storage.close()
            return MyStorage(storage.path)

A backend that can fail (nearly every one can) also mixes in `FailureConformance` and says how to make its disk full and
how to make it fail, for real: a limit on sizes, a small file system, a file that can only be read.  Needs pytest and
hypothesis, which nothing else in this package does.

Every test compares with a model that is too simple to be wrong: a term, a vote, a tuple of entries, and the index and
term before the first of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.storage.port import DiskFull, Extent, LogGap, Storage, StorageError, Stored
from raft_core.configuration import Configured, Snapshot, configuration
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.types import Entry, EntryKind, LogIndex, Term

MEBIBYTE = 1 << 20


def entries_of(term: Term, count: int) -> tuple[Entry, ...]:
    """`count` different entries of one term."""
    return tuple(Entry(term, b"command %d" % number) for number in range(count))


def append(prev_log_index: LogIndex, entries: tuple[Entry, ...]) -> AppendToLog:
    """The effect, for tests that do not care which term the server is in."""
    return AppendToLog(prev_log_index, entries, current_term=entries[-1].term if entries else 1)


def after(stored: Stored, changes: Sequence[PersistEffect]) -> Stored:
    """What must be stored once `changes` are carried out: the whole contract, as values."""
    for change in changes:
        kept = stored.entries
        match change:
            case PersistTermAndVote():
                stored = replace(stored, current_term=change.current_term, voted_for=change.voted_for)
            case AppendToLog():
                kept = kept[: change.prev_log_index - stored.last_included_index]
                stored = replace(stored, entries=kept + change.entries)
            case CompactLog(last_included_index=index, last_included_term=term, discards_all=discards_all):
                if discards_all or index > stored.last_included_index:
                    kept = () if discards_all else kept[index - stored.last_included_index :]
                    stored = replace(stored, entries=kept, last_included_index=index, last_included_term=term)
            case ReceiveSnapshotChunk():
                raise AssertionError("no storage of a log takes a part of a snapshot")
    return stored


PIECES: list[list[PersistEffect]] = [
    [append(0, entries_of(1, 3))],
    [append(3, entries_of(2, 1))],
    [append(4, entries_of(3, 3))],
]
TERMS = (0, 1, 1, 1, 2, 3, 3, 3)
"""Of the entries of `PIECES`, by index."""


class _Suite(ABC):
    @abstractmethod
    def make_storage(self) -> Storage:
        """A new, empty storage, independent of all earlier ones."""

    @abstractmethod
    def reopen(self, storage: Storage) -> Storage:
        """What the next peer finds when the one that used `storage` is gone."""

    def check(self, *writes: Sequence[PersistEffect]) -> None:
        """Carry out `writes`; the storage agrees with the model after each, and once more when reopened."""
        storage, expected = self.make_storage(), Stored()
        for changes in writes:
            storage.write(changes)
            expected = after(expected, changes)
            assert storage.load() == expected
        storage = self.reopen(storage)
        assert storage.load() == expected
        storage.close()


class StorageConformance(_Suite):
    """What every storage must do."""

    def test_a_new_storage_is_that_of_a_server_before_its_first_term(self) -> None:
        self.check()

    def test_it_says_whether_it_may_wait_for_a_disk(self) -> None:
        storage = self.make_storage()
        assert storage.blocking in (True, False)
        storage.close()

    def test_a_term_and_a_vote_survive(self) -> None:
        self.check([PersistTermAndVote(7, "n2")])

    def test_a_later_term_withdraws_the_vote(self) -> None:
        self.check([PersistTermAndVote(7, "n2")], [PersistTermAndVote(8, None)])

    @pytest.mark.parametrize(
        "server_id", ["", "Zoë", "服务器-1", "n\N{BULLET}\N{GRINNING FACE}", "'; DROP TABLE vote --"]
    )
    def test_a_vote_for_a_server_of_any_name_survives(self, server_id: str) -> None:
        self.check([PersistTermAndVote(1, server_id)])

    def test_a_term_of_63_bits_survives(self) -> None:
        self.check([PersistTermAndVote(2**63 - 1, "n1"), append(0, entries_of(2**63 - 1, 1))])

    def test_appended_entries_survive(self) -> None:
        self.check([append(0, entries_of(1, 3))])

    def test_several_appends_make_one_log(self) -> None:
        self.check([append(0, entries_of(1, 3))], [append(3, entries_of(1, 1))], [append(4, entries_of(2, 5))])

    def test_entries_of_every_kind_survive_and_so_do_empty_commands(self) -> None:
        self.check([append(0, tuple(Entry(1, command, kind) for kind in EntryKind for command in (b"", b"\0\xff")))])

    def test_entries_of_a_mebibyte_survive(self) -> None:
        big = tuple(Entry(1, bytes([fill]) * MEBIBYTE) for fill in range(3))
        self.check([append(0, big)], [append(3, entries_of(1, 2))], [append(2, big[:1])])

    def test_an_append_of_nothing_at_the_end_changes_nothing(self) -> None:
        self.check([append(0, entries_of(1, 2))], [append(2, ())])

    def test_a_write_of_nothing_changes_nothing(self) -> None:
        self.check([append(0, entries_of(1, 2))], [])

    @pytest.mark.parametrize("prev_log_index", range(8))
    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_what_is_behind_prev_log_index_is_replaced(self, prev_log_index: LogIndex, count: int) -> None:
        """The log was appended as 3 + 1 + 3 entries: cuts at boundaries, inside each piece, to nothing, and none."""
        self.check(*PIECES, [append(prev_log_index, entries_of(4, count))])

    def test_a_log_cut_again_and_again_goes_on_growing(self) -> None:
        cuts = [[append(cut, entries_of(term, 1))] for term, cut in enumerate((7, 5, 5, 2, 0), start=2)]
        self.check([append(0, entries_of(1, 9))], *cuts, [append(1, entries_of(9, 4))])

    def test_several_changes_in_one_write_are_carried_out_in_order(self) -> None:
        self.check(
            [append(0, entries_of(1, 4))],
            [
                PersistTermAndVote(2, "n3"),
                append(2, entries_of(2, 2)),
                append(3, entries_of(3, 2)),
                PersistTermAndVote(3, None),
                append(5, entries_of(3, 1)),
                append(6, ()),
            ],
        )

    def test_entries_put_and_dropped_in_the_same_write_are_gone(self) -> None:
        self.check([append(0, entries_of(1, 5)), append(3, ()), append(0, entries_of(2, 1))])

    @pytest.mark.parametrize("prev_log_index", [-1, 3, 1000])
    def test_entries_beyond_the_end_of_the_log_are_refused_and_change_nothing(self, prev_log_index: LogIndex) -> None:
        self.check_refused(append(prev_log_index, entries_of(2, 1)))

    def test_a_write_that_is_refused_at_its_last_change_carries_out_none(self) -> None:
        """The second append would fit the log as it is stored, but not as the first one leaves it."""
        self.check_refused(PersistTermAndVote(9, "n9"), append(0, entries_of(2, 1)), append(2, entries_of(2, 1)))

    def check_refused(self, *changes: PersistEffect) -> None:
        """`changes` are refused by a log of two entries, which stays as it is, and usable."""
        storage = self.make_storage()
        kept = after(Stored(), [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))])
        storage.write([PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))])
        with pytest.raises(LogGap):
            storage.write(changes)
        assert storage.load() == kept
        storage.write([append(2, entries_of(1, 1))])
        storage = self.reopen(storage)
        assert storage.load() == after(kept, [append(2, entries_of(1, 1))])
        storage.close()

    @pytest.mark.parametrize("index", range(8))
    def test_a_compacted_log_begins_behind_the_index_and_keeps_what_follows(self, index: LogIndex) -> None:
        """The log was appended as 3 + 1 + 3 entries: at its boundaries, inside each piece, nothing, and all of it."""
        self.check(*PIECES, [CompactLog(index, TERMS[index])])

    @pytest.mark.parametrize("index", [0, 2, 5, 7, 8, 1000])
    def test_a_log_that_gives_way_to_a_snapshot_is_empty_behind_it(self, index: LogIndex) -> None:
        self.check(*PIECES, [CompactLog(index, 9, discards_all=True)])

    @pytest.mark.parametrize("discards_all", [False, True])
    def test_a_compacted_log_goes_on_growing_where_it_ended(self, discards_all: bool) -> None:
        end = 5 if discards_all else 7
        compaction = CompactLog(5, 3, discards_all)
        self.check(*PIECES, [compaction], [append(end, entries_of(4, 2))], [append(end + 2, entries_of(5, 1))])

    @pytest.mark.parametrize("cut", range(5, 10))
    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_what_is_cut_from_a_compacted_log_is_behind_prev_log_index(self, cut: LogIndex, count: int) -> None:
        """A position in the log is no longer an index less one."""
        pieces: list[list[PersistEffect]] = [*PIECES, [append(7, entries_of(3, 2))], [CompactLog(5, 3)]]
        self.check(*pieces, [append(cut, entries_of(4, count))], [append(cut + count, entries_of(5, 2))])

    def test_a_log_is_compacted_again_and_again(self) -> None:
        writes: list[list[PersistEffect]] = []
        for index in range(0, 40, 4):
            writes += [[append(index, entries_of(1, 4))], [CompactLog(max(0, index - index // 7), 1 if index else 0)]]
        self.check(*writes)

    def test_a_compacted_log_that_is_emptied_remembers_where_it_begins(self) -> None:
        self.check(*PIECES, [CompactLog(4, 2)], [append(4, ())], [append(4, entries_of(7, 1))])

    def test_compacting_what_is_compacted_changes_nothing(self) -> None:
        again: list[list[PersistEffect]] = [[CompactLog(index, 1 if index else 0)] for index in (3, 2, 0)]
        self.check([append(0, entries_of(1, 5)), CompactLog(3, 1)], *again, [append(5, entries_of(2, 1))])

    def test_a_compaction_shares_its_write_with_what_stands_around_it(self) -> None:
        self.check(
            [append(0, entries_of(1, 4)), CompactLog(3, 1), append(3, entries_of(2, 3)), CompactLog(5, 2)],
            [PersistTermAndVote(3, "n1"), append(6, entries_of(3, 1)), CompactLog(6, 2), PersistTermAndVote(4, None)],
            [CompactLog(50, 4, discards_all=True), append(50, entries_of(4, 3)), CompactLog(51, 4)],
        )

    def test_entries_of_a_mebibyte_are_compacted(self) -> None:
        big = tuple(Entry(1, bytes([fill]) * MEBIBYTE) for fill in range(3))
        self.check([append(0, big)], [append(3, big)], [CompactLog(4, 1)], [append(5, big[:1])])

    @pytest.mark.parametrize(
        "change",
        [
            append(1, entries_of(2, 1)),
            append(-1, entries_of(2, 1)),
            append(5, entries_of(2, 1)),
            CompactLog(5, 1),
            CompactLog(1, 1, discards_all=True),
            ReceiveSnapshotChunk(Snapshot(4, 1, Configured(0, configuration(["n1"])), 4, ""), 0, b"part"),
        ],
        ids=["append-below", "append-negative", "append-beyond", "compact-beyond", "discard-below", "part-of-snapshot"],
    )
    def test_what_does_not_fit_a_compacted_log_is_refused_and_changes_nothing(self, change: PersistEffect) -> None:
        """The log begins behind 2 and ends at 4; what goes before the misfit in the same write is not done either."""
        kept: list[PersistEffect] = [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 4)), CompactLog(2, 1)]
        self.check_unchanged_by(kept, [PersistTermAndVote(8, "n8"), change])
        self.check_unchanged_by(kept, [CompactLog(3, 1), append(4, ()), change])

    @pytest.mark.parametrize("discards_all", [False, True])
    def test_the_next_peer_finds_a_compacted_log_with_the_same_bounds(self, discards_all: bool) -> None:
        storage = self.make_storage()
        storage.write([append(0, entries_of(1, 6)), CompactLog(4, 1, discards_all)])
        for misfit in (append(3, entries_of(2, 1)), append(7, entries_of(2, 1)), CompactLog(3, 1, discards_all=True)):
            storage = self.reopen(storage)
            with pytest.raises(LogGap):
                storage.write([misfit])
        storage = self.reopen(storage)
        expected = storage.load()
        change = append(4, entries_of(2, 3))
        storage.write([change])
        assert storage.load() == after(expected, [change])
        storage.close()

    def check_unchanged_by(self, kept: Sequence[PersistEffect], refused: Sequence[PersistEffect]) -> None:
        storage, expected = self.make_storage(), after(Stored(), kept)
        storage.write(kept)
        with pytest.raises(LogGap):
            storage.write(refused)
        assert storage.load() == expected
        storage.write([append(4, entries_of(1, 1))])
        storage = self.reopen(storage)
        assert storage.load() == after(expected, [append(4, entries_of(1, 1))])
        storage.close()

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
    )
    @given(st.data())
    def test_any_history_leaves_what_the_model_has(self, data: st.DataObject) -> None:
        storage, expected = self.make_storage(), Stored()
        try:
            for _ in range(data.draw(st.integers(1, 12), label="writes")):
                changes = data.draw(
                    _changes(Extent(expected.last_included_index, expected.last_index)), label="changes"
                )
                storage.write(changes)
                expected = after(expected, changes)
                if data.draw(st.booleans(), label="reopen"):
                    storage = self.reopen(storage)
                assert storage.load() == expected
        finally:
            storage.close()


class FailureConformance(_Suite):
    """What a storage must do when its disk fails: mix in next to `StorageConformance`."""

    @abstractmethod
    def fill(self, storage: Storage) -> Callable[[], None]:
        """Make the disk under `storage` refuse to grow by a mebibyte; returns what makes room again."""

    @abstractmethod
    def break_down(self, storage: Storage) -> Callable[[], None]:
        """Make writes to the disk fail, but not for want of room; returns what takes the obstacle away again."""

    def test_a_write_without_room_leaves_nothing_and_is_made_when_there_is_room(self) -> None:
        storage = self.make_storage()
        storage.write(BEFORE)
        make_room = self.fill(storage)
        try:
            for _ in range(3):
                with pytest.raises(DiskFull):
                    storage.write(LARGE)
        finally:
            make_room()
        assert storage.load() == after(Stored(), BEFORE)
        storage.write(LARGE)
        storage.write([append(2, entries_of(2, 1))])
        expected = after(after(Stored(), [*BEFORE, *LARGE]), [append(2, entries_of(2, 1))])
        assert storage.load() == expected
        storage = self.reopen(storage)
        assert storage.load() == expected
        storage.close()

    def test_what_was_refused_is_not_there_for_the_next_peer_either(self) -> None:
        storage = self.make_storage()
        storage.write(BEFORE)
        make_room = self.fill(storage)
        try:
            with pytest.raises(DiskFull):
                storage.write(LARGE)
        finally:
            make_room()
        storage = self.reopen(storage)
        assert storage.load() == after(Stored(), BEFORE)
        storage.close()

    def test_a_failed_write_is_final_even_when_the_disk_is_well_again(self) -> None:
        storage = self.make_storage()
        storage.write(BEFORE)
        repair = self.break_down(storage)
        try:
            with pytest.raises(StorageError) as first:
                storage.write(LARGE)
        finally:
            repair()
        assert not isinstance(first.value, DiskFull)
        with pytest.raises(StorageError) as second:
            storage.write([PersistTermAndVote(3, "n3")])
        assert second.value is first.value
        storage = self.reopen(storage)
        assert storage.load() in (after(Stored(), BEFORE), after(after(Stored(), BEFORE), LARGE))
        storage.close()


BEFORE: list[PersistEffect] = [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))]
LARGE: list[PersistEffect] = [PersistTermAndVote(2, "n2"), append(1, (Entry(2, b"x" * MEBIBYTE),))]


@st.composite
def _changes(draw: st.DrawFn, extent: Extent) -> list[PersistEffect]:
    """Up to four changes that fit a log of this extent."""
    changes: list[PersistEffect] = []
    for _ in range(draw(st.integers(0, 4))):
        change = draw(_change(extent))
        extent = extent.after([change])
        changes.append(change)
    return changes


@st.composite
def _change(draw: st.DrawFn, extent: Extent) -> PersistEffect:
    match draw(st.sampled_from(["vote", "append", "append", "compact", "discard"])):
        case "vote":
            return PersistTermAndVote(draw(st.integers(0, 9)), draw(st.none() | st.text(max_size=3)))
        case "append":
            return append(draw(st.integers(extent.last_included_index, extent.last_index)), draw(_ENTRIES))
        case "compact":
            return CompactLog(draw(st.integers(0, extent.last_index)), draw(st.integers(0, 9)))
        case _:
            return CompactLog(extent.last_included_index + draw(st.integers(0, 20)), draw(st.integers(0, 9)), True)


_ENTRIES = st.lists(
    st.builds(Entry, st.integers(0, 9), st.binary(max_size=8), st.sampled_from(EntryKind)), max_size=6
).map(tuple)
