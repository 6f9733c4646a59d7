"""Paper 5.4, safety: who may be elected, and what may be counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntriesResult,
    ApplyCommitted,
    ElectionTimeout,
    LogPersisted,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    follower,
    received,
    step,
)


@pytest.mark.parametrize(("terms", "term"), [((1,), 2), ((1, 2), 3)])
def test_vote_request(terms: tuple[int, ...], term: int) -> None:
    """5.4.1: "the RPC includes information about the candidate's log"; it goes to all the others."""
    server = follower("n1", ["n2", "n3"], current_term=term - 1, terms=terms, settings=Settings(pre_vote=False))
    effects = step(server, ElectionTimeout(0)).effects
    request = RequestVote(term, "n1", len(terms), terms[-1])
    assert [effect for effect in effects if isinstance(effect, Send)] == [Send("n2", request), Send("n3", request)]


@pytest.mark.parametrize(
    ("terms", "last_log_term", "last_log_index", "granted"),
    [
        ([1], 1, 1, True),
        ([1], 1, 2, True),
        ([1, 1], 1, 1, False),
        ([1], 2, 1, True),
        ([1], 2, 2, True),
        ([1, 1], 2, 1, True),
        ([2], 1, 1, False),
        ([2], 1, 2, False),
        ([1, 2], 1, 1, False),
        ([], 0, 0, True),
    ],
)
def test_voter(terms: list[int], last_log_term: int, last_log_index: int, granted: bool) -> None:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate"; "If the logs
    have last entries with different terms, then the log with the later term is more up-to-date.  If the logs end with
    the same term, then whichever log is longer is more up-to-date"."""
    server = follower("n1", ["n2", "n3"], current_term=2, terms=terms)
    after, effects = step(server, received("n2", RequestVote(3, "n2", last_log_index, last_log_term)))
    assert Send("n2", RequestVoteResult(3, vote_granted=granted)) in effects
    assert after.voted_for == ("n2" if granted else None)
    assert after.current_term == 3


@pytest.mark.parametrize(("match_index", "commit_index"), [(1, 0), (2, 0), (3, 3)])
def test_leader_only_commits_log_from_current_term(
    match_index: int, commit_index: int, elect: Callable[..., Server]
) -> None:
    """5.4.2, Figure 8: "Raft never commits log entries from previous terms by counting replicas.  Only log entries from
    the leader's current term are committed by counting replicas; once an entry from the current term has been committed
    in this way, then all prior entries are committed indirectly"."""
    leader = elect(3, term=3, terms=(1, 2))
    leader = step(leader, LogPersisted(3, 3)).server
    leader, effects = step(leader, received("n2", AppendEntriesResult(3, True, 0, match_index)))
    assert leader.commit_index == commit_index
    applied = [effect for effect in effects if isinstance(effect, ApplyCommitted)]
    assert [len(effect.entries) for effect in applied] == ([3] if commit_index else [])
