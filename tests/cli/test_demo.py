"""`actorum demo`: what it says is measured, what it proves can fail, and it touches no directory but its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.cli import COMMANDS, app
from actors.cli.demo import MARKER, NEXT
from actors.demo import run
from actors.demo.faults import _end_of_silence
from actors.demo.happenings import Killing, Plan
from actors.demo.load import Seen
from actors.demo.proof import prove
from actors.errors import ExitCode, SafetyViolation
from actors.storage.files import FileLock
from raft_core.verify.history import Operation

ROOT = Path(__file__).parents[2]
EQUAL = {"n1": "5f1c", "n2": "5f1c", "n3": "5f1c"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "actors", "demo", "--increments", "300", *arguments]


def surroundings() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def in_a_process(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=directory, env=surroundings(), capture_output=True, text=True, timeout=110, check=False
    )


def in_threads(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["demo", "--engine", "threads", "--increments", "100", "--data", str(data), *arguments]
    )


# --- The whole demonstration.


def test_the_numbers_of_a_run_with_processes_agree_with_each_other(tmp_path: Path) -> None:
    result = in_a_process(tmp_path, "-o", "json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    loaded, proven = told["loaded"], told["proven"]
    assert loaded["increments"] == 300
    assert loaded["commits_per_second"] == pytest.approx(300 / loaded["seconds"])
    assert 0 < loaded["p50_ms"] <= loaded["p99_ms"]
    assert proven["value"] == proven["acknowledged"] > 300
    assert (proven["unknown"], proven["lost"], proven["doubled"], proven["linearizable"]) == (0, 0, 0, True)
    assert proven["operations"] == proven["acknowledged"] + proven["reads"] == told["checking"]["operations"]
    assert proven["reads"] > 0
    assert told["took_over"]["waited"] > 0
    assert told["took_over"]["failed"] == told["recovered"]["failed"] == 0
    assert told["ready"]["term"] < told["took_over"]["term"] < told["recovered"]["term"]
    assert told["caught_up"]["recovered"] >= 300
    assert told["recovered"]["entries"] >= told["caught_up"]["recovered"] + told["caught_up"]["entries"]
    assert list(tmp_path.iterdir()) == [], "the logs are removed"


def test_people_get_a_sentence_for_each_step_and_talk_goes_to_stderr(tmp_path: Path) -> None:
    result = in_threads(tmp_path / "data", "--clients", "2")
    assert result.exit_code == 0, result.output
    wanted = [
        r"starting 3 peers \(actors, threads of .*\) \.\.\. ready in \d+\.\d s, leader n[123] \(term \d+\)",
        r"incr x 100 from 2 clients  [\d,]+ commits/s  p50 \d+\.\d ms  p99 \d+\.\d ms",
        r"kill n[123] \(the leader\) \.\.\. n[123] took over in \d+\.\d\d s \(term \d+\); \d+ calls waited, 0 failed",
        r"restart n[123] \.\.\. \d+ entries on its disk, caught up \d+ in \d+\.\d\d s",
        r"kill all 3, restart \.\.\. recovered term \d+, \d+ entries in \d+\.\d s; leader n[123] \(term \d+\); "
        r"\d+ calls waited, 0 failed",
        r"all 3 replicas: value (\d+), \1 acknowledged, 0 lost, 0 doubled, state hash \w{8}\.\.\. equal; "
        r"history of \d+ operations is linearizable",
    ]
    lines = result.stdout.splitlines()
    assert len(lines) == len(wanted), result.stdout
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line), line
    assert result.stderr.startswith("next: actorum ")


def test_every_command_it_recommends_exists(tmp_path: Path) -> None:
    known = [words for words in NEXT if words.split()[0] in COMMANDS]
    assert known
    recommended = in_threads(tmp_path / "data").stderr.strip().removeprefix("next: ").split(" | ")
    assert recommended == [f"actorum {words}" for words in known]


def test_every_happening_is_one_line_of_jsonl_in_order(tmp_path: Path) -> None:
    result = in_threads(tmp_path / "data", "-o", "jsonl")
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    first = ["starting", "ready", "loaded", "killing", "took_over", "restarting", "caught_up"]
    assert events == [*first, "killing", "recovered", "checking", "proven"]


def test_ctrl_c_stops_the_peers_removes_the_logs_and_ends_with_130(tmp_path: Path) -> None:
    options = command("--increments", "10000000", "-o", "jsonl")
    with subprocess.Popen(
        options, cwd=tmp_path, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != "ready":
            pass
        process.send_signal(signal.SIGINT)
        # The peers share these pipes: their end is the end of the last peer.
        _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert list(tmp_path.iterdir()) == []


def test_who_stops_listening_stops_the_demonstration(tmp_path: Path) -> None:
    with closing(run(Plan(data=tmp_path, increments=50, clients=2, engine="threads"))) as happenings:
        assert any(isinstance(event, Killing) for event in happenings)
    # What must be gone then - peers, clients, files - is seen to after every test.


# --- The proof can fail.


def history(*results: int, unknown: int = 0) -> list[Operation]:
    """Increments one after the other, those of unknown outcome among them from the beginning."""
    told = [Operation("c1", "incr", (), result, 10 * n, 10 * n + 5) for n, result in enumerate(results, start=1)]
    return [*told, *(Operation("c2", "incr", (), 0, 1, None) for _ in range(unknown))]


def test_what_every_client_was_told_and_every_replica_has_is_proven() -> None:
    proven = prove(history(1, 2, 3), 3, EQUAL)
    assert (proven.value, proven.acknowledged, proven.lost, proven.doubled, proven.digest) == (3, 3, 0, 0, "5f1c")


@pytest.mark.parametrize("value", [3, 4, 5])
def test_an_increment_of_unknown_outcome_may_be_in_the_value_or_not(value: int) -> None:
    assert prove(history(1, 2, 3, unknown=2), value, EQUAL).unknown == 2


def violation(operations: Sequence[Operation], value: int, digests: dict[str, str] | None = None) -> str:
    with pytest.raises(SafetyViolation) as caught:
        prove(operations, value, digests or EQUAL)
    return caught.value.what


def test_a_lost_increment_is_found() -> None:
    assert "1 increments lost, 0 doubled" in violation(history(1, 2, 3), 2)


def test_a_lost_update_is_found_although_the_value_fits_the_results() -> None:
    assert "1 increments lost, 0 doubled" in violation(history(1, 2, 2), 2)


def test_a_doubled_increment_is_found() -> None:
    assert "0 increments lost, 1 doubled" in violation(history(1, 2, 3), 4)


def test_a_doubled_increment_is_found_beyond_the_unknown_ones() -> None:
    assert "0 increments lost, 1 doubled" in violation(history(1, 2, 3, unknown=2), 6)


def test_a_lost_and_a_doubled_increment_do_not_make_up_for_each_other() -> None:
    assert "1 increments lost, 1 doubled" in violation(history(1, 1, 3), 3)


def test_replicas_that_differ_are_found() -> None:
    assert "the replicas differ" in violation(history(1, 2, 3), 3, {**EQUAL, "n2": "beef"})


def test_a_stale_read_is_found_although_all_numbers_fit() -> None:
    stale = Operation("c3", "get", (), 1, 100, 110)
    assert "not linearizable" in violation([*history(1, 2, 3), stale], 3)


def test_a_proof_that_fails_ends_with_6_and_keeps_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def falsified(operations: Sequence[Operation], value: int, digests: dict[str, str]) -> object:
        return prove(operations, value - 1, digests)

    monkeypatch.setattr("actors.demo.prove", falsified)
    result = in_threads(tmp_path / "data")
    assert result.exit_code == ExitCode.UNSAFE
    assert "error[SAFETY-VIOLATION]: 1 increments lost" in result.stderr
    assert "replicas:" not in result.stdout
    assert (tmp_path / "data" / "n1" / "raft.sqlite3").exists()


# --- What is measured.


def test_the_outage_is_the_longest_silence_and_who_was_under_way_at_its_end_waited() -> None:
    calls = [(0, 5), (6, 11), (8, 12), (13, 90), (14, 91), (90, 95)]  # killed at 10, dead at 12, answered again at 90
    seen = [Seen("incr", invoked, returned, 0) for invoked, returned in calls] + [Seen("incr", 14, None, 0)]
    assert _end_of_silence(seen, 10) == (90, 3)


# --- Its directory.


@contextmanager
def unchanged(directory: Path) -> Iterator[None]:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    yield
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_directory_with_anything_else_in_it_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with unchanged(tmp_path):
        result = in_threads(tmp_path)
    assert result.exit_code == ExitCode.USAGE
    assert "error[NOT-A-DEMO-DIRECTORY]" in result.stderr
    assert "--data" in result.stderr


def test_what_an_earlier_demo_left_is_removed_and_keep_leaves_the_new(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "n9").mkdir(parents=True)
    (data / "n9" / "raft.sqlite3").write_text("of an earlier run")
    (data / MARKER).touch()
    result = in_threads(data, "--keep")
    assert result.exit_code == 0, result.output
    assert not (data / "n9").exists()
    assert (data / "n1" / "raft.sqlite3").exists()
    assert in_threads(data).exit_code == 0
    assert not data.exists()


def test_a_directory_in_which_another_demo_runs_is_refused(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / MARKER)
    try:
        with unchanged(tmp_path):
            result = in_threads(tmp_path)
    finally:
        lock.release()
    assert result.exit_code == ExitCode.USAGE
    assert "error[DATA-DIRECTORY-IN-USE]: another demo is running" in result.stderr


@pytest.mark.parametrize("option", ["--increments=0", "--clients=0", "--nodes=2", "--engine=sim", "--nonsense"])
def test_options_that_make_no_sense_are_usage_errors(option: str, tmp_path: Path) -> None:
    assert in_threads(tmp_path / "data", option).exit_code == ExitCode.USAGE
    assert not (tmp_path / "data").exists()
