"""Each mistake gets into the program and out of it again, and the search finds it as the page says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import raft_core.quorum
from actors.compare.mistakes.patching import Patch, PatchFails, applied
from actors.compare.search.hunting import CORRECT, Hunt, Row, attempts, hunted, hunts
from actors.compare.search.page import with_results
from actors.compare.search.running import load, run
from actors.lock_based.mail import Mail
from raft_core.quorum import majority

KEPT = Path(__file__).parent / "searched"
"""What the last search of all found: `python -m actors.compare.search tests/compare/searched --page PAGE`."""
PAGE = Path(__file__).parents[2] / "docs/explanation/schedule-search.md"
MISTAKEN = [hunt for hunt in hunts() if hunt.mistake is not CORRECT]
FEW = 6
"""Schedules of those that the page says are not found."""


def _kept() -> dict[tuple[str, str], Row]:
    return {(row.mistake, row.design): row for row in load(KEPT)}


FOUND = [hunt for hunt in MISTAKEN if _kept()[hunt.mistake.name, hunt.design].found_after is not None]


def _name(hunt: Hunt) -> str:
    return f"{hunt.design}: {hunt.mistake.name}"


# --- patches ----------------------------------------------------------------------------------------------------------


def test_a_patch_is_seen_by_whoever_has_imported_the_function_and_is_gone_afterwards() -> None:
    patch = Patch("raft_core.quorum", "return len(voters) // 2 + 1", "return len(voters)")
    assert majority("abc") == 2
    with applied([patch]):
        assert majority("abc") == raft_core.quorum.majority("abc") == 3
    assert majority("abc") == 2


def test_a_patch_of_a_package_finds_its_module_and_its_method() -> None:
    before = _code(Mail.put)
    with applied([Patch("actors.lock_based", "self._items.extend(items)", "self._items = items")]):
        assert _code(Mail.put) != before
    assert _code(Mail.put) == before


def _code(function: object) -> object:
    assert isinstance(function, FunctionType)
    return function.__code__


@pytest.mark.parametrize(
    ("old", "times"),
    [("this stands nowhere", 0), ("reached.get(", 2)],
)
def test_what_does_not_stand_exactly_once_is_refused(old: str, times: int) -> None:
    with pytest.raises(PatchFails, match=f"stands {times} times"), applied([Patch("raft_core.quorum", old, "x")]):
        pass


def test_a_change_outside_of_functions_is_refused() -> None:
    patch = Patch("raft_core.quorum", 'WON = "won"', 'WON = "lost"')
    with pytest.raises(PatchFails, match="in none of its functions"), applied([patch]):
        pass


def test_a_failure_inside_takes_the_mistake_out_as_well() -> None:
    patch = Patch("raft_core.quorum", "return len(voters) // 2 + 1", "return len(voters)")
    with pytest.raises(ZeroDivisionError), applied([patch]):
        raise ZeroDivisionError
    assert majority("abc") == 2


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hunt", FOUND, ids=_name)
@pytest.mark.timeout(120)
def test_a_mistake_is_found_as_the_page_says(hunt: Hunt) -> None:
    """First by the schedule that found it last: any change of what runs may have moved it to another."""
    kept = _kept()[hunt.mistake.name, hunt.design]
    assert kept.seed is not None
    with applied(hunt.mistake.patches):
        finding = next(finding for seed in _seeds(kept) if (finding := attempts(hunt)(seed).finding) is not None)
    assert finding.how
    if kept.how == "Deadlock":
        assert finding.cycle and "waits for" in finding.cycle


def _seeds(kept: Row) -> Iterator[int]:
    assert kept.seed is not None
    yield kept.seed
    yield from range(kept.schedules)


@pytest.mark.parametrize("hunt", [hunt for hunt in MISTAKEN if hunt not in FOUND], ids=_name)
@pytest.mark.timeout(120)
def test_a_mistake_that_the_page_says_is_not_found_is_told_as_not_found(hunt: Hunt) -> None:
    row = hunted(hunt, FEW, 0)
    assert row.found_after is None and row.seed is None and row.how == "" and row.schedules == FEW


def test_everything_was_searched_with_the_same_number_of_schedules() -> None:
    kept = load(KEPT)
    assert {(row.mistake, row.design) for row in kept} == {(hunt.mistake.name, hunt.design) for hunt in hunts()} | {
        ("", "naive")
    }
    assert len({row.schedules for row in kept}) == 1
    assert [row.found_after for row in kept if not row.mistake and row.design != "naive"] == [None, None]
    assert next(row for row in kept if row.design == "naive").cycle


def test_the_page_shows_what_was_found() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_results(page, load(KEPT)), f"python -m actors.compare.search {KEPT.name} --page {PAGE.name}"


def test_a_search_writes_every_row_and_tells_of_it(tmp_path: Path) -> None:
    told: list[str] = []
    run(tmp_path / "new", 2, 0, told.append, ["naive: "])
    rows = run(tmp_path / "new", 2, 0, told.append, ["actors: vote not persisted"])
    assert [row["mistake"] for row in json.loads((tmp_path / "new/search.json").read_text())] == [
        "vote not persisted",
        "",
    ]
    assert [row.design for row in rows] == ["actors", "naive"] and load(tmp_path / "new") == rows
    assert told[1].startswith("actors, vote not persisted: found by schedule ")
