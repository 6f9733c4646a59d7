"""`actorum check simulate` and `explore`: what they say, what they keep, and how they end when a rule is broken."""

from __future__ import annotations

import json
import re
from copy import copy
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from actors.cli import app
from actors.cli.check_simulate import _reports
from raft_core import Event, Leader, Received, Server, Transition, step
from raft_core.verify import local_states, simulated_server
from raft_core.verify.invariants import Violation


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments], catch_exceptions=False, standalone_mode=True)


def commits_alone(server: Server, event: Event) -> Transition:
    """A leader commits what is on its own disk."""
    after, effects = step(server, event)
    if isinstance(after.role, Leader) and after.persisted_index > after.commit_index:
        after = replace(after, commit_index=after.persisted_index)
    return Transition(after, effects)


@pytest.fixture
def broken_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (local_states, simulated_server):
        monkeypatch.setattr(module, "step", commits_alone)


def test_seeds_are_counted_and_kept(tmp_path: Path) -> None:
    archive = tmp_path / "seeds.jsonl"
    arguments = ("--seeds", "3", "--first-seed", "5", "--steps", "300", "--jobs", "1", "--archive", str(archive))
    result = run("simulate", *arguments, "-o", "json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["seeds"] == 3 and record["steps"] >= 900 and record["violations"] == 0
    kept = [json.loads(line) for line in archive.read_text().splitlines()]
    assert [(line["seed"], line["servers"]) for line in kept] == [(5, 5), (6, 3), (7, 5)]
    assert run("simulate", *arguments).exit_code == 0
    again = [json.loads(line) for line in archive.read_text().splitlines()]
    assert again[3:] == kept, "two runs of a seed are the same"


def test_several_processes_run_the_same_seeds_as_one() -> None:
    def digests(jobs: int) -> dict[int, str]:
        return {report.seed: report.digest for report in _reports(range(25), [3], 200, jobs)}

    assert digests(2) == digests(1)


def test_a_violation_ends_with_the_turns_that_it_needs_and_the_line_that_repeats_it(broken_core: None) -> None:
    result = run("simulate", "--seeds", "2", "--steps", "300", "--jobs", "1")
    assert result.exit_code == 6
    line = next(line for line in result.stderr.splitlines() if "actorum check simulate --seed" in line)
    again = run(*line.split("actorum check ")[1].split())
    assert again.exit_code == 6
    table = again.stdout[again.stdout.index("   at (ms)") :]
    assert table == result.stdout[result.stdout.index("   at (ms)") :], "shrunk to the same"
    assert "election timeout" in table and "= leader, term 1" in table
    decided, needed, turns = map(
        int, re.findall(r"shrunk from (\d+) decisions to (\d+), in (\d+) turns", again.stderr)[0]
    )
    assert turns <= needed <= 12 < decided


def test_a_violation_is_drawn_where_it_was_asked_for_or_else_beside_the_archive(
    broken_core: None, tmp_path: Path
) -> None:
    asked, archive = tmp_path / "asked.html", tmp_path / "seeds.jsonl"
    arguments = ("simulate", "--seed", "1", "--servers", "3", "--steps", "300", "-o", "json")
    drawn = run(*arguments, "--figure", str(asked))
    assert drawn.exit_code == 6 and f"drawn: {asked}" in drawn.stderr
    json.loads(drawn.stdout)
    run(*arguments, "--archive", str(archive))
    assert asked.read_text() == (tmp_path / "seed-1-of-3-servers.html").read_text()
    assert "<svg" in asked.read_text() and "Committed On A Quorum" in asked.read_text()
    assert json.loads(archive.read_text())["violation"].startswith("Committed On A Quorum")


def test_a_rule_of_times_is_shrunk_to_what_the_cluster_does_not_recover_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def deaf_to_the_third(server: Server, event: Event) -> Transition:
        return Transition(server, ()) if isinstance(event, Received) and event.sender != "n3" else step(server, event)

    monkeypatch.setattr(simulated_server, "step", deaf_to_the_third)
    figure = tmp_path / "late.html"
    result = run("simulate", "--seed", "1", "--servers", "3", "--steps", "100", "--figure", str(figure))
    assert result.exit_code == 6
    assert "Progress: 60 election timeouts after all faults had ended" in result.stderr
    assert re.search(r"shrunk from \d+ decisions to \d, in \d turns", result.stderr)
    assert "Seed 1, shrunk: then all faults end" in figure.read_text() and 'class="band"' not in figure.read_text()


def test_a_violation_that_does_not_come_again_shows_the_last_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = count()

    def fails_once(server: Server, event: Event) -> Transition:
        if next(calls) == 200:
            raise Violation("Determinism", "this happens once")
        return step(server, event)

    monkeypatch.setattr(simulated_server, "step", fails_once)
    figure = tmp_path / "once.html"
    result = run("simulate", "--seed", "2", "--servers", "3", "--steps", "400", "--figure", str(figure))
    assert (result.exit_code, "Determinism: this happens once" in result.stderr) == (6, True)
    assert len(re.findall(r"^ *[0-9]+[.][0-9][0-9] ", result.stdout, re.MULTILINE)) == 30
    assert "the last turns" in figure.read_text()


def test_one_seed_that_breaks_no_rule_says_what_it_did() -> None:
    result = run("simulate", "--seed", "4", "--steps", "300", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["seed"] == 4


@pytest.mark.parametrize("servers", ["", "three", "0", "3,10"])
def test_sizes_that_make_no_sense_are_refused(servers: str) -> None:
    result = run("simulate", "--servers", servers)
    assert result.exit_code == 2 and "from 1 to 9" in result.stderr


def test_a_search_says_whether_the_bounds_were_exhausted() -> None:
    small = ("--terms", "1", "--commands", "0", "--crashes", "0", "-o", "json")
    assert json.loads(run("explore", *small).stdout)["exhausted"] is True
    assert json.loads(run("explore", *small, "--most", "20").stdout)["exhausted"] is False


def test_a_search_shows_the_shortest_schedule_that_breaks_a_rule(broken_core: None, tmp_path: Path) -> None:
    figure = tmp_path / "shortest.html"
    result = run("explore", "--terms", "1", "--figure", str(figure))
    assert result.exit_code == 6
    assert "a schedule of 3 actions breaks a rule: Committed On A Quorum" in result.stderr
    assert "= leader, term 1" in result.stdout
    assert "A shortest schedule: 3 actions" in figure.read_text() and "leader, term 1" in figure.read_text()


def test_a_violation_survives_the_way_between_processes() -> None:
    there = copy(Violation("Log Matching", "n1 differs"))  # by what pickling uses
    assert (there.rule, there.explanation) == ("Log Matching", "n1 differs")
