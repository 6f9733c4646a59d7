"""No sentence says more than its interval."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.compare.records import Run
from actors.compare.results import P50, PROCESSOR, THROUGHPUT
from actors.compare.statistics import Difference, Summary
from actors.compare.words import (
    Said,
    difference_line,
    found_between,
    host_line,
    interval,
    number,
    reading,
    rows,
    sentences,
    verdicts,
    with_interval,
)
from tests.compare.an_experiment import cells_of, faster, results_in

HIGHER = Difference(100.0, 50.0, 150.0, 0.01, 20.0, (10, 10))
NONE = Difference(100.0, -50.0, 250.0, 0.3, 20.0, (10, 10))
WITHIN_SPREAD = Difference(100.0, 50.0, 150.0, 0.01, 120.0, (10, 10))
BY_CHANCE = Difference(100.0, 50.0, 150.0, 0.06, 20.0, (10, 10))
FEW = Difference(100.0, 50.0, 150.0, 0.01, 20.0, (3, 10))


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.00"), (0.123, "0.12"), (12.34, "12.3"), (999.96, "1000.0"), (1234.5, "1 234"), (-12345.0, "-12 345")],
)
def test_a_number_has_three_or_four_digits_that_mean_something(value: float, words: str) -> None:
    assert number(value) == words


def test_a_difference_bears_its_sign_on_all_three_numbers() -> None:
    assert interval(HIGHER, THROUGHPUT) == "+100.0 commits/s [+50.0, +150.0]"
    assert interval(HIGHER._replace(estimate=-0.001, low=-0.002, high=0.001), P50) == "-1.00 ms [-2.00, +1.00]"
    assert interval(HIGHER._replace(estimate=2e-6, low=1e-6, high=3e-6), PROCESSOR) == "+2.00 µs [+1.00, +3.00]"


def test_a_median_stands_with_its_interval() -> None:
    assert with_interval(Summary(0.001, 0.0005, 0.002, 0.0, 10), 1e3) == "1.00 [0.50, 2.00]"


@pytest.mark.parametrize("difference", [NONE, WITHIN_SPREAD, BY_CHANCE])
def test_what_is_not_sure_is_no_difference(difference: Difference) -> None:
    (clause,) = verdicts([Said("here", THROUGHPUT, difference, 0.1)])
    assert clause.startswith("no difference detected: here (+100.0 commits/s [") and clause.endswith("], +10%)")
    assert difference_line(difference, THROUGHPUT, "threads").endswith("no difference detected")


def test_a_difference_that_is_sure_comes_first_and_alone() -> None:
    found = [Said("a", THROUGHPUT, NONE, None), Said("b", THROUGHPUT, HIGHER, 0.25), Said("c", THROUGHPUT, FEW, None)]
    assert verdicts(found) == [
        "actors higher: b (+100.0 commits/s [+50.0, +150.0], +25%)",
        "no difference detected: a (+100.0 commits/s [-50.0, +250.0])",
        "too few runs to say (3 where at least 4 are needed): c",
    ]


def test_a_reading_is_made_of_sentences_also_of_nothing() -> None:
    assert reading([Said("b", THROUGHPUT, HIGHER, None)]) == "Actors higher: b (+100.0 commits/s [+50.0, +150.0])."
    assert reading([]) == "There is nothing to set one design against the other by."


def test_designs_are_set_against_each_other_in_the_same_isolation(tmp_path: Path) -> None:
    found = found_between(results_in(tmp_path, cells_of([{}]), faster("locks", 2.0)), (THROUGHPUT, P50), "here")
    assert [said.where for said in found] == [
        f"here, {isolation}, {measure}" for isolation in ("threads", "processes") for measure in ("throughput", "p50")
    ]
    assert [said.difference.verdict for said in found] == ["lower", "higher"] * 2
    assert found[0].relative == pytest.approx(-0.5, abs=0.05)


def test_the_table_of_the_terminal_has_the_four_cells_and_what_was_rejected(tmp_path: Path) -> None:
    def broken(run: Run) -> Run:
        return replace(run, gates=()) if run.number == 0 else run

    found = rows(results_in(tmp_path, cells_of([{}, {"fault": "leader killed"}], 2), broken))
    assert [row["design"] for row in found] == ["actors (one mailbox)", "locks (one lock)"] * 2
    assert [row["safety"] for row in found] == ["1 runs rejected", "held", "held", "held"]
    assert all(str(row["failover ms"]).startswith("2") for row in found)


def test_controls_are_told_after_the_differences(tmp_path: Path) -> None:
    variants = [{}, {"control": "a/a", "label": "A"}, {"control": "a/a", "label": "B"}, {"control": "planted slowdown"}]
    said = sentences(results_in(tmp_path, cells_of(variants)))
    assert [sentence.partition(" ")[0] for sentence in said] == ["difference"] * 6 + ["control"] * 8
    assert all(sentence.endswith(": as it should be") for sentence in said if "A/A" in sentence)
    assert all(sentence.endswith("trust nothing here") for sentence in said if "planted" in sentence)


def test_the_line_of_the_host_names_the_interpreter_lock(tmp_path: Path) -> None:
    assert "2 cpu, CPython 3 (GIL)" in host_line(results_in(tmp_path, cells_of([{}], 1)).manifest)
