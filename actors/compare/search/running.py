"""The whole search, written down: `search.json`, one row for each mistake in each design that can make it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import json

from actors.compare.mistakes.mistake import Mistake
from actors.compare.search.hunting import CORRECT, Row, hunted, hunts, search
from actors.compare.search.naive import attempt_naive

FILE = "search.json"
NAIVE = Mistake(CORRECT.name, "locks held while waiting for others: the design as people write it first")


def run(directory: Path, schedules: int, seed: int, told: Callable[[str], None]) -> list[Row]:
    """Search everything with the same number of `schedules`, from `seed` on, and write DIR/search.json.

    `told` learns of each row.  The same arguments give the same rows, whatever the machine."""
    rows: list[Row] = []
    for hunt in hunts():
        rows.append(hunted(hunt, schedules, seed))
        told(in_words(rows[-1]))
    rows.append(search(attempt_naive, NAIVE, "naive", schedules, seed))
    told(in_words(rows[-1]))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_bytes(json.format(json.encode(rows), indent=1) + b"\n")
    return rows


def load(directory: Path) -> list[Row]:
    """What was found."""
    return json.decode((directory / FILE).read_bytes(), type=list[Row])


def in_words(row: Row) -> str:
    """One line."""
    name = f"{row.design}, {row.mistake}" if row.mistake else f"{row.design} as they are"
    if row.found_after is None:
        return f"{name}: nothing found in {row.schedules} schedules"
    return f"{name}: found by schedule {row.found_after}, {row.how}"
