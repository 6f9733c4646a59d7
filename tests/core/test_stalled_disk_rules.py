"""A disk that is full or hangs: nothing can be promised, so this server neither leads nor campaigns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    DiskRecovered,
    DiskStalled,
    ElectionTimeout,
    Entry,
    Ignored,
    LogPersisted,
    ResetElectionTimer,
    Send,
    Server,
    Settings,
    TimeoutNow,
    follower,
    received,
    step,
)

Build = Callable[..., Server]
NAMES = ["n1", "n2", "n3"]


def test_a_leader_gives_way_to_the_voter_with_most_of_the_log(elect: Build) -> None:
    leader = step(elect(3), LogPersisted(1, 1)).server
    leader = step(leader, received("n3", AppendEntriesResult(1, True, 0, 1))).server
    after, effects = step(leader, DiskStalled())
    assert (after.role_name, after.current_term) == ("follower", 1)
    assert Send("n3", TimeoutNow(1, "n1")) in effects
    assert ResetElectionTimer(after.election_timeout) in effects


def test_a_leader_of_itself_alone_steps_down_too(elect: Build) -> None:
    after, effects = step(elect(1), DiskStalled())
    assert after.role_name == "follower"
    assert not any(isinstance(effect, Send) for effect in effects)


def test_it_does_not_campaign_before_the_disk_writes_again() -> None:
    stalled = step(follower("n1", NAMES, current_term=1), DiskStalled()).server
    after, effects = step(stalled, ElectionTimeout(0))
    assert after.role_name == "follower"
    assert Ignored("the disk does not write") in effects
    assert step(stalled, received("n2", TimeoutNow(1, "n2"))).effects == (Ignored("cannot take over"),)
    recovered = step(stalled, DiskRecovered()).server
    assert step(recovered, ElectionTimeout(0)).server.role_name == "pre-candidate"


@pytest.mark.parametrize("settings", [Settings(), Settings(pre_vote=False)])
def test_votes_under_way_make_nobody_a_leader_who_cannot_write(settings: Settings) -> None:
    candidate = step(follower("n1", NAMES, current_term=1, settings=settings), ElectionTimeout(0)).server
    after, _ = step(candidate, DiskStalled())
    assert after.role_name == "follower"
    assert after.current_term == candidate.current_term


def test_it_follows_a_leader_meanwhile() -> None:
    """What it says of its log waits for the disk; that it is alive, it may say."""
    stalled = step(follower("n1", NAMES, current_term=1), DiskStalled()).server
    after = step(stalled, received("n2", AppendEntries(1, "n2", 0, 0, (Entry(1, b"x"),), 1))).server
    assert (after.log.last_index, after.commit_index) == (1, 1)
