"""`actorum serve-http`: a door of its own before a cluster that another program runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actors.cli import app
from actors.cli.http import ExtraMissing, host_and_port
from actors.cluster import Cluster, peer_specs, run_peers
from actors.errors import ClusterNotRunning, ExitCode, WrongArguments
from actors.hosts import ThreadHost
from actors.http.binding import ListeningUnprotected
from actors.http.serving import serve_http_at
from actors.machines.counter import Counter
from actors.machines.counters import Counters
from actors.service import Service
from actors.supervisor import Supervisor
from tests.http.asking import QUICK, ask
from tests.signalling import signal_another_thread

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


class Running:
    """A cluster served on a directory by this program, and its HTTP server."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._at_end = ExitStack()
        specs = peer_specs(Counter, 3, QUICK, data, "unsynced sqlite")
        self.cluster: Cluster = self._at_end.enter_context(run_peers(specs, ThreadHost(), timeout=PATIENCE, data=data))
        assert isinstance(self.cluster.supervisor, Supervisor)
        self._service = Service(self.cluster, self.cluster.supervisor, data, name="demo", machine="counter@1")
        self._at_end.callback(self._service.close)

    def end(self) -> None:
        self._at_end.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "demo")
    try:
        yield running
    finally:
        running.end()


def test_a_cluster_of_another_program_is_called_over_http_and_numbers_outlive_the_server(running: Running) -> None:
    with serve_http_at(running.data, Counter, "127.0.0.1", 0, token=None) as url:
        assert ask(url, "POST", "/v1/commands/incr", '{"by": 5}').body == {"result": 5}
        session = str(ask(url, "POST", "/v1/sessions").body["session"])
        number = {"Actorum_Session": session, "Actorum_Sequence": "1"}
        assert ask(url, "POST", "/v1/commands/incr", **number).body == {"result": 6}
        assert ask(url, "GET", "/v1/status").body["cluster"] == "demo"
    running.cluster.kill_leader()
    with serve_http_at(running.data, Counter, "127.0.0.1", 0, token=None) as url:
        assert ask(url, "POST", "/v1/commands/incr?timeout=20", **number).body == {"result": 6}
        assert ask(url, "POST", "/v1/queries/get?timeout=20").body == {"result": 6}


def test_when_the_cluster_ends_the_server_says_so_and_stays(running: Running) -> None:
    running.cluster.leader()
    with serve_http_at(running.data, Counter, "127.0.0.1", 0, token=None) as url:
        assert ask(url, "GET", "/readyz").status == 200
        running.end()
        assert ask(url, "GET", "/readyz").status == 503
        assert ask(url, "GET", "/healthz").status == 200
        answer = ask(url, "POST", "/v1/commands/incr?timeout=0.2")
        assert (answer.status, answer.body["outcome"]) == (503, "not applied")
        assert ask(url, "GET", "/v1/status").body["code"] == "CLUSTER-NOT-RUNNING"


def test_another_machine_than_the_clusters_is_refused(running: Running) -> None:
    with (
        pytest.raises(WrongArguments, match=r"runs counter@1, not counters@1") as caught,
        serve_http_at(running.data, Counters, "127.0.0.1", 0, token=None),
    ):
        pass
    assert caught.value.fix.startswith("actorum serve-http counter --data")


def test_where_no_cluster_runs_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(ClusterNotRunning), serve_http_at(tmp_path, Counter, "127.0.0.1", 0, token=None):
        pass


def test_the_program_serves_until_it_is_told_to_stop(running: Running, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a token of twenty-eight chars\n")
    command = [sys.executable, "-m", "actors", "serve-http", "--data", str(running.data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--token-file", str(tmp_path / "token")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("serving counter of"), line + process.stderr.read()
        url = next(word.rstrip(",") for word in line.split() if word.startswith("http"))
        assert ask(url, "POST", "/v1/commands/incr").status == 401
        bearer = "Bearer a token of twenty-eight chars"
        assert ask(url, "POST", "/v1/commands/incr", Authorization=bearer).body == {"result": 1}
        signal_another_thread(process.pid, signal.SIGTERM)
        assert process.stderr.read() == "stopping: SIGTERM\n"
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stderr.close()


@pytest.mark.parametrize("listen", ["", "8080", ":8080", "localhost", "localhost:x", "localhost:65536", "localhost:-1"])
def test_what_is_no_address_is_a_usage_error(listen: str) -> None:
    with pytest.raises(WrongArguments, match="no HOST:PORT"):
        host_and_port(listen)


def test_addresses_are_read_as_they_are_written() -> None:
    assert host_and_port("127.0.0.1:0") == ("127.0.0.1", 0)
    assert host_and_port("[::1]:8080") == ("::1", 8080)
    assert host_and_port("db.example:80") == ("db.example", 80)


def test_listening_beyond_this_machine_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTORUM_HTTP_TOKEN", raising=False)
    done = _invoke("serve-http", "--data", str(tmp_path), "--listen", "0.0.0.0:0")
    assert (done.exit_code, f"error[{ListeningUnprotected.code}]" in done.stderr) == (ExitCode.USAGE, True)
    monkeypatch.setenv("ACTORUM_HTTP_TOKEN", "a token of twenty-eight chars")
    assert "CLUSTER-NOT-RUNNING" in _invoke("serve-http", "--data", str(tmp_path), "--listen", "0.0.0.0:0").stderr


def test_without_the_extra_the_command_says_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv[1:] = ['serve-http']; import actors.cli as c; c.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert (done.returncode, f"error[{ExtraMissing.code}]" in done.stderr) == (ExitCode.USAGE, True)
    assert "actorum[http]" in done.stderr


def _invoke(*words: str) -> Any:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return CliRunner().invoke(app, list(words))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
