"""A server that comes back with more than its trace explains has turns that were lost; with less, it has not."""

from __future__ import annotations

from typing import Any

import pytest

from raft_core import (
    ElectionTimeout,
    Entry,
    Event,
    LogPersisted,
    Proposed,
    Received,
    RequestVoteResult,
    Server,
    Settings,
    restore,
    step_all,
)
from raft_core.verify.gaps import Gaps
from raft_core.verify.replay import Record, started, turn

NAMES = ("n1", "n2", "n3")
TURNS: list[list[Event]] = [
    [ElectionTimeout(1)],
    [Received("n2", RequestVoteResult(2, True))],
    [LogPersisted(2, 2), Proposed(1, (b"b", b"c"))],
]
"""n1 leads in term 2 and writes entries 2, 3 and 4."""
BEFORE = [Entry(1, b"a")]
LOG = [*BEFORE, Entry(2), Entry(2, b"b"), Entry(2, b"c")]


def server_of(**persistent: Any) -> Server:
    return restore("n1", NAMES, Settings(pre_vote=False), randomness=0, **persistent)


def first_life() -> list[Record]:
    server = server_of(current_term=1, entries=BEFORE)
    records: list[Record] = [started(server)]
    for number, events in enumerate(TURNS, start=1):
        before = server
        server, effects = step_all(before, events)
        records.append(turn(number, 0.0, events, before, server, effects))
    return records


def gaps(*records: Record) -> list[int]:
    found = Gaps()
    for record in records:
        found.take(record)
    return found.found


@pytest.mark.parametrize(
    "found",
    [
        {"current_term": 2, "voted_for": "n1", "entries": LOG},
        {"current_term": 2, "voted_for": "n1", "entries": LOG[:3]},
        {"current_term": 2, "voted_for": "n1", "entries": BEFORE},
        {"current_term": 2, "voted_for": None, "entries": BEFORE},
        {"current_term": 1, "voted_for": None, "entries": BEFORE},
        {"current_term": 1, "voted_for": "n3", "entries": []},
        {},
    ],
)
def test_what_was_decided_and_not_durable_may_be_gone(found: dict[str, Any]) -> None:
    assert gaps(*first_life(), started(server_of(**found))) == []


@pytest.mark.parametrize(
    "found",
    [
        {"current_term": 3, "voted_for": None, "entries": LOG},
        {"current_term": 2, "voted_for": "n2", "entries": LOG},
        {"current_term": 2, "voted_for": "n1", "entries": [*LOG, Entry(2, b"d")]},
        {"current_term": 2, "voted_for": "n1", "entries": [*BEFORE, Entry(1)]},
    ],
)
def test_what_no_turn_explains_was_decided_in_one_that_is_lost(found: dict[str, Any]) -> None:
    assert gaps(*first_life(), started(server_of(**found))) == [2]


@pytest.mark.parametrize("lost", [1, 2])
def test_turns_that_are_missing_before_a_restart_are_noticed(lost: int) -> None:
    """With the last turn goes the proposal; with the one before it, the election."""
    again = started(server_of(current_term=2, voted_for="n1", entries=LOG))
    assert gaps(*first_life(), again) == []
    assert gaps(*first_life()[:-lost], again) == [2]


def test_only_the_restart_after_which_something_is_there_is_named() -> None:
    again = started(server_of(current_term=3, entries=LOG))
    assert gaps(*first_life(), again, again, again) == [2]


def test_a_first_start_needs_no_explanation() -> None:
    assert gaps(started(server_of(current_term=9, voted_for="n2", entries=LOG))) == []
