"""What happened is read off two states and the effects between them: a pure function, so it is tested as one."""

from __future__ import annotations

from msgspec.structs import replace

from actors import happenings
from actors.happenings import KINDS, Happening, changes
from raft_core import (
    AppendEntries,
    Configuration,
    DiskRecovered,
    DiskStalled,
    ElectionTimeout,
    Event,
    InstallSnapshot,
    Leader,
    LogPersisted,
    RequestVote,
    RequestVoteResult,
    Server,
    Settings,
    SettingsChanged,
    Snapshot,
    SnapshotReceived,
    SnapshotTaken,
    TransferRequested,
    follower,
    received,
    step_all,
)
from raft_core.configuration import Configured
from raft_core.messages import AppendEntriesResult
from raft_core.types import Entry

NAMES = ("n1", "n2", "n3")
ALONE = Settings(pre_vote=False)


def _turn(server: Server, *events: Event) -> tuple[Server, list[Happening]]:
    after, effects = step_all(server, events)
    return after, changes(1.5, server, after, effects)


def _told(server: Server, *events: Event) -> list[tuple[str, object, object]]:
    return [(type(one).__name__, one.previous, one.value) for one in _turn(server, *events)[1]]


def _leader() -> Server:
    server = follower("n1", NAMES, settings=ALONE)
    server = step_all(server, [ElectionTimeout(0), received("n2", RequestVoteResult(1, True))]).server
    return step_all(server, [LogPersisted(1, 1), received("n2", AppendEntriesResult(1, True, 0, 1))]).server


def _snapshot(index: int) -> Snapshot:
    return Snapshot(index, 1, Configured(0, Configuration(NAMES)), 3, "abc")


def test_a_turn_in_which_nothing_changed_tells_nothing() -> None:
    assert _told(follower("n1", NAMES), received("n2", RequestVoteResult(0, False))) == []


def test_a_campaign_is_told_in_the_order_of_its_steps_even_within_one_turn() -> None:
    told = _told(follower("n1", NAMES, settings=ALONE), ElectionTimeout(0), received("n2", RequestVoteResult(1, True)))
    assert told == [
        ("TermChanged", 0, 1),
        ("RoleChanged", "follower", "candidate"),
        ("RoleChanged", "candidate", "leader"),
        ("LeaderChanged", None, "n1"),
    ]


def test_a_later_term_costs_a_leader_its_role() -> None:
    assert _told(_leader(), received("n3", AppendEntriesResult(5, False, 0, 0))) == [
        ("TermChanged", 1, 5),
        ("RoleChanged", "leader", "follower"),
        ("LeaderChanged", "n1", None),
    ]


def test_several_entries_committed_in_one_turn_are_one_advance() -> None:
    entries = (Entry(1, b"x"), Entry(1, b"y"))
    told = _told(follower("n1", NAMES, current_term=1), received("n2", AppendEntries(1, "n2", 0, 0, entries, 2)))
    assert told[-1] == ("CommitAdvanced", 0, 2)
    assert [kind for kind, _, _ in told].count("CommitAdvanced") == 1


def test_everything_says_to_whom_it_happened_and_when() -> None:
    for happening in _turn(_leader(), received("n3", AppendEntriesResult(5, False, 0, 0)))[1]:
        assert (happening.source, happening.at) == ("n1", 1.5)


def test_members_are_told_as_a_whole_and_one_by_one() -> None:
    before = follower("n1", NAMES)
    other = Configured(0, Configuration(("n1", "n4"), ("n5",), ("n1", "n2")))
    found = changes(0.0, before, replace(before, configurations=(other,)), ())
    assert [(type(one).__name__, one.previous, one.value) for one in found[1:]] == [
        ("MemberAdded", None, "voter"),
        ("MemberAdded", None, "learner"),
        ("MemberRemoved", "voter", None),
    ]
    assert [getattr(one, "member", None) for one in found[1:]] == ["n4", "n5", "n3"]
    assert isinstance(found[0], happenings.MembersChanged)
    assert found[0].value is other.configuration


def test_a_snapshot_of_ones_own_was_taken() -> None:
    server = follower("n1", NAMES, current_term=1, terms=[1, 1], commit_index=2)
    server = replace(server, last_applied=2)
    assert _told(server, SnapshotTaken(_snapshot(2))) == [("SnapshotTaken", 0, 2)]


def test_a_snapshot_of_the_leaders_was_installed() -> None:
    server = follower("n1", NAMES, current_term=1)
    server = step_all(server, [received("n2", InstallSnapshot(1, "n2", _snapshot(7), 0, b"abc"))]).server
    told = _told(server, SnapshotReceived(_snapshot(7)))
    assert ("SnapshotInstalled", 0, 7) in told
    assert ("CommitAdvanced", 0, 7) in told


def test_a_transfer_ends_with_the_term_or_with_the_leaders_patience() -> None:
    asked, _ = _turn(_leader(), TransferRequested(4, "n2"))
    higher = _turn(asked, received("n2", RequestVote(2, "n2", 9, 9, leadership_transfer=True)))[1]
    ended = [one for one in higher if isinstance(one, happenings.TransferFinished)]
    assert [(one.target, one.value) for one in ended] == [("n2", "handed over")]
    _, late = _turn(asked, ElectionTimeout(0))
    given_up = [one for one in late if isinstance(one, happenings.TransferFinished)]
    assert len(given_up) == 1
    assert "did not take over" in given_up[0].value


def test_a_disk_that_hangs_and_one_that_writes_again() -> None:
    after, told = _turn(follower("n1", NAMES), DiskStalled())
    assert [type(one) for one in told] == [happenings.DiskStalled]
    assert [type(one) for one in _turn(after, DiskRecovered())[1]] == [happenings.DiskRecovered]


def test_other_settings_are_told_with_those_before() -> None:
    before, wished = Settings(), Settings(trailing_entries=3)
    assert _told(follower("n1", NAMES), SettingsChanged(wished, 0)) == [("SettingsChanged", before, wished)]


def test_each_kind_is_known_by_the_name_of_its_type() -> None:
    assert all(kind.__name__ == name and kind.__struct_config__.tag == name for name, kind in KINDS.items())
    assert isinstance(_leader().role, Leader)
