"""The mutants as data, and a tree with one of them in it.

A mutant is one change of one file: `old` stands exactly once in it, `new` in its place breaks a rule.  The tree that
gets it is a copy, with the tests: whoever looks for it must look at the copy alone, so nothing outside is on its path.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FILES = ("mutants.toml", "membership_snapshots.toml", "stalls_settings_priorities.toml", "runtime_mutants.toml")
COPIED = ("raft_core", "actors", "tests", "docs")
_NOT_COPIED = shutil.ignore_patterns(".hypothesis")
"""What is compiled is copied, too: it stays true of every file but the changed one, and saves two seconds a mutant."""


class Mutant(NamedTuple):
    """A change that breaks a rule."""

    name: str
    rule: str
    """Where the rule stands, and who broke it."""
    file: str
    """Relative to the root of the repository."""
    old: str
    new: str
    bounds: dict[str, Any] | None = None
    """What exploration searches first."""
    tests: tuple[str, ...] = ()
    """Who should notice, if no simulation can."""

    @property
    def is_of_the_core(self) -> bool:
        """The simulation of the core sees it."""
        return self.file.startswith("raft_core/")


def mutants() -> list[Mutant]:
    """All of them, in the order of the files."""
    entries = [entry for name in FILES for entry in tomllib.loads((Path(__file__).parent / name).read_text())["mutant"]]
    return [Mutant(**entry) for entry in entries]


def broken(mutant: Mutant) -> str:
    """The text of the file with the change in it."""
    text = (ROOT / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: what is to be changed stands {text.count(mutant.old)} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


@contextmanager
def broken_tree(mutant: Mutant) -> Iterator[Path]:
    """A directory with a copy of the project, and the change in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        tree = Path(name)
        for part in COPIED:
            shutil.copytree(ROOT / part, tree / part, ignore=_NOT_COPIED)
        shutil.copy(ROOT / "pyproject.toml", tree)
        (tree / mutant.file).write_text(broken(mutant))
        yield tree


def environment(tree: Path) -> dict[str, str]:
    """In which Python finds the broken tree."""
    return dict(os.environ, PYTHONPATH=str(tree))
