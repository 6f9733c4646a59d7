"""`actorum check` lists its tools without importing them, and each explains itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.cli import app, progress
from actors.cli.check import CHECKS
from tests.cli.recorded import check, two_incarnations

ROOT = Path(__file__).parents[2]


def test_help_lists_every_tool_and_imports_none() -> None:
    code = (
        "import sys; from actors.cli import app\n"
        "app.main(['check', '--help'], standalone_mode=False)\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('actors', 'rich', 'msgspec', 'raft_core')))"
    )
    command = [sys.executable, "-c", code]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT).stdout
    shown, imported = text.rstrip().rsplit("\n", 1)
    for name, lazy in CHECKS.items():
        assert f"  {name} " in shown
        assert lazy.summary[:30] in shown
    assert imported == str(["actors", "actors.cli", "actors.cli.check", "actors.cli.output", "actors.errors"])


@pytest.mark.parametrize("name", CHECKS)
def test_every_tool_is_where_the_list_says_and_explains_itself_with_examples(name: str) -> None:
    result = CliRunner().invoke(app, ["check", name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"actorum check {name}" in result.output.partition("Options:")[2], "examples"
    assert CliRunner().invoke(app, ["check", name, "--nonsense"]).exit_code == 2


def test_a_mistyped_tool_is_told_what_it_looks_like() -> None:
    result = CliRunner().invoke(app, ["check", "repaly"])
    assert (result.exit_code, "Did you mean replay?" in result.stderr) == (2, True)


def test_an_error_of_a_tool_is_told_like_any_other_and_debug_shows_where(tmp_path: Path) -> None:
    nothing = ["check", "replay", str(tmp_path / "nothing")]
    result = CliRunner().invoke(app, nothing)
    assert (result.exit_code, result.stderr.count("error[NOT-A-TRACE]")) == (2, 1)
    assert "Traceback" in CliRunner().invoke(app, ["--debug", *nothing]).stderr


def test_long_work_says_how_far_it_is_where_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_NEWS_EVERY", 0.0)
    trace = two_incarnations(tmp_path / "n1.trace")
    told = check(trace).stderr.splitlines()
    assert told[-2] == "replaying n1.trace: 100 %"
    assert len(told) == 9
