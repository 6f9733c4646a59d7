"""Shrinking: what is left still fails, nothing of it can be spared, and the same input leaves the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raft_core.verify.shrinking import shrink

Fails = Callable[[Sequence[int]], bool]


def is_subsequence(some: Sequence[int], of: Sequence[int]) -> bool:
    rest = iter(of)
    return all(any(item == other for other in rest) for item in some)


@st.composite
def failing(draw: st.DrawFn) -> tuple[list[int], Fails]:
    """Items, and a failure that needs some of them and is cured by others: more may fail less."""
    items = draw(st.lists(st.integers(0, 9), max_size=40))
    ways = draw(st.lists(st.tuples(st.frozensets(st.integers(0, 9)), st.sets(st.integers(0, 99))), max_size=4))

    def fails(some: Sequence[int]) -> bool:
        return list(some) == items or any(need <= set(some) and sum(some) not in cured for need, cured in ways)

    return items, fails


@given(failing())
def test_what_is_left_is_a_subsequence_that_still_fails_and_none_of_it_can_be_spared(
    case: tuple[list[int], Fails],
) -> None:
    items, fails = case
    left = shrink(items, fails)
    assert is_subsequence(left, items)
    assert fails(left)
    for place in range(len(left)):
        assert not fails(left[:place] + left[place + 1 :]), (left, place)


@given(failing(), st.integers(0, 30))
def test_with_few_tries_it_is_longer_but_still_fails_and_no_more_is_tried(
    case: tuple[list[int], Fails], most: int
) -> None:
    items, fails = case
    asked: list[Sequence[int]] = []

    def noted(some: Sequence[int]) -> bool:
        asked.append(some)
        return fails(some)

    left = shrink(items, noted, most_tries=most)
    assert is_subsequence(left, items) and fails(left)
    assert len(asked) <= max(1, most)


@given(failing())
def test_the_same_input_shrinks_to_the_same_result(case: tuple[list[int], Fails]) -> None:
    assert shrink(*case) == shrink(*case)


def test_an_item_that_becomes_superfluous_only_once_another_is_gone_goes_too() -> None:
    assert shrink("ab", lambda some: "a" in some or not some) == ()
    assert shrink("abcd", lambda some: some.count("b") >= some.count("a") and "d" in some) == ("d",)
    pairs = shrink("xabx", lambda some: "".join(some) in ("xabx", "abx", "ab"))
    assert pairs == ("a", "b")


def test_of_a_hundred_thousand_items_a_few_are_found_in_a_few_hundred_tries() -> None:
    tries = 0

    def fails(some: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return {3, 50_000, 99_998} <= set(some)

    assert shrink(range(100_000), fails) == (3, 50_000, 99_998)
    assert tries < 300


def test_what_does_not_fail_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="does not fail"):
        shrink("abc", lambda some: False)
