"""`actorum check explore` with members, snapshots and transfers; and a core that falls over, which is a finding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.cli import app
from raft_core import Event, Leader, Proposed, Server, Transition, step
from raft_core.verify import local_states, simulated_server
from raft_core.verify.exploration import explore
from raft_core.verify.situations import Bounds

CALM = ("--terms", "1", "--commands", "0", "--crashes", "0", "--under-way", "2")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], catch_exceptions=False)


# --- what is searched -------------------------------------------------------------------------------------------------


def found(*arguments: str) -> tuple[int, set[str]]:
    """Situations, and the kinds of events that some role met."""
    result = run("explore", *CALM, *arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["exhausted"] is True and record["violations"] == 0
    roles = ("follower", "pre-candidate", "candidate", "leader")
    met = {row["event"] for row in record["cells"] if any(row[role] not in (0, "-", None) for role in roles)}
    return record["situations"], met


def test_nothing_of_it_happens_unless_it_is_asked_for() -> None:
    _, met = found()
    assert not met & {"ConfigurationProposed", "InstallSnapshot", "SnapshotTaken", "TransferRequested", "TimeoutNow"}


def test_members_change_among_servers_that_begin_outside() -> None:
    situations, met = found("--members", "2", "--changes", "1")
    assert "ConfigurationProposed" in met and "InstallSnapshot" not in met
    assert (
        situations == explore(Bounds(terms=1, commands=0, crashes=0, under_way=2, members=2, changes=1)).situations
    ), "the bounds are those that were asked for"


def test_an_exchange_of_voters_is_searched_as_well() -> None:
    without, _ = found("--members", "2", "--changes", "1")
    with_swaps, _ = found("--members", "2", "--changes", "1", "--swaps")
    assert with_swaps > without, "there is a joint phase"


def test_snapshots_are_taken_and_sent() -> None:
    _, met = found("--members", "2", "--changes", "1", "--snapshots", "1")
    assert met >= {"SnapshotTaken", "InstallSnapshot", "SnapshotReceived"}


def test_leadership_is_handed_over() -> None:
    _, met = found("--terms", "2", "--transfers", "1", "--under-way", "1")
    assert met >= {"TransferRequested", "TimeoutNow"}


@pytest.mark.parametrize("option", ["--members", "--changes", "--snapshots", "--transfers"])
def test_a_bound_below_nought_is_refused(option: str) -> None:
    result = run("explore", option, "-1")
    assert result.exit_code == 2 and option in result.stderr


# --- a core that falls over -------------------------------------------------------------------------------------------


@pytest.fixture
def falls_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls(server: Server, event: Event) -> Transition:
        if isinstance(event, Proposed) and isinstance(server.role, Leader):
            raise ZeroDivisionError("no leader can count")
        return step(server, event)

    for module in (local_states, simulated_server):
        monkeypatch.setattr(module, "step", falls)


def test_a_core_that_falls_over_in_a_simulation_is_a_finding_with_its_seed(falls_over: None, tmp_path: Path) -> None:
    archive = tmp_path / "seeds.jsonl"
    result = run("simulate", "--seeds", "1", "--first-seed", "7", "--servers", "3", "--steps", "300", "--jobs", "1")
    assert result.exit_code == 6
    assert "ZeroDivisionError: no leader can count" in result.stderr
    line = next(line for line in result.stderr.splitlines() if "actorum check simulate --seed 7" in line)
    again = run(*line.split("actorum check ")[1].split(), "--archive", str(archive))
    assert (again.exit_code, "no leader can count" in again.stderr) == (6, True)
    assert "shrunk from" in again.stderr and "election timeout" in again.stdout
    kept = json.loads(archive.read_text())
    assert kept["seed"] == 7 and kept["violation"].startswith("ZeroDivisionError")


def test_a_core_that_falls_over_in_a_search_is_a_finding_with_its_schedule(falls_over: None) -> None:
    result = run("explore", "--terms", "1", "--crashes", "0")
    assert result.exit_code == 6
    assert "ZeroDivisionError: no leader can count" in result.stderr and "breaks a rule" in result.stderr
