"""`actorum chaos disk-full`: the disk of a running peer takes nothing more, and later everything again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.cli import app
from actors.cluster import ClusterHandle, peer_specs, run_peers
from actors.errors import WrongArguments
from actors.full_disk import fill
from actors.hosts import ProcessHost, ThreadHost
from actors.machines.counter import Counter
from actors.service import Service
from actors.supervisor import Supervisor
from raft_core import Settings
from tests.chaos.support import PATIENCE, eventually, status_of


def chaos(data: Path, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["chaos", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done


def test_a_leader_whose_disk_is_made_full_gives_way_and_follows_when_it_has_room(tmp_path: Path) -> None:
    specs = peer_specs(Counter, 3, Settings(), tmp_path, "unsynced sqlite")
    with run_peers(specs, ProcessHost(), timeout=PATIENCE, data=tmp_path) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, tmp_path, name="demo", machine="counter@1")
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        try:
            full = cluster.leader()
            assert f"{full} is full" in chaos(tmp_path, "disk-full", full).stderr
            assert [counter.incr() for _ in range(5)] == [1, 2, 3, 4, 5]
            eventually(lambda: cluster.leader() != full, "another leader")
            assert f"{full} has room" in chaos(tmp_path, "disk-room", full).stderr
            assert counter.incr() == 6

            def follows() -> bool:
                status = status_of(cluster, full)
                return status is not None and status.role == "follower" and status.written_index >= 6

            eventually(follows, "its return")
            assert "NO-SUCH-NODE" in chaos(tmp_path, "disk-full", "n9", code=2).stderr
        finally:
            service.close()


def test_threads_have_no_disks_of_their_own_to_fill(tmp_path: Path) -> None:
    specs = peer_specs(Counter, 3, Settings(), tmp_path, "unsynced sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=tmp_path) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, tmp_path, name="demo", machine="counter@1")
        try:
            assert "threads of one process" in chaos(tmp_path, "disk-full", "n1", code=2).stderr
        finally:
            service.close()


def test_a_process_that_is_gone_is_said_to_be() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(WrongArguments, match="No such process"):
        fill(gone.pid)
