"""Other settings for a server that runs.  The golden scripts show the courses; here stand the rules one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    Ignored,
    LeaderContactExpired,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    Server,
    Settings,
    SettingsChanged,
    follower,
    received,
    step,
)
from raft_core.tuning import bounds_problem, change_problem, timers_problem

Build = Callable[..., Server]
NAMES = ["n1", "n2", "n3"]
SLOWER = Settings(election_timeout=1000, heartbeat_interval=100)


def _one() -> Server:
    return follower("n1", NAMES)


def test_a_changed_election_timeout_is_drawn_anew_and_begins_at_once() -> None:
    after, effects = step(_one(), SettingsChanged(SLOWER, 17))
    assert after.settings == SLOWER
    assert after.election_timeout == 1017
    assert effects == (ResetElectionTimer(1017),)


def test_an_election_timeout_that_stays_goes_on_running() -> None:
    before = _one()
    after, effects = step(before, SettingsChanged(Settings(trailing_entries=5), 17))
    assert (after.settings.trailing_entries, after.election_timeout, effects) == (5, before.election_timeout, ())


def test_who_has_heard_a_leader_protects_it_for_the_new_time() -> None:
    heard = step(_one(), received("n2", AppendEntries(1, "n2", 0, 0, (), 0))).server
    assert step(heard, SettingsChanged(SLOWER, 0)).effects == (ResetElectionTimer(1000, 1000),)
    no_more = step(heard, LeaderContactExpired()).server
    assert step(no_more, SettingsChanged(SLOWER, 0)).effects == (ResetElectionTimer(1000),)


def test_only_a_leader_begins_its_heartbeats_anew(elect: Build) -> None:
    faster = Settings(heartbeat_interval=10, pre_vote=False)
    leader = elect(3)
    assert step(leader, SettingsChanged(faster, 0)).effects == (ResetHeartbeatTimer(10),)
    assert step(_one(), SettingsChanged(faster, 0)).effects == ()
    same_beat = replace(leader.settings, trailing_entries=5)
    assert step(leader, SettingsChanged(same_beat, 0)).effects == ()


def test_a_change_touches_nothing_that_raft_promises(elect: Build) -> None:
    leader = elect(3)
    after = step(leader, SettingsChanged(replace(SLOWER, pre_vote=False), 0)).server
    assert replace(after, settings=leader.settings, election_timeout=leader.election_timeout) == leader


def test_settings_that_are_in_force_are_ignored() -> None:
    server = _one()
    assert step(server, SettingsChanged(server.settings, 9)) == (server, (Ignored("these are the settings already"),))


@pytest.mark.parametrize("name", ["election_timeout", "lease_reads", "check_quorum", "pre_vote"])
def test_what_leases_depend_on_stays_while_they_are_in_use(name: str) -> None:
    before = Settings(lease_reads=True)
    value = 500 if name == "election_timeout" else not getattr(before, name)
    after = replace(before, **{name: value})
    assert name in change_problem(before, after)
    server = follower("n1", NAMES, settings=before)
    unchanged, effects = step(server, SettingsChanged(after, 0))
    assert unchanged is server
    assert isinstance(effects[0], Ignored)


def test_leases_are_not_begun_while_servers_run_either() -> None:
    assert "lease_reads" in change_problem(Settings(), Settings(lease_reads=True))


def test_leases_do_not_depend_on_the_rest() -> None:
    before = Settings(lease_reads=True)
    assert change_problem(before, replace(before, heartbeat_interval=20, max_in_flight=1)) == ""


@pytest.mark.parametrize(("heartbeat", "fits"), [(0, False), (1, True), (150, True), (151, False)])
def test_two_heartbeats_fit_into_an_election_timeout(heartbeat: int, fits: bool) -> None:
    assert (timers_problem(Settings(heartbeat_interval=heartbeat)) == "") is fits


AT_LEAST_ONE = (
    *("max_in_flight", "max_entries_per_message", "max_bytes_per_message", "max_uncommitted_entries"),
    *("max_uncommitted_bytes", "max_unapplied_entries", "snapshot_bytes", "snapshot_chunk_bytes"),
)


@pytest.mark.parametrize("name", AT_LEAST_ONE)
def test_a_bound_lets_something_through(name: str) -> None:
    assert bounds_problem(replace(Settings(), **{name: 1})) == ""
    assert name in bounds_problem(replace(Settings(), **{name: 0}))


@pytest.mark.parametrize("name", ["snapshot_entries", "trailing_entries", "max_promotion_lag"])
def test_some_bounds_may_be_nothing_but_not_less(name: str) -> None:
    assert bounds_problem(replace(Settings(), **{name: 0})) == ""
    assert name in bounds_problem(replace(Settings(), **{name: -1}))
