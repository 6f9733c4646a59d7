"""A change of members that one leader began and another ends (paper 6): what is left to do is found by who leads."""

from __future__ import annotations

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Configuration,
    ConfigurationChanged,
    ConfigurationCommitted,
    ElectionTimeout,
    LogPersisted,
    RequestVoteResult,
    Server,
    Settings,
    follower,
    received,
    step,
)
from raft_core.configuration import configuration_entry

JOINT = Configuration(("n1", "n2", "n4"), (), ("n1", "n2", "n3"))


def _leader_after(members: Configuration) -> Server:
    """n1 leads in term 2.  It knows since term 1 that `members` are committed; its own no-op, entry 2, is not."""
    server = follower("n1", ("n1", "n2", "n3"), settings=Settings(pre_vote=False))
    message = AppendEntries(1, "n3", 0, 0, (configuration_entry(1, members),), 1)
    server, effects = step(server, received("n3", message))
    assert ConfigurationCommitted(1, members) in effects
    server = step(step(server, LogPersisted(1, 1)).server, ElectionTimeout(0)).server
    server = step(server, received("n2", RequestVoteResult(2, vote_granted=True))).server
    server = step(server, received("n3", RequestVoteResult(2, vote_granted=True))).server
    assert server.role_name == "leader"
    return step(server, LogPersisted(2, 2)).server


def test_a_new_leader_ends_the_joint_phase_that_its_predecessor_saw_committed() -> None:
    leader = _leader_after(JOINT)
    after, effects = step(leader, received("n2", AppendEntriesResult(2, True, 1, 2)))
    assert (after.commit_index, after.configuration) == (2, JOINT.after_joint())
    assert ConfigurationChanged(3, JOINT.after_joint()) in effects


def test_members_that_are_settled_are_told_of_once() -> None:
    leader = _leader_after(JOINT.after_joint())
    after, effects = step(leader, received("n2", AppendEntriesResult(2, True, 1, 2)))
    assert (after.commit_index, after.configurations) == (2, leader.configurations)
    assert not any(isinstance(effect, ConfigurationChanged | ConfigurationCommitted) for effect in effects)
