"""Looking into a running cluster, and changing how it runs: reports, logs, settings, logging - whoever takes turns and
wherever the peers are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from actors.cli import app
from actors.cluster import Cluster
from actors.errors import CallTimeout, NoSuchNode, TimersTooShort, WrongArguments
from actors.happenings import RoleChanged, TermChanged
from actors.logs import log_level, set_log_level
from actors.machines.counter import Counter
from actors.protocol import ChangeSettings, Report
from actors.reports import PAGE
from raft_core import Settings

PATIENCE = 30.0
QUICK = Settings(election_timeout=200, heartbeat_interval=40)
ENGINES = ("threads", "sim")

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("each_runtime")]


@contextmanager
def running(engine: Any, settings: Settings = QUICK, **options: Any) -> Iterator[tuple[Counter, Cluster]]:
    with Counter.cluster(engine=engine, settings=settings, timeout=PATIENCE, **options) as counter:
        counter.incr()
        yield counter, counter.cluster


@pytest.fixture
def level() -> Iterator[None]:
    """The level of this process, which is everybody's, is put back."""
    logger = logging.getLogger("actorum")
    before = logger.level
    yield
    logger.setLevel(before)


def eventually(cluster: Cluster, holds: Callable[[], bool], what: str) -> None:
    assert cluster._poll(holds, PATIENCE), f"not within {PATIENCE} s: {what}"


def _reports(cluster: Cluster) -> dict[str, Report]:
    return {name: cluster.report(name) for name in cluster.nodes}


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_leader_reports_how_far_each_follower_is(engine: str) -> None:
    with running(engine) as (_, cluster):
        end = cluster.wait_until_equal()["n1"].applied_index
        leader = cluster.leader()

        def all_streaming() -> bool:
            followers = cluster.report(leader).details.followers
            return all(not one.is_probing and one.match_index == end and one.last_contact for one in followers)

        eventually(cluster, all_streaming, "both followers have everything")
        report = cluster.report(leader)
        assert {one.server_id for one in report.details.followers} == set(cluster.nodes) - {leader}
        assert all(
            one.next_index == end + 1 and one.in_flight == 0 and one.is_active for one in report.details.followers
        )
        assert (report.status.role, report.details.voted_for) == ("leader", leader)
        assert report.details.settings == QUICK
        assert 0.2 <= report.details.election_timeout < 0.4


@pytest.mark.parametrize("engine", ENGINES)
def test_a_follower_reports_when_it_heard_its_leader_and_has_no_followers(engine: str) -> None:
    with running(engine) as (_, cluster):
        leader = cluster.leader()
        follower = next(name for name in cluster.nodes if name != leader)
        eventually(cluster, lambda: cluster.report(follower).status.leader_id == leader, "it knows who leads")
        details = cluster.report(follower).details
        assert details.last_contact is not None
        assert 0 <= details.last_contact < PATIENCE
        assert details.followers == ()


def test_a_report_says_how_the_peer_is_kept_busy_in_the_words_of_its_runtime() -> None:
    with running("threads") as (_, cluster):
        metrics = cluster.report(cluster.leader()).details.metrics
        assert {"write_p50", "write_p99", "refused_frames"} <= set(metrics)
        assert ("mailbox_depth" in metrics) is not ("lock_wait_p99" in metrics)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_report_names_snapshot_and_members(engine: str) -> None:
    with running(engine) as (_, cluster):
        leader = cluster.leader()
        index = cluster.snapshot(leader)
        eventually(cluster, lambda: cluster.report(leader).details.snapshot is not None, "a snapshot")
        details = cluster.report(leader).details
        assert details.snapshot is not None
        assert details.snapshot.last_included_index == index
        assert details.configurations[-1].configuration.voters == ("n1", "n2", "n3")


@pytest.mark.parametrize("engine", ENGINES)
def test_who_is_down_reports_nothing_and_who_is_unknown_is_named(engine: str) -> None:
    with running(engine) as (_, cluster):
        cluster.kill("n3")
        with pytest.raises(CallTimeout, match="n3"):
            cluster.report("n3", timeout=0.1)
        with pytest.raises(NoSuchNode, match="n9"):
            cluster.report("n9")


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_log_is_read_in_pages_with_the_names_of_its_commands(engine: str) -> None:
    with running(engine) as (counter, cluster):
        for _ in range(PAGE + 10):
            counter.incr()
        end = cluster.wait_until_equal()["n1"].applied_index
        assert end > PAGE
        logs = {name: list(cluster.log(name)) for name in cluster.nodes}
        assert logs["n1"] == logs["n2"] == logs["n3"]
        entries = logs["n1"]
        assert [entry.index for entry in entries] == list(range(1, end + 1))
        assert entries[0].kind == "no_op"
        assert [entry.name for entry in entries].count("incr") == PAGE + 11
        assert {entry.session for entry in entries if entry.name == "incr"} != {0}
        assert all(entry.size > 0 for entry in entries if entry.kind == "command")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_part_of_a_log_may_be_read_and_what_is_behind_a_snapshot_is_gone(engine: str) -> None:
    with running(engine, replace(QUICK, trailing_entries=0)) as (counter, cluster):
        for _ in range(5):
            counter.incr()
        leader = cluster.leader()
        assert [entry.index for entry in cluster.log(leader, 2, 4)] == [2, 3, 4]
        assert list(cluster.log(leader, 100)) == []
        index = cluster.snapshot(leader)
        eventually(cluster, lambda: cluster.log_page(leader).first_index == index + 1, "the log is shorter")
        counter.incr()
        assert next(iter(cluster.log(leader))).index > index


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_other_settings_are_in_force_at_every_peer_and_at_those_that_start_later(engine: str) -> None:
    with running(engine) as (counter, cluster):
        cluster.kill("n2")
        now = cluster.change_settings(election_timeout=500, trailing_entries=9)
        assert (now.election_timeout, now.trailing_entries, now.heartbeat_interval) == (500, 9, 40)
        cluster.restart("n2")
        cluster.add("n4")
        assert cluster.settings() == dict.fromkeys(("n1", "n2", "n3", "n4"), now)
        assert counter.incr() == 2
        assert 0.5 <= cluster.report("n1").details.election_timeout < 1.0


@pytest.mark.parametrize(("engine", "unit"), [("threads", 25), ("sim", 10)])
def test_much_faster_or_slower_timers_cost_no_leader(engine: str, unit: int) -> None:
    """Nobody is taken for dead between the first peer that has them and the last."""
    slow = Settings(election_timeout=100 * unit, heartbeat_interval=45 * unit)
    with running(engine, slow) as (counter, cluster):
        leader = cluster.leader()
        with cluster.events(TermChanged, RoleChanged) as stream:
            cluster.change_settings(election_timeout=25 * unit, heartbeat_interval=unit)
            assert stream.get(0.06 * unit) is None
            cluster.change_settings(election_timeout=100 * unit, heartbeat_interval=45 * unit)
            assert stream.get(0.06 * unit) is None
        assert cluster.leader() == leader
        assert counter.incr() == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_is_taken_by_the_new_bound(engine: str) -> None:
    with running(engine) as (counter, cluster):
        cluster.change_settings(snapshot_entries=5)
        for _ in range(20):
            counter.incr()
        eventually(cluster, lambda: all(s and s.snapshot_index for s in cluster.status().values()), "snapshots")


def test_a_recorded_run_in_which_settings_changed_replays(tmp_path: Path) -> None:
    with running("sim", record=tmp_path) as (counter, cluster):
        cluster.change_settings(election_timeout=500, max_entries_per_message=3)
        for _ in range(10):
            counter.incr()
        cluster.kill_leader()
        counter.incr()
    done = CliRunner().invoke(app, ["check", "replay", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.glob("*.trace"))) == 3


REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"election_timeout": 70}, TimersTooShort),
    ({"heartbeat_interval": 0}, TimersTooShort),
    ({"max_in_flight": 0}, WrongArguments),
    ({"no_such_thing": 1}, WrongArguments),
    ({"pre_vote": 1}, WrongArguments),
    ({"lease_reads": True}, WrongArguments),
]


@pytest.mark.parametrize(("changes", "error"), REFUSED)
def test_settings_that_must_not_be_are_refused_and_nothing_changes(changes: Any, error: type[Exception]) -> None:
    with running("sim") as (_, cluster):
        with pytest.raises(error):
            cluster.change_settings(**changes)
        assert set(cluster.settings().values()) == {QUICK}


@pytest.mark.parametrize(("changes", "error"), REFUSED[:3])
def test_what_is_refused_while_it_runs_is_refused_at_the_start(changes: Any, error: type[Exception]) -> None:
    with pytest.raises(error), Counter.cluster(engine="sim", settings=replace(QUICK, **changes)):
        raise AssertionError("it has started")


def test_a_peer_refuses_by_itself_what_must_not_be() -> None:
    """Whoever asks it: another program may not have checked."""
    with running("sim") as (_, cluster):
        asked: list[dict[str, int | bool]] = [{"election_timeout": 70}, {"no_such_thing": 1}, {"max_in_flight": True}]
        for changes in asked:
            answer = cluster.client.administer("n1", partial(ChangeSettings, changes=changes), timeout=1.0)
            assert answer is not None
            assert answer.outcome == "refused"
            assert answer.reason
        assert cluster.settings()["n1"] == QUICK


def test_a_peer_that_does_not_answer_is_named_and_the_others_have_the_settings() -> None:
    with running("sim") as (_, cluster):
        with pytest.raises(CallTimeout, match=r"n\d, n\d, n\d did not answer"):
            cluster.change_settings(timeout=0.0, trailing_entries=3)
        assert cluster.change_settings(trailing_entries=3).trailing_entries == 3
        assert {found.trailing_entries for found in cluster.settings().values()} == {3}


# --- logging ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("level")
def test_a_level_of_logging_is_changed_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    with running("threads") as (_, cluster):
        cluster.set_log_level("error")
        caplog.clear()
        cluster.transfer_leadership()
        assert [record for record in caplog.records if record.name == "actorum.raft"] == []
        cluster.set_log_level("INFO")
        assert cluster.report("n1").details.log_level == log_level() == "INFO"
        leader = cluster.transfer_leadership()
        assert f"{leader} is leader" in caplog.text
        with pytest.raises(WrongArguments, match="LOUD"):
            cluster.set_log_level("LOUD")


def test_peers_in_processes_log_at_the_level_and_so_do_those_that_start_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], level: None
) -> None:
    with running("processes", data=tmp_path) as (_, cluster):
        assert {report.details.log_level for report in _reports(cluster).values()} == {"WARNING"}
        cluster.set_log_level("INFO")
        cluster.restart("n1")
        assert {report.details.log_level for report in _reports(cluster).values()} == {"INFO"}
        leader = cluster.transfer_leadership()
        cluster.change_settings(election_timeout=300)
        assert {found.election_timeout for found in cluster.settings().values()} == {300}
        deadline, said = monotonic() + PATIENCE, ""
        while f"{leader} is leader" not in said:
            assert monotonic() < deadline, said
            sleep(0.01)
            said += capfd.readouterr().err


@pytest.mark.usefixtures("level")
def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(WrongArguments, match="known are DEBUG"):
        set_log_level("everything")
