"""Little's law on visits whose figures are known by hand."""

from __future__ import annotations

import pytest

from actors.compare.waiting import waiting


def test_a_queue_by_hand() -> None:
    """Two come at 0 and 1, each is served for 2 seconds, the second waits for the first: (2 + 3) / 10 are there."""
    found = waiting("lock", [0.0, 1.0], [0.0, 2.0], [2.0, 4.0], 0.0, 10.0)
    assert found is not None
    assert (found.kind, found.depth, found.rate, found.residence) == ("lock", 0.5, 0.2, 2.5)
    assert (found.service_p50, found.service_p99) == (2.0, 2.0)
    assert found.wait_p50 == pytest.approx(0.5)
    assert found.depth == pytest.approx(found.rate * found.residence)


def test_what_lies_outside_counts_only_while_it_is_inside() -> None:
    """One was there before, one stays beyond the end: depth has their part, the rate only who came."""
    found = waiting("mailbox", [-1.0, 9.0], [-1.0, 9.0], [1.0, 12.0], 0.0, 10.0)
    assert found is not None
    assert found.depth == pytest.approx(0.2)
    assert found.rate == pytest.approx(0.1)
    assert found.residence == pytest.approx(3.0)


def test_visits_that_were_lost_break_the_law() -> None:
    """Why it is checked: depth is not made of the other two."""
    arrived = [number / 100 for number in range(1000)]
    whole = waiting("lock", arrived, arrived, [time + 0.005 for time in arrived], 0.0, 10.0)
    assert whole is not None and whole.depth == pytest.approx(whole.rate * whole.residence, rel=0.01)
    late = waiting("lock", arrived, arrived, [time + 5 for time in arrived], 0.0, 10.0)
    assert late is not None and late.depth < 0.8 * late.rate * late.residence


@pytest.mark.parametrize("arrived", [[], [20.0]])
def test_if_nobody_came_there_is_nothing_to_say(arrived: list[float]) -> None:
    assert waiting("lock", arrived, arrived, arrived, 0.0, 10.0) is None
