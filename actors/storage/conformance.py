"""The contract of a storage as tests: run your own backend against them.

Subclass `StorageConformance` in a test module and say how to make a storage and how to reopen it::

    class TestMyStorage(StorageConformance):
        def make_storage(self):
            return MyStorage(tempfile.mkdtemp())

        def reopen(self, storage):
            storage.close()
            return MyStorage(storage.path)

A backend that can fail (nearly every one can) also mixes in `FailureConformance` and says how to make its disk fail for
real: a size limit, a full file system.  Needs pytest and hypothesis, which nothing else in this package does.

Every test compares with a model that is too simple to be wrong: a term, a vote and a tuple of entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.storage.port import LogGap, Storage, StorageError, Stored
from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote
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
    current_term, voted_for, entries = stored.current_term, stored.voted_for, stored.entries
    for change in changes:
        if isinstance(change, AppendToLog):
            entries = entries[: change.prev_log_index] + change.entries
        else:
            current_term, voted_for = change.current_term, change.voted_for
    return Stored(current_term, voted_for, entries)


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
        pieces = [[append(0, entries_of(1, 3))], [append(3, entries_of(2, 1))], [append(4, entries_of(3, 3))]]
        self.check(*pieces, [append(prev_log_index, entries_of(4, count))])

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

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
    )
    @given(st.data())
    def test_any_history_leaves_what_the_model_has(self, data: st.DataObject) -> None:
        storage, expected = self.make_storage(), Stored()
        try:
            for _ in range(data.draw(st.integers(1, 12), label="writes")):
                changes = data.draw(_changes(len(expected.entries)), label="changes")
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
    def fail_soon(self, storage: Storage) -> Callable[[], None]:
        """Make the disk under `storage` refuse to grow by a mebibyte; returns what takes the obstacle away again."""

    def test_a_failed_write_is_final_even_when_the_disk_is_well_again(self) -> None:
        storage = self.make_storage()
        before = after(Stored(), [PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))])
        storage.write([PersistTermAndVote(1, "n1"), append(0, entries_of(1, 2))])
        repair = self.fail_soon(storage)
        changes: list[PersistEffect] = [PersistTermAndVote(2, "n2"), append(1, (Entry(2, b"x" * MEBIBYTE),))]
        try:
            with pytest.raises(StorageError) as first:
                storage.write(changes)
        finally:
            repair()
        with pytest.raises(StorageError) as second:
            storage.write([PersistTermAndVote(3, "n3")])
        assert second.value is first.value
        storage = self.reopen(storage)
        assert storage.load() in (before, after(before, changes))
        storage.close()


@st.composite
def _changes(draw: st.DrawFn, last_index: LogIndex) -> list[PersistEffect]:
    """Up to four changes that fit a log of `last_index` entries."""
    changes: list[PersistEffect] = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            changes.append(PersistTermAndVote(draw(st.integers(0, 9)), draw(st.none() | st.text(max_size=3))))
            continue
        appended = append(draw(st.integers(0, last_index)), draw(_ENTRIES))
        last_index = appended.prev_log_index + len(appended.entries)
        changes.append(appended)
    return changes


_ENTRIES = st.lists(
    st.builds(Entry, st.integers(0, 9), st.binary(max_size=8), st.sampled_from(EntryKind)), max_size=6
).map(tuple)
