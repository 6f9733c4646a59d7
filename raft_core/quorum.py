"""Counting majorities: the one place where "a majority of servers" is decided (paper 5.2, 5.3).

Sets of voters and values per voter go in, never counters: a repeated reply cannot count twice.  The functions are
written for speed; `slowly_*` are their obvious twins, kept so that tests can compare the two on random cases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from enum import Enum

from raft_core.configuration import Configuration
from raft_core.types import ServerId


class VoteOutcome(Enum):
    """Where an election stands."""

    WON = "won"
    LOST = "lost"
    PENDING = "pending"


def majority(voters: Collection[ServerId]) -> int:
    """How many of `voters` are more than half of them."""
    return len(voters) // 2 + 1


def vote_outcome(
    voters: Collection[ServerId], granted: Collection[ServerId], refused: Collection[ServerId]
) -> VoteOutcome:
    """Won with a majority of grants; lost once a majority can no longer be reached (paper 5.2)."""
    needed = majority(voters)
    if len(set(granted).intersection(voters)) >= needed:
        return VoteOutcome.WON
    if len(voters) - len(set(refused).intersection(voters).difference(granted)) < needed:
        return VoteOutcome.LOST
    return VoteOutcome.PENDING


def quorum_value(values: Collection[int]) -> int:
    """The largest value that a majority has reached, given one value per voter.

    With match indices it is the index that may be committed (Figure 2, "Leaders" 4); with acknowledged rounds it is the
    round that confirms leadership (thesis 6.4).
    """
    return sorted(values)[(len(values) - 1) // 2]


def election_outcome(members: Configuration, granted: Set[ServerId], refused: Set[ServerId]) -> VoteOutcome:
    """As `vote_outcome`; a joint configuration needs both majorities and is lost with either (paper 6)."""
    outcome = vote_outcome(members.voters, granted, refused)
    if not members.is_joint or outcome is VoteOutcome.LOST:
        return outcome
    before = vote_outcome(members.old_voters, granted, refused)
    return outcome if before is VoteOutcome.WON else before


def is_quorum(members: Configuration, servers: Set[ServerId]) -> bool:
    """Are `servers` enough to decide: a majority, of both voters in a joint configuration (paper 6)?"""
    return election_outcome(members, servers, frozenset()) is VoteOutcome.WON


def quorum_reached(members: Configuration, reached: Mapping[ServerId, int]) -> int:
    """The largest value that a majority has reached, of both voters in a joint configuration (paper 6).

    Who is not named in `reached` has reached 0; who is no voter does not count.
    """
    value = quorum_value([reached.get(voter, 0) for voter in members.voters])
    if not members.old_voters:  # as `is_joint`, but this is asked for every answer of every follower
        return value
    return min(value, quorum_value([reached.get(voter, 0) for voter in members.old_voters]))


def slowly_vote_outcome(
    voters: Collection[ServerId], granted: Collection[ServerId], refused: Collection[ServerId]
) -> VoteOutcome:
    """Twin of `vote_outcome`: tries every way the missing votes can still fall."""
    yes = sum(1 for voter in voters if voter in granted)
    no = sum(1 for voter in voters if voter in refused and voter not in granted)
    open_votes = len(voters) - yes - no
    results = {yes + more > len(voters) / 2 for more in range(open_votes + 1)}
    if yes > len(voters) / 2:
        return VoteOutcome.WON
    return VoteOutcome.PENDING if True in results else VoteOutcome.LOST


def slowly_quorum_value(values: Mapping[ServerId, int]) -> int:
    """Twin of `quorum_value`: tries every candidate value and counts who has reached it."""
    reached = [v for v in values.values() if sum(1 for w in values.values() if w >= v) > len(values) / 2]
    return max(reached)
