"""Members as an administrator sees and wishes them: plain values, and the rules for making one of the other.

A wish is a function of the members that there are, not a list of names: so two administrators at a time, one of whom
adds n4 while the other removes n2, both get what they want, whoever is first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from actors.errors import (
    ActorumError,
    ChangeUnderWay,
    NoQuorum,
    NoSuchNode,
    NotCaughtUp,
    OutcomeUnknown,
    WrongArguments,
)
from actors.protocol import Administered, Status
from raft_core import LogIndex, ServerId, majority
from raft_core.configuration import DEFAULT_PRIORITY
from raft_core.effects import ConfigurationRefusal


class Members(Struct, frozen=True):
    """Who belongs to the cluster."""

    voters: tuple[ServerId, ...]
    learners: tuple[ServerId, ...]
    """They receive the log and do not count."""
    index: LogIndex
    """Of the entry that says so; 0 for the members the cluster began with."""
    is_committed: bool = True
    """It stays so, whoever leads next; and these are all (it is no joint phase)."""
    priorities: tuple[tuple[ServerId, int], ...] = ()
    """Who shall lead rather than others, where that is not the usual 1."""

    def priority(self, server_id: ServerId) -> int:
        """The higher, the rather it shall lead; 0: only while nobody else can."""
        return dict(self.priorities).get(server_id, DEFAULT_PRIORITY)

    def has(self, server_id: ServerId) -> bool:
        """As a voter or as a learner."""
        return server_id in self.voters or server_id in self.learners


class Wished(NamedTuple):
    """The members that somebody wishes for."""

    voters: frozenset[ServerId]
    learners: frozenset[ServerId]
    priorities: frozenset[tuple[ServerId, int]] | None = None
    """None: everybody keeps what it has."""


Wish: TypeAlias = Callable[[Members], Wished]
"""Makes the members that are wished of those that there are.  Raises if that makes no sense."""


def members_of(status: Status) -> Members:
    """The members as this peer knows them."""
    is_committed = status.configuration_index <= status.commit_index and not status.old_voters
    return Members(status.voters, status.learners, status.configuration_index, is_committed, status.priorities)


def leader_among(statuses: dict[ServerId, Status | None]) -> Status | None:
    """Of two that think so, the one of the later term."""
    leaders = [status for status in statuses.values() if status is not None and status.role == "leader"]
    return max(leaders, key=lambda status: status.term, default=None)


def is_known_to_most(leader: Status, statuses: dict[ServerId, Status | None]) -> bool:
    """Is a majority in its term?  Then nobody led a later one when we began to ask: what it says is not outdated."""
    agreeing = [name for name in leader.voters if (one := statuses.get(name)) is not None and one.term == leader.term]
    return len(agreeing) >= majority(leader.voters)


def unheard(leader: Status, voters: Iterable[ServerId], statuses: dict[ServerId, Status | None]) -> list[ServerId]:
    """Those who do not vote yet and do not follow this leader either.  Where the log is short nobody lacks much of it,
    so the core cannot tell who is new from whom the leader cannot reach; the latter would be waited for (thesis 4.2.1).
    """
    following = {name for name, one in statuses.items() if one is not None and one.leader_id == leader.server_id}
    return sorted(set(voters) - set(leader.voters) - following)


def holds(wished: Wished, now: Members) -> bool:
    """Are these the members already?"""
    is_ranked = wished.priorities in (None, frozenset(now.priorities))
    return is_ranked and wished[:2] == (frozenset(now.voters), frozenset(now.learners))


def with_learner(now: Members, server_id: ServerId) -> Wished:
    """It learns; if it votes already, it goes on voting."""
    return Wished(frozenset(now.voters), frozenset(now.learners) | ({server_id} - frozenset(now.voters)))


def with_voter(now: Members, server_id: ServerId) -> Wished:
    """A learner votes.  Raises `NoSuchNode` if it is no member."""
    if not now.has(server_id):
        raise NoSuchNode(
            f"{server_id} is no member, so it cannot vote",
            why=f"voters: {', '.join(now.voters)}; learners: {', '.join(now.learners) or 'none'}",
            fix=f"actorum members add {server_id}",
        )
    return Wished(frozenset(now.voters) | {server_id}, frozenset(now.learners) - {server_id})


def without(now: Members, server_ids: Iterable[ServerId]) -> Wished:
    """These leave.  Raises `WrongArguments` if nobody would be left to vote."""
    gone = frozenset(server_ids)
    if not frozenset(now.voters) - gone:
        raise WrongArguments(
            "a cluster needs a voter", why="all that there are would leave", fix="stop the cluster instead"
        )
    return Wished(frozenset(now.voters) - gone, frozenset(now.learners) - gone)


def with_another(now: Members, old: ServerId, new: ServerId) -> Wished:
    """One votes in the place of another, with its priority."""
    ranked = frozenset((new if name == old else name, priority) for name, priority in now.priorities if name != new)
    return Wished(frozenset(now.voters) - {old} | {new}, frozenset(now.learners) - {old, new}, ranked)


def with_priority(now: Members, server_id: ServerId, priority: int) -> Wished:
    """The same members, one of whom shall lead rather than others, or they rather than it.  Raises `NoSuchNode`."""
    if not now.has(server_id):
        raise NoSuchNode(
            f"{server_id} is no member, so it has no priority",
            why=f"voters: {', '.join(now.voters)}; learners: {', '.join(now.learners) or 'none'}",
            fix="name one of them",
        )
    ranked = dict(now.priorities) | {server_id: priority}
    others = frozenset((name, number) for name, number in ranked.items() if number != DEFAULT_PRIORITY)
    return Wished(frozenset(now.voters), frozenset(now.learners), others)


class Attempts:
    """What has become of the attempts so far."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.reason = "no leader answered"
        self.is_unknown = False

    def note(self, answer: Administered | None) -> None:
        """An attempt ended, without success."""
        if answer is not None and answer.outcome == "refused":
            self.reason = answer.reason
        else:
            self.is_unknown = True

    def error(self, health: str) -> ActorumError:
        """The time is up."""
        why = health or self.reason
        if self.is_unknown:
            return OutcomeUnknown(
                f"it is not known whether {self.what}",
                why=f"the leader that was asked did not say what became of it; since then: {why}",
                fix="look at the members (actorum members list), and ask for what is missing still",
            )
        kinds = {
            ConfigurationRefusal.NOT_CAUGHT_UP: NotCaughtUp,
            ConfigurationRefusal.CHANGE_UNDER_WAY: ChangeUnderWay,
        }
        kind = next((kind for reason, kind in kinds.items() if reason == self.reason), NoQuorum)
        return kind(f"not in time: {self.what}", why=why, fix="safe to retry: nothing changed")
