"""Short runs of real clusters: every figure is there, and they agree with each other."""

from __future__ import annotations

import os
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from actors.compare.records import STAGES, Experiment, Run
from actors.compare.running import spans
from tests.compare.one_run import SECONDS, broken, cell_of, one_run

FOUR = list(product(("actors", "locks"), ("threads", "processes")))


@cache
def plain(runtime: str, isolation: str) -> tuple[Run, list[float], list[float]]:
    """One run of each of the four cells serves many tests; with its latencies and intended times."""
    with TemporaryDirectory() as directory:
        run = one_run(Path(directory), cell_of(runtime, isolation))
        experiment = Experiment(Path(directory))
        return run, list(experiment.latencies(run)), list(experiment.intended(run))


@pytest.fixture(params=FOUR, ids=lambda pair: " ".join(pair))
def measured(request: pytest.FixtureRequest) -> tuple[Run, list[float], list[float]]:
    return plain(*request.param)


Measured = tuple[Run, list[float], list[float]]


def test_a_run_is_sound_and_passed_four_gates(measured: Measured) -> None:
    run, _, _ = measured
    assert not broken(run)
    assert [gate.name for gate in run.gates] == [
        "history is linearizable",
        "replicas are equal",
        "one leader a term",
        "traces replay",
    ]


def test_every_completed_operation_has_a_latency_and_a_time_when_it_was_due(measured: Measured) -> None:
    run, latencies, intended = measured
    assert run.completed == len(latencies) == len(intended) > 100
    assert (run.refused, run.unknown) == (0, 0)
    assert all(latency > 0 for latency in latencies)
    assert intended == sorted(intended)
    assert 0 <= intended[0] <= intended[-1] < SECONDS


def test_the_timeline_adds_up_to_the_throughput(measured: Measured) -> None:
    run, _, _ = measured
    assert len(run.timeline) == 3  # of a quarter of a second: the last one is half
    assert sum(run.timeline) == round(run.throughput * run.seconds)
    assert run.completed - run.cell.clients <= sum(run.timeline) <= run.completed


def test_latency_and_throughput_obey_littles_law(measured: Measured) -> None:
    """So many commands are always under way: their number is throughput times latency."""
    run, latencies, _ = measured
    under_way = run.throughput * sum(latencies) / len(latencies)
    assert 0.6 * run.cell.clients < under_way <= 1.1 * run.cell.clients


def test_the_stages_of_an_operation_add_up_to_its_latency(measured: Measured) -> None:
    run, latencies, _ = measured
    assert tuple(run.stages) == STAGES
    assert all(0 <= p50 <= p99 for p50, p99 in run.stages.values())
    medians = sum(p50 for p50, _ in run.stages.values())
    median = sorted(latencies)[len(latencies) // 2]
    assert 0.5 * median < medians < 1.5 * median


def test_depth_is_rate_times_residence(measured: Measured) -> None:
    run, _, _ = measured
    waiting = run.waiting
    assert waiting is not None
    assert waiting.kind == {"actors": "mailbox", "locks": "lock"}[run.cell.runtime]
    assert waiting.rate > 100
    assert waiting.depth == pytest.approx(waiting.rate * waiting.residence, rel=0.05)
    assert 0 <= waiting.wait_p50 <= waiting.wait_p99
    assert 0 < waiting.service_p50 <= waiting.service_p99


def test_it_says_what_each_process_used(measured: Measured) -> None:
    run, _, _ = measured
    assert len(run.peers) == {"threads": 1, "processes": 3}[run.cell.isolation]
    assert sum(use.was_leader for use in run.peers) == 1
    for use in run.peers:
        assert 0 < use.processor < 4 * SECONDS
        assert use.voluntary + use.involuntary > 0
        assert use.resident > 1 << 20
        assert use.fsyncs == 0


def test_without_a_fault_there_is_neither_its_time_nor_what_it_did(measured: Measured) -> None:
    run, _, _ = measured
    assert (run.fault_at, run.elected, run.unavailable, run.elections) == (None, None, None, 0)
    assert run.entries_per_append >= 1


# --- factors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("runtime", "isolation"), [("actors", "processes"), ("locks", "threads")])
def test_with_batching_off_each_message_carries_one_entry(runtime: str, isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, isolation, batching=False))
    assert not broken(run)
    assert run.entries_per_append == 1.0
    assert plain(runtime, isolation)[0].entries_per_append > 1.0


@pytest.mark.parametrize(("runtime", "isolation"), [("actors", "threads"), ("locks", "processes")])
def test_sqlite_waits_for_the_disk_of_every_peer(runtime: str, isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, isolation, storage="sqlite"))
    assert not broken(run)
    if isolation == "processes":
        assert all(use.fsyncs > 0 for use in run.peers)
    else:  # the sum of three disks
        assert run.peers[0].fsyncs >= 3
    assert run.stages["fsync"][0] > 0


@pytest.mark.parametrize("peers", [5, 7])
def test_five_and_seven_peers(peers: int, tmp_path: Path) -> None:
    assert not broken(one_run(tmp_path, cell_of("locks", "threads", peers=peers)))


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_large_payloads(runtime: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, payload=16384))
    assert not broken(run)
    assert tuple(run.stages) == STAGES


def test_one_client_has_one_command_under_way(tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(clients=1))
    assert not broken(run)
    experiment = Experiment(tmp_path)
    ends = [due + latency for due, latency in zip(experiment.intended(run), experiment.latencies(run), strict=True)]
    assert all(end <= due for end, due in zip(ends, list(experiment.intended(run))[1:], strict=False))


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_an_open_loop_sends_what_is_due_and_no_more(runtime: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, load="open", rate=400.0))
    assert not broken(run)
    assert run.completed + run.unknown + run.refused == 400 * SECONDS
    intended = list(Experiment(tmp_path).intended(run))
    assert intended == pytest.approx([number / 400 for number in range(len(intended))], abs=1e-6)


@pytest.mark.parametrize("isolation", ["threads", "processes"])
def test_without_a_core_nothing_is_sent_to_followers(isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of("actors", isolation, control="null core"))
    assert not broken(run)
    assert [gate.name for gate in run.gates] == ["history is linearizable", "traces replay"]
    assert run.entries_per_append == 0
    assert run.completed > 100
    assert tuple(run.stages) == STAGES


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("runtime", "isolation"), FOUR)
def test_a_killed_leader_is_followed_by_another(runtime: str, isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, isolation, fault="leader killed"), seconds=0.3)
    assert not broken(run)
    assert run.fault_at == pytest.approx(0.1, abs=0.1)
    assert run.elected is not None and 0 < run.elected < 10
    assert run.unavailable is not None and run.unavailable > 0.05
    assert run.elections <= 2  # those that were not necessary
    assert (run.stages, run.waiting) == ({}, None)  # the leader took what it saw with it


@pytest.mark.parametrize("isolation", ["threads", "processes"])
def test_a_paused_follower_stops_nobody(isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of("actors", isolation, fault="follower paused"), seconds=0.4)
    assert not broken(run)
    assert run.fault_at is not None and run.elected is None
    assert run.completed > 100
    assert tuple(run.stages) == STAGES


def test_a_slow_machine_is_slower(tmp_path: Path) -> None:
    """Three replicas of one process, 0.1 ms for each command: no more than some 3,300 a second."""
    run = one_run(tmp_path, cell_of(fault="slow apply"))
    assert not broken(run)
    assert run.throughput < 4000


@pytest.mark.parametrize("runtime", ["actors", "locks"])
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_a_slow_disk_is_waited_for(runtime: str, storage: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of(runtime, storage=storage, fault="slow fsync"))
    assert not broken(run)
    assert min(Experiment(tmp_path).latencies(run)) > 0.005
    assert run.stages["fsync"][0] > 0.004


@pytest.mark.parametrize("isolation", ["threads", "processes"])
def test_slow_links_are_waited_for(isolation: str, tmp_path: Path) -> None:
    run = one_run(tmp_path, cell_of("actors", isolation, fault="link delay"))
    assert not broken(run)
    latencies = sorted(Experiment(tmp_path).latencies(run))
    assert latencies[len(latencies) // 2] > 0.002
    assert run.stages["replication"][0] > 0.001


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_a_run_leaves_nothing_but_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "temporary"
    files.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(files))
    one_run(tmp_path / "experiment", cell_of(storage="sqlite"))
    assert os.listdir(files) == []
    assert sorted(os.listdir(tmp_path / "experiment" / "runs")) == ["00000.at.f8", "00000.f8", "00000.json"]


# --- stages -----------------------------------------------------------------------------------------------------------


def test_spans_of_moments_in_order_are_what_is_between_them() -> None:
    assert spans([1.0, 1.5, 1.5, 4.0]) == [0.5, 0.0, 2.5]


def test_a_moment_that_was_noted_late_is_no_later_than_the_next() -> None:
    assert spans([1.0, 3.0, 2.0, 4.0]) == [1.0, 0.0, 2.0]
    assert spans([1.0, 0.5, 2.0]) == [0.0, 1.0]
    assert sum(spans([1.0, 9.0, 0.5, 3.0])) == 2.0
