"""Which branches of the core something takes, measured by `coverage`, if that is installed.

Only what stands in functions counts: the rest runs as the modules are imported, long before anything is measured.  Left
out are `raft_core.verify`, and the closing cases of closed unions, which nothing reaches.

Rejected: counting branches by hand in the core (it would be slower in production, for a number of the tests').
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import raft_core
from actors.errors import ActorumError, ExitCode

T = TypeVar("T")
CORE = Path(raft_core.__file__).parent
UNREACHED_BY_CONSTRUCTION = (r"case _:\n\s+assert_never", r"assert_never\(")


class CoverageMissing(ActorumError):
    """Branches are to be counted, and the package that counts them is not installed.  A retry fails alike."""

    code = "COVERAGE-MISSING"
    exit_code = ExitCode.USAGE


class Branches(NamedTuple):
    """What was taken of one file's branches."""

    file: str
    branches: int
    taken: int
    lines_not_reached: tuple[int, ...]


def branches_of(run: Callable[[], T]) -> tuple[T, list[Branches]]:
    """Run it, several times slower than usual; what it returns, and what it took of each file of the core."""
    try:
        from coverage import Coverage
    except ImportError as missing:
        raise CoverageMissing(
            "branches cannot be counted", why="coverage is not installed", fix="pip install coverage"
        ) from missing
    measured = Coverage(data_file=None, branch=True, config_file=False, source=[str(CORE)], omit=[f"{CORE}/verify/*"])
    for pattern in UNREACHED_BY_CONSTRUCTION:
        measured.exclude(pattern)
    with measured.collect():
        found = run()
    return found, list(_read(measured))


def _read(measured: Any) -> Iterator[Branches]:
    with TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        measured.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    for name in sorted(files):
        functions = [part for function, part in files[name]["functions"].items() if function]
        total, taken = (sum(part["summary"][key] for part in functions) for key in ("num_branches", "covered_branches"))
        missing = sorted(line for part in functions for line in part["missing_lines"])
        if functions:
            yield Branches(Path(name).name, total, taken, tuple(missing))


def branch_rows(branches: list[Branches]) -> list[dict[str, object]]:
    """A table with a row for each file that has branches, and their sum.

    >>> branch_rows([Branches("log.py", 4, 3, (7, 8, 9, 12))])[0]
    {'file': 'log.py', 'branches': 4, 'taken': 3, 'lines not reached': '7-9, 12'}
    """
    rows: list[dict[str, object]] = [
        {"file": b.file, "branches": b.branches, "taken": b.taken, "lines not reached": runs(b.lines_not_reached)}
        for b in branches
    ]
    total, taken = sum(b.branches for b in branches), sum(b.taken for b in branches)
    return [*rows, {"file": "all", "branches": total, "taken": taken, "lines not reached": ""}]


def runs(numbers: tuple[int, ...]) -> str:
    """Numbers in ascending order, those that follow each other as one.

    >>> runs((1, 2, 3, 7))
    '1-3, 7'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)
