"""Snapshots: paper 7, Figure 13.  The golden scripts show the courses; here stand the rules one by one."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Applied,
    ApplyCommitted,
    CompactLog,
    Configured,
    Entry,
    Follower,
    HeartbeatTimeout,
    Ignored,
    Incoming,
    InstallSnapshot,
    InstallSnapshotResult,
    Leader,
    Log,
    LogPersisted,
    PeerRestarted,
    Progress,
    Proposed,
    ReceiveSnapshotChunk,
    RestoreSnapshot,
    Send,
    SendSnapshotChunk,
    Server,
    Settings,
    Snapshot,
    SnapshotReceived,
    SnapshotSpoiled,
    SnapshotTaken,
    SnapshotUnreadable,
    configuration,
    follower,
    received,
    restore,
    step,
)
from raft_core.configuration import configuration_entry

Build = Callable[..., Server]
NAMES = ["n1", "n2", "n3"]
CONTENT = b"0123456789"
EAGER = Settings(pre_vote=False, trailing_entries=0, snapshot_chunk_bytes=4)


def snapshot(index: int, term: int = 1, content: bytes = CONTENT) -> Snapshot:
    members = Configured(0, configuration(NAMES))
    return Snapshot(index, term, members, len(content), sha256(content).hexdigest())


def part(shot: Snapshot, offset: int, end: int, term: int = 1) -> InstallSnapshot:
    return InstallSnapshot(term, "n1", shot, offset, CONTENT[offset:end])


def _sent(effects: tuple[object, ...]) -> list[object]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


# --- The log.


def test_a_compacted_log_answers_for_the_last_entry_it_dropped() -> None:
    log = Log([Entry(1), Entry(1), Entry(2), Entry(3)]).compact(3)
    assert [log.term_at(index) for index in range(6)] == [None, None, None, 2, 3, None]
    assert (log.last_index, log.last_term, len(log)) == (4, 3, 1)
    assert Log([Entry(1)]).compact(1).last_term == 1


def test_a_log_that_was_compacted_before_is_compacted_again() -> None:
    whole = Log([Entry(term) for term in (1, 1, 2, 2, 3)])
    assert whole.compact(2).compact(4) == whole.compact(4)


# --- Taken here.


def _committed(terms: tuple[int, ...], settings: Settings = EAGER) -> Server:
    server = follower("n2", NAMES, current_term=terms[-1], terms=terms, commit_index=len(terms), settings=settings)
    return step(server, Applied(len(terms))).server


def test_the_log_is_cut_behind_a_snapshot() -> None:
    after, effects = step(_committed((1, 1, 2)), SnapshotTaken(snapshot(2)))
    assert effects == (CompactLog(2, 1),)
    assert (after.log.last_included_index, after.log.last_index, after.snapshot) == (2, 3, snapshot(2))


def test_trailing_entries_stay() -> None:
    server = _committed((1,) * 9, replace(EAGER, trailing_entries=3))
    after, effects = step(server, SnapshotTaken(snapshot(8)))
    assert (effects, len(after.log)) == ((CompactLog(5, 1),), 4)
    assert step(after, SnapshotTaken(snapshot(8))).effects == (Ignored("an older snapshot"),)


def test_a_snapshot_that_cuts_nothing_is_kept_in_mind() -> None:
    server = _committed((1,) * 9, replace(EAGER, trailing_entries=9))
    after, effects = step(server, SnapshotTaken(snapshot(8)))
    assert (effects, after.snapshot, after.log) == ((), snapshot(8), server.log)


@pytest.mark.parametrize("shot", [snapshot(2, term=7), snapshot(9)])
def test_a_snapshot_of_something_else_is_ignored(shot: Snapshot) -> None:
    server = _committed((1, 1, 2))
    assert step(server, SnapshotTaken(shot)) == (server, (Ignored("a snapshot of what is not in the log"),))


def test_a_snapshot_of_what_is_not_committed_is_ignored() -> None:
    server = follower("n2", NAMES, current_term=1, terms=(1, 1), settings=EAGER)
    assert step(server, SnapshotTaken(snapshot(2))).server == server


# --- Receiving (Figure 13).


def _behind(**changes: object) -> Server:
    """A follower that hears n1 and has one entry."""
    server = follower("n2", NAMES, current_term=1, terms=(1,), settings=EAGER)
    return replace(server, **{"role": Follower("n1", leader_is_recent=True), **changes})


def test_an_older_leader_is_told_the_term() -> None:
    """Receiver 1."""
    server = _behind(current_term=3)
    after, effects = step(server, received("n1", part(snapshot(5), 0, 4)))
    assert (after, _sent(effects)) == (server, [InstallSnapshotResult(3, 5, 0, False)])


def test_a_second_leader_of_the_term_is_ignored(elect: Build) -> None:
    leader = elect(3)
    assert step(leader, received("n2", part(snapshot(5), 0, 4))).server == leader


def test_a_part_goes_to_the_disk_and_the_next_one_is_asked_for() -> None:
    """Receiver 2 and 3."""
    after, effects = step(_behind(), received("n1", part(snapshot(5), 0, 4)))
    assert effects[1:] == (
        ReceiveSnapshotChunk(snapshot(5), 0, CONTENT[:4]),
        Send("n1", InstallSnapshotResult(1, 5, 4, False)),
    )
    assert (after.incoming, after.leader_id) == (Incoming(snapshot(5), 4), "n1")
    assert not ReceiveSnapshotChunk(snapshot(5), 0, CONTENT[:4]).is_last


@pytest.mark.parametrize("stray", [part(snapshot(5), 0, 4), part(snapshot(5), 6, 8), part(snapshot(5), 4, 4)])
def test_a_part_that_is_not_the_next_is_not_written(stray: InstallSnapshot) -> None:
    """Repeated, overtaken or empty: the answer says which one is missing."""
    server = _behind(incoming=Incoming(snapshot(5), 4))
    after, effects = step(server, received("n1", stray))
    assert after.incoming == server.incoming
    assert effects[1:] == (Send("n1", InstallSnapshotResult(1, 5, 4, False)),)


def test_a_part_that_goes_beyond_the_end_is_not_written() -> None:
    too_long = InstallSnapshot(1, "n1", snapshot(5), 4, b"x" * 7)
    after = step(_behind(incoming=Incoming(snapshot(5), 4)), received("n1", too_long)).server
    assert after.incoming == Incoming(snapshot(5), 4)


def test_another_snapshot_begins_anew() -> None:
    other = snapshot(6, content=b"9876543210")
    message = InstallSnapshot(1, "n1", other, 0, b"9876")
    after = step(_behind(incoming=Incoming(snapshot(5), 8)), received("n1", message)).server
    assert after.incoming == Incoming(other, 4)


def test_the_last_part_is_answered_by_the_disk_alone() -> None:
    server = _behind(incoming=Incoming(snapshot(5), 8))
    after, effects = step(server, received("n1", part(snapshot(5), 8, 10)))
    assert effects[1:] == (ReceiveSnapshotChunk(snapshot(5), 8, CONTENT[8:]),)
    assert ReceiveSnapshotChunk(snapshot(5), 8, CONTENT[8:]).is_last
    again = step(after, received("n1", part(snapshot(5), 8, 10)))
    assert (again.server, again.effects[1:]) == (after, (Ignored("the disk is checking the snapshot"),))


def test_what_is_committed_needs_no_snapshot() -> None:
    """A stale one is declined, and never leads back (Figure 13; goraft lowered its term here)."""
    server = _committed((1, 1, 2))
    after, effects = step(server, received("n1", part(snapshot(2), 0, 4, term=2)))
    assert (after.log, after.commit_index, after.current_term) == (server.log, 3, 2)
    assert _sent(effects) == [InstallSnapshotResult(2, 2, len(CONTENT), True)]


def test_a_sound_snapshot_replaces_a_log_that_ends_before_it() -> None:
    """Receiver 7 and 8."""
    server = _behind(incoming=Incoming(snapshot(5), 10))
    after, effects = step(server, SnapshotReceived(snapshot(5)))
    assert effects == (
        CompactLog(5, 1, discards_all=True),
        RestoreSnapshot(snapshot(5)),
        Send("n1", InstallSnapshotResult(1, 5, 10, True)),
    )
    assert (after.log.last_index, after.log.last_term, after.commit_index, after.persisted_index) == (5, 1, 5, 5)
    assert (after.snapshot, after.incoming) == (snapshot(5), None)


def test_a_snapshot_keeps_the_entries_behind_it() -> None:
    """Receiver 6; and of the members the later ones."""
    later = configuration_entry(1, configuration(["n1", "n2", "n3", "n4"]))
    entries = [Entry(1, b"a"), Entry(1, b"b"), later]
    server = restore("n2", NAMES, EAGER, randomness=0, current_term=1, entries=entries)
    after, effects = step(server, SnapshotReceived(snapshot(2)))
    assert effects == (CompactLog(2, 1), RestoreSnapshot(snapshot(2)))
    assert (after.log.entries(3, 3), after.commit_index, after.persisted_index) == ((later,), 2, 3)
    assert [known.index for known in after.configurations] == [0, 3]


def test_a_snapshot_replaces_entries_of_another_term() -> None:
    server = follower("n2", NAMES, current_term=2, terms=(1, 1, 1), settings=EAGER)
    after, effects = step(server, SnapshotReceived(snapshot(2, term=2)))
    assert effects[0] == CompactLog(2, 2, discards_all=True)
    assert (after.log.last_index, len(after.log), after.persisted_index) == (2, 0, 2)


def test_a_snapshot_that_was_overtaken_while_it_came_is_of_no_use() -> None:
    server = replace(_committed((1, 1, 2)), incoming=Incoming(snapshot(2), 10))
    after, effects = step(server, SnapshotReceived(snapshot(2)))
    assert after == replace(server, incoming=None)
    assert effects == (Ignored("committed entries have overtaken the snapshot"),)


def test_the_state_machine_gets_the_snapshot_and_then_what_follows() -> None:
    """Nothing that the snapshot covers is applied again."""
    server = step(_behind(), SnapshotReceived(snapshot(5))).server
    effects = step(server, received("n1", AppendEntries(1, "n1", 5, 1, (Entry(1, b"x"),), 6))).effects
    assert ApplyCommitted(6, (Entry(1, b"x"),)) in effects


def test_a_spoiled_snapshot_is_asked_for_again() -> None:
    server = _behind(incoming=Incoming(snapshot(5), 10))
    after, effects = step(server, SnapshotSpoiled(snapshot(5)))
    assert (after.incoming, effects) == (None, (Send("n1", InstallSnapshotResult(1, 5, 0, False)),))
    assert step(replace(server, role=follower("n2", NAMES).role), SnapshotSpoiled(snapshot(5))).effects == ()
    assert step(after, SnapshotSpoiled(snapshot(5))).effects == (Ignored("a snapshot that is not being received"),)


# --- Entries beside a snapshot.


def test_entries_that_a_snapshot_covers_are_not_appended_again() -> None:
    """What stands before the log is committed, so it is the leader's too (Leader Completeness)."""
    server = step(_committed((1, 1, 2)), SnapshotTaken(snapshot(2))).server
    repeated = AppendEntries(2, "n1", 0, 0, (Entry(1, b"1"), Entry(1, b"2"), Entry(2, b"3"), Entry(2, b"4")), 3)
    after, effects = step(server, received("n1", repeated))
    assert AppendToLog(3, (Entry(2, b"4"),), 2) in effects
    assert _sent(effects) == [AppendEntriesResult(2, True, 0, 4)]
    assert after.log.last_index == 4


def test_the_entry_before_the_log_must_have_its_term() -> None:
    server = step(_committed((1, 1, 2)), SnapshotTaken(snapshot(3, term=2))).server
    heartbeat = AppendEntries(2, "n1", 3, 1, (), 0)
    (result,) = _sent(step(server, received("n1", heartbeat)).effects)
    assert isinstance(result, AppendEntriesResult)
    assert not result.success


# --- Sending.


def _leading(elect: Build) -> Server:
    """A leader whose log begins behind entry 3; n2 has all, n3 nothing."""
    leader = elect(3, terms=(1, 1, 1), term=2, settings=EAGER)
    leader = step(leader, LogPersisted(4, 2)).server
    leader = step(leader, received("n2", AppendEntriesResult(2, True, 3, 4))).server
    return step(leader, SnapshotTaken(snapshot(3))).server


def _progress(server: Server, name: str = "n3") -> Progress:
    assert isinstance(server.role, Leader)
    return next(progress for progress in server.role.followers if progress.server_id == name)


def _sending(elect: Build) -> Server:
    refusal = AppendEntriesResult(2, False, 3, 0, 0, 1)
    return step(_leading(elect), received("n3", refusal)).server


def test_a_follower_that_needs_what_is_gone_is_sent_the_snapshot(elect: Build) -> None:
    effects = step(_leading(elect), received("n3", AppendEntriesResult(2, False, 3, 0, 0, 1))).effects
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(3), 0, 4),)


def test_the_answer_says_where_to_go_on(elect: Build) -> None:
    after, effects = step(_sending(elect), received("n3", InstallSnapshotResult(2, 3, 4, False)))
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(3), 4, 4),)
    effects = step(after, received("n3", InstallSnapshotResult(2, 3, 8, False))).effects
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(3), 8, 2),)


@pytest.mark.parametrize("offset", [0, 10, 99])
def test_a_repeated_or_senseless_answer_sends_nothing_twice(elect: Build, offset: int) -> None:
    effects = step(_sending(elect), received("n3", InstallSnapshotResult(2, 3, offset, False))).effects
    assert effects == (Ignored("that part is under way"),)


def test_an_answer_about_another_snapshot_is_ignored(elect: Build) -> None:
    effects = step(_sending(elect), received("n3", InstallSnapshotResult(2, 2, 4, False))).effects
    assert effects == (Ignored("a snapshot that is not being sent"),)
    effects = step(_sending(elect), received("n3", InstallSnapshotResult(2, 77, 4, True))).effects
    assert effects == (Ignored("an answer to what was never asked"),)


def test_an_answer_to_a_former_leader_is_ignored() -> None:
    effects = step(_behind(), received("n3", InstallSnapshotResult(1, 3, 4, False))).effects
    assert effects == (Ignored("an answer to a leader that is one no more"),)


def test_entries_follow_the_snapshot(elect: Build) -> None:
    after, effects = step(_sending(elect), received("n3", InstallSnapshotResult(2, 3, 10, True)))
    assert [type(message) for message in _sent(effects)] == [AppendEntries]
    assert (_progress(after).match_index, _progress(after).next_index, _progress(after).sending) == (3, 4, None)


def test_heartbeats_go_on_and_a_lost_part_is_sent_again(elect: Build) -> None:
    """At the second heartbeat: at the first one the answer may well be under way."""
    once, effects = step(_sending(elect), HeartbeatTimeout())
    to_n3 = [effect for effect in effects if isinstance(effect, Send | SendSnapshotChunk) and effect.to == "n3"]
    assert to_n3 == [Send("n3", AppendEntries(2, "n1", 0, 0, (), 4))]
    heard = step(once, received("n3", AppendEntriesResult(2, True, 0, 0))).server
    twice, effects = step(heard, HeartbeatTimeout())
    assert SendSnapshotChunk("n3", 2, snapshot(3), 0, 4) in effects
    heard = step(twice, received("n3", AppendEntriesResult(2, True, 0, 0))).server
    assert SendSnapshotChunk("n3", 2, snapshot(3), 0, 4) not in step(heard, HeartbeatTimeout()).effects


def test_parts_do_not_pile_up_on_the_way_to_who_is_silent(elect: Build) -> None:
    server = _sending(elect)
    for _ in range(5):
        server, effects = step(server, HeartbeatTimeout())
        assert not any(isinstance(effect, SendSnapshotChunk) for effect in effects)
    for answer in (AppendEntriesResult(2, True, 0, 0), AppendEntriesResult(2, False, 4, 0, 0, 1)):
        heard = step(server, received("n3", answer)).server
        assert SendSnapshotChunk("n3", 2, snapshot(3), 0, 4) in step(heard, HeartbeatTimeout()).effects


def _cut_behind_what_is_sent(elect: Build) -> Server:
    """One more entry is committed, and in a snapshot that has cut the log behind the one that is being sent."""
    server = step(_sending(elect), received("n2", AppendEntriesResult(2, True, 3, 4))).server
    server = step(server, SnapshotTaken(snapshot(4, 2))).server
    assert server.log.last_included_index == 4
    return server


def test_a_later_snapshot_takes_the_place_of_one_that_would_not_do_any_more(elect: Build) -> None:
    cut = _cut_behind_what_is_sent(elect)
    effects = step(cut, received("n3", InstallSnapshotResult(2, 3, 4, False))).effects
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(4, 2), 0, 4),)
    overdue = step(cut, HeartbeatTimeout()).server
    heard = step(overdue, received("n3", AppendEntriesResult(2, True, 0, 0))).server
    assert SendSnapshotChunk("n3", 2, snapshot(4, 2), 0, 4) in step(heard, HeartbeatTimeout()).effects


def test_it_does_so_once_and_is_sent_to_its_end(elect: Build) -> None:
    """Else none would ever arrive where they are taken faster than they can be sent."""
    second = step(_cut_behind_what_is_sent(elect), received("n3", InstallSnapshotResult(2, 3, 4, False))).server
    third = step(_proposed(second), SnapshotTaken(snapshot(5, 2))).server
    assert third.log.last_included_index == 5
    effects = step(third, received("n3", InstallSnapshotResult(2, 4, 4, False))).effects
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(4, 2), 4, 4),)
    effects = step(third, received("n3", InstallSnapshotResult(2, 4, 10, True))).effects
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(5, 2), 0, 4),)


def _proposed(server: Server) -> Server:
    """One more command is committed."""
    server = step(server, Proposed(1, (b"x",))).server
    index = server.log.last_index
    server = step(server, LogPersisted(index, 2)).server
    return step(server, received("n2", AppendEntriesResult(2, True, index - 1, index))).server


def test_an_answer_to_a_heartbeat_does_not_end_the_sending(elect: Build) -> None:
    after = step(_sending(elect), received("n3", AppendEntriesResult(2, True, 0, 0))).server
    assert _progress(after).sending is not None
    assert _progress(after).is_active
    assert step(after, received("n3", AppendEntriesResult(2, True, 0, 0))) == (after, ())


def test_a_follower_that_has_the_entries_after_all_is_sent_entries(elect: Build) -> None:
    after = step(_sending(elect), received("n3", AppendEntriesResult(2, True, 2, 3))).server
    assert (_progress(after).sending, _progress(after).match_index) == (None, 3)


def test_a_new_link_begins_the_sending_anew(elect: Build) -> None:
    effects = step(_sending(elect), PeerRestarted("n3")).effects
    assert SendSnapshotChunk("n3", 2, snapshot(3), 0, 4) in effects


def test_a_snapshot_that_is_gone_gives_way_to_the_latest(elect: Build) -> None:
    server = _sending(elect)
    assert step(server, SnapshotUnreadable(snapshot(3))).effects == (Ignored("there is no later snapshot to send"),)
    newer = step(server, SnapshotTaken(snapshot(4, term=2))).server
    after, effects = step(newer, SnapshotUnreadable(snapshot(3)))
    assert effects == (SendSnapshotChunk("n3", 2, snapshot(4, term=2), 0, 4),)
    assert step(after, SnapshotUnreadable(snapshot(3))).effects == ()


# --- Starting from one.


def test_a_restart_begins_where_the_snapshot_ends() -> None:
    """What it covers is committed and applied; the members are the snapshot's, unless the log names later ones."""
    entries = [Entry(1, b"3"), configuration_entry(1, configuration(["n1", "n2"]))]
    server = restore(
        "n2", [], EAGER, randomness=0, current_term=1, entries=entries, snapshot=snapshot(3), last_included=(2, 1)
    )
    assert (server.commit_index, server.last_applied, server.log.last_index, server.persisted_index) == (3, 3, 4, 4)
    assert [known.configuration for known in server.configurations] == [
        configuration(NAMES),
        configuration(["n1", "n2"]),
    ]
