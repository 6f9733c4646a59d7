"""A snapshot without content is received like any other: once."""

from __future__ import annotations

from raft_core import (
    Configured,
    Ignored,
    InstallSnapshot,
    ReceiveSnapshotChunk,
    Snapshot,
    SnapshotReceived,
    configuration,
    follower,
    received,
    step,
)

EMPTY = Snapshot(5, 1, Configured(0, configuration(["n1", "n2"])), 0, "")


def test_a_snapshot_without_content_is_given_to_the_disk_once_and_installed() -> None:
    server = follower("n2", ["n1", "n2"], current_term=1)
    part = received("n1", InstallSnapshot(1, "n1", EMPTY, 0, b""))
    server, effects = step(server, part)
    written = ReceiveSnapshotChunk(EMPTY, 0, b"")
    assert written in effects and written.is_last
    again, effects = step(server, part)
    assert effects[-1] == Ignored("the disk is checking the snapshot")
    assert step(again, SnapshotReceived(EMPTY)).server.commit_index == 5
