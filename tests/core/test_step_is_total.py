"""`step` is total and pure: any server, any event, absurd ones included; it never raises, and the invariants hold.

The servers are reached by stepping; the events are drawn relative to the server, so that they are about its terms and
its indices as often as not, and far beyond them at other times.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Applied,
    ApplyCommitted,
    ElectionTimeout,
    Entry,
    Event,
    HeartbeatTimeout,
    Leader,
    LeaderContactExpired,
    Log,
    LogPersisted,
    Message,
    PeerRestarted,
    PersistTermAndVote,
    Proposed,
    ReadRequested,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    Transition,
    received,
    restore,
    step,
)

T = TypeVar("T")
ABSURD = 1 << 70
NAMES = ("n1", "n2", "n2", "n3", "n3", "n4", "n5", "stranger")
COMMANDS = (b"", b"a", b"bb", b"cccccc")


class Choices:
    """Bytes as decisions: whatever hypothesis draws is *some* event, and fewer, smaller bytes are a simpler one."""

    def __init__(self, decisions: bytes) -> None:
        self.decisions = iter(decisions)

    def of(self, options: Sequence[T]) -> T:
        return options[next(self.decisions, 0) % len(options)]

    def near(self, value: int) -> int:
        return self.of((value, value, value, value + 1, max(value - 1, 0), max(value - 3, 0), 0, value + 7, ABSURD))

    def term(self, server: Server) -> int:
        term = server.current_term
        return self.of((term,) * 12 + (term + 1, term + 2, max(term - 1, 0)))

    def index(self, server: Server) -> int:
        return self.near(self.of((server.log.last_index, server.commit_index)))


def _append_entries(server: Server, choices: Choices) -> Message:
    """Anything but an entry of a later term than the message's: no leader could have made one."""
    term, prev_log_index = choices.term(server), choices.index(server)
    right_term = server.log.term_at(prev_log_index)
    wrong_term = choices.of((0, 1, server.current_term))
    prev_log_term = wrong_term if right_term is None else choices.of((right_term, right_term, right_term, wrong_term))
    count = choices.of((0, 1, 1, 2, 4))
    entries = tuple([Entry(min(choices.term(server), term), choices.of(COMMANDS)) for _ in range(count)])
    leader_commit, round = choices.index(server), choices.near(1)
    return AppendEntries(term, choices.of(NAMES), prev_log_index, prev_log_term, entries, leader_commit, round)


def _message(server: Server, choices: Choices) -> Message:
    term, index = choices.term(server), choices.index(server)
    match choices.of(range(6)):
        case 0:
            return _append_entries(server, choices)
        case 1:
            success, match_index = choices.of((True, True, False)), choices.index(server)
            hint = choices.term(server), choices.index(server)
            return AppendEntriesResult(term, success, index, match_index, *hint, choices.near(1))
        case 2:
            return RequestVote(term, choices.of(NAMES), index, choices.term(server))
        case 3:
            return RequestVoteResult(term, vote_granted=choices.of((True, True, False)))
        case 4:
            return RequestPreVote(term + 1, choices.of(NAMES), index, choices.term(server))
        case _:
            return RequestPreVoteResult(term, server.current_term + 1, vote_granted=choices.of((True, True, False)))


def _event(server: Server, choices: Choices) -> Event:
    match choices.of(range(20)):
        case 0:
            return HeartbeatTimeout()
        case 1:
            return LeaderContactExpired()
        case 2:
            return ElectionTimeout(choices.near(7))
        case 3 | 4 | 5:
            return Proposed(1, tuple([choices.of(COMMANDS) for _ in range(choices.of((1, 1, 0, 3)))]))
        case 6:
            return ReadRequested(tuple(range(choices.of((1, 0, 3)))))
        case 7 | 8:
            return LogPersisted(choices.index(server), choices.term(server))
        case 9:
            return Applied(choices.index(server))
        case 10:
            return PeerRestarted(choices.of(NAMES))
        case _:
            return received(choices.of(NAMES), _message(server, choices))


def _server(choices: Choices) -> Server:
    settings_ = Settings(
        max_in_flight=choices.of((64, 1, 2)),
        max_entries_per_message=choices.of((64, 1, 3)),
        max_bytes_per_message=choices.of((1000, 1, 6)),
        max_uncommitted_entries=choices.of((1000, 3)),
        pre_vote=choices.of((False, True)),
        check_quorum=choices.of((False, True)),
    )
    voters = [f"n{i}" for i in range(1, choices.of((3, 1, 5)) + 1)]
    entries = [Entry(term, b"e") for term in sorted(choices.of((1, 2, 3)) for _ in range(choices.of((0, 3, 6))))]
    vote = choices.of((None, "n2"))
    return restore("n1", voters, settings_, randomness=0, current_term=3, voted_for=vote, entries=entries)


def _figures_hold(server: Server) -> None:
    assert server.last_applied <= server.commit_index <= server.log.last_index
    assert server.persisted_index <= server.log.last_index
    if isinstance(server.role, Leader):
        assert server.role.uncommitted_bytes >= 0
        for progress in server.role.followers:
            assert progress.match_index < progress.next_index <= server.log.last_index + 1
            assert len(progress.in_flight) <= max(server.settings.max_in_flight, 1)


def _nothing_goes_back(before: Server, after: Server) -> None:
    assert after.current_term >= before.current_term
    assert after.commit_index >= before.commit_index
    assert after.last_applied >= before.last_applied
    if after.current_term == before.current_term:
        assert before.voted_for in (None, after.voted_for)
    committed = before.commit_index
    assert after.log.entries(1, committed) == before.log.entries(1, committed)
    if isinstance(before.role, Leader) and isinstance(after.role, Leader) and before.current_term == after.current_term:
        assert after.log.entries(1, before.log.last_index) == tuple(before.log)
        assert after.role.round >= before.role.round
        for old, new in zip(before.role.followers, after.role.followers, strict=True):
            assert new.match_index >= old.match_index


def _effects_tell_the_whole_change(before: Server, transition: Transition) -> None:
    """Carrying out the effects in order brings the disk to where memory is; nobody is told anything before that."""
    after, effects = transition
    durable: tuple[object, Log] = ((before.current_term, before.voted_for), before.log)
    applied = before.commit_index
    for effect in effects:
        match effect:
            case PersistTermAndVote(current_term=term, voted_for=vote):
                durable = ((term, vote), durable[1])
            case AppendToLog(prev_log_index=prev, entries=entries, current_term=term):
                assert (term, prev <= durable[1].last_index) == (after.current_term, True)
                durable = (durable[0], durable[1].truncate(prev).append(entries))
            case Send(message=AppendEntries()):
                pass
            case Send():
                assert durable == ((after.current_term, after.voted_for), after.log)
            case ApplyCommitted(first_index=first, entries=entries):
                assert first == applied + 1
                applied += len(entries)
                assert entries == after.log.entries(first, applied)
            case _:
                pass
    assert durable == ((after.current_term, after.voted_for), after.log)
    assert applied == after.commit_index


@settings(max_examples=1000, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.lists(st.binary(min_size=24, max_size=24), max_size=40))
def test_any_event_on_any_server_keeps_the_invariants(start: bytes, script: list[bytes]) -> None:
    """Up to forty events in a row; each is stepped twice, and the old value must still be what it was."""
    server = _server(Choices(start))
    for decisions in script:
        event = _event(server, Choices(decisions))
        entries = tuple(server.log)
        transition = step(server, event)
        assert step(server, event) == transition
        assert tuple(server.log) == entries
        _figures_hold(transition.server)
        _nothing_goes_back(server, transition.server)
        _effects_tell_the_whole_change(server, transition)
        server = transition.server


@pytest.mark.parametrize("seed", range(4))
def test_a_long_life_of_any_events_keeps_the_invariants(seed: int) -> None:
    """The same on long random lives, which get further into a leadership than short ones."""
    generator = random.Random(seed)
    roles = set()
    for _ in range(25):
        server = _server(Choices(generator.randbytes(16)))
        for _ in range(150):
            transition = step(server, _event(server, Choices(generator.randbytes(24))))
            _figures_hold(transition.server)
            _nothing_goes_back(server, transition.server)
            _effects_tell_the_whole_change(server, transition)
            server = transition.server
            roles.add(server.role_name)
    assert roles == {"follower", "pre-candidate", "candidate", "leader"}
