"""No error is declared that nobody ever meets: a program would be written to handle it, in vain."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture.test_error_codes import KINDS

ROOT = Path(__file__).resolve().parents[2]
ABOUT_ALL = {"actors/errors.py", "actors/http/problems.py"}
"""These speak of errors that others raise."""


def names_in(source: str) -> set[str]:
    """Every name that is used in `source`, whole or behind a dot; importing it is no use."""
    nodes = list(ast.walk(ast.parse(source)))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def test_every_error_is_raised_somewhere() -> None:
    sources = [path for path in (ROOT / "actors").rglob("*.py") if path.relative_to(ROOT).as_posix() not in ABOUT_ALL]
    used = {name for path in sources for name in names_in(path.read_text())}
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in used] == []


def test_to_import_an_error_or_to_say_its_name_is_no_use() -> None:
    assert names_in('from actors.errors import Gone\n"""Gone."""\n# Gone') == set()
    assert names_in("raise Gone()") == {"Gone"} and "Gone" in names_in("raise errors.Gone()")
