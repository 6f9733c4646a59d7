"""Deaths of whole processes, in a form short enough for every run of the suite (the long one: `kill_trials`).

One peer dies under load; all peers die at once; the program that runs them dies; the leader is only held up, and comes
back believing that it still leads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pytest

from actors.calls import Call
from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.hosts import ProcessHost
from actors.machines.counter import Counter
from actors.supervisor import PeerState
from raft_core import ServerId
from tests.chaos.kill_trials import campaign
from tests.chaos.support import PATIENCE, eventually, peer_specs, status_of
from tests.runtimes import runtime

pytestmark = pytest.mark.usefixtures("each_runtime")


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 2000.0], ids=["saturated", "paced"])
def test_killed_peers_come_back_and_no_acknowledged_increment_is_lost_or_doubled(rate: float | None) -> None:
    tally = campaign(3, rate=rate, storage="memory", seed=7, runtime=runtime())
    assert not tally.failed, tally.summary()
    assert tally.trials == len(tally.recoveries) == 3


@contextmanager
def running(directory: Path) -> Iterator[Counter]:
    """Three processes that keep what they write in `directory`."""
    with run_peers(peer_specs(Counter, directory), ProcessHost(), timeout=PATIENCE, data=directory) as cluster:
        yield Counter._bound(ClusterHandle(cluster.client, cluster))


def process_ids(cluster: Cluster) -> dict[ServerId, int]:
    return {name: process_id for name, (_, _, process_id) in cluster.supervisor.members().items()}


def test_after_a_death_of_all_peers_under_load_everything_acknowledged_is_still_there(tmp_path: Path) -> None:
    with Counter.cluster(nodes=3, data=tmp_path, storage="sqlite", timeout=PATIENCE) as counter:
        calls: list[Call[int]] = [counter.incr.submit() for _ in range(2000)]
        eventually(lambda: sum(call.done() for call in calls) >= 500, "the first 500 answers")
        before = process_ids(counter.cluster)
        for process_id in before.values():
            os.kill(process_id, signal.SIGKILL)
        acknowledged = {call.result() for call in calls if call.done()}
        assert len(acknowledged) >= 500
        assert sorted(call.result() for call in calls) == list(range(1, 2001))
        assert counter.get() == 2000
        assert not set(process_ids(counter.cluster).values()) & set(before.values())
    with Counter.cluster(nodes=3, data=tmp_path, timeout=PATIENCE) as counter:
        assert counter.get() == 2000


def test_a_peer_that_dies_while_it_is_starting_again_is_started_once_more(tmp_path: Path) -> None:
    with running(tmp_path) as counter:
        cluster = counter.cluster
        assert counter.incr() == 1
        victim = next(name for name in cluster.nodes if name != cluster.leader())
        first = process_ids(cluster)[victim]
        os.kill(first, signal.SIGKILL)
        starting: list[int] = []

        def is_starting() -> bool:
            starting[:] = [child.pid or 0 for child in active_children() if child.name == f"actorum-{victim}"]
            return cluster.supervisor.members()[victim][0] is PeerState.STARTING and starting not in ([], [first])

        eventually(is_starting, "a new process")
        os.kill(starting[0], signal.SIGKILL)
        eventually(lambda: (found := status_of(cluster, victim)) is not None and found.applied_index > 0, "its return")
        assert counter.incr() == 2


PROGRAM = """
from actors.machines.counter import Counter

if __name__ == "__main__":
    with Counter.cluster(nodes=3, runtime={runtime!r}, data={directory!r}, timeout=60.0) as counter:
        counter.incr()
        print(*[process_id for _, _, process_id in counter.cluster.supervisor.members().values()], flush=True)
        while True:
            counter.incr()
"""


def test_no_peer_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(directory=str(tmp_path / "data"), runtime=runtime()))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        peers = [int(word) for word in running.stdout.readline().split()]
        assert len(peers) == 3
        running.kill()
    try:
        eventually(lambda: not any(is_running(peer) for peer in peers), "the end of the peers of a killed program")
    finally:
        for peer in filter(is_running, peers):
            os.kill(peer, signal.SIGKILL)


def is_running(process_id: int) -> bool:
    """Is there such a process, and is it more than an entry that nobody has collected yet?"""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_leader_that_was_held_up_steps_down_and_nothing_is_lost(tmp_path: Path) -> None:
    with running(tmp_path) as counter:
        cluster = counter.cluster
        results = [counter.incr() for _ in range(50)]
        leader = cluster.leader()
        before = status_of(cluster, leader)
        assert before is not None
        process_id = process_ids(cluster)[leader]
        os.kill(process_id, signal.SIGSTOP)
        try:
            under_way = [counter.incr.submit() for _ in range(50)]
            results += [call.result() for call in under_way]
            new_leader = cluster.leader()
            assert new_leader != leader
        finally:
            os.kill(process_id, signal.SIGCONT)
        eventually(lambda: has_stepped_down(cluster, leader, before.term), "the old leader as a follower")
        results += [counter.incr() for _ in range(50)]
        assert sorted(results) == list(range(1, 151))
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
        assert process_ids(cluster)[leader] == process_id, "it was to be held up, not restarted"


def has_stepped_down(cluster: Cluster, name: ServerId, term: int) -> bool:
    status = status_of(cluster, name)
    return status is not None and status.role == "follower" and status.term > term


def test_killed_threads_find_their_memory_again_when_they_are_restarted() -> None:
    with Counter.cluster(nodes=3, engine="threads", timeout=PATIENCE) as counter:
        cluster = counter.cluster
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        for name in cluster.nodes:
            cluster.kill(name)
        for name in cluster.nodes:
            cluster.restart(name)
        assert counter.incr() == 21
