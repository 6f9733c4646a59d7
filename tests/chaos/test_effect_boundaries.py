"""Kill a server at every place where a kill can strike, and bring it back from its disk.

One scenario with elections, replication, a leader that is cut off and goes on accepting commands, another that replaces
it, and the truncation that follows.  It is run once without a kill to count its points; then once for every point, with
the server that is there killed at it (see `little_cluster`).  After every step of every run the witness checks what
Figure 3 and "on stable storage before responding" demand; at the end the replicas must agree and the client must have
each increment exactly once.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Collection
from copy import copy
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

from actors.cluster import ClusterHandle, run_peers
from actors.hosts import Hosted, ProcessHost
from actors.machines.counter import Counter
from actors.process import peer_main
from actors.spec import PeerSpec
from actors.storage.journal import JournalStorage
from actors.storage.memory import MemoryStorage
from actors.storage.port import Storage
from actors.storage.sqlite import SqliteStorage
from raft_core import Effect, ServerId
from tests.chaos.little_cluster import NAMES, LittleCluster
from tests.chaos.support import peer_specs

Open = Callable[[ServerId], Storage]

COMMANDS = 24
PATIENCE = 30.0
"""Seconds of virtual time within which everything must have become equal."""


def in_memory() -> Open:
    disks = {name: MemoryStorage() for name in NAMES}
    return lambda name: disks[name]


def in_files(directory: Path, opened: Callable[[Path, ServerId], Storage]) -> Open:
    return lambda name: opened(directory / name, name)


def in_database(path: Path, name: ServerId) -> Storage:
    return SqliteStorage(path, cluster_id="little", server_id=name, synchronous="off")


def in_journal(path: Path, name: ServerId) -> Storage:
    return JournalStorage(path, cluster_id="little", server_id=name)


def played(storage: Open, *, asynchronous: bool, kill_at: Collection[int] = ()) -> LittleCluster:
    """The scenario, to its end."""
    cluster = LittleCluster(storage, asynchronous=asynchronous, kill_at=kill_at)
    try:
        for number in range(COMMANDS):
            cluster.at(0.20 + 0.05 * number, cluster.submit)
        for cut, healed in ((0.40, 0.85), (1.10, 1.35)):
            cluster.at(cut, cluster.cut_leader_off)
            cluster.at(healed, cluster.heal)
        cluster.tick()
        cluster.run(1.6)
        cluster.run(1.6 + PATIENCE, cluster.has_converged)
        check_outcome(cluster)
    finally:
        cluster.close()
    return cluster


def check_outcome(cluster: LittleCluster) -> None:
    assert cluster.has_converged(), f"no agreement after {PATIENCE} s: {cluster.session.pending_commands} unanswered"
    assert len(cluster.digests()) == 1, "the replicas differ"
    results = sorted(call.result(0) for call in cluster.calls)
    assert results == list(range(1, COMMANDS + 1)), "an increment was lost or applied twice"


def points_of(*, asynchronous: bool) -> int:
    return played(in_memory(), asynchronous=asynchronous).points


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous disk", "asynchronous disk"])
def test_the_scenario_has_elections_truncation_and_enough_points_to_kill_at(asynchronous: bool) -> None:
    cluster = played(in_memory(), asynchronous=asynchronous)
    assert len(cluster.witness.leaders) >= 3
    assert len(set(cluster.witness.leaders.values())) >= 2
    assert cluster.witness.truncations >= 1
    assert cluster.points >= 500
    assert cluster.kills == 0


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous disk", "asynchronous disk"])
def test_a_kill_at_any_point_breaks_no_promise_and_loses_nothing(asynchronous: bool) -> None:
    for point in range(1, points_of(asynchronous=asynchronous) + 1):
        try:
            cluster = played(in_memory(), asynchronous=asynchronous, kill_at=[point])
        except AssertionError as error:
            raise AssertionError(f"killed at point {point}: {error}") from error
        assert cluster.kills == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous disk", "asynchronous disk"])
def test_a_second_kill_while_the_first_is_being_mended_loses_nothing(asynchronous: bool) -> None:
    for first in range(1, points_of(asynchronous=asynchronous) - 50, 11):
        kill_at = [first, first + 3 + first % 40]
        cluster = played(in_memory(), asynchronous=asynchronous, kill_at=kill_at)
        assert cluster.kills == 2, kill_at


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous disk", "asynchronous disk"])
@pytest.mark.parametrize("opened", [in_database, in_journal])
def test_a_file_brings_back_what_was_promised_after_a_kill_at_any_point(
    opened: Callable[[Path, ServerId], Storage], asynchronous: bool, tmp_path: Path
) -> None:
    for point in range(7, points_of(asynchronous=asynchronous), 71):
        directory = tmp_path / str(point)
        cluster = played(in_files(directory, opened), asynchronous=asynchronous, kill_at=[point])
        assert cluster.kills == 1, point


# --- real processes ---------------------------------------------------------------------------------------------------


class KillsItself:
    """SIGKILL from inside, at the `n`-th effect of this process: nothing runs after it, not even `finally`."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, effect: Effect) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def mortal_main(n: int, end: socket.socket, encoded_spec: bytes) -> None:
    """Entry point of a peer's process that will not live for long."""
    peer_main(end, encoded_spec, KillsItself(n))


class MortalHost(ProcessHost):
    """The lives of n2, and now and then of n3, end at some effect or other; n1 lives."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths = {"n2": count(1), "n3": count(6)}

    def launch(self, spec: PeerSpec) -> Hosted:
        """Start a process that ends at another effect each time."""
        name = spec.config.server_id
        number = next(self.deaths[name]) if name in self.deaths else 0
        is_mortal = name == "n2" or (name == "n3" and number % 2)
        return (ProcessHost(partial(mortal_main, 5 + 7 * number)) if is_mortal else ProcessHost()).launch(spec)


@pytest.mark.usefixtures("each_runtime")
def test_a_process_that_kills_itself_at_its_nth_effect_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    host = MortalHost()
    with run_peers(peer_specs(Counter, tmp_path), host, timeout=60.0, data=tmp_path) as cluster:
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        results = []
        deadline = monotonic() + 60.0
        while next(copy(host.deaths["n2"])) < 6 and monotonic() < deadline:
            results.append(counter.incr())
        assert next(host.deaths["n2"]) >= 6, "too few deaths"
        assert results == list(range(1, len(results) + 1))
        assert counter.get() == len(results)
