"""A majority of the logs is gone for good: recovery by hand, what it refuses, and that nobody who was given up returns.

And a minority is gone: the cluster starts with the others and names who must be replaced.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actors import recover, recovery
from actors.cli import app
from actors.cluster import Cluster, peer_specs, run_peers
from actors.errors import NameTaken, NoSuchNode, RecoveryRefused, RecoveryUnfinished
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.recovery import plan_recovery
from actors.service import Service
from actors.spec import RuntimeName
from actors.storage.port import CorruptStorage, StorageInUse, WrongCluster
from actors.storage.record import read_record
from actors.storage.sqlite import SqliteStorage
from actors.supervisor import PeerState, Supervisor
from raft_core import Entry, ServerId, Settings
from raft_core.effects import AppendToLog, PersistTermAndVote

pytestmark = pytest.mark.timeout(120)

PATIENCE = 30.0
LOST = ("n3", "n4", "n5")


def started(data: Path, **options: Any) -> Any:
    """Five peers that began with `data`; in threads, unless `options` say otherwise."""
    return Counter.cluster(**{"engine": "threads", "nodes": 5, "data": data, "timeout": PATIENCE, **options})


def cluster_of(counter: Counter) -> Cluster:
    assert isinstance(counter.cluster, Cluster)
    return counter.cluster


def database(data: Path, name: ServerId) -> Path:
    return data / name / "raft.sqlite3"


def lose(data: Path, *names: ServerId) -> None:
    for name in names:
        shutil.rmtree(data / name)


def appended(data: Path, name: ServerId, term: int, *commands: bytes) -> int:
    """Put entries behind the log of a peer that is down, as a leader of `term` would have; its last index."""
    record = read_record(data)
    assert record is not None
    storage = SqliteStorage(database(data, name), cluster_id=record.cluster_id, server_id=name)
    try:
        last = storage.load().last_index
        entries = tuple(Entry(term, command) for command in commands)
        storage.write([PersistTermAndVote(term, None), AppendToLog(last, entries, term)])
    finally:
        storage.close()
    return last + len(entries)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of a cluster of five that was stopped after ten increments; all logs are equal."""
    directory = tmp_path / "demo"
    with started(directory) as counter:
        assert [counter.incr() for _ in range(10)][-1] == 10
        cluster_of(counter).wait_until_equal(PATIENCE)
    return directory


# --- what comes of it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_two_of_five_processes_go_on_after_the_others_and_their_data_are_gone(
    runtime: RuntimeName, tmp_path: Path
) -> None:
    options = {"engine": "processes", "runtime": runtime}
    with started(tmp_path, **options) as counter:
        assert [counter.incr() for _ in range(20)][-1] == 20
        cluster_of(counter).wait_until_equal(PATIENCE)
        for name in LOST:
            counter.cluster.kill(name)
            shutil.rmtree(tmp_path / name)
    with pytest.raises(CorruptStorage, match="a majority of the voters"), started(tmp_path, **options):
        pass
    recover(tmp_path, ["n1", "n2"], accept_data_loss=True)
    with started(tmp_path, **options) as counter:
        assert counter.get() == 20
        assert counter.incr() == 21
        cluster = cluster_of(counter)
        assert cluster.members().voters == ("n1", "n2")
        assert cluster.add() == "n6"
        assert cluster.members().voters == ("n1", "n2", "n6")
        cluster.kill("n1")
        assert counter.incr() == 22, "the new peer has the log, and its vote counts"


def test_the_most_complete_log_is_chosen_and_becomes_the_log_of_all(data: Path) -> None:
    appended(data, "n1", 8, b"never committed", b"nor this")
    last = appended(data, "n2", 9, b"of a later term")
    lose(data, *LOST)
    done = recover(data, ["n1", "n2"], accept_data_loss=True)
    assert (done.chosen, done.index, done.term) == ("n2", last + 1, 10)
    with started(data) as counter:
        assert counter.incr() == 11
        cluster_of(counter).wait_until_equal(PATIENCE)
        members = cluster_of(counter).members()
        assert members.voters == ("n1", "n2") and members.index == done.index


def test_a_log_that_begins_with_a_snapshot_survives(tmp_path: Path) -> None:
    settings = Settings(trailing_entries=0)
    with started(tmp_path, settings=settings) as counter:
        for _ in range(10):
            counter.incr()
        cluster_of(counter).wait_until_equal(PATIENCE)
        assert cluster_of(counter).snapshot("n2") > 10
    lose(tmp_path, "n1", *LOST)
    done = recover(tmp_path, ["n2"], accept_data_loss=True)
    assert done.index > 10
    with started(tmp_path) as counter:
        assert counter.get() == 10
        assert cluster_of(counter).add() == "n6"
        assert counter.incr() == 11


# --- who was given up -------------------------------------------------------------------------------------------------


def test_who_was_given_up_cannot_return_with_its_old_log_and_its_old_majority(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "disks that were thought to be lost"
    shutil.copytree(data, kept)
    lose(data, *LOST)
    recover(data, ["n1", "n2"], accept_data_loss=True)
    for name in LOST:
        shutil.copytree(kept / name, data / name)
    with started(data) as counter:
        assert counter.incr() == 11
        cluster = cluster_of(counter)
        assert set(cluster.nodes) == {"n1", "n2"}
        with pytest.raises(NameTaken):
            cluster.add("n3")
    record = read_record(data)
    assert record is not None
    with pytest.raises(WrongCluster):
        SqliteStorage(database(data, "n3"), cluster_id=record.cluster_id, server_id="n3")


def test_a_survivor_does_not_go_back_to_the_former_cluster(data: Path, tmp_path: Path) -> None:
    """The record of before, put back from a copy: the logs know better."""
    record = (data / "cluster.json").read_bytes()
    lose(data, *LOST)
    recover(data, ["n1", "n2"], accept_data_loss=True)
    (data / "cluster.json").write_bytes(record)
    with pytest.raises(WrongCluster), started(data):
        pass


def test_two_recoveries_of_two_copies_make_two_clusters(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    lose(data, *LOST)
    lose(other, "n1", "n2", "n3")
    one = recover(data, ["n1", "n2"], accept_data_loss=True)
    two = recover(other, ["n4", "n5"], accept_data_loss=True)
    assert one.former_id == two.former_id and one.cluster_id != two.cluster_id


# --- what is refused --------------------------------------------------------------------------------------------------


def everything(data: Path) -> dict[str, bytes]:
    """The content of all files, but for those that SQLite keeps beside its own."""
    return {str(p): p.read_bytes() for p in data.rglob("*") if p.is_file() and p.suffix in (".json", ".sqlite3")}


def test_nothing_happens_unless_the_loss_of_data_is_accepted(data: Path) -> None:
    lose(data, *LOST)
    before = everything(data)
    with pytest.raises(RecoveryRefused, match="nobody agreed") as refused:
        recover(data, ["n1", "n2"])
    assert "LOST is what only these held" in refused.value.why
    assert everything(data) == before


def test_it_is_refused_while_a_majority_has_its_logs(data: Path) -> None:
    lose(data, "n4", "n5")
    before = everything(data)
    for survivors in (["n1", "n2", "n3"], ["n1"]):
        with pytest.raises(RecoveryRefused, match="not needed"):
            recover(data, survivors, accept_data_loss=True)
    assert everything(data) == before


def test_a_peer_whose_log_is_more_complete_must_be_among_the_survivors(data: Path) -> None:
    appended(data, "n2", 9, b"only here")
    lose(data, *LOST)
    with pytest.raises(RecoveryRefused, match="n2 is not named, and its log is more complete") as refused:
        recover(data, ["n1"], accept_data_loss=True)
    assert refused.value.fix == "--survivor n2"


def test_a_survivor_without_a_log_is_none(data: Path) -> None:
    lose(data, *LOST)
    with pytest.raises(CorruptStorage, match="n3"):
        recover(data, ["n1", "n3"], accept_data_loss=True)
    assert not (data / "n3").exists(), "an empty log was made for it"


def test_a_survivor_with_a_damaged_log_is_none_and_counts_as_lost_if_it_is_not_named(data: Path) -> None:
    lose(data, *LOST)
    database(data, "n1").write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStorage, match="n1"):
        recover(data, ["n1", "n2"], accept_data_loss=True)
    assert set(plan_recovery(data, ["n2"]).lost) == {"n1", *LOST}


@pytest.mark.parametrize("names", [["n1", "n9"], []])
def test_survivors_are_peers_of_this_cluster(names: list[str], data: Path) -> None:
    with pytest.raises((NoSuchNode, RecoveryRefused)):
        recover(data, names, accept_data_loss=True)


def test_a_cluster_that_runs_is_left_alone(data: Path) -> None:
    with started(data) as counter, pytest.raises(StorageInUse):
        recover(data, ["n1", "n2"], accept_data_loss=True)
    with started(data) as counter:
        assert counter.get() == 10


# --- a crash in between -----------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("step", ["_write_members", "_adopt", "note_recovered"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("time", [1, 2])
def test_a_recovery_that_was_cut_short_is_finished_and_nothing_starts_before(
    step: str, after: bool, time: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(data, *LOST)
    real: Callable[..., object] = getattr(recovery, step)
    times: list[int] = []

    def cut_short(*arguments: object) -> None:
        times.append(1)
        if len(times) < time:
            real(*arguments)
            return
        if after:
            real(*arguments)
        raise PowerCut

    monkeypatch.setattr(recovery, step, cut_short)
    try:
        recover(data, ["n1", "n2"], accept_data_loss=True)
    except PowerCut:
        record = read_record(data)
        assert record is not None
        if record.recovering is not None:
            with pytest.raises(RecoveryUnfinished, match="begun and not finished"), started(data):
                pass
            with pytest.raises(RecoveryRefused, match="with other survivors"):
                recover(data, ["n2"], accept_data_loss=True)
            monkeypatch.undo()
            recover(data, ["n1", "n2"])
    record = read_record(data)
    assert record is not None
    assert [done.survivors for done in record.recoveries] == [("n1", "n2")]
    with started(data) as counter:
        assert counter.incr() == 11
        assert cluster_of(counter).members().voters == ("n1", "n2")
        assert cluster_of(counter).members().index == record.recoveries[0].index, "the entry was written twice"


# --- from a shell -----------------------------------------------------------------------------------------------------


def run(*words: str, code: int = 0, typed: str | None = None) -> str:
    done = CliRunner().invoke(app, [*words], input=typed)
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_says_what_is_lost_and_wants_the_option(data: Path) -> None:
    lose(data, *LOST)
    words = ("recover", str(data), "--survivor", "n1", "--survivor", "n2")
    refused = run(*words, code=2)
    assert "Given up for good: n3: " in refused and "RECOVERY-REFUSED" in refused
    assert "n1, n2 are the voters" in run(*words, "--yes-i-accept-data-loss")
    record = read_record(data)
    assert record is not None and record.recoveries[0].given_up == LOST


@pytest.mark.parametrize(("typed", "code"), [("n3 n4 n5\n", 0), ("yes\n", 2)])
def test_at_a_terminal_the_names_of_the_lost_are_typed(
    typed: str, code: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.cli.recover.is_terminal", lambda stream: True)
    lose(data, *LOST)
    run("recover", str(data), "--survivor", "n1", "--survivor", "n2", code=code, typed=typed)


def test_status_shows_a_recovery_ever_after(data: Path) -> None:
    lose(data, *LOST)
    done = recover(data, ["n1", "n2"], accept_data_loss=True)
    specs = peer_specs(Counter, 5, Settings(), data, "sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=data) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, data, name="demo", machine="counter@1")
        try:
            assert f"RECOVERED without a majority, {done.at}: with n1, n2, from entry" in run("status", "-d", str(data))
            assert json.loads(run("status", "-d", str(data), "-o", "json"))["recoveries"] == [str(done)]
            with pytest.raises(StorageInUse, match="is running"):
                plan_recovery(data, ["n1"])
        finally:
            service.close()


# --- a minority is gone -----------------------------------------------------------------------------------------------


def test_a_cluster_that_lost_a_minority_of_its_logs_starts_and_says_who_must_be_replaced(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(data, "n4", "n5")
    with caplog.at_level(logging.WARNING, "actorum.recovery"), started(data) as counter:
        assert "to replace it: actorum members replace n4" in caplog.text
        cluster = cluster_of(counter)
        assert {name for name, (state, _, _) in cluster.supervisor.members().items() if state is PeerState.FAILED} == {
            "n4",
            "n5",
        }
        assert not database(data, "n4").exists(), "an empty log was put under an old name"
        assert counter.incr() == 11
        assert cluster.replace("n4") == "n6"
        assert cluster.members().voters == ("n1", "n2", "n3", "n5", "n6")
        with pytest.raises(CorruptStorage):
            cluster.restart("n5")


def test_the_members_of_today_decide_who_is_a_majority(tmp_path: Path) -> None:
    """Three of four peers are lost, but the one that is left is the only voter."""
    with started(tmp_path, nodes=3) as counter:
        assert counter.incr() == 1
        cluster_of(counter).set_members(["n1"], ["n2", "n3"])
    lose(tmp_path, "n2", "n3")
    with started(tmp_path, nodes=3) as counter:
        assert counter.incr() == 2
        cluster_of(counter).remove("n2", "n3")
        assert cluster_of(counter).nodes == ("n1",)


def test_a_cluster_that_lost_all_its_logs_does_not_start(data: Path) -> None:
    lose(data, "n1", "n2", *LOST)
    with pytest.raises(CorruptStorage, match="is gone"), started(data):
        pass
