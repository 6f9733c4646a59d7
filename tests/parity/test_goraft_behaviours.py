"""Behaviours of goraft that no other test is about: each has its row in docs/parity.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.happenings import CommitAdvanced, LeaderChanged
from actors.storage.record import ClusterRecord, note_added, open_record, read_record
from benchmarks import codec, events, http_speed
from raft_core import (
    AppendEntriesResult,
    ConfigurationProposed,
    ElectionTimeout,
    LogPersisted,
    Proposed,
    RequestVoteResult,
    Server,
    follower,
    received,
    step,
)
from tests.parity.dying import die_writing
from tests.parity.on_disk import NAMES, SETTINGS


def test_commands_before_and_behind_a_change_are_committed_by_the_new_members() -> None:
    """goraft stopped at a join in a batch and asked again who is a majority.

    Here the members in force count, which are those of the latest entry in the log.  One answer covers a command, the
    change and another command, and two of the three old members commit none of them."""
    leader = step(follower("n1", NAMES, settings=SETTINGS), ElectionTimeout(0)).server
    leader = step(leader, received("n2", RequestVoteResult(1, vote_granted=True))).server
    leader = has(has(step(leader, LogPersisted(1, 1)).server, "n2", 1), "n3", 1)
    assert leader.commit_index == 1
    for event in (Proposed(1, (b"before",)), ConfigurationProposed(2, (*NAMES, "n4")), Proposed(3, (b"behind",))):
        leader = step(leader, event).server
    leader = step(leader, LogPersisted(4, 1)).server
    assert has(leader, "n2", 4).commit_index == 1
    assert has(has(leader, "n2", 4), "n3", 2).commit_index == 2
    assert has(has(leader, "n2", 4), "n3", 4).commit_index == 4
    assert has(has(leader, "n2", 4), "n4", 4).commit_index == 4


def has(leader: Server, follower_id: str, match_index: int) -> Server:
    """`leader` when this follower has answered that it has the log up to `match_index`."""
    return step(leader, received(follower_id, AppendEntriesResult(leader.current_term, True, 0, match_index))).server


def test_a_process_killed_while_it_writes_the_record_leaves_the_one_before(tmp_path: Path) -> None:
    """The new record is written beside the old one, synced, and renamed."""
    before = open_record(tmp_path, "counter", NAMES, "")
    for size in (1, 10, 100):
        die_writing(size, ADDING, tmp_path)
        assert read_record(tmp_path) == before
    note_added(tmp_path, "n4")
    after = read_record(tmp_path)
    assert isinstance(after, ClusterRecord) and after.present == (*NAMES, "n4")


ADDING = """
from pathlib import Path
from actors.happenings import CommitAdvanced, LeaderChanged
from actors.storage.record import note_added
note_added(Path(sys.argv[2]), "n4")
"""


def test_the_codec_is_measured_in_both_directions() -> None:
    """Entries that are measured are entries that are there, and bytes are those of the frame."""
    speeds = [speed for sample in codec.samples(size=64) for speed in codec.measure(sample, rounds=1, seconds=0.001)]
    assert [speed.operation for speed in speeds] == ["encode", "decode"] * 6
    thousands = [speed for speed in speeds if speed.name == "AppendEntries, 2,000 entries"]
    for speed in thousands:
        assert speed.entries_per_second == pytest.approx(2_000 * speed.messages_per_second)
        assert speed.frame_bytes > 2_000 * 64
        assert speed.megabytes_per_second == pytest.approx(speed.messages_per_second * speed.frame_bytes / 1e6)
    assert all(speed.messages_per_second > 0 for speed in speeds)


def test_http_is_measured() -> None:
    """Posts arrive, over a connection that is kept and over one each."""
    speeds = list(http_speed.messages(0.15))
    posts = [speed for speed in speeds if speed.name.startswith("post ")]
    assert len(posts) == 4
    assert all(speed.per_second > 0 and speed.p50 <= speed.p99 for speed in speeds)


def test_events_are_measured() -> None:
    """What is measured is what is meant: a watcher is told of a commit, another one of nothing, a listener of all."""
    turn = events.a_commit()
    for watchers, kind, expected in ((1, CommitAdvanced, 1), (10, CommitAdvanced, 10), (1, LeaderChanged, 0)):
        told, work = events.observing(turn, watchers, kind)
        work()
        assert told.count == expected
    watch, commits = events.watching()
    listener = events.Listener()
    listening = watch.listen(listener, watch.stream((CommitAdvanced,), capacity=events.BATCH))
    listener.hear(commits)
    assert (listener.called, listening.lost) == (events.BATCH, 0)
    watch.close()
    assert all(speed.per_second > 0 for speed in events.measure(rounds=1, seconds=0.02))
