"""Servers in a given role, reached by stepping real events: values in, values out, nothing built by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Effect,
    ElectionTimeout,
    Leader,
    LogPersisted,
    Message,
    Progress,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    follower,
    received,
    step,
)

NO_PRE_VOTE = Settings(pre_vote=False)


def _campaign(
    size: int = 3,
    *,
    term: int = 1,
    terms: tuple[int, ...] = (),
    commit_index: int = 0,
    settings: Settings = NO_PRE_VOTE,
) -> Server:
    names = [f"n{i}" for i in range(1, size + 1)]
    at_once = replace(settings, pre_vote=False)
    server = follower("n1", names, current_term=term - 1, terms=terms, commit_index=commit_index, settings=at_once)
    server = step(server, ElectionTimeout(0)).server
    return replace(server, settings=settings)


def _elect(
    size: int = 3,
    *,
    term: int = 1,
    terms: tuple[int, ...] = (),
    commit_index: int = 0,
    settings: Settings = NO_PRE_VOTE,
) -> Server:
    server = _campaign(size, term=term, terms=terms, commit_index=commit_index, settings=settings)
    for voter in range(2, size // 2 + 2):
        server = step(server, received(f"n{voter}", RequestVoteResult(term, vote_granted=True))).server
    assert isinstance(server.role, Leader)
    return server


def _agree(server: Server) -> Server:
    """Own disk done, everybody acknowledges everything: all is committed, every follower is streaming."""
    index, term = server.log.last_index, server.current_term
    server = step(server, LogPersisted(index, term)).server
    for peer in server.peers:
        server = step(server, received(peer, AppendEntriesResult(term, True, 0, index))).server
    assert server.commit_index == index
    return server


def _converse(leader: Server, other: Server, effects: tuple[Effect, ...]) -> tuple[Server, Server, list[Message]]:
    servers = {leader.server_id: leader, other.server_id: other}
    spoken: list[Message] = []
    pending = [(leader.server_id, effect) for effect in effects]
    while pending:
        sender, effect = pending.pop(0)
        if isinstance(effect, Send) and effect.to in servers:
            spoken.append(effect.message)
            servers[effect.to], more = step(servers[effect.to], received(sender, effect.message))
            pending.extend((effect.to, further) for further in more)
    return servers[leader.server_id], servers[other.server_id], spoken


@pytest.fixture(scope="session")
def converse() -> Callable[..., tuple[Server, Server, list[Message]]]:
    """`converse(leader, other, effects)`: deliver the leader's `effects` to `other`, and all that follows between the
    two, in order, until nobody has anything more to say; returns both and what was spoken."""
    return _converse


@pytest.fixture(scope="session")
def campaign() -> Callable[..., Server]:
    """`campaign(size, term=, terms=, commit_index=, settings=)`: n1 as a candidate of `term` that had that log."""
    return _campaign


@pytest.fixture(scope="session")
def elect() -> Callable[..., Server]:
    """`elect(size, term=, terms=, commit_index=, settings=)`: n1 just elected in `term`, its no-op still in flight."""
    return _elect


@pytest.fixture(scope="session")
def agree() -> Callable[[Server], Server]:
    """`agree(leader)`: the leader after every disk and every follower acknowledged its whole log."""
    return _agree


@pytest.fixture(scope="session")
def sent() -> Callable[..., dict[str, Message]]:
    """`sent(effects)`: the messages by receiver (the last one to each)."""

    def messages(effects: tuple[Effect, ...]) -> dict[str, Message]:
        return {effect.to: effect.message for effect in effects if isinstance(effect, Send)}

    return messages


@pytest.fixture(scope="session")
def requests() -> Callable[..., list[AppendEntries]]:
    """`requests(effects, to)`: all AppendEntries to one follower, in order."""

    def append_entries(effects: tuple[Effect, ...], to: str) -> list[AppendEntries]:
        sends = [effect for effect in effects if isinstance(effect, Send) and effect.to == to]
        return [send.message for send in sends if isinstance(send.message, AppendEntries)]

    return append_entries


@pytest.fixture(scope="session")
def progress_of() -> Callable[[Server, str], Progress]:
    """`progress_of(leader, server_id)`: what the leader knows of that follower."""

    def progress(server: Server, server_id: str) -> Progress:
        assert isinstance(server.role, Leader)
        return next(p for p in server.role.followers if p.server_id == server_id)

    return progress
