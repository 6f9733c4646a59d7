"""Every rule of the oracle fires on what breaks it, and on nothing less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Candidate,
    CompactLog,
    Configuration,
    ConfigurationCommitted,
    Configured,
    Entry,
    Follower,
    HeartbeatTimeout,
    InstallSnapshotResult,
    Leader,
    Log,
    PersistTermAndVote,
    Progress,
    Received,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    Snapshot,
    TimeoutNow,
    Transfer,
    configuration,
    follower,
)
from raft_core.configuration import configuration_entry
from raft_core.verify.invariants import Oracle, Violation
from raft_core.verify.simulated_disk import SimulatedDisk

NAMES = ("n1", "n2", "n3")


class World:
    """Three servers in term 2, each with entries of terms 1, 1, 2 in memory and on disk; two are committed."""

    def __init__(self) -> None:
        self.disks = {name: SimulatedDisk() for name in NAMES}
        self.oracle = Oracle(dict(self.disks))
        self.servers = {name: server(name) for name in NAMES}
        for name, disk in self.disks.items():
            disk.entries = list(self.servers[name].log)
            disk.current_term = 2
        for name in NAMES:
            self.oracle.started(replace(self.servers[name], commit_index=0))
            self.oracle.moved(replace(self.servers[name], commit_index=0), self.servers[name])

    def moves(self, name: str, **changes: object) -> None:
        """`name` changes like this in one turn."""
        before = self.servers[name]
        self.servers[name] = replace(before, **changes)
        self.oracle.moved(before, self.servers[name])

    def leads(self, name: str, **progress: int) -> None:
        """`name` leads, and believes this of the first of the others."""
        others = [peer for peer in NAMES if peer != name]
        if match_index := progress.get("match_index"):
            self.oracle._answers(others[0], name, AppendEntriesResult(2, True, 0, match_index))
        self.oracle._votes[name, self.servers[name].current_term] = name
        for peer in others:
            if self.disks[peer].current_term == self.servers[name].current_term:
                self.disks[peer].voted_for = name
                self.oracle.sent(peer, name, RequestVoteResult(self.servers[name].current_term, vote_granted=True))
        first = Progress(server_id=others[0], next_index=4, **progress)  # type: ignore[arg-type]
        self.moves(name, role=Leader((first, Progress(server_id=others[1], next_index=4))))


def server(name: str) -> Server:
    return follower(name, NAMES, current_term=2, terms=[1, 1, 2], commit_index=2)


def entries(*terms: int) -> Log:
    return Log([Entry(term, b"%d" % index) for index, term in enumerate(terms, start=1)])


def _disk_term_back(world: World) -> None:
    world.disks["n1"].current_term = 1
    world.oracle.written("n1", PersistTermAndVote(1, None))


def _disk_vote_changes(world: World) -> None:
    for vote in ("n2", "n3"):
        world.disks["n1"].make_durable(change := PersistTermAndVote(2, vote))
        world.oracle.written("n1", change)


def _committed_leaves_quorum(world: World) -> None:
    for name in NAMES[:2]:
        world.disks[name].make_durable(change := AppendToLog(1, (), 2))
        world.oracle.written(name, change)


def _speaks_of_term(world: World) -> None:
    world.oracle.sent("n1", "n2", RequestVote(3, "n1", 3, 2))


def _speaks_of_vote(world: World) -> None:
    world.oracle.sent("n1", "n2", RequestVoteResult(2, vote_granted=True))


def _stands(world: World, name: str) -> None:
    world.disks[name].voted_for = name
    world.oracle.sent(name, "n1", RequestVote(2, name, 3, 2))


def _votes_twice(world: World) -> None:
    for name in ("n2", "n3"):
        world.oracle.sent("n1" if name == "n3" else "n3", name, RequestPreVoteResult(1, 2, vote_granted=True))
        _stands(world, name)
    world.disks["n1"].current_term = 3
    world.oracle.sent("n1", "n2", RequestVoteResult(2, vote_granted=True))
    world.oracle.sent("n1", "n3", RequestVoteResult(2, vote_granted=True))


def _acknowledges_too_much(world: World) -> None:
    world.oracle.sent("n1", "n2", AppendEntriesResult(2, True, 3, 4))


def _acknowledges_another(world: World) -> None:
    world.leads("n2")
    world.disks["n1"].entries[2] = Entry(1, b"other")
    world.oracle.sent("n1", "n2", AppendEntriesResult(2, True, 2, 3))


def _two_lead(world: World) -> None:
    for name in NAMES[:2]:
        world.oracle.sent(name, "n3", AppendEntries(2, name, 0, 0, (), 0))


def _term_back(world: World) -> None:
    world.moves("n1", current_term=1)


def _vote_changes(world: World) -> None:
    world.moves("n1", voted_for="n2")
    world.moves("n1", voted_for="n3")


def _commit_back(world: World) -> None:
    world.moves("n1", commit_index=1)


def _commits_what_is_not_there(world: World) -> None:
    world.moves("n1", commit_index=9)


def _believes_durable(world: World) -> None:
    world.moves("n1", persisted_index=2)
    world.disks["n1"].entries.pop()
    world.moves("n1", persisted_index=3)


def _receives_another_past(world: World) -> None:
    """A leader's snapshot is on the disk of n3, and will replace what n3 has at 3; n3 has not heard of it yet."""
    world.disks["n3"].entries[2] = Entry(1, b"3")
    world.moves("n3", log=entries(1, 1, 1))
    for name in NAMES[:2]:
        world.moves(name, commit_index=3)
    world.disks["n3"].keep(snapshot(3, 2), b".")


def _believes_durable_beside_a_snapshot(world: World) -> None:
    _receives_another_past(world)
    world.disks["n3"].entries.pop()
    world.moves("n3", log=world.servers["n3"].log.compact(2))


def _replaces_committed(world: World) -> None:
    world.moves("n1", log=entries(1, 2), persisted_index=1)


def _leader_truncates(world: World) -> None:
    world.leads("n1")
    world.moves("n1", log=entries(1, 1), persisted_index=2)


def _logs_do_not_match(world: World) -> None:
    world.moves("n1", log=world.servers["n1"].log.truncate(2).append([Entry(2, b"other")]))


def _terms_decrease(world: World) -> None:
    world.moves("n1", log=world.servers["n1"].log.append([Entry(1, b"old")]))


def _commits_another(world: World) -> None:
    for name in NAMES[:2]:
        world.moves(name, commit_index=3)
    world.disks["n3"].entries[2] = Entry(1, b"3")
    world.moves("n3", log=entries(1, 1, 1))
    world.moves("n3", commit_index=3)


def _commits_without_quorum(world: World) -> None:
    world.disks["n1"].entries.append(entry := Entry(2, b"4"))
    world.moves("n1", log=world.servers["n1"].log.append([entry]), persisted_index=4)
    world.moves("n1", commit_index=4)


def _applies_with_a_gap(world: World) -> None:
    world.oracle.applied("n1", 2, (Entry(1, b"2"),))


def _applies_another(world: World) -> None:
    world.oracle.applied("n1", 1, (Entry(1, b"other"),))


def _leads_without_committed(world: World) -> None:
    world.disks["n3"].current_term = 3
    world.moves("n3", current_term=3, log=entries(1, 1), persisted_index=2)
    for name in NAMES[:2]:
        world.moves(name, commit_index=3)
    world.leads("n3")


def _believes_no_next(world: World) -> None:
    world.leads("n1", match_index=4)


def _match_goes_back(world: World) -> None:
    world.leads("n1", match_index=3)
    world.leads("n1", match_index=2)


def _believes_what_an_older_self_was_told(world: World) -> None:
    world.disks["n2"].current_term = 3
    world.oracle.sent("n2", "n1", AppendEntriesResult(1, True, 0, 3))
    world.leads("n1")
    first, second = world.servers["n1"].role.followers  # type: ignore[union-attr]
    world.moves("n1", role=Leader((replace(first, match_index=3), second)))


def _counts_a_round_of_an_older_self(world: World) -> None:
    world.disks["n2"].current_term = 3
    world.oracle.sent("n2", "n1", AppendEntriesResult(1, True, 0, 0, round=1))
    world.leads("n1", acknowledged_round=1)


def _votes_for_nobody(world: World) -> None:
    world.disks["n1"].voted_for = "n2"
    world.oracle.sent("n1", "n2", RequestVoteResult(2, vote_granted=True))


def _stands_without_encouragement(world: World) -> None:
    world.disks["n2"].voted_for = "n2"
    world.oracle.sent("n2", "n1", RequestVote(2, "n2", 3, 2))


def _encourages_beside_a_leader(world: World) -> None:
    led = replace(world.servers["n1"], role=Follower("n3", leader_is_recent=True))
    asked = Received("n2", RequestPreVote(3, "n2", 3, 2))
    world.oracle.stepped(led, asked, (Send("n2", RequestPreVoteResult(2, 3, vote_granted=True)),))


def _speaks_of_another_term(world: World) -> None:
    asked = Received("n2", RequestVote(2, "n2", 3, 2))
    world.oracle.stepped(world.servers["n1"], asked, (Send("n2", RequestVoteResult(1, vote_granted=False)),))


def _goes_on_standing(world: World) -> None:
    stands = replace(world.servers["n1"], role=Candidate(frozenset({"n1"})))
    world.oracle.stepped(stands, Received("n2", AppendEntries(2, "n2", 0, 0, (), 0)), ())


def _believes_too_much(world: World) -> None:
    world.disks["n2"].entries.pop()
    world.leads("n1", match_index=3)


# --- members --------------------------------------------------------------------------------------------------------


def _proposes(world: World, name: str, *configurations: Configuration, commit_index: int = 3) -> None:
    """`name` leads, has committed an entry of its term (or not), and appends these."""
    world.leads(name)
    world.moves(name, commit_index=commit_index)
    for members in configurations:
        before = world.servers[name]
        log = before.log.append([configuration_entry(2, members)])
        known = (*before.configurations, Configured(log.last_index, members))
        world.moves(name, log=log, configurations=known)


def _goes_by_other_members(world: World) -> None:
    world.moves("n1", configurations=(Configured(0, configuration(["n1"])),), commit_index=3)


def _starts_with_other_members(world: World) -> None:
    log = world.servers["n1"].log.append([configuration_entry(2, configuration(["n1"]))])
    world.oracle.started(replace(world.servers["n1"], log=log))


def _changes_too_early(world: World) -> None:
    _proposes(world, "n1", configuration(NAMES[:2]), commit_index=2)


def _changes_twice(world: World) -> None:
    _proposes(world, "n1", configuration(NAMES[:2]), configuration(["n1"]))


def _changes_two_voters(world: World) -> None:
    _proposes(world, "n1", configuration(["n1"]))


def _joint_from_others(world: World) -> None:
    _proposes(world, "n1", replace(configuration(["n1"]), old_voters=("n1", "n2")))


def _stays_joint(world: World) -> None:
    joint = replace(configuration(["n1"]), old_voters=NAMES)
    _proposes(world, "n1", joint)
    for name in NAMES:
        world.disks[name].entries.append(world.servers["n1"].log.entries(4, 4)[0])
    world.moves("n1", commit_index=4)


def _commits_joint_without_old(world: World) -> None:
    joint = replace(configuration(["n1"]), old_voters=NAMES)
    _proposes(world, "n1", joint)
    world.disks["n1"].entries.append(world.servers["n1"].log.entries(4, 4)[0])
    world.moves("n1", commit_index=4)


def _leads_unelected(world: World) -> None:
    for name in NAMES:
        world.disks[name].current_term = 3
    world.moves("n1", current_term=3)
    world.moves("n1", role=Leader(()))


def _announces_uncommitted(world: World) -> None:
    world.oracle.members.says_committed("n1", ConfigurationCommitted(3, configuration(["n1"])))


def _asks_to_take_over(world: World) -> None:
    world.oracle.stepped(world.servers["n1"], HeartbeatTimeout(), (Send("n2", TimeoutNow(2, "n1")),))


def _hands_over_too_early(world: World) -> None:
    world.leads("n1")
    role = world.servers["n1"].role
    assert isinstance(role, Leader)
    world.moves("n1", role=replace(role, transfer=Transfer(1, "n2")))
    world.disks["n2"].entries.pop()
    _asks_to_take_over(world)


# --- snapshots ------------------------------------------------------------------------------------------------------


def snapshot(index: int = 2, term: int = 1, checksum: str = "", members: Configuration | None = None) -> Snapshot:
    return Snapshot(index, term, Configured(0, members or configuration(NAMES)), 1, checksum)


def _snapshot_of_uncommitted(world: World) -> None:
    world.oracle.took_snapshot("n1", snapshot(3, 2))


def _snapshot_of_another_term(world: World) -> None:
    world.oracle.took_snapshot("n1", snapshot(2, 2))


def _snapshot_with_other_members(world: World) -> None:
    world.oracle.took_snapshot("n1", snapshot(members=configuration(["n1"])))


def _snapshots_differ(world: World) -> None:
    world.oracle.took_snapshot("n1", snapshot(checksum="a"))
    world.oracle.took_snapshot("n2", snapshot(checksum="b"))


def _restores_backwards(world: World) -> None:
    world.oracle.applied("n1", 1, (Entry(1, b"1"), Entry(1, b"2")))
    world.oracle.restored("n1", snapshot())


def _cuts_disk_without_snapshot(world: World) -> None:
    world.disks["n1"].make_durable(change := CompactLog(2, 1))
    world.oracle.written("n1", change)


def _cuts_without_snapshot(world: World) -> None:
    world.moves("n1", log=world.servers["n1"].log.compact(2))


def _discards_what_is_committed(world: World) -> None:
    world.disks["n1"].keep(snapshot(1), b".")
    log = Log([Entry(2, b"2")], last_included_index=1, last_included_term=1)
    world.moves("n1", log=log, snapshot=snapshot(1), persisted_index=1)


def _says_installed(world: World) -> None:
    world.disks["n1"].entries.clear()
    world.oracle.sent("n1", "n2", InstallSnapshotResult(2, 2, 1, True))


BROKEN: list[tuple[str, Callable[[World], None]]] = [
    ("Monotonic Term", _disk_term_back),
    ("One Vote Per Term", _disk_vote_changes),
    ("Committed On A Quorum", _committed_leaves_quorum),
    ("Durable Before Spoken", _speaks_of_term),
    ("Durable Before Spoken", _speaks_of_vote),
    ("One Vote Per Term", _votes_twice),
    ("Durable Before Spoken", _acknowledges_too_much),
    ("Durable Before Spoken", _acknowledges_another),
    ("Election Safety", _two_lead),
    ("Monotonic Term", _term_back),
    ("One Vote Per Term", _vote_changes),
    ("Monotonic Indices", _commit_back),
    ("Index Order", _commits_what_is_not_there),
    ("Durable Before Counted", _believes_durable),
    ("Durable Before Counted", _believes_durable_beside_a_snapshot),
    ("Committed Immutable", _replaces_committed),
    ("Leader Append-Only", _leader_truncates),
    ("Log Matching", _logs_do_not_match),
    ("Log Matching", _terms_decrease),
    ("State Machine Safety", _commits_another),
    ("Committed On A Quorum", _commits_without_quorum),
    ("Applied In Order", _applies_with_a_gap),
    ("State Machine Safety", _applies_another),
    ("Leader Completeness", _leads_without_committed),
    ("Leader Book-Keeping", _believes_no_next),
    ("Leader Book-Keeping", _match_goes_back),
    ("Leader Book-Keeping", _believes_too_much),
    ("Leader Book-Keeping", _believes_what_an_older_self_was_told),
    ("Leader Book-Keeping", _counts_a_round_of_an_older_self),
    ("Votes For Candidates", _votes_for_nobody),
    ("Pre-Vote", _stands_without_encouragement),
    ("Pre-Vote", _encourages_beside_a_leader),
    ("Speaks In Its Term", _speaks_of_another_term),
    ("Leader Recognized", _goes_on_standing),
    ("Latest Members In Force", _goes_by_other_members),
    ("Latest Members In Force", _starts_with_other_members),
    ("Own Term First", _changes_too_early),
    ("One Change At A Time", _changes_twice),
    ("One Voter Or Joint", _changes_two_voters),
    ("One Voter Or Joint", _joint_from_others),
    ("Joint Phase Ends", _stays_joint),
    ("Committed On A Quorum", _commits_joint_without_old),
    ("Elected By A Quorum", _leads_unelected),
    ("Committed Members", _announces_uncommitted),
    ("Caught Up Before Handover", _hands_over_too_early),
    ("Snapshot Of The Committed", _snapshot_of_uncommitted),
    ("Snapshot Of The Committed", _snapshot_of_another_term),
    ("Members Of A Snapshot", _snapshot_with_other_members),
    ("State Machine Safety", _snapshots_differ),
    ("Applied In Order", _restores_backwards),
    ("Snapshot Before Cut", _cuts_disk_without_snapshot),
    ("Snapshot Before Cut", _cuts_without_snapshot),
    ("Committed Immutable", _discards_what_is_committed),
    ("Durable Before Spoken", _says_installed),
]


@pytest.mark.parametrize(("rule", "breaks"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_what_breaks_a_rule_is_called_by_its_name(rule: str, breaks: Callable[[World], None]) -> None:
    world = World()
    with pytest.raises(Violation) as caught:
        breaks(world)
    assert caught.value.rule == rule
    assert str(caught.value) == f"{rule}: {caught.value.explanation}"


def test_what_servers_may_do_breaks_no_rule() -> None:
    world = World()
    world.oracle.sent("n1", "n2", RequestPreVote(9, "n1", 3, 2))
    world.oracle.sent("n1", "n2", AppendEntriesResult(2, True, 0, 0))
    world.oracle.sent("n1", "n2", AppendEntriesResult(2, False, 5, 0))
    world.leads("n2", match_index=3)
    world.oracle.sent("n1", "n2", AppendEntriesResult(2, True, 2, 3))
    world.oracle.applied("n1", 1, (Entry(1, b"1"), Entry(1, b"2")))
    world.moves("n1", commit_index=3)
    world.oracle.stopped("n1")
    world.oracle.started(server("n1"))
    world.oracle.applied("n1", 1, (Entry(1, b"1"),))


def _leads_alone(oracle: Oracle, command: bytes) -> None:
    alone = follower("n1", ["n1"])
    oracle.started(alone)
    role = Leader((), is_silent=True)
    oracle.moved(alone, replace(alone, current_term=1, role=role, log=alone.log.append([Entry(1, command)])))


def test_what_a_server_was_in_a_term_that_never_reached_its_disk_nobody_remembers() -> None:
    oracle = Oracle({"n1": SimulatedDisk()})
    for command in (b"one", b"another"):
        _leads_alone(oracle, command)
        oracle.stopped("n1")
    assert oracle.leaders == {}


def test_what_a_server_was_in_a_term_that_reached_its_disk_is_remembered() -> None:
    disk = SimulatedDisk()
    oracle = Oracle({"n1": disk})
    _leads_alone(oracle, b"one")
    disk.current_term = 1
    oracle.stopped("n1")
    assert oracle.leaders == {1: "n1"}
    with pytest.raises(Violation, match="Log Matching"):
        _leads_alone(oracle, b"another")


def test_who_stood_and_gave_up_in_the_turn_in_which_pre_votes_became_the_rule_needed_none() -> None:
    """Its requests leave when its vote is on the disk, and by then its settings are others."""
    world = World()
    world.moves("n2", settings=Settings(pre_vote=False))
    world.moves("n2", current_term=3, voted_for="n2", settings=Settings(pre_vote=True))
    world.disks["n2"].current_term, world.disks["n2"].voted_for = 3, "n2"
    world.oracle.sent("n2", "n1", RequestVote(3, "n2", 3, 2))


def test_an_old_leader_may_hand_over_to_who_follows_a_later_one_and_will_not_listen() -> None:
    world = World()
    world.leads("n1")
    role = world.servers["n1"].role
    assert isinstance(role, Leader)
    world.moves("n1", role=replace(role, transfer=Transfer(1, "n2")))
    world.disks["n2"].entries.pop()
    world.disks["n2"].current_term = 3
    _asks_to_take_over(world)


def test_what_a_snapshot_is_going_to_replace_is_on_disk_until_then() -> None:
    """Its own older snapshot cuts the log of n3 between the arrival of a leader's snapshot and the news of it."""
    world = World()
    _receives_another_past(world)
    world.moves("n3", log=world.servers["n3"].log.compact(2), snapshot=snapshot(2))
    world.moves("n3", log=Log(last_included_index=3, last_included_term=2), commit_index=3, snapshot=snapshot(3, 2))
