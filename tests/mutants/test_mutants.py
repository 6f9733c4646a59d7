"""The mutants fit the core they break, and the hunt finds those that are quickly found."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.scoreboard import Mutant, Score, broken, mutants, score, table


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_core_and_is_python(mutant: Mutant) -> None:
    ast.parse(broken(mutant))


def test_names_are_different() -> None:
    names = [mutant.name for mutant in mutants()]
    assert len(set(names)) == len(names)


def test_a_mutant_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        broken(Mutant("x", "", "step.py", "what is not there", ""))


def test_a_forgotten_vote_is_noticed_by_simulation() -> None:
    mutant = next(mutant for mutant in mutants() if mutant.name == "does not persist a granted vote")
    found = score(mutant, 60.0)
    assert found.instrument == "simulation" and "Durable Before Spoken" in found.found
    assert "| simulation |" in "\n".join(table([found]))


def test_who_is_noticed_by_nobody_stands_out() -> None:
    assert "**nobody**" in "\n".join(table([Score(mutants()[0], "", "")]))
