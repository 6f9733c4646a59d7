"""What is said of samples whose truth is known."""

from __future__ import annotations

from random import Random

import pytest

from actors.compare.statistics import difference, holm, percentiles, summary


def runs_of(mean: float, seed: int, count: int = 10, deviation: float = 3.0) -> list[float]:
    randomness = Random(seed)
    return [randomness.gauss(mean, deviation) for _ in range(count)]


def test_a_summary_is_a_median_inside_its_interval() -> None:
    found = summary(runs_of(100, seed=1))
    assert found.low < found.median < found.high
    assert found.high - found.low < 10
    assert found.runs == 10


def test_the_interval_of_ten_runs_holds_the_true_median_in_nine_of_ten_samples() -> None:
    """Nominally 95 %; a percentile bootstrap of ten is a little narrow."""
    held = sum(found.low <= 100 <= found.high for found in (summary(runs_of(100, seed)) for seed in range(200)))
    assert 180 <= held <= 200


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0]])
def test_what_never_varies_has_no_width(values: list[float]) -> None:
    assert summary(values)[:4] == (5.0, 5.0, 5.0, 0.0)


def test_a_median_of_no_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        summary([])


def test_a_fifth_less_is_found_with_its_sign_and_size() -> None:
    found = difference(runs_of(80, seed=1), runs_of(100, seed=2))
    assert found.verdict == "lower"
    assert found.low < -20 < found.high
    assert found.p < 0.01


def test_the_same_cell_twice_differs_in_few_samples() -> None:
    """The noise floor: with a level of 5 % and the condition on the spread, far fewer than 5 of 100."""
    verdicts = [difference(runs_of(100, seed), runs_of(100, 1000 + seed)).verdict for seed in range(100)]
    assert verdicts.count("no difference detected") >= 95


def test_nothing_is_ranked_when_runs_of_one_cell_differ_by_more() -> None:
    first = [100.0, 60.0, 100.0, 60.0, 101.0, 61.0, 100.0, 60.0, 100.0, 60.0]
    second = [value - 15 for value in first]
    found = difference(first, second)
    assert found.spread > abs(found.estimate)
    assert found.verdict == "no difference detected"


def test_three_runs_are_too_few_to_say_anything() -> None:
    assert difference([1.0, 1.1, 1.2], [9.0, 9.1, 9.2]).verdict == "too few runs"


def test_four_runs_a_side_are_enough_if_none_overlaps() -> None:
    assert difference([1.0, 1.1, 1.2, 1.3], [9.0, 9.1, 9.2, 9.3]).verdict == "lower"


def test_one_spoiled_run_does_not_hide_a_difference() -> None:
    spoiled = [*runs_of(80, seed=1)[:-1], 400.0]
    assert difference(spoiled, runs_of(100, seed=2)).verdict == "lower"


def test_cells_that_never_vary_are_the_same() -> None:
    assert difference([1.0] * 5, [1.0] * 5).verdict == "no difference detected"


def test_the_same_runs_give_the_same_words() -> None:
    ours, theirs = runs_of(100, seed=5), runs_of(99, seed=6)
    assert difference(ours, theirs) == difference(ours, theirs)


def test_of_many_differences_each_needs_to_be_clearer() -> None:
    alone = difference(runs_of(93, seed=1), runs_of(100, seed=2))
    among = holm([alone] + [difference(runs_of(100, seed), runs_of(100, 50 + seed)) for seed in range(9)])
    assert among[0].p == pytest.approx(alone.p * 10)
    assert all(each.p <= 1 for each in among)


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([float(value) for value in range(1, 1001)]) == (500.0, 900.0, 990.0, 999.0)
    assert percentiles([]) == (0.0, 0.0, 0.0, 0.0)
