"""What was searched to its end is found again, number by number."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from raft_core.verify.situations import Bounds
from tests.verify.explored import KEPT, PAGE, Exhausted, as_page, as_toml, difference, kept, main, search

SMALL = [entry for entry in kept() if entry.situations and entry.seconds <= 1.5]


@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.name)
def test_small_bounds_hold_what_they_held(entry: Exhausted) -> None:
    assert difference(entry, search(entry)) == ""


def test_there_are_small_bounds_of_one_term_two_and_three_and_with_pre_votes() -> None:
    assert {entry.bounds.terms for entry in SMALL} == {1, 2, 3}
    assert any(entry.bounds.pre_vote for entry in SMALL)


def test_file_and_page_are_as_they_are_written() -> None:
    assert KEPT.read_text() == as_toml(kept())
    assert PAGE.read_text() == as_page(kept())


def test_a_difference_names_what_differs() -> None:
    entry = Exhausted(name="any", bounds=Bounds(), situations=1_000, depth=3, seconds=1.0)
    assert difference(entry, replace(entry, seconds=2.0, megabytes=7)) == ""
    assert difference(entry, replace(entry, situations=2_000)) == "situations 1,000 -> 2,000"


def test_the_command_compares_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([min(SMALL, key=lambda entry: entry.situations).name]) == 0
    assert "as kept" in capsys.readouterr().out
