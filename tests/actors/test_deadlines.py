"""Deadlines are numbers: each is given out once, when its time has come, and never after it was set anew."""

from __future__ import annotations

from random import Random

from actors.deadlines import NEVER, Deadlines
from raft_core import (
    ElectionTimeout,
    HeartbeatTimeout,
    LeaderContactExpired,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    StopHeartbeatTimer,
)


def some_deadlines() -> Deadlines:
    return Deadlines(Random(7))


def test_nothing_is_due_before_anything_was_set() -> None:
    deadlines = some_deadlines()
    assert deadlines.next == NEVER and deadlines.due(1e9) == []


def test_the_election_is_due_when_its_milliseconds_have_passed_and_not_before() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300), now=10.0)
    assert deadlines.next == 10.3
    assert deadlines.due(10.299) == []
    assert [type(event) for event in deadlines.due(10.3)] == [ElectionTimeout]


def test_what_was_due_is_given_out_once() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=200), now=0.0)
    deadlines.set(ResetHeartbeatTimer(50), now=0.0)
    assert len(deadlines.due(1.0)) == 3
    assert deadlines.due(1.0) == [] and deadlines.next == NEVER


def test_a_deadline_that_is_set_anew_is_not_due_at_its_old_time() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=150), now=0.0)
    deadlines.set(ResetElectionTimer(300, contact_timeout=150), now=0.29)
    assert deadlines.due(0.3) == []
    assert deadlines.due(0.44) == [LeaderContactExpired()]
    assert [type(event) for event in deadlines.due(0.6)] == [ElectionTimeout]


def test_a_reset_without_a_contact_time_out_takes_the_old_one_away() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=150), now=0.0)
    deadlines.set(ResetElectionTimer(300), now=0.0)
    assert deadlines.due(0.2) == []


def test_a_stopped_heartbeat_is_not_due() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetHeartbeatTimer(50), now=0.0)
    deadlines.set(StopHeartbeatTimer(), now=0.01)
    assert deadlines.due(9.0) == [] and deadlines.next == NEVER


def test_next_is_the_earliest_of_all() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=150), now=0.0)
    assert deadlines.next == 0.15
    deadlines.set(ResetHeartbeatTimer(50), now=0.0)
    assert deadlines.next == 0.05


def test_what_keeps_a_leader_comes_before_what_ends_it() -> None:
    """A process that was held up sends its heartbeat first and asks whether it still leads afterwards."""
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=150), now=0.0)
    deadlines.set(ResetHeartbeatTimer(50), now=0.0)
    assert [type(event) for event in deadlines.due(5.0)] == [HeartbeatTimeout, LeaderContactExpired, ElectionTimeout]


def test_the_randomness_of_elections_comes_from_the_generator_it_was_given() -> None:
    def draws(seed: int) -> list[object]:
        deadlines = Deadlines(Random(seed))
        events: list[object] = []
        for now in range(4):
            deadlines.set(ResetElectionTimer(300), float(now))
            events += deadlines.due(now + 0.5)
        return events

    assert draws(1) == draws(1) != draws(2)
    assert len(set(map(str, draws(1)))) == 4


def test_heartbeats_and_elections_are_looked_at_apart() -> None:
    deadlines = some_deadlines()
    deadlines.set(ResetElectionTimer(300, contact_timeout=200), now=0.0)
    deadlines.set(ResetHeartbeatTimer(50), now=0.0)
    assert [type(event) for event in deadlines.due_for_heartbeat(1.0)] == [HeartbeatTimeout]
    assert deadlines.due_for_heartbeat(1.0) == []
    assert [type(event) for event in deadlines.due_for_election(1.0)] == [LeaderContactExpired, ElectionTimeout]
    assert deadlines.due_for_election(1.0) == []
