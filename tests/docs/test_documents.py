"""The documents are true: their programs run, their links lead somewhere, their tables name what exists."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import actors
from actors.cli import app

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
    "bank_ledger.py": "CarelessLedger: its unit test passes",
    "code_command.py": "code command: 42",
    "counter.py": "6 6",
    "key_value.py": "expire session",
    "leader_failover.py": "each counted once, value 20001",
    "lock.py": "refused: token 1 is older than 2",
    "many_counters.py": "the 24",
    "own_machine.py": "total 100",
    "the_lab.py": "the old leader, back again, applied world at 2",
    "unit_test_a_transition.py": "both hold",
    "work_queue.py": "done: ['a', 'b', 'c'] in 4 attempts",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs_and_says_what_it_should(example: Path, tmp_path: Path) -> None:
    assert EXPECTED[example.name] in _run(example, tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in _links(document):
        assert (document.parent / target).exists(), target


def _links(document: Path) -> list[str]:
    """Those that lead to files here."""
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
    return [target for target in targets if not target.startswith(("http://", "https://"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_command_shown_exists(document: Path) -> None:
    for block in _blocks(document, "console"):
        for command, words in re.findall(r"^\$ (actorum|make) (.*)$", block, flags=re.MULTILINE):
            if command == "actorum":
                _find_command(words)
            else:
                name = words.split()[0]
                assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), words


def _find_command(line: str) -> None:
    """Let click read the line as the shell would hand it over, without running anything."""
    words = shlex.split(line.removesuffix("&"))
    command: click.Command = app
    context = click.Context(app)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, line
        command = found
    command.make_context(command.name, words)  # raises click.UsageError for an option that is not there


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    _find_command("counter incr --by 5 --data ./demo &")
    with pytest.raises(click.UsageError, match="--twice"):
        _find_command("counter incr --twice")
    with pytest.raises(AssertionError):
        _find_command("counter decr")


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLES], ids=_name)
def test_no_document_names_a_place_of_one_machine(document: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users|opt)/", document.read_text())


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "docs" / "index.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            ahead += [(page.parent / target).resolve() for target in _links(page)]
    assert seen >= set(DOCUMENTS) - {ROOT / "CHANGELOG.md"}


def test_every_public_name_is_there_and_importing_the_package_costs_nothing() -> None:
    for name in actors.__all__:
        assert getattr(actors, name) is not None
    with pytest.raises(AttributeError, match="Countre"):
        actors.Countre  # noqa: B018
    program = "import sys, actors; print(sorted({'pykka', 'dill', 'msgspec', 'multiprocessing'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


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
