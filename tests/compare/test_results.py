"""Runs are gathered by what was measured, and never mixed with those of other conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.compare.records import Cell, Run
from actors.compare.results import (
    FSYNCS,
    MEASURES,
    P50,
    P999,
    SPURIOUS,
    SWITCHES,
    THROUGHPUT,
    UNAVAILABLE,
    Measure,
    Results,
    conditions_of,
    four_of,
    name_of,
)
from tests.compare.an_experiment import EVERYTHING, FOUR, cells_of, experiment_in, faster, results_in

SLOWER = 0.8


def planted(run: Run) -> Run:
    """As much slower as the control that plants a slowdown makes it."""
    return replace(run, throughput=run.throughput * SLOWER) if run.cell.control == "planted slowdown" else run


def test_every_run_is_in_the_cell_it_was_planned_for_and_in_no_other(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of(EVERYTHING, 2))
    assert sum(map(len, results.by_cell.values())) == len(results.runs) == 2 * 4 * len(EVERYTHING)
    assert all(run.cell == cell for cell, runs in results.by_cell.items() for run in runs)
    assert not [cell for cell in results.proper if cell.control]


def test_the_usual_conditions_are_those_of_the_first_cell_without_a_fault(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{"fault": "leader killed"}, {"peers": 5}, {}], 1))
    assert results.baseline.peers == 5
    assert set(results.four().values()) == {replace(cell, peers=5) for cell in FOUR}


def test_the_four_cells_are_told_apart_by_design_and_isolation_only() -> None:
    four = four_of(Cell(runtime="locks", isolation="processes", clients=64), fault="slow apply")
    assert len(set(four.values())) == 4
    assert {(cell.clients, cell.fault) for cell in four.values()} == {(64, "slow apply")}
    assert all((cell.runtime, cell.isolation) == key for key, cell in four.items())


def test_a_rejected_run_is_in_no_summary(tmp_path: Path) -> None:
    def broken(run: Run) -> Run:
        return replace(run, gates=(), throughput=1e9) if run.number == 0 else run

    results = results_in(tmp_path, cells_of([{}], 2), broken)
    found = results.summary(FOUR[0], THROUGHPUT)
    assert found is not None and found.runs == 1 and found.high < 2000
    assert [run.number for run in results.rejected] == [0]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_measure_is_told_in_a_unit_that_fits_its_scale(measure: Measure) -> None:
    assert measure.title == (f"{measure.name} ({measure.shown})" if measure.shown else measure.name)
    assert (measure.scale == 1.0) == (measure.unit == measure.shown or not measure.unit)


def test_what_a_run_does_not_have_is_left_out_and_not_zero(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 2))
    assert results.values(FOUR[0], UNAVAILABLE) == [] and results.summary(FOUR[0], UNAVAILABLE) is None
    assert results.between(FOUR[0], FOUR[1], UNAVAILABLE) is None
    assert results.values(FOUR[0], FSYNCS) == [0.0, 0.0]


def test_costs_are_of_one_commit(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 1), lambda run: replace(run, elections=2))
    assert results.values(FOUR[0], SWITCHES) == [pytest.approx(400 / 200)]
    assert results.values(FOUR[0], SPURIOUS) == [7200.0]


def test_percentiles_come_from_the_latencies_beside_the_run(tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path, cells_of([{}], 1))
    run = experiment.run(0)
    experiment.save(run, [number / 1e5 for number in range(1, run.completed + 1)], [0.0] * run.completed)
    results = Results(experiment)
    assert results.values(FOUR[0], P50) == [pytest.approx(0.001)]
    assert results.values(FOUR[0], P999) == [pytest.approx(0.002)]


def test_pairs_are_of_the_same_conditions_and_corrected_for_their_number(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}, {"clients": 64}, {"clients": 1}], 10), faster("actors", 2.0))
    pairs = results.pairs(THROUGHPUT)
    assert len(pairs) == 6
    for pair in pairs:
        assert replace(pair.actors, runtime="locks") == pair.locks
        alone = results.between(pair.actors, pair.locks, THROUGHPUT)
        assert alone is not None and pair.difference.p > alone.p
        assert pair.difference.verdict == "higher"


def test_a_planted_slowdown_is_found_with_its_size_and_the_same_twice_does_not_differ(tmp_path: Path) -> None:
    variants = [{}, {"control": "a/a", "label": "A"}, {"control": "a/a", "label": "B"}, {"control": "planted slowdown"}]
    controls = results_in(tmp_path, cells_of(variants), planted).controls()
    assert len(controls) == 8 and all(control.is_as_it_should_be for control in controls)
    found = [control for control in controls if control.name.startswith("planted")]
    assert all(control.relative == pytest.approx(SLOWER - 1, abs=0.02) for control in found)


def test_a_slowdown_that_is_not_found_is_not_as_it_should_be(tmp_path: Path) -> None:
    controls = results_in(tmp_path, cells_of([{}, {"control": "planted slowdown"}])).controls()
    assert [control.is_as_it_should_be for control in controls] == [False] * 4


def test_a_control_of_too_few_runs_says_nothing(tmp_path: Path) -> None:
    controls = results_in(tmp_path, cells_of([{}, {"control": "planted slowdown"}], 3), planted).controls()
    assert [control.is_as_it_should_be for control in controls] == [None] * 4


def test_a_cell_is_named_by_what_is_not_usual() -> None:
    usual = FOUR[0]
    assert name_of(usual) == "actors, threads" and conditions_of(FOUR[3], usual) == ""
    assert conditions_of(replace(usual, batching=False, rate=1000.0), usual) == "batching off, rate 1000"
