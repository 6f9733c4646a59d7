"""Searches with reads by lease: none is too old, if timers keep the order that clocks promise (thesis 6.4.1)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from raft_core import Follower, Server, restore, transfer
from raft_core.verify import exploration_leases, local_states
from raft_core.verify.exploration import explore
from raft_core.verify.exploration_turns import turns_of
from raft_core.verify.situations import Bounds

LEASES = Bounds(terms=2, commands=0, reads=1, crashes=0, heartbeats=1, leases=1, under_way=1)
"""A leader that has a lease, and one that is elected in the next term."""
HANDED_OVER = Bounds(terms=2, commands=0, reads=1, crashes=0, heartbeats=1, transfers=1, leases=1, under_way=1)


CRASHED = replace(LEASES, crashes=1)


def test_no_read_by_lease_is_too_old() -> None:
    explored = explore(LEASES)
    assert explored.violation is None and explored.is_exhausted
    events = {("leader", "LeaseExtended"), ("leader", "LeaseExpired"), ("follower", "LeaderContactExpired")}
    assert explored.cells.keys() >= events


def test_a_server_restarts_and_keeps_to_its_promise() -> None:
    explored = explore(CRASHED, 60_000)
    assert explored.violation is None


def votes_at_once(patch: pytest.MonkeyPatch) -> None:
    """It votes although it hears its leader."""
    for module in ("raft_core.step", "raft_core.election"):
        patch.setattr(sys.modules[module], "protects_its_leader", lambda server, request: False)


def keeps_the_lease(patch: pytest.MonkeyPatch) -> None:
    """A transfer of leadership ends no lease."""

    def kept(struct: Server, **changes: Any) -> Server:
        changes.pop("has_lease", None)
        changes.pop("may_have_lease", None)
        return replace(struct, **changes)

    patch.setattr(transfer, "replace", kept)


def forgets_with_a_crash(patch: pytest.MonkeyPatch) -> None:
    """It votes at once after a restart."""

    def restored(*arguments: Any, **more: Any) -> Server:
        return replace(restore(*arguments, **more), role=Follower())

    patch.setattr(local_states, "restore", restored)


def has_no_promise(patch: pytest.MonkeyPatch) -> None:
    """No mistake of the core: clocks that go as they like."""
    patch.setattr(exploration_leases, "is_bound", lambda server, servers, spent: False)


@pytest.mark.parametrize(
    ("mistake", "bounds"),
    [
        (votes_at_once, LEASES),
        (keeps_the_lease, HANDED_OVER),
        (forgets_with_a_crash, CRASHED),
        (has_no_promise, LEASES),
    ],
)
def test_a_read_that_is_too_old_is_found_if(
    mistake: Callable[[pytest.MonkeyPatch], None], bounds: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    explored = explore(bounds)
    assert explored.violation is not None and explored.violation.rule == "Read Index"
    assert [action.what for action in explored.schedule].count("lease") == 1
    assert len(turns_of(bounds, explored.schedule)) == len(explored.schedule)
