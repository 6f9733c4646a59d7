"""The mutants fit what they break, the page says what is known of them, and those that are quickly found are found."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.mutants.mutants import ROOT, Mutant, broken, mutants
from tests.mutants.peers import play
from tests.mutants.scoreboard import PATIENCE, SIMULATED, Result, load, page, score

PAGE = ROOT / "docs/reference/scoreboard.md"


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_what_it_breaks_and_is_python(mutant: Mutant) -> None:
    ast.parse(broken(mutant))


def test_names_are_different() -> None:
    assert Counter(mutant.name for mutant in mutants()).most_common(1)[0][1] == 1


def test_a_mutant_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        broken(Mutant("x", "", "raft_core/step.py", "what is not there", ""))


def test_the_page_lists_every_mutant_and_each_was_noticed() -> None:
    results = load()
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0][2:] for row in rows if "the mistake" not in row] == [m.name for m in mutants()]
    assert set(results) == {mutant.name for mutant in mutants()}
    assert all(result.instrument and result.seconds < PATIENCE for result in results.values())
    assert PAGE.read_text() == page(results)


def test_nine_of_ten_are_noticed_by_instruments_that_were_not_written_for_them() -> None:
    results = load().values()
    assert sum(result.instrument in SIMULATED for result in results) >= 0.9 * len(results)


def test_who_was_noticed_by_nobody_stands_out_and_who_was_not_tried_as_well() -> None:
    first, second = mutants()[:2]
    lines = page({first.name: Result("", "", "", 1.0)}).splitlines()
    assert next(line for line in lines if line.startswith(f"| {first.name}")).count("**nobody**") == 1
    assert "not tried yet" in next(line for line in lines if line.startswith(f"| {second.name}"))


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("does not persist a granted vote", "simulation"),
        ("comes back without its log", "simulated peers"),
        ("a database that does not cut", "simulated peers"),
    ],
)
def test_what_is_quickly_found_is_found_again(name: str, instrument: str) -> None:
    mutant = next(mutant for mutant in mutants() if mutant.name == name)
    assert score(mutant, 20.0).instrument == instrument


@pytest.mark.parametrize("seed", range(8))
def test_peers_as_they_are_break_no_rule(seed: int) -> None:
    outcome = play(seed)
    assert outcome.violation is None
    assert outcome.steps > 1_000 and outcome.calls > 20


def test_a_seed_is_one_run() -> None:
    assert play(2) == play(2)
