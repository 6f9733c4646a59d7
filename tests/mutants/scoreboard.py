"""The scoreboard: every broken core, and which instrument notices it first.

    python -m tests.mutants.scoreboard [--seconds 60] [--jobs 2] [NAME ...] > docs/scoreboard.md

Each mutant of `mutants.toml` is put into a copy of the core.  Then, until one notices: simulation (`hunt`, for so many
seconds), exploration (of a few small bounds), the golden scripts, the unit tests of the core.  The table is Markdown.
Exit code 1 if a mutant is noticed by nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BOUNDS = (
    {"terms": 2, "commands": 1, "crashes": 1, "under_way": 2},
    {"terms": 2, "commands": 1, "crashes": 0, "reads": 1, "under_way": 2, "repetitions": 1},
    {"terms": 4, "commands": 0, "crashes": 0, "under_way": 2},
)
"""What exploration searches, in turn."""
MOST = 2_500_000
"""Situations of one search at most."""


class Mutant(NamedTuple):
    """A change of the core that breaks a rule."""

    name: str
    rule: str
    file: str
    old: str
    new: str


class Score(NamedTuple):
    """Who noticed it, and after what."""

    mutant: Mutant
    instrument: str
    """Empty: nobody."""
    found: str


def mutants() -> list[Mutant]:
    """All of them."""
    data = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())
    return [Mutant(**entry) for entry in data["mutant"]]


def broken(mutant: Mutant) -> str:
    """The text of the file with the change in it."""
    text = (ROOT / "raft_core" / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: what is to be changed stands {text.count(mutant.old)} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


@contextmanager
def broken_core(mutant: Mutant) -> Iterator[Path]:
    """A directory with a copy of the core, and the change in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        copy = Path(name) / "raft_core"
        shutil.copytree(ROOT / "raft_core", copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutant.file).write_text(broken(mutant))
        yield Path(name)


def score(mutant: Mutant, seconds: float) -> Score:
    """Let one instrument after the other look at it."""
    with broken_core(mutant) as directory:
        found = _asked(directory, "tests.mutants.hunt", str(seconds))
        if found["caught"]:
            return Score(mutant, "simulation", f"{found['caught']}, {found['steps']:,} steps")
        for bounds in BOUNDS:
            found = _asked(directory, "tests.mutants.search", json.dumps(bounds), str(MOST))
            if found["caught"]:
                return Score(mutant, "exploration", f"{found['caught']}, {found['actions']} actions")
        for instrument, tests in (("golden scripts", "tests/golden"), ("unit tests", "tests/core")):
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(ROOT / tests)]
            run = subprocess.run(command, cwd=ROOT, env=_environment(directory), capture_output=True, text=True)
            if run.returncode == 1:
                failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
                return Score(mutant, instrument, failed[0].partition("::")[2].partition(" - ")[0] if failed else "")
    return Score(mutant, "", "")


def _environment(directory: Path) -> dict[str, str]:
    return dict(os.environ, PYTHONPATH=f"{directory}{os.pathsep}{ROOT}")


def _asked(directory: Path, module: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", module, *arguments]
    run = subprocess.run(
        command, cwd=directory, env=_environment(directory), capture_output=True, text=True, check=True
    )
    answer: dict[str, object] = json.loads(run.stdout)
    return answer


def table(scores: list[Score]) -> Iterator[str]:
    """The scoreboard as Markdown."""
    yield "| broken rule | source | noticed by | as |"
    yield "|---|---|---|---|"
    for entry in scores:
        yield f"| {entry.mutant.name} | {entry.mutant.rule} | {entry.instrument or '**nobody**'} | {entry.found} |"


def main() -> int:
    """Print the scoreboard."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; all mutants, if none is given")
    parser.add_argument("--seconds", type=float, default=60.0, help="of simulation, for each")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    chosen = [m for m in mutants() if not asked.names or any(name in m.name for name in asked.names)]
    scores = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for entry in pool.map(lambda mutant: score(mutant, asked.seconds), chosen):
            scores.append(entry)
            print(f"{entry.mutant.name}: {entry.instrument or 'NOBODY'}  {entry.found}", file=sys.stderr, flush=True)
    print("\n".join(table(scores)))
    return 0 if all(entry.instrument for entry in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
