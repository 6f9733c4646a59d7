"""What only a clock can tell: answers to heartbeats, silence, a timer that has nearly run out.  And who is told."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace

from actors.applier import ClientId
from actors.deadlines import NEVER, Deadlines
from actors.happenings import ElectionThreshold, Happening, HeartbeatAnswered, PeerReachable, PeerUnreachable
from actors.observer import Observer
from actors.protocol import Happenings, PeerMessage, WatchPeer
from raft_core import (
    AppendEntriesResult,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LogPersisted,
    RequestVoteResult,
    ResetElectionTimer,
    Server,
    Settings,
    follower,
    received,
    step_all,
)

ALONE = Settings(pre_vote=False, election_timeout=300, heartbeat_interval=50)
CLIENT: ClientId = 7


class Bench:
    """An observed server, and what its watchers were told."""

    def __init__(self, server: Server, *kinds: type[Happening]) -> None:
        self.server = server
        self.told: list[tuple[ClientId, Happenings]] = []
        self.deadlines = Deadlines(Random(1))
        self.observer = Observer(self)
        self.observer.deadlines = self.deadlines
        if kinds:
            self.watch(CLIENT, *kinds)

    def watch(self, client_id: ClientId, *kinds: type[Happening]) -> None:
        self.observer.watch(client_id, WatchPeer(1, tuple(kind.__name__ for kind in kinds)), self.server)

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        assert isinstance(message, Happenings)
        self.told.append((client_id, message))

    def turn(self, now: float, *events: Event) -> list[Any]:
        before = len(self.told)
        was, (self.server, effects) = self.server, step_all(self.server, events)
        self.observer.turn(now, events, was, self.server, effects)
        for effect in effects:
            if isinstance(effect, ResetElectionTimer):
                self.deadlines.set(effect, now)
        return [one for _, message in self.told[before:] for one in message.happenings]


def _leader() -> Server:
    server = follower("n1", ["n1", "n2", "n3"], settings=ALONE)
    server = step_all(server, [ElectionTimeout(0), received("n2", RequestVoteResult(1, True))]).server
    events: list[Event] = [
        LogPersisted(1, 1),
        *(received(name, AppendEntriesResult(1, True, 0, 1)) for name in ("n2", "n3")),
    ]
    return step_all(server, events).server


def _answer(name: str) -> Event:
    return received(name, AppendEntriesResult(1, True, 1, 1))


def test_a_heartbeat_is_timed_from_its_sending_to_its_answer() -> None:
    bench = Bench(_leader(), HeartbeatAnswered)
    assert bench.turn(1.0, HeartbeatTimeout()) == []
    (first,) = bench.turn(1.25, _answer("n2"))
    assert (first.member, first.previous, first.value) == ("n2", None, 0.25)
    bench.turn(2.0, HeartbeatTimeout())
    (second,) = bench.turn(2.5, _answer("n2"))
    assert (second.previous, second.value) == (0.25, 0.5)


def test_an_answer_that_could_be_to_either_of_two_heartbeats_is_not_timed() -> None:
    """After a lost one every time would be too long, for ever; the next is right again."""
    bench = Bench(_leader(), HeartbeatAnswered)
    bench.turn(1.0, HeartbeatTimeout())
    bench.turn(2.0, HeartbeatTimeout())
    assert bench.turn(2.5, _answer("n2")) == []
    bench.turn(3.0, HeartbeatTimeout())
    assert [one.value for one in bench.turn(3.5, _answer("n2"))] == [0.5]


def test_who_is_silent_for_an_election_timeout_is_unreachable_once_and_reachable_when_it_answers() -> None:
    bench = Bench(_leader(), PeerUnreachable, PeerReachable)
    assert bench.turn(1.0, HeartbeatTimeout()) == []
    bench.turn(1.25, _answer("n2"))
    (told,) = bench.turn(1.3125, HeartbeatTimeout())
    assert (type(told), told.member, told.value) == (PeerUnreachable, "n3", 0.3125)
    assert bench.turn(1.5, HeartbeatTimeout()) == []
    (back,) = bench.turn(2.0, _answer("n3"), _answer("n2"))
    assert (type(back), back.member, back.value) == (PeerReachable, "n3", 1.0)


def test_a_new_leadership_begins_without_a_memory_of_the_last() -> None:
    bench = Bench(_leader(), PeerUnreachable)
    bench.turn(1.0, HeartbeatTimeout())
    lost = bench.turn(1.1, received("n2", AppendEntriesResult(2, False, 0, 0)))
    assert lost == []
    bench.server = _leader()
    assert bench.turn(9.0, HeartbeatTimeout()) == []


def test_four_fifths_of_the_election_timeout_without_a_word() -> None:
    bench = Bench(follower("n1", ["n1", "n2", "n3"], settings=ALONE), ElectionThreshold)
    bench.deadlines.set(ResetElectionTimer(400), 1.0)
    assert bench.deadlines.next == 1.32
    assert bench.deadlines.due(1.31) == []
    assert len(bench.told) == 1
    assert bench.deadlines.due(1.33) == []
    (told,) = bench.told[-1][1].happenings
    assert isinstance(told, ElectionThreshold)
    assert (round(told.value, 6), told.timeout, told.at) == (0.33, 0.4, 1.33)
    assert bench.deadlines.due(1.35) == []
    assert len(bench.told) == 2


def test_a_timer_that_runs_already_is_watched_from_where_it_is() -> None:
    bench = Bench(follower("n1", ["n1", "n2", "n3"], settings=ALONE))
    bench.deadlines.set(ResetElectionTimer(1000), 1.0)
    assert bench.deadlines.next == 2.0
    bench.watch(CLIENT, ElectionThreshold)
    assert round(bench.deadlines.next, 6) == 1.8
    bench.observer.forget(CLIENT)
    assert bench.deadlines.threshold == NEVER
    assert bench.deadlines.next == 2.0


def test_a_leaders_timer_threatens_nobody() -> None:
    bench = Bench(_leader(), ElectionThreshold)
    bench.deadlines.set(ResetElectionTimer(400), 1.0)
    bench.deadlines.due(1.35)
    assert [message.happenings for _, message in bench.told] == [()]


def test_each_watcher_is_told_its_kinds_and_the_numbers_have_no_gap() -> None:
    bench = Bench(_leader(), HeartbeatAnswered)
    bench.watch(8, PeerUnreachable)
    bench.turn(1.0, HeartbeatTimeout())
    bench.turn(1.25, _answer("n2"), _answer("n3"))
    bench.turn(1.375, HeartbeatTimeout())
    bench.turn(1.5, _answer("n2"))
    bench.turn(2.0, HeartbeatTimeout())
    ours = [message for client, message in bench.told if client == CLIENT]
    assert [(message.number, len(message.happenings)) for message in ours] == [(1, 0), (1, 2), (3, 1)]
    others = [message.happenings for client, message in bench.told if client == 8]
    assert [[type(one) for one in happenings] for happenings in others] == [[], [PeerUnreachable, PeerUnreachable]]


def test_nobody_is_told_after_the_last_watcher_left() -> None:
    bench = Bench(_leader(), HeartbeatAnswered)
    assert bench.observer.is_on
    bench.watch(CLIENT)
    assert not bench.observer.is_on
    bench.watch(CLIENT, HeartbeatAnswered)
    bench.observer.forget(CLIENT)
    assert not bench.observer.is_on
    assert bench.turn(1.0, HeartbeatTimeout()) == []


def test_a_kind_of_a_later_version_is_nothing_to_an_earlier_one() -> None:
    bench = Bench(_leader())
    bench.observer.watch(CLIENT, WatchPeer(1, ("Eclipse",)), bench.server)
    assert not bench.observer.is_on
    assert replace(bench.told[0][1], batch_id=0) == Happenings(0, 1, ())
