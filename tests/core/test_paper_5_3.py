"""Paper 5.3, log replication."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    ApplyCommitted,
    Entry,
    EntryKind,
    HeartbeatTimeout,
    LogPersisted,
    Message,
    ProposalAccepted,
    Proposed,
    Send,
    Server,
    follower,
    received,
    step,
)

Elect = Callable[..., Server]
Agree = Callable[[Server], Server]
Sent = Callable[..., dict[str, Message]]
Converse = Callable[..., tuple[Server, Server, list[Message]]]


def _terms(server: Server) -> list[int]:
    return [entry.term for entry in server.log]


def test_leader_start_replication(elect: Elect, agree: Agree, sent: Sent) -> None:
    """5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to
    each of the other servers", with "the index and term of the entry in its log that immediately precedes the new
    entries"."""
    leader = agree(elect())
    after, effects = step(leader, Proposed(7, (b"some data",)))
    entries = (Entry(1, b"some data"),)
    assert after.log.last_index == 2
    assert after.commit_index == 1
    request = AppendEntries(1, "n1", 1, 1, entries, 1)
    assert sent(effects) == {"n2": request, "n3": request}
    assert AppendToLog(1, entries, 1) in effects
    assert ProposalAccepted(7, 2, 2, 1) in effects


def test_leader_commit_entry(elect: Elect, agree: Agree, sent: Sent) -> None:
    """5.3: "When the entry has been safely replicated, the leader applies the entry to its state machine"; "it includes
    that index in future AppendEntries RPCs (including heartbeats)"."""
    leader = step(agree(elect()), Proposed(7, (b"some data",))).server
    leader = step(leader, LogPersisted(2, 1)).server
    assert leader.commit_index == 1
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2)))
    assert leader.commit_index == 2
    assert ApplyCommitted(2, (Entry(1, b"some data"),)) in effects
    beats = sent(step(leader, HeartbeatTimeout()).effects)
    assert {beat.leader_commit for beat in beats.values() if isinstance(beat, AppendEntries)} == {2}


@pytest.mark.parametrize(
    ("size", "acceptors", "committed"),
    [
        (1, [], True),
        (3, [], False),
        (3, ["n2"], True),
        (3, ["n2", "n3"], True),
        (5, [], False),
        (5, ["n2"], False),
        (5, ["n2", "n3"], True),
        (5, ["n2", "n3", "n4"], True),
        (5, ["n2", "n3", "n4", "n5"], True),
    ],
)
def test_leader_acknowledge_commit(
    size: int, acceptors: list[str], committed: bool, elect: Elect, agree: Agree
) -> None:
    """5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the
    servers"."""
    leader = step(agree(elect(size)), Proposed(7, (b"some data",))).server
    leader = step(leader, LogPersisted(2, 1)).server
    for acceptor in acceptors:
        leader = step(leader, received(acceptor, AppendEntriesResult(1, True, 1, 2))).server
    assert (leader.commit_index == 2) == committed


@pytest.mark.parametrize("terms", [(), (2,), (1, 2), (1,)])
def test_leader_commit_preceding_entries(terms: tuple[int, ...], elect: Elect) -> None:
    """5.3: "This also commits all preceding entries in the leader's log, including entries created by previous
    leaders"; they are applied "in log order"."""
    leader = elect(3, term=3, terms=terms)
    last_index = len(terms) + 1
    leader = step(leader, LogPersisted(last_index, 3)).server
    leader, effects = step(leader, received("n2", AppendEntriesResult(3, True, len(terms), last_index)))
    assert leader.commit_index == last_index
    earlier = [Entry(term, b"%d" % index) for index, term in enumerate(terms, start=1)]
    assert ApplyCommitted(1, (*earlier, Entry(3, b"", EntryKind.NO_OP))) in effects


@pytest.mark.parametrize(
    ("commands", "leader_commit"),
    [((b"one",), 1), ((b"one", b"two"), 2), ((b"two", b"one"), 2), ((b"one", b"two"), 1)],
)
def test_follower_commit_entry(commands: tuple[bytes, ...], leader_commit: int) -> None:
    """5.3: "Once a follower learns that a log entry is committed, it applies the entry to its local state machine (in
    log order)"."""
    entries = tuple(Entry(1, command) for command in commands)
    request = AppendEntries(1, "n2", 0, 0, entries, leader_commit)
    after, effects = step(follower("n1", ["n2", "n3"], current_term=1), received("n2", request))
    assert after.commit_index == leader_commit
    assert ApplyCommitted(1, entries[:leader_commit]) in effects


@pytest.mark.parametrize(
    ("prev_log_index", "prev_log_term", "answer"),
    [
        (0, 0, AppendEntriesResult(2, True, 0, 0)),
        (1, 1, AppendEntriesResult(2, True, 1, 1)),
        (2, 2, AppendEntriesResult(2, True, 2, 2)),
        (2, 1, AppendEntriesResult(2, False, 2, 0, conflict_term=2, conflict_index=2)),
        (3, 3, AppendEntriesResult(2, False, 3, 0, conflict_term=0, conflict_index=3)),
    ],
)
def test_follower_check_msg_app(prev_log_index: int, prev_log_term: int, answer: AppendEntriesResult) -> None:
    """5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses the new
    entries", and "can include the term of the conflicting entry and the first index it stores for that term"."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=[1, 2], commit_index=1)
    after, effects = step(server, received("n2", AppendEntries(2, "n2", prev_log_index, prev_log_term, (), 0)))
    assert effects.count(Send("n2", answer)) == 1
    assert after.log == server.log


@pytest.mark.parametrize(
    ("prev", "new", "result", "written"),
    [
        ((2, 2), [3], [1, 2, 3], [3]),
        ((1, 1), [3, 4], [1, 3, 4], [3, 4]),
        ((0, 0), [1], [1, 2], []),
        ((0, 0), [3], [3], [3]),
    ],
)
def test_follower_append_entries(prev: tuple[int, int], new: list[int], result: list[int], written: list[int]) -> None:
    """5.3 and Figure 2, AppendEntries RPC, receiver 3 and 4: "If an existing entry conflicts with a new one (same index
    but different terms), delete the existing entry and all that follow it; append any new entries not already in the
    log"."""
    server = follower("n1", ["n2", "n3"], current_term=4, terms=[1, 2])
    entries = tuple(Entry(term, b"%d" % index) for index, term in enumerate(new, start=prev[0] + 1))
    after, effects = step(server, received("n2", AppendEntries(4, "n2", prev[0], prev[1], entries, 0)))
    assert _terms(after) == result
    writes = [effect for effect in effects if isinstance(effect, AppendToLog)]
    assert [entry.term for write in writes for entry in write.entries] == written
    assert all(write.prev_log_index == len(result) - len(written) for write in writes)
    assert Send("n2", AppendEntriesResult(4, True, prev[0], prev[0] + len(new))) in effects


FIGURE_7 = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_leader_sync_follower_log(name: str, elect: Elect, converse: Converse) -> None:
    """5.3, Figure 7: "the leader must find the latest log entry where the two logs agree, delete any entries in the
    follower's log after that point, and send the follower all of the leader's entries after that point"."""
    leader = elect(3, term=8, terms=(1, 1, 1, 4, 4, 5, 5, 6, 6, 6))
    lagging = follower("n2", ["n1", "n3"], current_term=7, terms=FIGURE_7[name])
    leader, lagging, _ = converse(leader, lagging, step(leader, HeartbeatTimeout()).effects)
    assert _terms(lagging) == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]
    assert lagging.log == leader.log
