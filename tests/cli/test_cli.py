"""The group: it starts fast, lists what it has without importing it, and tells every error in one way."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from actors.cli import COMMANDS, LazyCommand, LazyGroup, app, version
from actors.cli.output import Format, Output, output_option, table
from actors.errors import ExitCode, NoQuorum, SafetyViolation

ROOT = Path(__file__).parents[2]


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m actors ...` as a user runs it."""
    command = [sys.executable, "-m", "actors", *arguments]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=surroundings)


# --- A group that fails in every way there is, put together like the real one.


@click.command()
@click.argument("kind")
@output_option
def fail(kind: str, output: Output) -> None:
    """Fail, as `kind` says."""
    match kind:
        case "no-quorum":
            raise NoQuorum("n1 and n2 are down", why="they were killed", fix="actorum restart n1")
        case "unsafe":
            raise SafetyViolation("two leaders in term 3")
        case "bug":
            raise ZeroDivisionError("by zero")
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            output.rows([{"kind": kind, "number": 1}, {"kind": "other", "number": 22}])


@click.group(cls=LazyGroup, lazy={"fail": LazyCommand(f"{__name__}:fail", "Fail.")})
@click.option("--debug", is_flag=True)
def failing(debug: bool) -> None:
    """A group for tests."""


def fails(*arguments: str) -> Result:
    return CliRunner().invoke(failing, [*arguments])


def test_an_error_is_its_text_on_stderr_and_its_exit_code() -> None:
    result = fails("fail", "no-quorum")
    assert result.exit_code == ExitCode.RETRY
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error[NO-QUORUM]: n1 and n2 are down",
        "  why: they were killed",
        "  fix: actorum restart n1",
    ]


def test_every_error_keeps_its_own_exit_code() -> None:
    assert fails("fail", "unsafe").exit_code == ExitCode.UNSAFE


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_an_error_is_json_on_stderr_if_json_was_asked_for(format: str) -> None:
    result = fails("fail", "no-quorum", "-o", format)
    assert result.exit_code == ExitCode.RETRY
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert (error["code"], error["exit_code"], error["fix"]) == ("NO-QUORUM", 3, "actorum restart n1")


def test_an_unexpected_exception_is_a_bug_that_says_how_to_report_it_and_hides_its_traceback() -> None:
    result = fails("fail", "bug")
    assert result.exit_code == ExitCode.BUG
    assert result.stderr.startswith("error[BUG]: ZeroDivisionError: by zero\n")
    assert "actorum doctor" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback_of_any_error() -> None:
    assert "test_cli.py" in fails("--debug", "fail", "bug").stderr
    assert "Traceback" in fails("--debug", "fail", "no-quorum").stderr


def test_ctrl_c_ends_with_130() -> None:
    result = fails("fail", "interrupt")
    assert result.exit_code == 130
    assert "Aborted" not in result.output


def test_an_unknown_option_or_command_or_format_is_a_usage_error() -> None:
    assert fails("fail", "--nonsense").exit_code == ExitCode.USAGE
    assert fails("nonsense").exit_code == ExitCode.USAGE
    assert fails("fail", "x", "-o", "xml").exit_code == ExitCode.USAGE


# --- What is printed.


def test_rows_are_a_table_or_one_document_or_a_line_each() -> None:
    assert fails("fail", "x").stdout == "KIND   NUMBER\nx           1\nother      22\n"
    rows = [{"kind": "x", "number": 1}, {"kind": "other", "number": 22}]
    assert json.loads(fails("fail", "x", "-o", "json").stdout) == rows
    assert [json.loads(line) for line in fails("fail", "x", "-o", "jsonl").stdout.splitlines()] == rows


def test_a_table_without_rows_is_empty_and_a_missing_value_is_a_dash() -> None:
    assert table([]) == []
    assert table([{"node": "n1", "trails": None}]) == ["NODE  TRAILS", "n1    -"]


def test_nothing_is_coloured_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE).line(click.style("red", fg="red"))
    assert capsys.readouterr().out == "red\n"


# --- The real one.


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from actors.cli import app\n"
        "app.main(['--help'], standalone_mode=False)\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('actors', 'rich', 'msgspec', 'pykka')))"
    )
    command = [sys.executable, "-c", code]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT).stdout
    shown, imported = text.rstrip().rsplit("\n", 1)
    for name, lazy in COMMANDS.items():
        assert f"  {name} " in shown
        assert lazy.summary in shown
    assert imported == str(["actors", "actors.cli", "actors.cli.output", "actors.errors"])
    assert "actorum demo" in shown.partition("Examples:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_list_says_and_explains_itself_with_examples(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"actorum {name}" in result.output.partition("Options:")[2], "examples"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_of_any_command_is_a_usage_error(name: str) -> None:
    assert CliRunner().invoke(app, [name, "--nonsense"]).exit_code == ExitCode.USAGE


def test_a_mistyped_command_is_told_what_it_looks_like() -> None:
    result = CliRunner().invoke(app, ["docter"])
    assert result.exit_code == ExitCode.USAGE
    assert "doctor" in result.stderr


def test_python_dash_m_is_the_same_program() -> None:
    result = in_a_process("--version")
    assert (result.returncode, result.stdout) == (0, f"actorum {version()}\n")


def test_the_shell_completes_commands() -> None:
    result = in_a_process(_ACTORUM_COMPLETE="bash_complete", COMP_WORDS="actorum do", COMP_CWORD="1")
    assert set(result.stdout.split()) == {"plain,down", "plain,doctor"}


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What `actorum ...` writes when a person reads it."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "actors", *arguments]
    surroundings = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=surroundings)
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # EIO: nobody writes any more
        while data := screen.read(4096):
            shown += data
    process.wait(60)
    return shown.decode()


def test_an_error_is_red_on_a_terminal_unless_no_color_is_set(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    refused = ("demo", "--data", str(tmp_path))
    assert "\x1b[31merror[NOT-A-DEMO-DIRECTORY]" in on_a_terminal(*refused, NO_COLOR="")
    plain = on_a_terminal(*refused, NO_COLOR="1")
    assert "error[NOT-A-DEMO-DIRECTORY]" in plain
    assert "\x1b" not in plain


def test_a_terminal_sees_the_load_as_a_bar_that_goes_away(tmp_path: Path) -> None:
    shown = on_a_terminal("demo", "--data", str(tmp_path / "data"), "--increments", "5000", NO_COLOR="")
    bar, _, rest = shown.partition("incr x 5000")
    assert re.search(r"━.* \d+/5000", bar), shown
    assert bar.endswith("\x1b[2K"), "the bar's line is erased"
    assert "\x1b[32mall 3 replicas" in rest


def test_a_reader_that_goes_away_is_no_bug() -> None:
    command = f"{sys.executable} -m actors --help | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert "error[" not in result.stderr
