"""The contract of `Snapshots` as tests: run your own backend against them, as with `conformance`.

Subclass `SnapshotsConformance` in a test module and say how to make one, and what the next peer finds::

    class TestMySnapshots(SnapshotsConformance):
        def make_snapshots(self):
            return MySnapshots(tempfile.mkdtemp())

        def reopen(self, snapshots):
            return MySnapshots(snapshots.path)

What a restart keeps of a snapshot that was not complete is the backend's choice; that it says so truly is not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.storage.port import SnapshotGone, Snapshots
from raft_core.configuration import Configured, Snapshot, configuration
from raft_core.types import LogIndex, Term

MEMBERS = Configured(3, configuration(["n1", "n2", "n3"], ["n4"]))


def snapshot_of(last_included_index: LogIndex, last_included_term: Term, content: bytes) -> Snapshot:
    """What a snapshot with this content is."""
    checksum = sha256(content).hexdigest()
    return Snapshot(last_included_index, last_included_term, MEMBERS, len(content), checksum)


class SnapshotsConformance(ABC):
    """What every port to snapshots must do."""

    @abstractmethod
    def make_snapshots(self) -> Snapshots:
        """A new, empty one, independent of all earlier ones."""

    @abstractmethod
    def reopen(self, snapshots: Snapshots) -> Snapshots:
        """What the next peer finds when the one that used `snapshots` is gone."""

    def check_has(self, snapshots: Snapshots, snapshot: Snapshot, content: bytes) -> None:
        """`snapshot` is the newest, all of it, now and for the next peer."""
        for port in (snapshots, self.reopen(snapshots)):
            assert port.latest() == port.latest_sound(0) == snapshot
            assert port.load(snapshot) == content
            assert port.received(snapshot) == len(content)

    def test_at_first_there_is_none(self) -> None:
        snapshots = self.make_snapshots()
        assert snapshots.latest() is None
        assert snapshots.latest_sound(0) is None

    @pytest.mark.parametrize("content", [b"", b"\0", b"state" * 1000], ids=["empty", "byte", "more"])
    def test_one_that_was_saved_is_there(self, content: bytes) -> None:
        snapshots = self.make_snapshots()
        snapshot = snapshots.save(7, 3, MEMBERS, content)
        assert snapshot == snapshot_of(7, 3, content)
        self.check_has(snapshots, snapshot, content)

    @pytest.mark.parametrize("size", [1, 3, 10, 100])
    def test_one_that_was_received_in_parts_is_there(self, size: int) -> None:
        snapshots, content = self.make_snapshots(), bytes(range(100))
        snapshot = snapshot_of(7, 3, content)
        for offset in range(0, 100, size):
            answer = snapshots.receive(snapshot, offset, content[offset : offset + size])
            assert answer is (True if offset + size >= 100 else None)
        self.check_has(snapshots, snapshot, content)

    def test_an_empty_one_is_received_in_one_part(self) -> None:
        snapshots, snapshot = self.make_snapshots(), snapshot_of(7, 3, b"")
        assert snapshots.receive(snapshot, 0, b"") is True
        self.check_has(snapshots, snapshot, b"")

    def test_one_is_not_there_before_its_last_part(self) -> None:
        snapshots, snapshot = self.make_snapshots(), snapshot_of(7, 3, b"0123456789")
        assert snapshots.receive(snapshot, 0, b"01234") is None
        assert snapshots.receive(snapshot, 5, b"5678") is None
        assert snapshots.received(snapshot) == 9
        for port in (snapshots, self.reopen(snapshots)):
            assert port.latest() is None
            with pytest.raises(SnapshotGone):
                port.load(snapshot)

    def test_a_part_at_the_beginning_starts_anew(self) -> None:
        snapshots, snapshot = self.make_snapshots(), snapshot_of(7, 3, b"0123456789")
        assert snapshots.receive(snapshot, 0, b"xxxxx") is None
        assert snapshots.receive(snapshot, 0, b"012") is None
        assert snapshots.received(snapshot) == 3
        assert snapshots.receive(snapshot, 3, b"3456789") is True
        self.check_has(snapshots, snapshot, b"0123456789")

    def test_after_a_restart_receiving_goes_on_where_it_says(self) -> None:
        snapshots, content = self.make_snapshots(), b"0123456789"
        snapshot = snapshot_of(7, 3, content)
        snapshots.receive(snapshot, 0, content[:6])
        snapshots = self.reopen(snapshots)
        there = snapshots.received(snapshot)
        assert there in (0, 6)
        assert snapshots.receive(snapshot, there, content[there:]) is True
        self.check_has(snapshots, snapshot, content)

    @pytest.mark.parametrize(
        ("offset", "data"),
        [(4, b"4567"), (6, b"67"), (10, b""), (5, b"567890"), (5, b"X6789")],
        ids=["overlap", "gap", "end", "too-long", "wrong-bytes"],
    )
    def test_what_is_not_in_order_or_not_the_snapshot_is_spoiled_and_can_be_sent_anew(
        self, offset: int, data: bytes
    ) -> None:
        snapshots, content = self.make_snapshots(), b"0123456789"
        snapshot = snapshot_of(7, 3, content)
        assert snapshots.receive(snapshot, 0, content[:5]) is None
        assert snapshots.receive(snapshot, offset, data) is False
        assert snapshots.received(snapshot) == 0
        assert snapshots.latest() is None
        assert snapshots.receive(snapshot, 0, content) is True
        self.check_has(snapshots, snapshot, content)

    def test_parts_of_different_snapshots_are_not_mixed(self) -> None:
        """Same index and size, another content: the newer one's parts do not follow the older one's."""
        snapshots, first, second = self.make_snapshots(), snapshot_of(7, 3, b"01234"), snapshot_of(7, 3, b"56789")
        assert snapshots.receive(first, 0, b"012") is None
        assert snapshots.received(second) == 0
        assert snapshots.receive(second, 3, b"89") is False
        assert snapshots.receive(first, 0, b"012") is None
        assert snapshots.receive(second, 0, b"567") is None
        assert snapshots.received(first) == 0
        assert snapshots.receive(second, 3, b"89") is True
        self.check_has(snapshots, second, b"56789")

    def test_a_snapshot_that_differs_in_its_members_only_is_another_one(self) -> None:
        snapshots, snapshot = self.make_snapshots(), snapshot_of(7, 3, b"01234")
        assert snapshots.receive(snapshot, 0, b"012") is None
        assert snapshots.received(replace(snapshot, configured=Configured(0, configuration(["n9"])))) == 0

    def test_the_newest_is_chosen_by_number(self) -> None:
        """goraft took "9_99" for newer than "10_5"."""
        snapshots = self.make_snapshots()
        for index, term in ((9, 99), (10, 5), (8, 100)):
            snapshots.save(index, term, MEMBERS, b"%d" % index)
        self.check_has(snapshots, snapshot_of(10, 5, b"10"), b"10")

    def test_of_a_hundred_the_newest_is_found(self) -> None:
        snapshots = self.make_snapshots()
        for index in range(1, 101):
            snapshots.save(index * 37 % 101, 1 + index % 3, MEMBERS, b"state")
        newest = snapshots.latest()
        assert newest is not None
        assert newest.last_included_index == 100

    @pytest.mark.parametrize(("offset", "length"), [(0, 4), (4, 4), (8, 4), (0, 100), (10, 4), (3, 0)])
    def test_a_part_is_read(self, offset: int, length: int) -> None:
        snapshots = self.make_snapshots()
        snapshot = snapshots.save(7, 3, MEMBERS, b"0123456789")
        assert snapshots.read(snapshot, offset, length) == b"0123456789"[offset : offset + length]

    def test_two_of_one_index_do_not_disturb_each_other(self) -> None:
        """The leader's may arrive when ours was just saved: equal states, but maybe not equal bytes."""
        snapshots = self.make_snapshots()
        ours = snapshots.save(7, 3, MEMBERS, b"a, b")
        theirs = snapshot_of(7, 3, b"b, a")
        assert snapshots.receive(theirs, 0, b"b, a") is True
        assert snapshots.load(ours) == b"a, b"
        assert snapshots.load(theirs) == b"b, a"
        assert snapshots.latest() in (ours, theirs)

    def test_pruning_forgets_what_is_older_and_nothing_else(self) -> None:
        snapshots = self.make_snapshots()
        kept = [snapshots.save(index, 3, MEMBERS, b"%d" % index) for index in (5, 6, 7)]
        snapshots.prune(kept[1])
        with pytest.raises(SnapshotGone):
            snapshots.read(kept[0], 0, 1)
        with pytest.raises(SnapshotGone):
            snapshots.load(kept[0])
        assert [snapshots.load(snapshot) for snapshot in kept[1:]] == [b"6", b"7"]

    def test_pruning_spares_what_is_needed(self) -> None:
        snapshots = self.make_snapshots()
        kept = [snapshots.save(index, 3, MEMBERS, b"%d" % index) for index in (5, 6, 7)]
        snapshots.prune(kept[2], kept[:1])
        assert snapshots.load(kept[0]) == b"5"
        with pytest.raises(SnapshotGone):
            snapshots.load(kept[1])
        snapshots.prune(kept[2])
        with pytest.raises(SnapshotGone):
            snapshots.load(kept[0])

    def test_pruning_forgets_parts_of_what_is_no_newer(self) -> None:
        snapshots, older, newer = self.make_snapshots(), snapshot_of(6, 3, b"012345"), snapshot_of(8, 3, b"012345")
        kept = snapshots.save(7, 3, MEMBERS, b"")
        assert snapshots.receive(older, 0, b"012") is None
        snapshots.prune(kept)
        assert snapshots.received(older) == 0
        assert snapshots.receive(older, 3, b"345") is False
        assert snapshots.receive(newer, 0, b"012") is None
        snapshots.prune(kept)
        assert snapshots.receive(newer, 3, b"345") is True

    def test_nothing_is_pruned_for_the_sake_of_one_that_is_not_there(self) -> None:
        snapshots = self.make_snapshots()
        older = snapshots.save(5, 3, MEMBERS, b"5")
        with pytest.raises(SnapshotGone):
            snapshots.prune(snapshot_of(6, 3, b"6"))
        self.check_has(snapshots, older, b"5")

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        content=st.binary(max_size=200),
        cuts=st.lists(st.integers(0, 200), max_size=8),
        restarts=st.sets(st.integers(0, 8)),
    )
    def test_any_partition_into_parts_gives_the_content(
        self, content: bytes, cuts: list[int], restarts: set[int]
    ) -> None:
        snapshots, snapshot = self.make_snapshots(), snapshot_of(1, 1, content)
        ends = sorted({min(cut, len(content)) for cut in cuts} - {0} | {len(content)})
        answer, offset = None, 0
        for number, end in enumerate(ends):
            if number in restarts:
                snapshots = self.reopen(snapshots)
                offset = snapshots.received(snapshot)
            answer = snapshots.receive(snapshot, offset, content[offset:end])
            offset = end
        assert answer is True
        self.check_has(snapshots, snapshot, content)
