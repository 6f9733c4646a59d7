"""Little programs, each run by a Python of its own as a user would: what they print, how they end, what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from time import monotonic, sleep
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds after which a program that should have ended is killed, and its test fails."""

COUNTER = """
from actors.replicated import Replicated, command, query

class Counter(Replicated):
    value: int = 0

    @command
    def incr(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @query
    def get(self) -> int:
        return self.value
"""


class Outcome(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def last_error(self) -> str:
        """The error's own text: from its `error[CODE]` on."""
        return self.err[self.err.index("error[") :]


def run_program(directory: Path, source: str, *, stdin: bool = False) -> Outcome:
    """Run `source` as a file in `directory` (or from standard input) and wait for it and all of its processes."""
    program = directory / "program.py"
    program.write_text(dedent(source))
    began = monotonic()
    finished = subprocess.run(
        [sys.executable, "-" if stdin else program.name],
        input=program.read_text() if stdin else "",
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    outcome = Outcome(finished.returncode, finished.stdout, finished.stderr, monotonic() - began)
    assert_nobody_works_in(directory)
    return outcome


def assert_nobody_works_in(directory: Path) -> None:
    """No process that was started there is left; those that are just ending get a moment."""
    deadline = monotonic() + 20.0
    while left := [process for process in Path("/proc").glob("[0-9]*") if _works_in(process, directory)]:
        assert monotonic() < deadline, f"left behind: {left}"
        sleep(0.01)


def _works_in(process: Path, directory: Path) -> bool:
    try:
        return Path(os.readlink(process / "cwd")) == directory.resolve()
    except OSError:
        return False
