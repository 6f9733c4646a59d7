"""Where a search may begin: not only with a new cluster, but after elections that went a certain way.

Some faults need two or three elections before anything goes wrong.  A search from the very beginning would spend all of
its time on the ways in which elections can go; a search from behind them leaves nothing out of what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from raft_core.events import ElectionTimeout, Event, Received
from raft_core.types import ServerId
from raft_core.verify.local_states import Atlas, Packet
from raft_core.verify.situations import NOBODY, Action, Bounds, Situation, Spent


class Start(NamedTuple):
    """A situation, and what led to it."""

    situation: Situation
    schedule: tuple[Action, ...]


class Election(NamedTuple):
    """One election as it went: its timer ran out once, and these voters answered, in this order."""

    leader: ServerId
    voters: tuple[ServerId, ...]
    reaches: tuple[ServerId, ...] = ()
    """To these its first message as leader is under way; whatever else is, is lost."""


def new_cluster(atlas: Atlas, bounds: Bounds) -> Start:
    """All servers are new."""
    locals_ = tuple(atlas.fresh(name) for name in atlas.names)
    return Start(Situation(locals_, frozenset(), (NOBODY,) * (bounds.terms + 1), (), Spent()), ())


def after_elections(atlas: Atlas, bounds: Bounds, elections: Sequence[Election]) -> Start:
    """One election after the other, in a new cluster."""
    start = new_cluster(atlas, bounds)
    for election in elections:
        start = _Happening(atlas, start).elect(election)
    return start


class _Happening:
    def __init__(self, atlas: Atlas, start: Start) -> None:
        self._atlas = atlas
        self._situation = start.situation
        self._actions = list(start.schedule)

    def elect(self, election: Election) -> Start:
        asked = self._happens("timeout", election.leader, ElectionTimeout(0))
        sent: list[Packet] = []
        for voter in election.voters:
            request = next(packet for packet in asked if packet.to == voter)
            for answer in self._happens("deliver", voter, Received(request.sender, request.message)):
                sent += self._happens("deliver", election.leader, Received(answer.sender, answer.message))
        place = self._atlas.names.index(election.leader)
        term = self._atlas.locals[self._situation.locals[place]].server.current_term
        before = self._situation.leaders
        leaders = (*before[:term], place, *before[term + 1 :])
        kept = frozenset(self._atlas.packet(packet) for packet in sent if packet.to in election.reaches)
        return Start(self._situation._replace(leaders=leaders, packets=kept), tuple(self._actions))

    def _happens(self, what: str, name: ServerId, event: Event) -> list[Packet]:
        place = self._atlas.names.index(name)
        before = self._situation.locals
        outcome = self._atlas.outcome(before[place], self._atlas.event(event))
        self._situation = self._situation._replace(locals=(*before[:place], outcome.after, *before[place + 1 :]))
        self._actions.append(Action(what, place, event))
        return [self._atlas.packets[number] for number in sorted(outcome.sent)]
