"""`coalesce` moves nothing across a snapshot: neither entries to apply nor writes of the log."""

from __future__ import annotations

import pytest

from raft_core import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    Configuration,
    Configured,
    Effect,
    Entry,
    ReceiveSnapshotChunk,
    RestoreSnapshot,
    Settings,
    Snapshot,
    coalesce,
)

SNAPSHOT = Snapshot(10, 1, Configured(0, Configuration(("n1",))), 4, "")


def test_what_is_applied_behind_a_snapshot_is_not_applied_before_it() -> None:
    effects: tuple[Effect, ...] = (
        ApplyCommitted(1, (Entry(1), Entry(1))),
        RestoreSnapshot(SNAPSHOT),
        ApplyCommitted(11, (Entry(1),)),
    )
    assert coalesce(effects, Settings()) == effects


@pytest.mark.parametrize("write", [CompactLog(2, 1), ReceiveSnapshotChunk(SNAPSHOT, 0, b"abcd")])
def test_no_write_of_the_log_moves_before_another_write(write: Effect) -> None:
    effects: tuple[Effect, ...] = (AppendToLog(2, (Entry(1),), 1), write, AppendToLog(3, (Entry(1),), 1))
    assert coalesce(effects, Settings()) == effects
