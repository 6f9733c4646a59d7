"""A hypothesis holds only if the data shows what it claims; it is refuted only if the data shows the opposite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.compare.outcomes import outcomes
from actors.compare.plan import HYPOTHESES
from actors.compare.records import Run
from tests.compare.an_experiment import Change, as_it_was, cells_of, faster, results_in

SPOKEN_OF: Sequence[Mapping[str, object]] = (
    {},
    {"clients": 1},
    {"clients": 64},
    {"fault": "leader killed"},
    {"storage": "sqlite"},
)
CLAIM_LOCKS_FAST = {"median"}
CLAIM_ACTORS_FAST = {"tail", "switches"}
CLAIM_EQUAL = {"throughput", "fsync", "failover"}


def judged(
    directory: Path,
    change: Change = as_it_was,
    variants: Sequence[Mapping[str, object]] = SPOKEN_OF,
    repetitions: int = 6,
) -> dict[str, str]:
    results = results_in(directory, cells_of(variants, repetitions), change)
    return {outcome.hypothesis.name: outcome.judgement for outcome in outcomes(results)}


def test_every_hypothesis_of_the_plan_can_be_judged(tmp_path: Path) -> None:
    found = outcomes(results_in(tmp_path, cells_of(SPOKEN_OF)))
    assert [outcome.hypothesis for outcome in found] == list(HYPOTHESES)
    assert "not measured" not in {outcome.judgement for outcome in found}
    assert all("n=6 and 6" in outcome.evidence for outcome in found)


def test_where_both_designs_are_alike_only_claims_of_equality_can_hold(tmp_path: Path) -> None:
    found = judged(tmp_path)
    assert {found[name] for name in CLAIM_LOCKS_FAST | CLAIM_ACTORS_FAST} == {"not decided"}
    assert found["throughput"] == found["fsync"] == "held"


def test_where_actors_are_much_faster_what_claims_that_holds_and_the_opposite_is_refuted(tmp_path: Path) -> None:
    found = judged(tmp_path, faster("actors", 2.0))
    assert {found[name] for name in CLAIM_ACTORS_FAST} == {"held"}
    assert {found[name] for name in CLAIM_LOCKS_FAST | CLAIM_EQUAL} == {"refuted"}


def test_where_locks_are_much_faster_it_is_the_other_way_round(tmp_path: Path) -> None:
    found = judged(tmp_path, faster("locks", 2.0))
    assert {found[name] for name in CLAIM_LOCKS_FAST} == {"held"}
    assert {found[name] for name in CLAIM_ACTORS_FAST | CLAIM_EQUAL} == {"refuted"}


@pytest.mark.parametrize(("factor", "judgement"), [(1.5, "held"), (0.5, "refuted")])
def test_processes_are_set_against_threads_of_the_same_design(tmp_path: Path, factor: float, judgement: str) -> None:
    def change(run: Run) -> Run:
        return replace(run, throughput=run.throughput * (factor if run.cell.isolation == "processes" else 1.0))

    assert judged(tmp_path, change)["isolation"] == judgement


def test_an_interval_that_reaches_beyond_the_limit_decides_nothing(tmp_path: Path) -> None:
    """Below 20 % is claimed: about 20 % with noise is neither."""

    def change(run: Run) -> Run:
        by = 1.2 if run.cell.runtime == "actors" else 1.0
        return replace(run, throughput=run.throughput * by)

    assert judged(tmp_path, change)["throughput"] == "not decided"


def test_too_few_runs_decide_nothing(tmp_path: Path) -> None:
    assert set(judged(tmp_path, faster("actors", 3.0), repetitions=3).values()) == {"not decided"}


def test_what_was_not_measured_is_said_to_be(tmp_path: Path) -> None:
    found = judged(tmp_path, variants=[{}])
    assert {name for name, judgement in found.items() if judgement != "not measured"} == {"isolation", "switches"}


def test_a_difference_between_failovers_within_what_runs_differ_by_is_none(tmp_path: Path) -> None:
    def wide(run: Run) -> Run:
        return replace(run, elected=0.1 * (1 + run.repetition) if run.elected is not None else None)

    killed = [{"fault": "leader killed"}]
    assert judged(tmp_path / "many", wide, killed, repetitions=20)["failover"] == "held"
    assert judged(tmp_path / "few", wide, killed, repetitions=5)["failover"] == "not decided"


def test_two_differences_must_be_surer_than_one(tmp_path: Path) -> None:
    """Four runs of each side are enough for one difference, and not for two, of which one could come by chance."""
    found = judged(tmp_path, faster("actors", 2.0), repetitions=4)
    assert (found["tail"], found["switches"]) == ("held", "not decided")
