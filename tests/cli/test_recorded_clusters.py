"""Clusters that record, in every engine and runtime, with peers that are killed: each run replays from a shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import pytest
from click.testing import CliRunner

from actors.cli import app
from actors.machines.counter import Counter
from actors.spec import RuntimeName
from actors.storage.trace import recorders
from tests.cli.recorded import NAMES, PATIENCE, ROOT, check, in_json
from tests.lab.campaign import SCENARIOS
from tests.lab.variants import Variant, open_lab, plan_of

# --- Clusters.


def until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline, "it did not become so in time"
        sleep(0.01)


@pytest.mark.parametrize("engine", ["threads", "processes"])
@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_a_recorded_demonstration_replays(engine: str, runtime: str, tmp_path: Path) -> None:
    """Peers are killed in it, the leader once and all of them once."""
    words = ["demo", "--engine", engine, "--runtime", runtime, "--increments", "100"]
    places = ["--data", str(tmp_path / "data"), "--record", str(tmp_path / "traces")]
    done = subprocess.run(
        [sys.executable, "-m", "actors", *words, *places],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"actorum check replay {tmp_path / 'traces'}" in done.stderr
    verdicts = in_json(tmp_path / "traces")
    assert sorted(verdict["incarnations"] for verdict in verdicts) == [2, 2, 3]
    assert [(verdict["server"], verdict["gaps"]) for verdict in verdicts] == [(name, []) for name in NAMES]
    assert min(line["after"]["log"]["last_index"] for line in last_events(tmp_path / "traces")) > 100


def last_events(traces: Path) -> list[dict[str, Any]]:
    return [in_json(path, "--show", "-1:")[0] for path in sorted(traces.iterdir())]


def test_a_demonstration_does_not_record_where_it_would_erase_it(tmp_path: Path) -> None:
    words = ["demo", "--data", str(tmp_path / "data"), "--record", str(tmp_path / "data" / "traces")]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "record elsewhere" in done.stderr) == (2, True)


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_a_cluster_that_was_killed_with_all_its_peers_left_traces_that_replay(runtime: str, tmp_path: Path) -> None:
    traces, data = tmp_path / "traces", tmp_path / "data"
    words = ["up", "counter", "--runtime", runtime, "--record", str(traces), "--data", str(data)]
    up = subprocess.Popen(
        [sys.executable, "-m", "actors", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert up.stderr is not None
    try:
        assert "ready in" in up.stderr.readline()
        assert up.stderr.readline() == f"recording into {traces}: actorum check replay {traces}\n"
        incremented = CliRunner().invoke(app, ["counter", "incr", "--by", "5", "--data", str(data)])
        assert incremented.exit_code == 0, incremented.output
        assert in_json(traces), "a running cluster's traces can be read"
        status = CliRunner().invoke(app, ["status", "--data", str(data), "-o", "json"])
        processes = [int(number) for number in re.findall(r'"pid": (\d+)', status.stdout)]
        assert len(processes) == 3, status.stdout
        os.kill(up.pid, signal.SIGKILL)
        for process in processes:
            with suppress(ProcessLookupError):  # it ended because its supervisor did
                os.kill(process, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))
    finally:
        up.kill()
        up.wait(PATIENCE)
        up.stderr.close()
    verdicts = in_json(traces)
    assert len(verdicts) == 3
    committed = [line["after"]["commit_index"] for line in last_events(traces)]
    assert sum(index >= 2 for index in committed) >= 1, "the increment was committed, so a leader's trace knows it"


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_a_simulation_records_into_files_that_replay_and_the_same_seed_gives_the_same_run(
    runtime: RuntimeName, tmp_path: Path
) -> None:
    """With crashes and restarts; `open_lab` gives its recorder to the simulated peers."""
    scenario = SCENARIOS["persist1"]
    plan = plan_of(scenario)
    assert plan is not None
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        with (
            recorders(tmp_path / name) as recorder_of,
            open_lab(plan, Variant(runtime, "sim"), seed, recorder_of) as lab,
        ):
            scenario(lab)
    assert sum(verdict["incarnations"] for verdict in in_json(tmp_path / "one")) > 3
    assert "no difference" in check(tmp_path / "one", "--diff", tmp_path / "same").stdout
    check(tmp_path / "one", "--diff", tmp_path / "other", code=4)


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_a_simulated_cluster_records_like_any_other(runtime: RuntimeName, tmp_path: Path) -> None:
    for name in ("one", "same"):
        with Counter.cluster(engine="sim", seed=3, runtime=runtime, record=tmp_path / name) as counter:
            counter.incr()
            killed = counter.cluster.kill_leader()
            counter.incr()
            counter.cluster.restart(killed)
            counter.cluster.wait_until_equal()
    assert sorted(verdict["incarnations"] for verdict in in_json(tmp_path / "one")) == [1, 1, 2]
    assert check(tmp_path / "one", "--diff", tmp_path / "same").stdout.count("no difference") == 3


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_two_clusters_cannot_record_into_one_directory(engine: Literal["threads", "processes"], tmp_path: Path) -> None:
    with Counter.cluster(engine="threads", record=tmp_path, timeout=PATIENCE) as counter:
        counter.incr()
        with pytest.raises(Exception, match="records into"), Counter.cluster(engine=engine, record=tmp_path):
            pass
        counter.incr()
    assert len(in_json(tmp_path)) == 3
