"""`actorum members`, `transfer` and `snapshot` on a running cluster: what they do, print, and how they end."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from click.testing import CliRunner

from actors.administrator import Administrator
from actors.cli import app
from actors.cluster import Cluster, peer_specs, run_peers
from actors.errors import ExitCode, MembersChanged
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.network import Network
from actors.remote import connect
from actors.remote_administration import RemoteAdministrator
from actors.service import Service
from actors.supervisor import Supervisor
from raft_core import Settings

PATIENCE = 30.0
NAMES = ("n1", "n2", "n3")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def cluster(data: Path) -> Iterator[Cluster]:
    """Three peers in threads, served in `data` as by `actorum up`."""
    specs = peer_specs(Counter, len(NAMES), Settings(max_promotion_lag=5), data, "unsynced sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=data, network=Network(NAMES)) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, data, name="demo", machine="counter@1")
        try:
            yield cluster
        finally:
            service.close()


def run(data: Path, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.output


def rows(data: Path, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(data, *words, "-o", "jsonl").splitlines()]


def kinds(data: Path) -> dict[object, object]:
    """Every peer, and whether it votes."""
    return {row["node"]: row["member"] for row in rows(data, "members", "list")}


def test_a_peer_comes_learns_votes_and_leaves(cluster: Cluster, data: Path) -> None:
    assert rows(data, "members", "add", "--learner") == [{"node": "n4", "member": "learner"}]
    assert kinds(data) == {**dict.fromkeys(NAMES, "voter"), "n4": "learner"}
    assert run(data, "members", "promote", "n4") == "n4 is a voter\n"
    assert kinds(data) == dict.fromkeys((*NAMES, "n4"), "voter")
    assert run(data, "members", "remove", "n4", "n1") == "n4, n1 left\n"
    assert kinds(data) == dict.fromkeys(("n2", "n3"), "voter")
    assert set(cluster.nodes) == {"n2", "n3"}


def test_a_dead_peer_is_replaced(cluster: Cluster, data: Path) -> None:
    run(data, "kill", "n1")
    assert rows(data, "members", "replace", "n1") == [{"node": "n4", "member": "voter", "replaces": "n1"}]
    assert kinds(data) == dict.fromkeys(("n2", "n3", "n4"), "voter")


def test_a_table_shows_the_members_and_from_which_entry_they_are(cluster: Cluster, data: Path) -> None:
    run(data, "members", "add")
    head, names, *lines = run(data, "members", "list").splitlines()
    assert head == f"MEMBERS of entry {cluster.members().index}"
    assert names.split()[:4] == ["NODE", "MEMBER", "PRIORITY", "ROLE"]
    assert [line.split()[:2] for line in lines] == [[name, "voter"] for name in (*NAMES, "n4")]


def test_status_tells_learners_from_voters_and_from_strangers(cluster: Cluster, data: Path) -> None:
    cluster.add(promote=False)
    cluster.supervisor.add()  # it runs, and nobody asked for it
    status = json.loads(run(data, "status", "-o", "json"))
    roles = {node["node"]: node["role"] for node in status["nodes"]}
    assert (roles.pop("n4"), roles.pop("n5")) == ("learner", "no member")
    assert sorted(roles.values()) == ["follower", "follower", "leader"]
    assert status["quorum"] == "2/3"


def test_another_peer_leads_when_it_is_told_to(cluster: Cluster, data: Path) -> None:
    before = cluster.leader()
    assert rows(data, "transfer")[0]["leader"] != before
    assert run(data, "transfer", before) == f"{before} leads\n"
    assert cluster.leader() == before


def test_a_snapshot_is_taken(cluster: Cluster, data: Path) -> None:
    with connect(data) as remote:
        counter = remote.bind(Counter)
        assert [counter.incr() for _ in range(5)][-1] == 5
    leader = cluster.leader()
    (taken,) = rows(data, "snapshot")
    assert taken == {"node": None, "index": 7}  # a no-op, a session, five commands
    status = json.loads(run(data, "status", "-o", "json"))
    assert next(node["snapshot"] for node in status["nodes"] if node["node"] == leader) == 7
    assert run(data, "snapshot", leader) == "saved up to entry 7\n"


def test_a_program_sets_the_members_of_a_cluster_that_another_one_runs(cluster: Cluster, data: Path) -> None:
    with connect(data) as remote:
        before = remote.members()
        assert remote.add("extra", promote=False) == "extra"
        with pytest.raises(MembersChanged):
            remote.set_members(["n1"], expected_index=before.index)
        now = remote.set_members(["n1", "extra"], ["n2"], expected_index=remote.members().index)
        deadline = monotonic() + PATIENCE
        while (seen := remote.members()) != now:  # if n2 led, another does now, which must commit something first
            assert monotonic() < deadline, seen
            sleep(0.01)
    assert (now.voters, now.learners) == (("extra", "n1"), ("n2",))


@pytest.mark.parametrize(
    "name", ["members", "add", "promote", "remove", "replace", "set_members", "transfer_leadership", "snapshot"]
)
def test_what_can_be_done_from_outside_is_what_can_be_done_inside(name: str) -> None:
    inside, outside = getattr(Administrator, name), getattr(RemoteAdministrator, name)
    assert inspect.signature(outside) == inspect.signature(inside)


def test_exit_codes_tell_what_became_of_it(cluster: Cluster, data: Path) -> None:
    assert "NO-SUCH-NODE" in run(data, "members", "promote", "n9", code=ExitCode.USAGE)
    assert "NAME-TAKEN" in run(data, "members", "add", "n1", code=ExitCode.USAGE)
    assert "NO-SUCH-NODE" in run(data, "transfer", "n9", code=ExitCode.USAGE)
    leader = cluster.leader()
    down, up = (name for name in NAMES if name != leader)
    cluster.kill(down)
    assert "QUORUM-AT-RISK" in run(data, "members", "remove", up, code=ExitCode.RETRY)
    cluster.kill(up)
    assert "CALL-TIMEOUT" in run(data, "snapshot", up, code=ExitCode.RETRY)


def test_a_peer_that_cannot_catch_up_stays_a_learner_and_that_is_said(cluster: Cluster, data: Path) -> None:
    learner = cluster.add(promote=False)
    cluster.network.disconnect(learner)
    with connect(data) as remote:
        counter = remote.bind(Counter)
        for call in [counter.incr.submit() for _ in range(50)]:
            call.result()
    told = run(data, "members", "promote", learner, "--timeout", "0.3", code=ExitCode.RETRY)
    assert "NOT-CAUGHT-UP" in told
    assert kinds(data)[learner] == "learner"


def test_the_list_shows_priorities_and_the_preferred_voter_leads(cluster: Cluster, data: Path) -> None:
    wished = next(name for name in NAMES if name != cluster.leader())
    assert rows(data, "members", "priority", wished, "5") == [{"node": wished, "priority": 5}]
    run(data, "members", "priority", cluster.leader(), "0")
    priorities = {row["node"]: row["priority"] for row in rows(data, "members", "list")}
    assert sorted(priorities.values(), key=str) == [0, 1, 5] and priorities[wished] == 5
    with connect(data) as remote:
        deadline = monotonic() + PATIENCE
        while cluster.leader() != wished:
            assert monotonic() < deadline, "nobody handed leadership over"
        assert remote.bind(Counter).incr() == 1
    assert "has no priority" in run(data, "members", "priority", "n9", "1", code=2)


def test_an_upgrade_from_a_shell_names_who_does_not_know_the_version(cluster: Cluster, data: Path) -> None:
    assert run(data, "upgrade") == "version 1 of the machine is in force\n"
    refused = json.loads(run(data, "upgrade", "--to", "2", "-o", "json", code=2))
    assert refused["error"]["code"] == "WRONG-VERSION"
    assert refused["error"]["why"] == "n1 knows 1; n2 knows 1; n3 knows 1"
    cluster.kill("n2")
    assert "n2 did not say" in run(data, "upgrade", code=3)
