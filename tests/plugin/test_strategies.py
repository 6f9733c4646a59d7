"""The strategies draw what can be, `step` keeps it so, and a broken core is found with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.testing.consistency import inconsistencies
from actors.testing.schedules import Schedule
from actors.testing.strategies import ROLES, events, messages, schedules, servers
from raft_core import (
    AppendEntries,
    Configured,
    Event,
    Follower,
    Leader,
    PendingRead,
    PersistTermAndVote,
    Progress,
    Server,
    Transition,
    configuration,
    follower,
    step,
)
from raft_core.verify.simulation import Turn

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("role", "examples"), [("follower", 200), ("pre-candidate", 60), ("candidate", 60), ("leader", 250)]
)
def test_any_event_leads_from_a_state_that_can_be_to_another_one(role: str, examples: int) -> None:
    settings(QUICK, max_examples=examples)(given(st.data())(lambda data: _lives_on(data, role)))()


def _lives_on(data: st.DataObject, role: str) -> None:
    server = data.draw(servers(roles=[role]))
    assert inconsistencies(server) == []
    for _ in range(3):
        event = data.draw(events(server))
        after, effects = step(server, event)
        assert inconsistencies(after) == []
        _never_goes_back(server, after)
        assert any(isinstance(effect, PersistTermAndVote) for effect in effects) or (
            (after.current_term, after.voted_for) == (server.current_term, server.voted_for)
        )
        server = after


def _never_goes_back(before: Server, after: Server) -> None:
    assert after.current_term >= before.current_term
    assert after.commit_index >= before.commit_index
    assert after.log.entries(1, before.commit_index) == before.log.entries(1, before.commit_index)
    if after.current_term == before.current_term:
        assert before.voted_for in (None, after.voted_for)
    if after.log != before.log:
        assert after.persisted_index <= before.log.last_common_index(after.log)
    if isinstance(before.role, Leader) and after.commit_index > before.commit_index and after.role_name == "leader":
        assert after.log.term_at(after.commit_index) == after.current_term


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_drawn_and_with_a_committed_log_too(role: str) -> None:
    first = settings(database=None, deadline=None, phases=[Phase.generate])
    found = find(servers(roles=[role]), lambda server: server.commit_index > 0, settings=first)
    assert found.role_name == role


@QUICK
@given(messages())
def test_no_message_speaks_of_an_entry_of_a_later_term(message: Any) -> None:
    if isinstance(message, AppendEntries):
        terms = [message.prev_log_term, *(entry.term for entry in message.entries)]
        assert terms == sorted(terms)
        assert terms[-1] <= message.term


BASE = follower("n1", ["n1", "n2", "n3"], current_term=2, terms=[1, 1, 2])
LEADER = replace(
    BASE,
    voted_for="n1",
    role=Leader((Progress("n2", 4, 3, False), Progress("n3", 1))),
    commit_index=3,
)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (replace(BASE, commit_index=4), "commit_index <= the last index"),
        (replace(BASE, persisted_index=4), "more is persisted"),
        (replace(BASE, current_term=1), "a later term than the server"),
        (follower("n1", ["n1", "n2"], current_term=2, terms=[2, 1]), "decrease"),
        (replace(BASE, role=Follower(None, leader_is_recent=True)), "nobody knows"),
        (replace(LEADER, voted_for=None), "voted for another"),
        (replace(LEADER, commit_index=2), "Leaders 4"),
        (replace(LEADER, current_term=3), "no entry of its term"),
        (replace(LEADER, role=replace(LEADER.role, uncommitted_bytes=1)), "miscounted"),
        (replace(LEADER, role=replace(LEADER.role, early_reads=(PendingRead(0, 0, (1,)),))), "one is committed"),
        (replace(LEADER, role=replace(LEADER.role, followers=())), "not its peers"),
    ],
)
def test_a_state_that_cannot_be_is_told(server: Server, problem: str) -> None:
    assert inconsistencies(LEADER) == inconsistencies(BASE) == []
    assert any(problem in sentence for sentence in inconsistencies(server))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_no_schedule_has_two_leaders_in_a_term(schedule: Schedule) -> None:
    assert not _has_two_leaders(schedule.run())


def _has_two_leaders(turns: Iterable[Turn]) -> bool:
    leaders: dict[int, str] = {}
    return any(
        leaders.setdefault(turn.after.current_term, turn.server_id) != turn.server_id
        for turn in turns
        if isinstance(turn.after.role, Leader)
    )


def _needs_no_votes(server: Server, event: Event) -> Transition:
    """Whoever campaigns believes to be alone."""
    alone = (Configured(0, configuration([server.server_id])),)
    after, effects = step(replace(server, configurations=alone), event)
    return Transition(replace(after, configurations=server.configurations), effects)


def test_a_core_that_breaks_a_rule_is_found_with_a_shortest_schedule_that_can_be_shown() -> None:
    schedule = find(
        schedules(stepper=_needs_no_votes, most_acts=20),
        lambda schedule: _has_two_leaders(schedule.run(_needs_no_votes)),
        settings=settings(max_examples=500, deadline=None, database=None, derandomize=True),
    )
    assert len(schedule.acts) == 2
    assert schedule.table(_needs_no_votes).count("= leader, term 1") == 2
    assert not _has_two_leaders(schedule.run())
