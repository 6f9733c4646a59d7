"""Counting majorities, compared with its obvious twin: optimised quorum code needs one."""

from __future__ import annotations

import random

import pytest

from raft_core import VoteOutcome, majority, quorum_value, vote_outcome
from raft_core.quorum import slowly_quorum_value, slowly_vote_outcome

NAMES = [f"n{i}" for i in range(1, 12)]


def test_the_quorum_value_agrees_with_its_slow_twin_on_50_000_cases() -> None:
    """Clusters of 1 to 9 with few distinct values, so that ties abound."""
    generator = random.Random(1)
    for _ in range(50_000):
        size = generator.randint(1, 9)
        values = {name: generator.randint(0, 4) for name in NAMES[:size]}
        assert quorum_value(values.values()) == slowly_quorum_value(values), values


def test_the_vote_outcome_agrees_with_its_slow_twin_on_50_000_cases() -> None:
    """Strangers answer as well, and some say yes and no."""
    generator = random.Random(2)
    for _ in range(50_000):
        voters = NAMES[: generator.randint(1, 9)]
        granted = frozenset(generator.sample(NAMES, generator.randint(0, 6)))
        refused = frozenset(generator.sample(NAMES, generator.randint(0, 6)))
        case = (voters, granted, refused)
        assert vote_outcome(*case) is slowly_vote_outcome(*case), case


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half(size: int, needed: int) -> None:
    """Half of an even cluster is no majority (paper 5.2)."""
    voters = NAMES[:size]
    assert majority(voters) == needed
    assert vote_outcome(voters, voters[:needed], ()) is VoteOutcome.WON
    assert vote_outcome(voters, voters[: needed - 1], ()) is VoteOutcome.PENDING


def test_a_refusal_by_who_has_granted_is_not_counted() -> None:
    """A vote that was granted stays granted."""
    assert vote_outcome(NAMES[:3], {"n1"}, {"n1", "n2"}) is VoteOutcome.PENDING
    assert vote_outcome(NAMES[:3], {"n1"}, {"n2", "n3"}) is VoteOutcome.LOST
