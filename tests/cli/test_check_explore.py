"""`actorum check explore`: what was tried, shown as cells of a table, and how much of the core it ran."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner, Result

from actors.cli import app
from actors.cli.branches import Branches, branch_rows, branches_of, runs
from raft_core import ElectionTimeout, follower, step
from raft_core.verify.exploration import explore
from raft_core.verify.exploration_cells import KINDS, ROLES, cell_rows
from raft_core.verify.situations import Bounds

SMALL = ("--terms", "1", "--commands", "0", "--crashes", "0")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", "explore", *SMALL, *arguments], catch_exceptions=False)


def test_the_table_has_a_cell_for_each_role_and_each_kind_of_event() -> None:
    lines = run().stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("EVENT"))
    assert lines[head].split() == ["EVENT", *(role.upper() for role in ROLES)]
    cells = {line.split()[0]: line.split()[1:] for line in lines[head + 1 :]}
    assert list(cells) == list(KINDS)
    assert cells["RequestPreVote"] == ["-", "-", "-", "-"]
    assert int(cells["RequestVote"][0]) > 0 and cells["ElectionTimeout"][3] == "-"


def test_programs_get_the_bounds_and_the_same_cells() -> None:
    found = json.loads(run("-o", "json").stdout)
    explored = explore(Bounds(terms=1, commands=0, crashes=0, under_way=3))
    assert found["cells"] == cell_rows(explored.cells)
    assert "terms=1" in found["bounds"] and "branches" not in found


def test_every_step_of_the_core_is_in_one_cell() -> None:
    explored = explore(Bounds(terms=1, commands=1, crashes=1, under_way=2))
    assert sum(explored.cells.values()) == explored.steps
    assert ("leader", "LogPersisted") in explored.cells and ("leader", "Applied") in explored.cells


def test_branches_that_were_taken_are_counted_on_request() -> None:
    rows = {row["file"]: row for row in json.loads(run("--branches", "-o", "json").stdout)["branches"]}
    assert {"election.py", "step.py", "log.py", "batching.py", "all"} <= set(rows)
    assert rows["batching.py"]["taken"] == 0, "the search steps one event at a time"
    assert 0 < rows["election.py"]["taken"] < rows["election.py"]["branches"]
    assert rows["all"]["branches"] == sum(row["branches"] for name, row in rows.items() if name != "all")


def test_the_lines_that_were_not_reached_are_named() -> None:
    server, branches = branches_of(lambda: step(follower("n1", ["n1"]), ElectionTimeout(0)).server)
    assert server.role_name == "leader"
    by_file = {found.file: found for found in branches}
    assert by_file["step.py"].lines_not_reached and 0 < by_file["step.py"].taken < by_file["step.py"].branches


def test_without_coverage_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coverage", None)
    result = run("--branches")
    assert result.exit_code == 2
    assert "error[COVERAGE-MISSING]" in result.stderr and "pip install coverage" in result.stderr


def test_lines_that_follow_each_other_are_a_run() -> None:
    assert runs(()) == "" and runs((4,)) == "4" and runs((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    rows = branch_rows([Branches("a.py", 4, 1, (2,)), Branches("b.py", 2, 2, ())])
    assert [row["taken"] for row in rows] == [1, 2, 3]
