"""The whole search, written down: `search.json`, one row for each mistake in each design that can make it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from msgspec import json

from actors.compare.mistakes.mistake import Mistake
from actors.compare.search.hunting import CORRECT, Kind, Row, hunted, hunts, search
from actors.compare.search.naive import attempt_naive

FILE = "search.json"
NAIVE = Mistake(CORRECT.name, "locks held while waiting for others: the design as people write it first")

QUICK = (
    *("as it is", "persist after send", "vote not persisted", "two votes in one term", "no up-to-date check"),
    *("no reply of a session kept", "lock order inversion", "outside the lock", "volatile vote leak", "callback"),
    *("transition split in two messages", "ask inside a handler", "mutable object in a message"),
)
"""What is worth a few seconds: the designs as they are, and what few schedules find."""

Search = Callable[[int, int], Row]
"""With so many schedules, from this seed on."""


def run(
    directory: Path, schedules: int, seed: int, told: Callable[[str], None], only: Collection[str] = ()
) -> list[Row]:
    """Search everything with the same number of `schedules`, from `seed` on, and write DIR/search.json.

    `told` learns of each row.  The same arguments give the same rows, whatever the machine.  `only` names
    some, by parts of "design: mistake", if it is not empty: their rows are renewed, and others that are there kept."""
    rows = {_name(row.design, row.mistake): row for row in load(directory)} if only else {}
    searches = _searches()
    for name, search_it in searches.items():
        if not only or any(part in name for part in only):
            rows[name] = search_it(schedules, seed)
            told(in_words(rows[name]))
    found = [rows[name] for name in searches if name in rows]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE).write_bytes(json.format(json.encode(found), indent=1) + b"\n")
    return found


def load(directory: Path) -> list[Row]:
    """What was found; nothing, if nothing was searched yet."""
    path = directory / FILE
    return json.decode(path.read_bytes(), type=list[Row]) if path.exists() else []


def how_many(only: Collection[str] = ()) -> int:
    """Of how many rows `run` will tell."""
    return sum(1 for name in _searches() if not only or any(part in name for part in only))


def _searches() -> dict[str, Search]:
    """In the order in which they are shown."""
    searches: dict[str, Search] = {}
    for hunt in hunts():
        searches[_name(hunt.design, hunt.mistake.name)] = partial(hunted, hunt)
    searches[_name("naive", NAIVE.name)] = partial(search, attempt_naive, NAIVE, "naive")
    return searches


def _name(design: Kind, mistake: str) -> str:
    return f"{design}: {mistake or 'as it is'}"


def in_words(row: Row) -> str:
    """One line."""
    name = f"{row.design}, {row.mistake}" if row.mistake else f"{row.design} as they are"
    if row.found_after is None:
        return f"{name}: nothing found in {row.schedules} schedules"
    return f"{name}: found by schedule {row.found_after}, {row.how}"
