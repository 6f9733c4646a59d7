"""Which runs an experiment has, and in which order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import asdict

from actors.compare.plan import HYPOTHESES, UnknownFactor, full, ordered, quick, restricted, star


def test_quick_measures_the_four_cells_seven_times_and_their_failover() -> None:
    proper = [(cell, count) for cell, count in quick() if not cell.control]
    assert {(cell.runtime, cell.isolation, cell.fault) for cell, _ in proper} == {
        (runtime, isolation, fault)
        for runtime in ("actors", "locks")
        for isolation in ("threads", "processes")
        for fault in ("none", "leader killed")
    }
    assert {count for cell, count in proper if cell.fault == "none"} == {7}


def test_both_designs_have_the_same_cells() -> None:
    def of(runtime: str) -> set[tuple[object, ...]]:
        return {
            (c.isolation, c.peers, c.storage, c.payload, c.clients, c.batching, c.load, c.rate, c.fault)
            for c, _ in full()
            if c.runtime == runtime and not c.control
        }

    assert of("actors") == of("locks")
    assert len(of("actors")) == 2 * 3 * 2 * 3 * (3 + 1) * 2 * 6  # the open loop has no number of clients


def test_a_star_varies_one_factor_at_a_time_in_all_four_cells() -> None:
    proper = [cell for cell, _ in star() if not cell.control]
    usual = asdict(proper[0])
    aside = {"runtime", "isolation", "rate"}  # a rate belongs to the open loop
    varied = [{name for name, value in asdict(cell).items() if value != usual[name]} - aside for cell in proper]
    assert all(len(factors) <= 1 for factors in varied)
    assert set().union(*varied) == {"clients", "peers", "payload", "storage", "batching", "load", "fault"}
    assert varied.count(set()) == 4
    assert {cell.control for cell, _ in star()} == {"", "a/a", "null core", "planted slowdown"}


def test_repetitions_go_there_and_back() -> None:
    cells = quick()[:4]
    order = [planned.cell for planned in ordered(cells, seed=1)]
    forth, back = order[:4], order[4:8]
    assert forth == [cell for cell, _ in cells]
    assert back == forth[::-1]
    assert order[8:12] == forth


def test_a_cell_with_fewer_repetitions_has_the_first_ones() -> None:
    plan = ordered(quick(), seed=1)
    assert [planned.number for planned in plan] == list(range(len(plan)))
    killed = [planned.repetition for planned in plan if planned.cell.fault == "leader killed"]
    assert set(killed) == {0, 1, 2, 3}
    assert all(one.repetition <= two.repetition for one, two in pairwise(plan))


def test_both_sides_of_a_difference_see_the_same_seed() -> None:
    seeds: dict[int, set[int]] = {}
    for planned in ordered(quick(), seed=7):
        seeds.setdefault(planned.repetition, set()).add(planned.seed)
    assert all(len(of_repetition) == 1 for of_repetition in seeds.values())
    assert len(set().union(*seeds.values())) == len(seeds)


def test_an_experiment_can_be_restricted() -> None:
    kept = restricted(full(), ["peers=3,5", "batching=off", "storage=sqlite"])
    assert {(cell.peers, cell.batching, cell.storage) for cell, _ in kept} == {
        (3, False, "sqlite"),
        (5, False, "sqlite"),
    }


@pytest.mark.parametrize(
    ("only", "words"), [("colour=red", "no factor 'colour'"), ("peers=4", "3, 5, 7"), ("peers", "3, 5, 7")]
)
def test_a_misspelt_restriction_is_refused(only: str, words: str) -> None:
    with pytest.raises(UnknownFactor, match=words):
        restricted(full(), [only])


def test_a_restriction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UnknownFactor, match="no cell"):
        restricted(quick(), ["fault=leader killed", "control=a/a"])


def test_hypotheses_say_why() -> None:
    assert len({each.name for each in HYPOTHESES}) == len(HYPOTHESES) >= 5
    assert all(each.statement and each.reason for each in HYPOTHESES)
