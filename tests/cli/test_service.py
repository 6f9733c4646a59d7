"""A cluster that other programs use: `actorum up` and its commands, as real processes; and what its socket is told."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.cluster import peer_specs, run_peers
from actors.errors import AuthenticationFailed, ClusterNotRunning, NoSuchNode
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.remote import connect
from actors.service import Service
from actors.service_protocol import KEY_NAME, SOCKET_NAME, prove_to_server, short_path
from actors.supervisor import Supervisor
from raft_core import Settings
from tests.signalling import signal_another_thread

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
PATIENCE = 30.0


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def _run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "actors", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(), check=False)
    assert done.returncode == code, done.stderr
    return done


def _up(data: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "actors", "up", "counter", "--data", str(data), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment())
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "ready in" in line, line + process.stderr.read()
    return process


def _ended(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with process.stderr:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()  # it has failed; the tests after it shall not
            process.wait(PATIENCE)
            raise


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a running cluster."""
    process = _up(tmp_path / "demo")
    try:
        yield tmp_path / "demo"
    finally:
        process.terminate()
        _ended(process)
    assert process.returncode == 0
    assert not (tmp_path / "demo" / SOCKET_NAME).exists()


def test_a_counter_is_used_from_a_shell(running: Path) -> None:
    where = ("--data", str(running))
    assert _run("counter", "incr", "--by", "5", *where).stdout == "5\n"
    assert _run("counter", "incr", "--by", "-2", *where).stdout == "3\n"
    assert _run("counter", "get", *where).stdout == "3\n"
    stale = _run("counter", "get", "--consistency", "stale", "-o", "json", *where).stdout
    assert json.loads(stale)["value"] in (0, 5, 3)
    bounded = ("counter", "get", "--consistency", "stale", "--max-staleness", "0.001")
    assert _run(*bounded, *where).stdout == "3\n"
    for consistency in ("follower", "lease"):
        assert _run("counter", "get", "--consistency", consistency, *where).stdout == "3\n"


def test_status_names_every_peer_and_the_leader(running: Path) -> None:
    report = json.loads(_run("status", "--data", str(running), "-o", "json").stdout)
    assert [node["node"] for node in report["nodes"]] == ["n1", "n2", "n3"]
    assert report["leader"] in ("n1", "n2", "n3")
    assert report["machine"] == "counter@1"
    assert report["quorum"] == "2/3"
    table = _run("status", "--data", str(running)).stdout.splitlines()
    assert table[0].startswith("CLUSTER demo")
    assert table[1].split()[:3] == ["NODE", "ROLE", "TERM"]


def test_a_killed_leader_is_replaced_and_can_be_restarted(running: Path) -> None:
    where = ("--data", str(running))
    _run("counter", "incr", *where)
    killed = _run("kill", "--leader", *where).stderr.split()[-1]
    answer = _run("counter", "incr", *where)
    assert answer.stdout == "2\n"
    report = json.loads(_run("status", "-o", "json", *where).stdout)
    states = {node["node"]: node["role"] for node in report["nodes"]}
    assert states[killed] == "down"
    assert report["leader"] not in (None, killed)
    _run("restart", killed, *where)
    assert _run("counter", "get", *where).stdout == "2\n"


def test_a_wait_for_a_new_leader_is_explained(running: Path) -> None:
    _run("kill", "--leader", "--data", str(running))
    told = _run("counter", "incr", "--data", str(running)).stderr
    assert told == "" or ("waited" in told and "leads in term" in told)


def test_an_unknown_node_is_a_usage_error(running: Path) -> None:
    told = _run("kill", "n9", "--data", str(running), code=2).stderr
    assert "error[NO-SUCH-NODE]" in told
    with connect(running) as cluster, pytest.raises(NoSuchNode):
        cluster.restart("n9")


def test_down_stops_everything_and_the_data_stays(tmp_path: Path) -> None:
    process = _up(tmp_path / "demo")
    _run("counter", "incr", "--by", "7", "--data", str(tmp_path / "demo"))
    with connect(tmp_path / "demo") as cluster:
        peers = [node.process_id for node in cluster.status().nodes]
    _run("down", "--data", str(tmp_path / "demo"))
    _ended(process)
    assert process.returncode == 0
    assert not any(Path(f"/proc/{peer}").exists() for peer in peers)
    again = _up(tmp_path / "demo")
    assert _run("counter", "get", "--data", str(tmp_path / "demo")).stdout == "7\n"
    again.terminate()
    _ended(again)


def test_a_killed_service_takes_its_peers_along_and_loses_nothing(tmp_path: Path) -> None:
    process = _up(tmp_path / "demo")
    _run("counter", "incr", "--by", "7", "--data", str(tmp_path / "demo"))
    with connect(tmp_path / "demo") as cluster:
        peers = [node.process_id for node in cluster.status().nodes]
    process.send_signal(signal.SIGKILL)
    _ended(process)
    _until(lambda: not any(Path(f"/proc/{peer}").exists() for peer in peers))
    assert (tmp_path / "demo" / SOCKET_NAME).exists(), "a killed service cannot tidy up"
    assert "error[CLUSTER-NOT-RUNNING]" in _run("counter", "get", "--data", str(tmp_path / "demo"), code=3).stderr
    again = _up(tmp_path / "demo")
    assert _run("counter", "get", "--data", str(tmp_path / "demo")).stdout == "7\n"
    again.terminate()
    _ended(again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_that_another_thread_takes_ends_the_service(tmp_path: Path, number: signal.Signals) -> None:
    """The system may give it to a thread that is just starting or ending; the main thread must wake up all the same."""
    process = _up(tmp_path / "demo", "--nodes", "1")
    signal_another_thread(process.pid, number)
    assert process.stderr is not None
    assert process.stderr.readline() == f"stopping: {number.name}\n"
    _ended(process)
    assert process.returncode == 0


def test_the_end_waits_for_no_client_that_came_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = peer_specs(Counter, 1, Settings(), tmp_path, "unsynced sqlite")
    arrived, ending = threading.Event(), threading.Event()
    serve = Service._serve

    def serve_late(service: Service, *arguments: Any) -> None:
        arrived.set()
        ending.wait(PATIENCE)
        serve(service, *arguments)

    monkeypatch.setattr(Service, "_serve", serve_late)
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=tmp_path) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, tmp_path, name="demo", machine="counter@1")
        with _raw(tmp_path) as client:
            assert arrived.wait(PATIENCE)
            closing = threading.Thread(target=service.close)
            closing.start()
            client.settimeout(PATIENCE)
            assert client.recv(1) == b"", "its connection is ended before anybody serves it"
            ending.set()
            closing.join(PATIENCE)
            assert not closing.is_alive()


def test_two_services_on_one_directory_are_refused(running: Path) -> None:
    told = _run("up", "counter", "--data", str(running), code=1).stderr
    assert "error[STORAGE-IN-USE]" in told
    assert "fix:" in told
    assert _run("counter", "incr", "--data", str(running)).stdout == "1\n"


def test_another_machine_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    process = _up(tmp_path / "demo")
    process.terminate()
    _ended(process)
    assert "error[WRONG-CLUSTER]" in _run("up", "counters", "--data", str(tmp_path / "demo"), code=1).stderr


def test_nobody_serves_here(tmp_path: Path) -> None:
    told = _run("status", "--data", str(tmp_path), code=3).stderr
    assert "error[CLUSTER-NOT-RUNNING]" in told
    assert "actorum up counter --data" in told


def test_a_program_uses_the_cluster_over_links_of_its_own(running: Path) -> None:
    with connect(running) as cluster:
        counter = cluster.bind(Counter)
        calls = [counter.incr.submit() for _ in range(500)]
        assert sorted(call.result() for call in calls) == list(range(1, 501))
        cluster.kill()
        assert counter.incr() == 501
        for node in cluster.status().nodes:
            if node.status is None:
                cluster.restart(node.server_id)
        cluster.kill()
        assert counter.incr() == 502, "a restarted peer must have links to clients that were there before"


def test_a_wrong_key_is_refused(running: Path) -> None:
    key = (running / KEY_NAME).read_bytes()
    assert (running / KEY_NAME).stat().st_mode & 0o077 == 0
    (running / KEY_NAME).write_bytes(secrets.token_bytes(32))
    try:
        with pytest.raises(AuthenticationFailed), connect(running):
            pass
        assert "error[AUTHENTICATION-FAILED]" in _run("status", "--data", str(running), code=7).stderr
    finally:
        (running / KEY_NAME).write_bytes(key)
    assert _run("counter", "incr", "--data", str(running)).stdout == "1\n"


def _raw(data: Path) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with short_path(data, SOCKET_NAME) as address:
        end.connect(address)
    return end


GARBAGE = [b"\x00", b"\x80\x04.", b"x" * 32, b"x" * 64, b"x" * 60_000, b"x" * 150_000]


@pytest.mark.parametrize("garbage", GARBAGE, ids=len)
@pytest.mark.parametrize("proved", [False, True], ids=["stranger", "proved"])
def test_garbage_ends_its_connection_and_nothing_else(running: Path, garbage: bytes, proved: bool) -> None:
    with _raw(running) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        if proved:
            prove_to_server(end, (running / KEY_NAME).read_bytes())
        else:
            assert len(end.recv(64)) == 32
        end.send(garbage)
        end.settimeout(PATIENCE)
        assert end.recv(64) == b"", "the service ends the connection"
    with connect(running) as cluster:
        assert cluster.bind(Counter).incr() == 1


def test_descriptors_nobody_asked_for_are_closed(running: Path) -> None:
    with _raw(running) as end, open(os.devnull, "rb") as file:
        prove_to_server(end, (running / KEY_NAME).read_bytes())
        socket.send_fds(end, [b"garbage"], [file.fileno()])
        assert end.recv(64) == b""
    with connect(running) as cluster:
        assert len(cluster.status().nodes) == 3


def test_many_connections_leave_no_descriptor_behind(running: Path) -> None:
    with connect(running) as cluster:
        service = next(_parent_of(node.process_id) for node in cluster.status().nodes)
    before = len(os.listdir(f"/proc/{service}/fd"))
    for _ in range(50):
        with connect(running) as cluster:
            cluster.bind(Counter).incr()
        _raw(running).close()
    _until(lambda: len(os.listdir(f"/proc/{service}/fd")) <= before)


def test_peers_forget_clients_that_are_gone(running: Path) -> None:
    with connect(running) as cluster:
        peers = [node.process_id for node in cluster.status().nodes]
    before = [len(os.listdir(f"/proc/{peer}/fd")) for peer in peers]
    for _ in range(20):
        with connect(running) as cluster:
            cluster.bind(Counter).incr()
    _until(lambda: [len(os.listdir(f"/proc/{peer}/fd")) for peer in peers] <= before)


def test_the_service_forgets_a_client_whose_connection_has_ended(tmp_path: Path) -> None:
    specs = peer_specs(Counter, 1, Settings(), tmp_path, "unsynced sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=tmp_path) as cluster:
        supervisor = cluster.supervisor
        assert isinstance(supervisor, Supervisor)
        service = Service(cluster, supervisor, tmp_path, name="demo", machine="counter@1")
        try:
            before = supervisor.clients
            with connect(tmp_path) as remote:
                assert remote.bind(Counter).incr() == 1
                assert len(supervisor.clients) == len(before) + 1
            _until(lambda: supervisor.clients == before)
            supervisor.restart("n1")
            with connect(tmp_path) as remote:
                assert remote.bind(Counter).incr() == 2
        finally:
            service.close()


def _parent_of(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    process = _up(deep / "demo")
    with connect(deep / "demo") as cluster:
        assert cluster.bind(Counter).incr() == 1
    process.terminate()
    _ended(process)


def test_connecting_to_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterNotRunning), connect(tmp_path / "nowhere"):
        pass
