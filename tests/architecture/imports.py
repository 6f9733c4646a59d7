"""What a source file uses of other modules, read from its syntax tree; nothing is imported to find out.

A use is a dotted name with its line: `from time import monotonic` uses `time.monotonic`, and so does `import time`
followed by `time.monotonic()`.  Imports inside functions and under `if TYPE_CHECKING` count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

DYNAMIC_IMPORTS = {"__import__", "import_module", "importlib.import_module"}


class Use(NamedTuple):
    """One use of a name of another module."""

    name: str
    line: int


class Source(NamedTuple):
    """A file of the project: its path from the root, with slashes, and its syntax tree."""

    path: str
    tree: ast.Module


def sources(root: Path, *folders: str) -> list[Source]:
    """Every Python file below `folders`, in the order of their paths."""
    files = (path for folder in folders for path in sorted((root / folder).rglob("*.py")))
    return [parse(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in files]


def parse(path: str, text: str) -> Source:
    """The source `text` as if it stood in the file `path`."""
    return Source(path, ast.parse(text, filename=path))


def is_within(path: str, places: frozenset[str]) -> bool:
    """Is the file one of `places`, or below one that ends in a slash?"""
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def belongs_to(name: str, module: str) -> bool:
    """Is the dotted `name` the module, or something in it?"""
    return name == module or name.startswith(f"{module}.")


@cache  # each rule asks again
def uses(source: Source) -> list[Use]:
    """Everything the file uses of other modules, by line."""
    aliases = dict(_plain_imports(source.tree))
    found = [*_from_imports(source), *_dynamic_imports(source.tree), *_attributes(source.tree, aliases)]
    names = {use.name for use in found}
    found += [Use(name, line) for name, line in aliases.values() if not any(belongs_to(n, name) for n in names)]
    return sorted(set(found), key=lambda use: (use.line, use.name))


def called_names(source: Source) -> Iterator[Use]:
    """What the file calls, as it is written there: `open`, `os.replace`, and `.mkdir` for a method of any object."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield Use(_written(node.func), node.lineno)


def _plain_imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, int]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, (alias.name, node.lineno)


def _from_imports(source: Source) -> Iterator[Use]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            module = _absolute(source.path, node)
            yield from (Use(f"{module}.{alias.name}", node.lineno) for alias in node.names)


def _absolute(path: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = path.split("/")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _dynamic_imports(tree: ast.AST) -> Iterator[Use]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                if _written(function) in DYNAMIC_IMPORTS:
                    yield Use(name, node.lineno)


def _attributes(tree: ast.AST, aliases: dict[str, tuple[str, int]]) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = _written(node.value)
            if owner in aliases:
                yield Use(f"{aliases[owner][0]}.{node.attr}", node.lineno)


def _written(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_written(owner)}.{name}"
        case _:
            return ""
