"""Snapshots where peers really run (paper 7): taken, sent, restored, and the log stays short - in every runtime."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from actors import Replicated, command
from actors.cluster import Cluster
from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.machines.key_value import KeyValue
from actors.snapshot_taking import LARGE, SnapshotTaker
from actors.spec import RuntimeName
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import Configured, Entry, EntryKind, Settings, configuration
from raft_core.configuration import configuration_entry

OFTEN = Settings(snapshot_entries=40, trailing_entries=5, snapshot_chunk_bytes=64)
PATIENCE = 60.0
BASE = Configured(0, configuration(["n1", "n2", "n3"]))


# --- When one is due.


def _taker(settings: Settings, machine: MachineHost | None = None) -> SnapshotTaker:
    return SnapshotTaker(machine or MachineHost(Counter()), MemorySnapshots(), settings, None, BASE)


def test_one_is_due_after_enough_entries() -> None:
    taker = _taker(Settings(snapshot_entries=3))
    taker.applied(1, [Entry(1, b"", EntryKind.NO_OP)] * 2)
    assert taker.take_if_due() is None
    taker.applied(3, [Entry(2, b"", EntryKind.NO_OP)])
    snapshot = taker.take_if_due()
    assert snapshot is not None
    assert (snapshot.last_included_index, snapshot.last_included_term) == (3, 2)


def test_servers_with_a_large_state_take_turns_and_each_keeps_its_interval() -> None:
    indexes = {name: _indexes(name, size=2 * LARGE) for name in ("n1", "n2", "n3")}
    assert indexes == {"n1": [30, 60, 90, 120], "n2": [30, 70, 100], "n3": [30, 50, 80, 110]}


def test_servers_with_a_small_state_take_theirs_alike() -> None:
    assert [_indexes(name, size=LARGE // 4) for name in ("n1", "n2", "n9")] == [[30, 60, 90, 120]] * 3


def test_a_large_snapshot_that_came_late_is_followed_by_one_in_turn() -> None:
    """Not by one a round later: commands arrive many at a time, and past the turn."""
    assert _indexes("n2", size=2 * LARGE, at_a_time=4)[1:] == [72, 100]


def _indexes(name: str, *, size: int, at_a_time: int = 1) -> list[int]:
    """Where this server takes its snapshots within 120 entries, a state of `size` bytes and one every 30 entries."""
    store = KeyValue()
    store.put("key", "x" * size)
    settings = Settings(snapshot_entries=30, snapshot_bytes=1 << 40)
    taker = SnapshotTaker(MachineHost(store), MemorySnapshots(), settings, None, BASE, server_id=name)
    commands = [Entry(1, b"x" * (size // 10))] * at_a_time
    taken = []
    for first in range(1, 121, at_a_time):
        taker.applied(first, commands)
        if snapshot := taker.take_if_due():
            taken.append(snapshot.last_included_index)
    return taken


def test_one_is_due_after_enough_bytes() -> None:
    taker = _taker(Settings(snapshot_bytes=1000))
    taker.applied(1, [Entry(1, b"x" * 1000)])
    assert taker.take_if_due() is not None


def test_none_is_due_before_as_much_was_applied_as_the_last_one_holds() -> None:
    """So that a large state is not written again and again for a few entries."""
    taker = _taker(Settings(snapshot_entries=1))
    taker.applied(1, [Entry(1, b"x" * 4000)])
    first = taker.take_if_due()
    assert first is not None
    taker.applied(2, [Entry(1)])
    assert taker.take_if_due() is None
    taker.applied(3, [Entry(1, b"x" * first.size)])
    assert taker.take_if_due() is not None


def test_zero_entries_mean_never() -> None:
    taker = _taker(Settings(snapshot_entries=0, snapshot_bytes=1))
    taker.applied(1, [Entry(1, b"x" * 4000)])
    assert taker.take_if_due() is None
    assert taker.take() is not None
    assert taker.take() is None, "nothing was applied since"


def test_a_snapshot_names_the_members_of_its_index() -> None:
    taker = _taker(Settings())
    taker.applied(1, [Entry(1, b"", EntryKind.NO_OP), configuration_entry(1, configuration(["n1"]))])
    snapshot = taker.take()
    assert snapshot is not None
    assert snapshot.configured == Configured(2, configuration(["n1"]))


class Unsavable(Replicated):
    """Its field holds what its annotation does not say."""

    value: str = ""

    @command
    def spoil(self) -> None:
        self.value = 3  # type: ignore[assignment]


def test_a_machine_that_cannot_be_saved_is_told_of_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    machine = Unsavable()
    machine.spoil()
    taker = _taker(Settings(snapshot_entries=1), MachineHost(machine))
    for index in (1, 2):
        taker.applied(index, [Entry(1)])
        assert taker.take_if_due() is None
    assert caplog.text.count("no snapshot was taken") == 1


# --- In clusters.


@pytest.fixture(params=["actors", "locks"])
def runtime(request: pytest.FixtureRequest) -> RuntimeName:
    return request.param


def test_a_follower_that_was_away_is_sent_a_snapshot(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="threads", runtime=runtime, settings=OFTEN, timeout=PATIENCE) as counter:
        cluster = counter.cluster
        away = next(name for name in cluster.nodes if name != cluster.leader())
        cluster.kill(away)
        assert [call.result() for call in [counter.incr.submit() for _ in range(300)]][-1] == 300
        cluster.restart(away)
        assert counter.incr() == 301
        cluster.wait_until_equal(PATIENCE)


def test_everything_restarts_from_snapshots(tmp_path: Path, runtime: RuntimeName) -> None:
    """Processes on disk: the counter goes on, and the log does not reach back to its beginning."""
    for beginning in (0, 300):
        with Counter.cluster(data=tmp_path, runtime=runtime, settings=OFTEN, timeout=PATIENCE) as counter:
            calls = [counter.incr.submit() for _ in range(300)]
            assert calls[-1].result() == beginning + 300
            counter.cluster.wait_until_equal(PATIENCE)
            _until_all_have_a_snapshot_behind(counter.cluster, beginning + 200)
    for name in ("n1", "n2", "n3"):
        files = [int(file.name.split("-")[0]) for file in tmp_path.rglob(f"{name}/snapshots/*.snapshot")]
        assert max(files) > 500


def _until_all_have_a_snapshot_behind(cluster: Cluster, index: int) -> None:
    """The first one is saved behind the peer, in idle time: it may come late, and then be of less than there is."""
    deadline = monotonic() + PATIENCE
    while not all(status and status.snapshot_index > index for status in cluster.status().values()):
        assert monotonic() < deadline
        for name in cluster.nodes:
            cluster.snapshot(name, timeout=PATIENCE)


def test_a_simulated_cluster_goes_on_through_snapshots_and_crashes(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="sim", seed=7, runtime=runtime, settings=OFTEN) as counter:
        cluster = counter.cluster
        for number in range(6):
            away = cluster.nodes[number % 3]
            cluster.kill(away)
            for _ in range(60):
                counter.incr()
            cluster.restart(away)
        assert counter.incr() == 361
        cluster.wait_until_equal(PATIENCE)
