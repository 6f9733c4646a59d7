"""Searches in which members change, logs are cut and leaders hand over; and the fault of 2015, by its shortest way."""

from __future__ import annotations

from collections import deque

import pytest
from msgspec.structs import replace

from raft_core import Configuration, Entry, Server, membership, quorum
from raft_core.configuration import configuration_entry
from raft_core.verify.exploration import Explorer, explore
from raft_core.verify.exploration_starts import Election
from raft_core.verify.exploration_turns import turns_of
from raft_core.verify.situations import Bounds, Situation
from raft_core.verify.symmetry import renamed_entries

EVERYTHING = Bounds(terms=1, commands=0, crashes=0, under_way=2, changes=1, swaps=True, members=2, snapshots=1)
TWO_LEADERS = (Election("n1", ("n2", "n3")), Election("n2", ("n3", "n4"), reaches=("n4",)))
"""n1 leads in term 1 and nobody hears it; n2 leads in term 2, and its first message is on its way to n4."""
FOUR = Bounds(servers=4, terms=3, commands=0, crashes=1, under_way=1, changes=2, entries_per_message=10)


def test_members_change_and_snapshots_travel_and_no_rule_is_broken() -> None:
    explored = explore(EVERYTHING)
    assert explored.violation is None and explored.is_exhausted
    events = {event for _, event in explored.cells}
    assert events >= {"ConfigurationProposed", "SnapshotTaken", "InstallSnapshot", "InstallSnapshotResult"}


def test_leaders_hand_over_while_members_change_and_no_rule_is_broken() -> None:
    explored = explore(Bounds(terms=2, commands=0, crashes=0, under_way=1, changes=1, transfers=1))
    assert explored.violation is None and explored.is_exhausted
    assert {event for _, event in explored.cells} >= {"ConfigurationProposed", "TransferRequested", "TimeoutNow"}


def test_servers_crash_between_a_snapshot_and_the_cut_of_the_log_and_no_rule_is_broken() -> None:
    bounds = Bounds(terms=2, commands=1, crashes=1, under_way=1, snapshots=2, heartbeats=1)
    explored = explore(bounds, 12_000)
    assert explored.violation is None


def test_changes_of_two_leaders_that_have_committed_nothing_lose_a_committed_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault that Ongaro reported in July 2015 (raft-dev): two leaders each remove a server, before either has
    committed an entry of its own term; then their majorities, two of three each, do not meet."""
    monkeypatch.setattr(membership, "has_committed_in_its_term", lambda server: True)
    explored = explore(FOUR, elections=TWO_LEADERS)
    assert explored.violation is not None and explored.violation.rule == "Leader Completeness"
    assert len(explored.schedule) == 10 + 9, "two elections, and the shortest way from there"
    assert [action.what for action in explored.schedule].count("change") == 2
    assert len(turns_of(FOUR, explored.schedule)) == len(explored.schedule)


def test_with_the_guard_the_same_search_ends_without_a_find() -> None:
    explored = explore(replace(FOUR, crashes=0), elections=TWO_LEADERS)
    assert explored.violation is None and explored.is_exhausted


def test_a_joint_configuration_that_is_decided_by_the_new_voters_alone_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def new_voters_alone(members: Configuration, reached: dict[str, int]) -> int:
        return quorum.quorum_value([reached.get(voter, 0) for voter in members.voters])

    monkeypatch.setattr("raft_core.replication.quorum_reached", new_voters_alone)
    explored = explore(Bounds(terms=1, commands=0, crashes=0, under_way=2, changes=1, swaps=True, members=2))
    assert explored.violation is not None and explored.violation.rule == "Committed On A Quorum"


def test_equal_but_for_names_is_equal_when_members_and_snapshots_name_servers() -> None:
    """Beside a search that knows no symmetry: the classes of what it finds are what the other finds."""
    bounds = Bounds(terms=1, commands=0, crashes=0, under_way=1, changes=1, snapshots=1, transfers=0)
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


def test_renaming_there_and_back_is_the_same() -> None:
    there = {None: None, "n1": "n2", "n2": "n3", "n3": "n1"}
    back = {new: old for old, new in there.items()}
    entries = (Entry(1, b"x"), configuration_entry(1, Configuration(("n1", "n2"), ("n3",), ("n2", "n3"))))
    assert renamed_entries(renamed_entries(entries, there), back) == entries
    assert renamed_entries(entries, there) != entries


def _servers(explorer: Explorer) -> list[Server]:
    return [explorer.atlas.locals[number].server for number in explorer.start().locals]


def test_who_joins_later_starts_empty_and_knows_nobody() -> None:
    servers = _servers(Explorer(Bounds(members=2)))
    assert [server.configuration.voters for server in servers] == [("n1", "n2"), ("n1", "n2"), ()]


def test_a_search_may_begin_behind_elections() -> None:
    first, second, third, fourth = _servers(Explorer(FOUR, TWO_LEADERS))
    assert (first.role_name, first.current_term) == ("leader", 1)
    assert (second.role_name, second.current_term) == ("leader", 2)
    assert {third.role_name, fourth.role_name} == {"follower"}
