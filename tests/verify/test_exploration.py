"""The search finds shortest schedules in broken cores, leaves nothing out within its bounds, and knows its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Candidate,
    Effect,
    Event,
    Leader,
    PersistTermAndVote,
    ReadReady,
    ReadRequested,
    Received,
    RequestPreVoteResult,
    RequestVoteResult,
    Send,
    Server,
    Transition,
    follower,
    step,
)
from raft_core.verify import local_states
from raft_core.verify.exploration import Explorer, explore
from raft_core.verify.exploration_rules import never_matters
from raft_core.verify.exploration_turns import turns_of
from raft_core.verify.situations import Bounds, Situation
from raft_core.verify.spacetime import space_time_table

Step = Callable[[Server, Event], Transition]
SMALL = Bounds(terms=1, commands=1, crashes=1, under_way=2)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], None]:
    """Let the search step by a broken core."""
    return lambda by: monkeypatch.setattr(local_states, "step", by)


def forgets_votes(server: Server, event: Event) -> Transition:
    """Votes that are granted are not persisted."""
    after, effects = step(server, event)
    granted = any(isinstance(e, Send) and isinstance(e.message, RequestVoteResult) for e in effects)
    kept = [e for e in effects if not (granted and isinstance(e, PersistTermAndVote) and e.voted_for)]
    return Transition(after, tuple(kept))


def speaks_first(server: Server, event: Event) -> Transition:
    """Everything is sent before anything is persisted."""
    after, effects = step(server, event)
    return Transition(after, tuple(sorted(effects, key=lambda effect: not isinstance(effect, Send))))


def counts_itself_twice(server: Server, event: Event) -> Transition:
    """A leader commits what is on its own disk alone."""
    after, effects = step(server, event)
    if isinstance(after.role, Leader) and after.persisted_index > after.commit_index:
        after = replace(after, commit_index=after.persisted_index)
    return Transition(after, effects)


def takes_any_entries(server: Server, event: Event) -> Transition:
    """The entry before those in the message is not looked at."""
    if isinstance(event, Received) and isinstance(event.message, AppendEntries) and event.message.entries:
        last = server.log.last_index
        moved = replace(event.message, prev_log_index=last, prev_log_term=server.log.last_term)
        return step(server, Received(event.sender, moved))
    return step(server, event)


def reads_at_once(server: Server, event: Event) -> Transition:
    """A leader answers reads without asking anybody."""
    if isinstance(event, ReadRequested) and isinstance(server.role, Leader):
        return Transition(server, (ReadReady(event.read_ids, server.commit_index),))
    return step(server, event)


def votes_for_all(server: Server, event: Event) -> Transition:
    """Any log is good enough."""
    after, effects = step(server, event)

    def granted(effect: Effect) -> Effect:
        if isinstance(effect, Send) and isinstance(effect.message, RequestVoteResult) and server.voted_for is None:
            return Send(effect.to, replace(effect.message, vote_granted=True))
        return effect

    return Transition(after, tuple(map(granted, effects)))


def test_a_small_world_is_searched_to_its_end_and_no_rule_is_broken() -> None:
    explored = explore(SMALL)
    assert explored.violation is None and explored.is_exhausted
    assert explored.situations > 1_000 and explored.steps < explored.situations
    assert ("follower", "RequestVote") in explored.cells and ("leader", "Proposed") in explored.cells


def test_with_pre_votes_repetitions_reads_and_heartbeats_no_rule_is_broken_either() -> None:
    bounds = Bounds(terms=1, commands=1, reads=1, crashes=0, heartbeats=1, repetitions=1, under_way=2, pre_vote=True)
    explored = explore(bounds, 40_000)
    assert explored.violation is None
    assert {event for _, event in explored.cells} >= {"RequestPreVote", "ReadRequested", "HeartbeatTimeout"}


def test_a_search_that_is_stopped_does_not_claim_to_be_done() -> None:
    told: list[tuple[int, int]] = []
    explored = explore(SMALL, 100, lambda depth, situations: told.append((depth, situations)))
    assert not explored.is_exhausted and 100 <= explored.situations < 150
    assert told[-1][1] == explored.situations and [depth for depth, _ in told] == list(range(1, len(told) + 1))


@pytest.mark.parametrize(
    ("by", "bounds", "rule", "actions"),
    [
        (forgets_votes, Bounds(terms=1, commands=0, crashes=1), "Election Safety", 7),
        (speaks_first, Bounds(terms=1, commands=0, crashes=1), "Committed On A Quorum", 5),
        (counts_itself_twice, Bounds(terms=1, commands=0, crashes=0), "Committed On A Quorum", 3),
        (takes_any_entries, Bounds(terms=2, commands=1, crashes=0, under_way=2), "Log Matching", None),
        (reads_at_once, Bounds(terms=2, commands=0, reads=1, crashes=0, under_way=2), "Read Index", None),
        (votes_for_all, Bounds(terms=2, commands=0, crashes=0, under_way=2), "Leader Completeness", None),
    ],
)
def test_a_broken_core_is_found_by_a_shortest_schedule(
    by: Step, bounds: Bounds, rule: str, actions: int | None, broken: Callable[[Step], None]
) -> None:
    broken(by)
    explored = explore(bounds)
    assert explored.violation is not None and explored.violation.rule == rule
    assert not explored.is_exhausted
    assert actions is None or len(explored.schedule) == actions
    turns = turns_of(bounds, explored.schedule)
    in_the_middle = [action for action in explored.schedule if action.cut is not None]
    assert len(turns) == len(explored.schedule) + len(in_the_middle), "who falls in the middle is seen to come back"


def test_a_schedule_reads_as_a_space_time_table(broken: Callable[[Step], None]) -> None:
    broken(forgets_votes)
    bounds = Bounds(terms=1, commands=0, crashes=1)
    table = space_time_table(turns_of(bounds, explore(bounds).schedule), ["n1", "n2", "n3"])
    lines = table.splitlines()
    assert lines[0].split() == ["at", "(ms)", "n1", "n2", "n3"]
    assert "1.00  election timeout" in lines[1]
    assert any("= leader, term 1" in line for line in lines)
    assert sum("RequestVote t1 last 0@0" in line for line in lines) == 6


def test_equal_but_for_names_is_equal_and_nothing_else_is() -> None:
    """Beside a search that knows no symmetry: the classes of what it finds are what the other finds."""
    bounds = Bounds(terms=1, commands=1, crashes=0, under_way=2)
    explorer = Explorer(bounds)
    start = explorer.start()
    seen: set[Situation] = {start}
    waiting = deque([start])
    while waiting:
        for _, after in explorer._successors(waiting.popleft()):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    classes = {explorer._key(situation) for situation in seen}
    assert explore(bounds).situations == len(classes)
    assert len(classes) < len(seen) <= 6 * len(classes)


@pytest.mark.parametrize("rule", ["terms", "roles"])
def test_without_forgetting_more_situations_are_found_and_no_more_violations(rule: str) -> None:
    bounds = Bounds(terms=1, commands=int(rule == "roles"), crashes=0, under_way=2)
    everything = explore(replace(bounds, forgets_answered=False))
    assert everything.violation is None and everything.is_exhausted
    assert everything.situations > explore(bounds).situations


NAMES = ("n1", "n2", "n3")
IN_TERM_2 = follower("n1", NAMES, current_term=2)
CAMPAIGNS = replace(IN_TERM_2, role=Candidate(frozenset({"n1"})))
LEADS = replace(IN_TERM_2, role=Leader(()))


@pytest.mark.parametrize(
    ("server", "result", "never"),
    [
        (IN_TERM_2, RequestVoteResult(1, vote_granted=True), True),
        (IN_TERM_2, RequestVoteResult(3, vote_granted=False), False),
        (IN_TERM_2, RequestVoteResult(2, vote_granted=True), True),
        (LEADS, RequestVoteResult(2, vote_granted=True), True),
        (CAMPAIGNS, RequestVoteResult(2, vote_granted=True), False),
        (LEADS, AppendEntriesResult(2, True, 0, 0), False),
        (CAMPAIGNS, AppendEntriesResult(2, True, 0, 0), False),
        (IN_TERM_2, AppendEntriesResult(2, True, 0, 0), True),
        (IN_TERM_2, RequestPreVoteResult(2, 2, vote_granted=True), True),
        (IN_TERM_2, RequestPreVoteResult(3, 2, vote_granted=False), False),
        (IN_TERM_2, RequestPreVoteResult(2, 3, vote_granted=True), False),
    ],
)
def test_an_answer_is_forgotten_only_if_it_changes_nothing_now(
    server: Server, result: RequestVoteResult | AppendEntriesResult | RequestPreVoteResult, never: bool
) -> None:
    assert never_matters(server, result) == never
    if never:
        after, effects = step(server, Received("n2", result))
        assert not any(isinstance(effect, Send | PersistTermAndVote | AppendToLog) for effect in effects)
        assert (after.current_term, after.role, after.log) == (server.current_term, server.role, server.log)


def test_who_falls_in_the_middle_of_a_turn_is_shown_with_what_it_said_by_then(broken: Callable[[Step], None]) -> None:
    broken(speaks_first)
    bounds = Bounds(terms=1, commands=0, crashes=1)
    schedule = explore(bounds).schedule
    place = next(number for number, action in enumerate(schedule) if action.cut is not None)
    turn, restarted = turns_of(bounds, schedule)[place : place + 2]
    assert turn.server_id == restarted.server_id and turn.at == restarted.at
    assert turn.events == (schedule[place].event,) and turn.effects
    assert (restarted.events, restarted.effects, restarted.after.role_name) == ((), (), "follower")
    assert restarted.after.log.last_index < turn.after.log.last_index, "it spoke of what is not on its disk"


def test_a_core_that_falls_over_is_found_by_a_shortest_schedule(broken: Callable[[Step], None]) -> None:
    def falls_over(server: Server, event: Event) -> Transition:
        if isinstance(event, Received) and isinstance(event.message, AppendEntries):
            raise LookupError(server.server_id)
        return step(server, event)

    broken(falls_over)
    bounds = Bounds(terms=1, commands=0, crashes=0)
    explored = explore(bounds)
    assert explored.violation is not None and explored.violation.rule == "LookupError"
    assert "in falls_over" in explored.violation.explanation
    turns = turns_of(bounds, explored.schedule)
    assert len(turns) == len(explored.schedule) == 4
    assert isinstance(turns[-1].events[0], Received)
