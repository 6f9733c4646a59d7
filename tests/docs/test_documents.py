"""The documents are true: their programs run, their links lead somewhere, their tables name what exists."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _run(program: Path, directory: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=directory,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)


WITH_PROGRAMS = [document for document in DOCUMENTS if _blocks(document, "python")]


def test_there_are_programs_to_run() -> None:
    assert {_name(document) for document in WITH_PROGRAMS} >= {"README.md", "docs/how-to/write-your-own-machine.md"}


@pytest.mark.parametrize("document", WITH_PROGRAMS, ids=_name)
def test_every_program_in_a_document_runs(document: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("\n\n".join(_blocks(document, "python")))
    _run(program, tmp_path)


def test_the_readmes_program_prints_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_blocks(ROOT / "README.md", "python")[0])
    assert _run(program, tmp_path) == "5\n6\n"


EXPECTED = {
    "async_counter.py": "last: 100 value: 100",
    "code_command.py": "code command: 42",
    "counter.py": "6 6",
    "leader_failover.py": "each counted once, value 1001",
    "many_counters.py": "the 24",
    "own_machine.py": "total 100",
    "unit_test_a_transition.py": "both hold",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs_and_says_what_it_should(example: Path, tmp_path: Path) -> None:
    assert EXPECTED[example.name] in _run(example, tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_command_shown_exists(document: Path) -> None:
    for block in _blocks(document, "console"):
        for command, words in re.findall(r"^\$ (actorum|make) (.*)$", block, flags=re.MULTILINE):
            name = words.split()[0]
            if command == "actorum":
                assert name in COMMANDS, words
            else:
                assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), words


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_rules_names_what_exists() -> None:
    text = (ROOT / "docs" / "explanation" / "protocol.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "core").glob("test_*.py"))
    rows = re.findall(r"^\|.*\| `(\w+)\.(\w+)` \| `(test_\w+)` \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 20
    for module, function, test in rows:
        assert callable(getattr(importlib.import_module(f"raft_core.{module}"), function)), function
        assert f"def {test}(" in tests, test


def test_errors_point_to_a_page_that_is_there() -> None:
    from actors.codec import DOCS

    assert (ROOT / DOCS).exists()
