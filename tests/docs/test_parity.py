"""The parity table is true: every row is there, every name it gives exists, and so does every test."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {"A": 8, "B": 12, "C": 6, "D": 48, "E": 9}
"""How many rows each has."""
ROWS = [f"{section}{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)]


def rows() -> dict[str, list[str]]:
    """The cells of each row, by its number."""
    lines = (ROOT / "docs/parity.md").read_text().splitlines()
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [A-Z]\d+ \|", line)
    ]
    assert len({cells[0] for cells in found}) == len(found), "a row is there twice"
    return {cells[0]: cells[1:] for cells in found}


def resolved(name: str) -> object:
    """The module, or the attribute of one, with this dotted name; raises if there is none."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            annotated = getattr(thing, "__annotations__", {})
            thing = annotated[part] if not hasattr(thing, part) and part in annotated else getattr(thing, part)
        return thing
    raise ImportError(name)


def test_every_row_is_there() -> None:
    assert list(rows()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_every_name_exists(row: str) -> None:
    _, *places, _ = rows()[row]
    names = [name for place in places for name in re.findall(r"`([^`]+)`", place)]
    assert len(names) >= len(places), "a column names nothing"
    for name in names:
        resolved(name)


@pytest.mark.parametrize("row", ROWS)
def test_every_test_exists(row: str) -> None:
    tests = re.findall(r"`([^`]+)::([^`]+)`", rows()[row][-1])
    assert tests, "no test is named"
    for file, function in tests:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{file}::{function}"
