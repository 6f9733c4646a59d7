"""`actorum check replay`: two runs are compared, and a run becomes a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.cli import replay_export
from actors.storage.trace import read_trace
from raft_core import (
    Entry,
    Proposed,
    Received,
    RequestVote,
)
from raft_core.verify.replay import Turn
from tests.cli.recorded import ELECTED, ROOT, TURNS, check, in_json, record, refused, server_of, two_incarnations, write


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two incarnations of n1: eight events, then two."""
    return two_incarnations(tmp_path / "traces" / "n1.trace")


# --- Two runs.


def test_a_run_is_equal_to_itself_however_its_events_were_taken_together(trace: Path, tmp_path: Path) -> None:
    assert check(trace, "--diff", trace).stdout == "n1: 10 equal events, no difference\n"
    one_by_one = record(tmp_path / "single.trace", [[event] for turn in TURNS for event in turn])
    assert in_json(record(tmp_path / "n1.trace"), "--diff", one_by_one) == [
        {"server": "n1", "equal_events": 8, "differs_at": None, "differences": []}
    ]


def different(one: Path, other: Path) -> dict[str, Any]:
    done = check(one, "--diff", other, "-o", "json", code=4)
    assert json.loads(done.stderr)["error"]["code"] == "RUNS-DIFFER"
    (told,) = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def test_two_runs_differ_at_the_first_event_that_is_another(tmp_path: Path) -> None:
    one = record(tmp_path / "one.trace")
    other = record(
        tmp_path / "other.trace",
        [*ELECTED, [Received("n2", RequestVote(2, "n2", 3, 1, leadership_transfer=True))], *TURNS[2:]],
    )
    told = different(one, other)
    assert (told["equal_events"], told["differs_at"]) == (2, "event 3")
    found = {difference["what"]: (difference["first"], difference["second"]) for difference in told["differences"]}
    assert found["event"][0] == "LogPersisted index 1, term 1"
    assert found["event"][1].startswith("from n2: RequestVote")
    assert found["state after it, current_term"] == ("1", "2")
    assert found["state after it, role.type"] == ("leader", "follower")
    assert found["effect 1"][0] == "none"
    text = check(one, "--diff", other, code=4)
    assert "one: 2 equal events, then event 3 differs:" in text.stdout
    assert f"  state after it, current_term\n    {one}: " in text.stdout
    assert text.stderr.startswith("error[RUNS-DIFFER]: the runs of one differ at event 3\n")


def test_two_runs_that_differ_in_a_command_alone_show_it(tmp_path: Path) -> None:
    one = record(tmp_path / "one.trace", [*ELECTED, [Proposed(1, (b"x" * 500 + b"a" + b"y" * 500,))]])
    other = record(tmp_path / "other.trace", [*ELECTED, [Proposed(1, (b"x" * 500 + b"b" + b"y" * 500,))]])
    told = different(one, other)
    assert told["differs_at"] == "event 3"
    event = next(difference for difference in told["differences"] if difference["what"] == "event")
    assert ("xxayy" in event["first"], "xxbyy" in event["second"]) == (True, True)
    assert len(event["first"]) < 100


def test_two_runs_differ_where_one_ends_or_starts_again(trace: Path, tmp_path: Path) -> None:
    short = record(tmp_path / "short.trace", TURNS[:3])
    told = different(record(tmp_path / "n1.trace"), short)
    assert (told["equal_events"], told["differs_at"]) == (5, "event 6")
    assert told["differences"][0]["second"] == "nothing: the run ends here"
    again = record(short, TURNS[:1])
    told = different(trace, again)
    assert told["differences"][0]["second"] == "incarnation 2 starts"


def test_two_runs_differ_where_a_server_starts_from_something_else(tmp_path: Path) -> None:
    one = record(tmp_path / "one.trace", server=server_of(entries=[Entry(1, b"a")]))
    told = different(one, record(tmp_path / "other.trace", server=server_of(current_term=3)))
    assert told["differs_at"] == "the start of incarnation 1"
    assert [difference["what"] for difference in told["differences"]] == ["current_term", "entries"]


def test_directories_are_compared_server_by_server(trace: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    record(trace.with_name("n2.trace"), server=server_of("n2"))
    record(others / "n2.trace", TURNS[:2], server_of("n2"))
    assert "n1.trace" in check(trace.parent, "--diff", others, code=2).stderr
    (others / "n1.trace").write_bytes(trace.read_bytes())
    done = check(trace.parent, "--diff", others, code=4)
    assert done.stdout.startswith("n1: 10 equal events, no difference\nn2: 2 equal events, then event 3 differs:\n")
    assert "two directories" in check(trace.parent, "--diff", trace, code=2).stderr


# --- A test of it.


def pytest_on(test: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name],
        cwd=test.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("embedded", [True, False])
def test_a_run_becomes_a_test_that_passes_and_fails_when_the_run_is_another(
    trace: Path, tmp_path: Path, embedded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not embedded:
        monkeypatch.setattr(replay_export, "EMBEDDED", 100)
    record(trace.with_name("n2.trace"), server=server_of("n2"))
    test = tmp_path / "tests" / "test_an-incident.py"
    told = check(trace.parent, "--to-test", test)
    copies = [test.with_name(f"test_an-incident.{name}.trace") for name in ("n1", "n2")]
    assert sorted(test.parent.iterdir()) == sorted([test, *([] if embedded else copies)])
    assert f"pytest {test}" in told.stderr
    trace.unlink()  # the test needs nothing of where it came from
    done = pytest_on(test)
    assert "2 passed" in done.stdout, done.stdout
    test.write_text(test.read_text().replace('"n2": (1, 5, 8', '"n2": (1, 5, 9'))
    done = pytest_on(test)
    assert "1 failed, 1 passed" in done.stdout and "an_incident_comes_out_again[n2]" in done.stdout, done.stdout


def test_a_test_is_formatted_typed_and_overwrites_nothing(trace: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_incident.py"
    assert in_json(trace, "--to-test", test) == {"written": [str(test)]}
    text = test.read_text()
    assert max(map(len, text.splitlines())) <= 120
    assert "def test_incident_comes_out_again(server: str, tmp_path: Path) -> None:" in text
    assert f"{test} is there already" in check(trace, "--to-test", test, code=2).stderr
    assert test.read_text() == text


def test_a_torn_end_is_not_taken_into_a_test(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_export, "EMBEDDED", 0)
    whole = trace.read_bytes()
    trace.write_bytes(whole + b"\0\0")
    assert "2 bytes" in check(trace, "--to-test", tmp_path / "test_torn.py").stderr
    assert (tmp_path / "test_torn.n1.trace").read_bytes() == whole


def test_a_run_that_does_not_come_out_becomes_no_test(trace: Path, tmp_path: Path) -> None:
    records = list(read_trace(trace))
    first = records[1]
    assert isinstance(first, Turn)
    other = write(tmp_path / "other.trace", [records[0], replace(first, digest="")])
    refused(other, "--to-test", tmp_path / "test_it.py", code=6)
    assert not (tmp_path / "test_it.py").exists()
