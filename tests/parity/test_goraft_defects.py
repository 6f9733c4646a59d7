"""Nine defects of goraft, each shown absent by a test that has its name, where it lived.

goraft (github.com/goraft/raft) is the Raft library of Go's early years and no longer kept.  What it did wrong is worth
more than what it did right, so each defect is told in the test's first sentence; the rest says what holds here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.runtimes import RUNTIMES
from actors.sim import SimCluster
from actors.spec import RuntimeName, StorageKind
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Applied,
    ApplyCommitted,
    ConfigurationAccepted,
    ConfigurationProposed,
    ConfigurationRefusal,
    ConfigurationRefused,
    Configured,
    Effect,
    ElectionTimeout,
    Entry,
    Follower,
    InstallSnapshot,
    InstallSnapshotResult,
    Leader,
    LeaderContactExpired,
    LogPersisted,
    Proposed,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    Snapshot,
    SnapshotTaken,
    coalesce,
    configuration,
    follower,
    received,
    step,
)
from tests.parity.dying import die_writing
from tests.parity.on_disk import NAMES, SETTINGS, ServerOnDisk

MEMBERS = Configured(0, configuration(NAMES))


@pytest.fixture(params=get_args(StorageKind))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerOnDisk]:
    """Server n1 of three, once on each kind of disk."""
    with closing(ServerOnDisk(tmp_path / "n1", request.param)) as server:
        yield server


def entries(*terms: int) -> tuple[Entry, ...]:
    """Entries of these terms, each with a command of its own."""
    return tuple(Entry(term, b"%d" % number) for number, term in enumerate(terms))


def elected(
    server_id: str, names: tuple[str, ...], *, term: int = 1, terms: Sequence[int] = (), settings: Settings = SETTINGS
) -> Server:
    """`server_id` as the leader of `term`, elected by all others, with a log of `terms` before its no-op."""
    server = follower(server_id, names, current_term=term - 1, terms=terms, settings=settings)
    server = step(server, ElectionTimeout(0)).server
    for peer in server.peers:
        server = step(server, received(peer, RequestVoteResult(term, vote_granted=True))).server
    assert isinstance(server.role, Leader)
    return server


def settled_with(leader: Server, *peers: str) -> Server:
    """`leader` once its own disk and `peers` have its whole log, and so it is committed."""
    last = leader.log.last_index
    leader = step(leader, LogPersisted(last, leader.current_term)).server
    for peer in peers:
        leader = step(leader, received(peer, AppendEntriesResult(leader.current_term, True, 0, last))).server
    assert leader.commit_index == last
    return leader


def requests_to(server_id: str, effects: tuple[Effect, ...]) -> list[AppendEntries]:
    """The AppendEntries among what is sent to `server_id`."""
    sent = [effect.message for effect in effects if isinstance(effect, Send) and effect.to == server_id]
    return [message for message in sent if isinstance(message, AppendEntries)]


# --- 1 ----------------------------------------------------------------------------------------------------------------


def test_vote_amnesia(server: ServerOnDisk) -> None:
    """A server that had voted for A in term 5 voted, after a restart, for B in term 5.

    A vote that was given is given for its term: whoever is killed at once finds it on its disk (Figure 2, RequestVote
    RPC, receiver 2)."""
    assert server.hears("n2", RequestVote(5, "n2", 0, 0)) == [RequestVoteResult(5, vote_granted=True)]
    again = server.killed_and_started_again()
    assert again.hears("n3", RequestVote(5, "n3", 0, 0)) == [RequestVoteResult(5, vote_granted=False)]
    assert again.hears("n2", RequestVote(5, "n2", 0, 0)) == [RequestVoteResult(5, vote_granted=True)]
    assert again.hears("n3", RequestVote(6, "n3", 0, 0)) == [RequestVoteResult(6, vote_granted=True)]


# --- 2 ----------------------------------------------------------------------------------------------------------------


def test_lost_entries(server: ServerOnDisk) -> None:
    """Entries 1 to 3 were acknowledged; a late copy of a message with entry 1 alone cut the log to it, and said so
    with success.

    Only a conflict truncates, and success vouches for no more than the message brought (Figure 2, AppendEntries RPC,
    receiver 3)."""
    sent = entries(1, 1, 1)
    assert server.hears("n2", AppendEntries(1, "n2", 0, 0, sent, 0)) == [AppendEntriesResult(1, True, 0, 3)]
    assert server.hears("n2", AppendEntries(1, "n2", 0, 0, sent[:1], 0)) == [AppendEntriesResult(1, True, 0, 1)]
    assert tuple(server.server.log) == sent
    again = server.killed_and_started_again()
    assert tuple(again.server.log) == sent


# --- 3 ----------------------------------------------------------------------------------------------------------------


def test_wrong_up_to_date_test() -> None:
    """A candidate whose log ended with (index 2, term 2) was refused by a voter whose log ended with (index 3, term 1).

    The later last term wins; only among equal ones the longer log does (paper 5.4.1).  Pre-votes ask the same."""
    longer, later = follower("n1", NAMES, current_term=2, terms=[1, 1, 1]), (2, 2)
    assert _answer(longer, *later) == (True, True)
    shorter, earlier = follower("n1", NAMES, current_term=2, terms=[1, 2]), (3, 1)
    assert _answer(shorter, *earlier) == (False, False)


def _answer(voter: Server, last_log_index: int, last_log_term: int) -> tuple[bool, bool]:
    """Does `voter` vote, and would it, for n2 with a log that ends there?"""
    vote = step(voter, received("n2", RequestVote(3, "n2", last_log_index, last_log_term))).effects
    pre_vote = step(voter, received("n2", RequestPreVote(3, "n2", last_log_index, last_log_term))).effects
    return Send("n2", RequestVoteResult(3, vote_granted=True)) in vote, (
        Send("n2", RequestPreVoteResult(2, 3, vote_granted=True)) in pre_vote
    )


# --- 4 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(3, 9))
def test_compaction_offsets(server: ServerOnDisk, cut: int) -> None:
    """After a compaction all entries had the same position in the file; a truncation then left five on the disk and
    three in memory.

    Here log and disk agree after any truncation behind a compaction, and so does whoever is started again.
    (`tests/actors/storage/test_compaction.py` has all pairs of the two, below the server.)"""
    server.hears("n2", AppendEntries(1, "n2", 0, 0, entries(*[1] * 8), 3))
    server.happens(Applied(3))
    snapshot = server.disk.snapshots.save(3, 1, MEMBERS, MachineHost(Counter()).save())
    server.happens(SnapshotTaken(snapshot))
    assert server.server.log.last_included_index == 3
    server.hears("n3", AppendEntries(2, "n3", cut, 1, entries(2), 3))
    kept = tuple(server.server.log)
    assert [entry.term for entry in kept] == [*[1] * (cut - 3), 2]
    again = server.killed_and_started_again()
    assert tuple(again.server.log) == kept
    assert again.server.log.last_index == cut + 1


# --- 5 ----------------------------------------------------------------------------------------------------------------


def test_batch_limit_ignored() -> None:
    """With a limit of 2,000 entries for a request, one of 3,000 was sent.

    No message is longer than the limit, not even when messages that continue each other become one, and nothing is left
    out for it."""
    leader, spoken = _leader_with_3000_entries_to_send(replace(SETTINGS, max_entries_per_message=2000))
    assert [len(message.entries) for message in spoken] == [2000, 1001]
    assert tuple(chain.from_iterable(message.entries for message in spoken)) == tuple(leader.log)
    together = coalesce([Send("n2", message) for message in spoken], leader.settings)
    assert [len(message.entries) for message in requests_to("n2", together)] == [2000, 1001]


def _leader_with_3000_entries_to_send(settings: Settings) -> tuple[Server, list[AppendEntries]]:
    """A leader of 3,000 entries and its no-op, and what it sends to n2, whose log is empty."""
    leader = elected("n1", NAMES, term=2, terms=[1] * 3000, settings=settings)
    term = leader.current_term
    refusal = AppendEntriesResult(term, False, 3000, 0, 0, 1)
    leader, effects = step(leader, received("n2", refusal))
    spoken = requests_to("n2", effects)
    leader, effects = step(leader, received("n2", AppendEntriesResult(term, True, 0, len(spoken[0].entries))))
    return leader, spoken + requests_to("n2", effects)


# --- 6 ----------------------------------------------------------------------------------------------------------------


def test_snapshotting_dead_end(server: ServerOnDisk) -> None:
    """A leader died between the two calls that install a snapshot, and the follower was "snapshotting" for ever.

    Receiving is no role: with half a snapshot a server is a follower, votes, campaigns, and takes the rest, another
    snapshot or entries from whoever leads next; a restart makes no difference."""
    content = MachineHost(Counter()).save()
    half = len(content) // 2
    snapshot = _snapshot_of(9, 1, content)
    server.hears("n2", InstallSnapshot(1, "n2", snapshot, 0, content[:half]))
    assert server.server.incoming is not None and isinstance(server.server.role, Follower)
    server.happens(ElectionTimeout(0))
    assert server.server.role_name == "candidate"
    assert server.hears("n3", RequestVote(3, "n3", 9, 1)) == [RequestVoteResult(3, vote_granted=True)]
    assert server.hears("n3", AppendEntries(3, "n3", 0, 0, entries(1), 0)) == [AppendEntriesResult(3, True, 0, 1)]
    again = server.killed_and_started_again()
    assert again.server.role_name == "follower"
    (so_far,) = again.hears("n3", InstallSnapshot(3, "n3", snapshot, 0, content[:half]))
    assert isinstance(so_far, InstallSnapshotResult) and not so_far.is_installed
    (done,) = again.hears("n3", InstallSnapshot(3, "n3", snapshot, half, content[half:]))
    assert done == InstallSnapshotResult(3, 9, len(content), True)
    assert again.hears("n3", AppendEntries(3, "n3", 9, 1, entries(3), 10)) == [AppendEntriesResult(3, True, 9, 10)]


def _snapshot_of(index: int, term: int, content: bytes) -> Snapshot:
    return Snapshot(index, term, MEMBERS, len(content), sha256(content).hexdigest())


# --- 7 ----------------------------------------------------------------------------------------------------------------


def test_commit_latency_is_a_heartbeat_tick() -> None:
    """Nothing was sent when a command arrived: it lay there until the next heartbeat.

    The step that takes a command sends it to everybody, and commits it with the first answer."""
    leader = settled_with(elected("n1", NAMES), "n2", "n3")
    leader, effects = step(leader, Proposed(1, (b"x",)))
    for peer in ("n2", "n3"):
        assert [message.entries for message in requests_to(peer, effects)] == [(Entry(1, b"x"),)]
    leader = step(leader, LogPersisted(2, 1)).server
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2)))
    assert leader.commit_index == 2
    assert ApplyCommitted(2, (Entry(1, b"x"),)) in effects


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_commit_latency_is_no_heartbeat_tick_in_either_runtime(runtime: RuntimeName) -> None:
    """A hundred commands, one after the other, between two heartbeats that are twenty seconds of virtual time apart."""
    settings = Settings(election_timeout=60_000, heartbeat_interval=20_000)
    with Counter.cluster(engine="sim", runtime=runtime, seed=1, timeout=300, settings=settings) as counter:
        cluster = counter.cluster
        assert isinstance(cluster, SimCluster)
        counter.incr()
        began = cluster.now
        for _ in range(100):
            counter.incr()
        assert cluster.now - began < settings.heartbeat_interval / 1000


# --- 8 ----------------------------------------------------------------------------------------------------------------


def test_snapshot_chosen_by_string_order(server: ServerOnDisk) -> None:
    """Of the files "9_99" (term 9) and "10_5" (term 10) the first was taken for the later one.

    Numbers are compared as numbers, wherever one gets a digit more: index or term."""
    machine = MachineHost(Counter())
    for index, term in [(9, 1), (99, 9), (100, 10), (10, 2)]:
        saved = server.disk.snapshots.save(index, term, MEMBERS, machine.save())
        assert server.disk.snapshots.load(saved) == machine.save()
    newest = server.disk.snapshots.latest()
    assert newest is not None and (newest.last_included_index, newest.last_included_term) == (100, 10)
    again = server.killed_and_started_again()
    assert again.server.snapshot == newest
    assert again.server.commit_index == again.server.log.last_index == 100


# --- 9 ----------------------------------------------------------------------------------------------------------------


def _answer_to(leader: Server, *voters: str) -> ConfigurationAccepted | ConfigurationRefusal:
    """What becomes of the wish for these voters."""
    for effect in step(leader, ConfigurationProposed(1, voters)).effects:
        match effect:
            case ConfigurationAccepted():
                return effect
            case ConfigurationRefused(reason=reason):
                return reason
            case _:
                pass
    raise AssertionError("nobody was told")


def test_unguarded_membership_concurrent_joins() -> None:
    """Two joins could be under way together, each counted by another majority.

    The second waits until the first is committed (thesis 4.1)."""
    leader = settled_with(elected("n1", NAMES), "n2")
    joining = step(leader, ConfigurationProposed(1, (*NAMES, "n4"))).server
    assert _answer_to(joining, *NAMES, "n4", "n5") is ConfigurationRefusal.CHANGE_UNDER_WAY
    assert isinstance(_answer_to(settled_with(joining, "n2", "n3"), *NAMES, "n4", "n5"), ConfigurationAccepted)


def test_unguarded_membership_no_current_term_check() -> None:
    """A new leader could change the members before it had committed anything, and so commit what a server that did
    not know of it could undo (Ongaro, raft-dev, July 2015).

    Of n1 to n4, n1 adds n5 and falls with the entry known to nobody.  n2, elected by n3 and n4, may not remove n1
    before it has committed an entry of its own term; once it has, n4 no longer votes for n1."""
    four = ("n1", "n2", "n3", "n4")
    added = step(settled_with(elected("n1", four), "n2", "n3"), ConfigurationProposed(1, (*four, "n5"))).server
    assert added.configurations[-1].index > added.commit_index
    second = elected("n2", four, term=2, terms=[1])
    assert _answer_to(second, "n2", "n3", "n4") is ConfigurationRefusal.TOO_EARLY
    n4 = follower("n4", four, current_term=2, terms=[1], voted_for="n2")
    n4 = step(n4, received("n2", AppendEntries(2, "n2", 1, 1, second.log.entries(2, 2), 1))).server
    second = settled_with(second, "n3", "n4")
    assert isinstance(_answer_to(second, "n2", "n3", "n4"), ConfigurationAccepted)
    n4 = step(n4, LeaderContactExpired()).server
    refused = RequestVoteResult(3, vote_granted=False)
    assert Send("n1", refused) in step(n4, received("n1", RequestVote(3, "n1", added.log.last_index, 1))).effects


def test_unguarded_membership_recovery_could_lower_the_term(server: ServerOnDisk) -> None:
    """Loading a snapshot set current_term to the snapshot's term, below what the server had promised.

    A snapshot of an older term takes neither term nor vote back: not when it is loaded, not when it is installed."""
    content = MachineHost(Counter()).save()
    server.hears("n2", RequestVote(7, "n2", 9, 3))
    server.hears("n2", InstallSnapshot(7, "n2", _snapshot_of(5, 2, content), 0, content))
    assert (server.server.current_term, server.server.voted_for) == (7, "n2")
    server.disk.snapshots.save(9, 3, MEMBERS, content)
    again = server.killed_and_started_again()
    assert again.server.commit_index == 9
    assert (again.server.current_term, again.server.voted_for) == (7, "n2")


def test_unguarded_membership_snapshots_were_written_in_place(server: ServerOnDisk) -> None:
    """A snapshot was written under its name, so a server that fell meanwhile had half of one and nothing else.

    A process that the kernel kills in the middle of writing leaves the one before it as the latest."""
    before = server.disk.snapshots.save(5, 1, MEMBERS, MachineHost(Counter()).save())
    for size in (1, 100, 5000):
        die_writing(size, SAVING, server.directory / "snapshots")
        assert server.disk.snapshots.latest() == before
    again = server.killed_and_started_again()
    assert again.server.snapshot == before


SAVING = """
from actors.storage.snapshots import SnapshotFiles
from raft_core import Configured, configuration
snapshots = SnapshotFiles(sys.argv[2], cluster_id="c", server_id="n1", synchronous=False)
snapshots.save(9, 1, Configured(0, configuration(["n1", "n2", "n3"])), b"x" * 10_000)
"""
