"""Paper 5.1, Raft basics: terms are a logical clock, and the newest one wins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Follower,
    Message,
    PersistTermAndVote,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    follower,
    received,
    step,
)

HIGHER_TERM: list[Message] = [
    AppendEntries(5, "n2", 0, 0, (), 0),
    AppendEntriesResult(5, False, 0, 0),
    RequestVote(5, "n2", 0, 0, leadership_transfer=True),
    RequestVoteResult(5, vote_granted=False),
    RequestPreVoteResult(5, requested_term=3, vote_granted=False),
]
by_message = pytest.mark.parametrize("message", HIGHER_TERM, ids=lambda message: type(message).__name__)


def _adopts_the_term(server: Server, message: Message) -> None:
    after, effects = step(server, received("n2", message))
    assert after.current_term == 5
    assert isinstance(after.role, Follower)
    first_write = next(effect for effect in effects if isinstance(effect, PersistTermAndVote))
    assert first_write == PersistTermAndVote(5, None)


@by_message
def test_follower_update_term_from_message(message: Message) -> None:
    """5.1: "if one server's current term is smaller than the other's, then it updates its current term to the larger
    value"."""
    _adopts_the_term(follower("n1", ["n1", "n2", "n3"], current_term=2, voted_for="n3"), message)


@by_message
def test_candidate_update_term_from_message(message: Message, campaign: Callable[..., Server]) -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower"."""
    _adopts_the_term(campaign(term=2), message)


@by_message
def test_leader_update_term_from_message(message: Message, elect: Callable[..., Server]) -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower"."""
    _adopts_the_term(elect(term=2), message)


STALE: list[Message] = [
    AppendEntries(1, "n2", 0, 0, (), 0),
    RequestVote(1, "n2", 9, 9),
    RequestPreVote(1, "n2", 9, 9),
    AppendEntriesResult(1, True, 0, 1),
    RequestVoteResult(1, vote_granted=True),
]


@pytest.mark.parametrize("message", STALE, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_reject_stale_term_message(
    role: str, message: Message, campaign: Callable[..., Server], elect: Callable[..., Server]
) -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request"."""
    builders = {"follower": lambda: follower("n1", ["n2", "n3"], current_term=2)}
    server = (builders | {"candidate": lambda: campaign(term=2), "leader": lambda: elect(term=2)})[role]()
    after, effects = step(server, received("n2", message))
    assert after == server
    for effect in effects:
        if isinstance(effect, Send):
            answer = effect.message
            assert answer.term == 2
            assert not getattr(answer, "success", False) and not getattr(answer, "vote_granted", False)
