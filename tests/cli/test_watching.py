"""`actorum events`, `log`, `settings`, `status --peer` on a running cluster, and the same from a program beside it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from click.testing import CliRunner

from actors.cli import app
from actors.cli.events import as_line
from actors.cluster import Cluster, peer_specs, run_peers
from actors.errors import ExitCode, NoSuchNode
from actors.happenings import CommitAdvanced, LeaderChanged, MembersChanged, PeerUnreachable, SettingsChanged
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.remote import connect
from actors.service import Service
from actors.supervisor import Supervisor
from raft_core import Configuration, Settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
NAMES = ("n1", "n2", "n3")

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def service(data: Path) -> Iterator[Service]:
    """Three peers in threads, served in `data` as by `actorum up`."""
    level = logging.getLogger("actorum").level
    specs = peer_specs(Counter, len(NAMES), Settings(), data, "unsynced sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=data) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, data, name="demo", machine="counter@1")
        try:
            yield service
        finally:
            service.close()
            logging.getLogger("actorum").setLevel(level)


@pytest.fixture
def cluster(service: Service) -> Cluster:
    return service._cluster


def run(data: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.output


def rows(data: Path, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(data, *words, "-o", "jsonl").splitlines()]


def test_events_are_lines_for_people_and_records_for_programs(cluster: Cluster, data: Path) -> None:
    cluster.leader()
    seen = rows(data, "events", "--kind", "HeartbeatAnswered", "--count", "3")
    assert [set(row) for row in seen] == [{"kind", "source", "at", "member", "previous", "value"}] * 3
    assert seen[0]["source"] == cluster.leader()
    assert "HeartbeatAnswered: " in run(data, "events", "--kind", "HeartbeatAnswered", "--count", "1")


def test_events_end_when_the_time_is_up(cluster: Cluster, data: Path) -> None:
    cluster.leader()
    cluster.wait_until_equal()
    began = monotonic()
    assert rows(data, "events", "--kind", "MembersChanged", "--seconds", "0.3") == []
    assert 0.3 <= monotonic() - began < PATIENCE


def test_a_kind_that_is_none_is_an_error_with_the_kinds_there_are(cluster: Cluster, data: Path) -> None:
    assert "LeaderChanged" in run(data, "events", "--kind", "Eclipse", code=ExitCode.USAGE)


def test_a_program_beside_the_cluster_watches_it_and_sees_its_end(
    cluster: Cluster, service: Service, data: Path
) -> None:
    told: list[object] = []
    committed = threading.Event()

    def listener(happening: object) -> None:
        told.append(happening)
        committed.set()

    was = cluster.leader()
    cluster.wait_until_equal()
    with connect(data) as remote, remote.events(LeaderChanged) as stream:
        listening = remote.listen(listener, kinds=[CommitAdvanced])
        remote.bind(Counter).incr()
        assert committed.wait(PATIENCE)
        listening.stop()
        remote.transfer_leadership()
        changed = stream.get(PATIENCE)
        assert isinstance(changed, LeaderChanged)
        assert changed.previous == was
        service.close()
        assert [one for one in stream if one.source not in NAMES] == []
    assert {type(one) for one in told} == {CommitAdvanced}


def test_one_peer_is_described_in_full(cluster: Cluster, data: Path) -> None:
    leader = cluster.leader()
    text = run(data, "status", "--peer", leader)
    assert f"leader in term {cluster.report(leader).status.term}" in text
    assert "FOLLOWER" in text
    assert "setting election timeout" in text
    record = json.loads(run(data, "status", "--peer", leader, "-o", "json"))
    assert record["server_id"] == leader
    assert {one["server_id"] for one in record["details"]["followers"]} == set(NAMES) - {leader}
    assert record["details"]["settings"]["election_timeout"] == 300
    follower = next(name for name in NAMES if name != leader)
    assert "FOLLOWER" not in run(data, "status", "--peer", follower)
    assert "n9" in run(data, "status", "--peer", "n9", code=ExitCode.USAGE)
    with connect(data) as remote, pytest.raises(NoSuchNode):
        remote.report("n9")


def test_the_end_of_a_log_or_any_part_of_it(cluster: Cluster, data: Path) -> None:
    with connect(data) as remote:
        counter = remote.bind(Counter)
        for _ in range(30):
            counter.incr()
    leader = cluster.leader()
    end = cluster.report(leader).status.last_index
    assert [row["index"] for row in rows(data, "log", leader)] == list(range(end - 19, end + 1))
    (entry,) = rows(data, "log", leader, "--from", "5", "--to", "5")
    assert (entry["index"], entry["kind"], entry["command"], entry["committed"]) == (5, "command", "incr", "yes")
    assert [row["index"] for row in rows(data, "log", leader, "--to", "4")] == [1, 2, 3, 4]
    assert f"LOG of {leader}: 1 to {end}" in run(data, "log", leader)


def test_settings_are_shown_and_changed(cluster: Cluster, data: Path) -> None:
    cluster.leader()
    assert rows(data, "settings", "set", "election_timeout=900", "pre_vote=no") == [
        {"election_timeout": 900, "pre_vote": False}
    ]
    shown = {str(row["setting"]): row for row in rows(data, "settings", "show")}
    assert {name: shown["election_timeout"][name] for name in NAMES} == dict.fromkeys(NAMES, 900)
    assert shown["pre_vote"]["n1"] is False
    assert "TIMERS-TOO-SHORT" in run(data, "settings", "set", "heartbeat_interval=600", code=ExitCode.USAGE)
    assert "NAME=NUMBER" in run(data, "settings", "set", "election_timeout", code=ExitCode.USAGE)
    assert "NAME=NUMBER" in run(data, "settings", "set", "election_timeout=soon", code=ExitCode.USAGE)


def test_a_level_of_logging_is_changed_from_outside(cluster: Cluster, data: Path) -> None:
    cluster.leader()
    assert rows(data, "settings", "log-level", "error") == [{"log_level": "ERROR"}]
    assert cluster.report("n1").details.log_level == "ERROR"


def test_a_line_says_only_what_has_changed() -> None:
    about: dict[str, Any] = {"source": "n1", "at": 1.5}
    before, after = Settings(), Settings(election_timeout=500)
    assert as_line(SettingsChanged(**about, previous=before, value=after)) == (
        "1.500 n1 SettingsChanged: election_timeout=300 -> election_timeout=500"
    )
    assert (
        as_line(LeaderChanged(**about, previous="n2", value=None, term=3)) == "1.500 n1 LeaderChanged: n2 -> -, term 3"
    )
    assert as_line(PeerUnreachable(**about, member="n3", value=0.25)) == (
        "1.500 n1 PeerUnreachable: - -> 0.2500, member n3"
    )
    members = Configuration(("n1",)), Configuration(("n1",), ("n2",))
    assert as_line(MembersChanged(**about, previous=members[0], value=members[1])) == (
        "1.500 n1 MembersChanged: learners=- -> learners=n2"
    )


def test_up_and_its_peers_log_at_the_level_that_was_asked_for(tmp_path: Path) -> None:
    """On standard error, each process in its own name; at the default they say nothing."""
    command = [sys.executable, "-m", "actors", "up", "counter", "--data", str(tmp_path / "demo"), "--log-level", "info"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        said = ""
        while " is leader in term " not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
    finally:
        process.terminate()
        said += process.stderr.read()
        process.wait(PATIENCE)
        process.stderr.close()
    assert "INFO    actorum.raft [" in said
    assert f"[{process.pid}]" not in said
