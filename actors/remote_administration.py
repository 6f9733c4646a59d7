"""Operations on the members of a cluster that another program runs: what goes over its socket, and who carries it out.

The service calls the very methods that the program itself would call (`administrator.Administrator`, `tuning.Tuner`),
with the time that the caller allows; errors come back as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, assert_never

from msgspec import Struct

from actors.membership import Members
from actors.tuning import Tuner
from raft_core import LogIndex, ServerId, Settings


class AddMember(Struct, frozen=True, tag="add", forbid_unknown_fields=True):
    """Start a new peer and make it a member."""

    server_id: ServerId | None
    promote: bool
    timeout: float


class PromoteMember(Struct, frozen=True, tag="promote", forbid_unknown_fields=True):
    """Let a learner vote."""

    server_id: ServerId
    timeout: float


class RemoveMembers(Struct, frozen=True, tag="remove", forbid_unknown_fields=True):
    """Take peers out of the cluster and stop them."""

    server_ids: tuple[ServerId, ...]
    timeout: float


class ReplaceMember(Struct, frozen=True, tag="replace", forbid_unknown_fields=True):
    """Put a fresh peer in the place of a voter."""

    server_id: ServerId
    timeout: float


class SetMembers(Struct, frozen=True, tag="set", forbid_unknown_fields=True):
    """Let exactly these be the members."""

    voters: tuple[ServerId, ...]
    learners: tuple[ServerId, ...]
    expected_index: LogIndex | None
    timeout: float


class SetPriority(Struct, frozen=True, tag="priority", forbid_unknown_fields=True):
    """Let a member lead rather than others, or they rather than it."""

    server_id: ServerId
    priority: int
    timeout: float


class HandOver(Struct, frozen=True, tag="transfer", forbid_unknown_fields=True):
    """Let another peer lead."""

    target: ServerId | None
    timeout: float


class TakeSnapshot(Struct, frozen=True, tag="snapshot", forbid_unknown_fields=True):
    """Let a peer save its state; None: the leader."""

    server_id: ServerId | None
    timeout: float


class UpgradeMachine(Struct, frozen=True, tag="upgrade", forbid_unknown_fields=True):
    """Begin another version of the machine; None: the newest that anybody knows."""

    version: int | None
    timeout: float


class ListMembers(Struct, frozen=True, tag="members", forbid_unknown_fields=True):
    """Who belongs to the cluster?"""

    timeout: float


class Tune(Struct, frozen=True, tag="tune", forbid_unknown_fields=True):
    """Give all peers other settings."""

    changes: dict[str, int | bool]
    timeout: float


class SetLevel(Struct, frozen=True, tag="log level", forbid_unknown_fields=True):
    """Let all log at this level."""

    level: str
    timeout: float


Operation: TypeAlias = (
    AddMember
    | PromoteMember
    | RemoveMembers
    | ReplaceMember
    | SetMembers
    | SetPriority
    | HandOver
    | TakeSnapshot
    | UpgradeMachine
    | ListMembers
    | Tune
    | SetLevel
)


class Outcome(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What came of an operation; what it does not say is empty."""

    server_id: ServerId | None = None
    """The peer that is new, leads or took a snapshot."""
    index: LogIndex = 0
    """Up to which entry it did."""
    members: Members | None = None
    version: int = 0
    """Of the machine, in force now."""
    settings: Settings | None = None


def carry_out(operation: Operation, cluster: Tuner) -> Outcome:
    """Do it.  Raises what `cluster` raises."""
    timeout = operation.timeout
    match operation:
        case AddMember(server_id=server_id, promote=promote):
            return Outcome(cluster.add(server_id, promote=promote, timeout=timeout))
        case PromoteMember(server_id=server_id):
            cluster.promote(server_id, timeout=timeout)
        case RemoveMembers(server_ids=server_ids):
            cluster.remove(*server_ids, timeout=timeout)
        case ReplaceMember(server_id=server_id):
            return Outcome(cluster.replace(server_id, timeout=timeout))
        case SetMembers(voters=voters, learners=learners, expected_index=expected):
            members = cluster.set_members(voters, learners, expected_index=expected, timeout=timeout)
            return Outcome(members=members)
        case SetPriority(server_id=server_id, priority=priority):
            cluster.set_priority(server_id, priority, timeout=timeout)
        case HandOver(target=target):
            return Outcome(cluster.transfer_leadership(target, timeout=timeout))
        case TakeSnapshot(server_id=server_id):
            return Outcome(server_id, cluster.snapshot(server_id, timeout=timeout))
        case UpgradeMachine(version=version):
            return Outcome(version=cluster.upgrade(version, timeout=timeout))
        case ListMembers():
            return Outcome(members=cluster.members(timeout))
        case Tune(changes=changes):
            return Outcome(settings=cluster.change_settings(timeout=timeout, **changes))
        case SetLevel(level=level):
            cluster.set_log_level(level, timeout=timeout)
        case _:
            assert_never(operation)
    return Outcome()


class RemoteAdministrator:
    """As `Administrator`, for a cluster that another program runs; the same errors."""

    def __init__(self, ask: Callable[[Operation], Outcome], timeout: float) -> None:
        """`ask` has an operation carried out; `timeout`: seconds for each unless a call says otherwise."""
        self._carry_out = ask
        self._patience = timeout

    def _seconds(self, timeout: float | None) -> float:
        return self._patience if timeout is None else timeout

    def members(self, timeout: float | None = None) -> Members:
        """Who belongs to the cluster, as the leader has it."""
        return _members(self._carry_out(ListMembers(self._seconds(timeout))))

    def add(self, server_id: ServerId | None = None, *, promote: bool = True, timeout: float | None = None) -> ServerId:
        """Start a new peer and make it a learner, then, with `promote`, a voter; its name."""
        return _name(self._carry_out(AddMember(server_id, promote, self._seconds(timeout))))

    def promote(self, server_id: ServerId, *, timeout: float | None = None) -> None:
        """Let a learner vote, as soon as it has caught up with the log."""
        self._carry_out(PromoteMember(server_id, self._seconds(timeout)))

    def remove(self, *server_ids: ServerId, timeout: float | None = None) -> None:
        """Take these peers out of the cluster, the leader too, and stop them."""
        self._carry_out(RemoveMembers(server_ids, self._seconds(timeout)))

    def replace(self, server_id: ServerId, *, timeout: float | None = None) -> ServerId:
        """Put a fresh peer in the place of a voter that will not come back; its name."""
        return _name(self._carry_out(ReplaceMember(server_id, self._seconds(timeout))))

    def set_members(
        self,
        voters: Iterable[ServerId],
        learners: Iterable[ServerId] = (),
        *,
        expected_index: LogIndex | None = None,
        timeout: float | None = None,
    ) -> Members:
        """Let exactly these running peers be the members; with `expected_index` only if they are those of that entry
        now, else `MembersChanged`."""
        operation = SetMembers(tuple(voters), tuple(learners), expected_index, self._seconds(timeout))
        return _members(self._carry_out(operation))

    def set_priority(self, server_id: ServerId, priority: int, *, timeout: float | None = None) -> None:
        """The higher, the rather a voter shall lead; all begin with 1, and 0 leads only while nobody else can."""
        self._carry_out(SetPriority(server_id, priority, self._seconds(timeout)))

    def transfer_leadership(self, target: ServerId | None = None, *, timeout: float | None = None) -> ServerId:
        """Hand leadership over to `target`, or to whoever has most of the log; who leads now."""
        return _name(self._carry_out(HandOver(target, self._seconds(timeout))))

    def snapshot(self, server_id: ServerId | None = None, *, timeout: float | None = None) -> LogIndex:
        """Have a peer (None: the leader) save its state and shorten its log; up to which entry."""
        return self._carry_out(TakeSnapshot(server_id, self._seconds(timeout))).index

    def upgrade(self, version: int | None = None, *, timeout: float | None = None) -> int:
        """Begin another version of the machine on all replicas alike: this one, or the newest that any peer knows; the
        version that is in force then.  Refused unless every voter knows it."""
        return self._carry_out(UpgradeMachine(version, self._seconds(timeout))).version

    def change_settings(self, *, timeout: float | None = None, **changes: int | bool) -> Settings:
        """Give all peers these settings (`raft_core.Settings`, by name); what is in force then."""
        settings = self._carry_out(Tune(changes, self._seconds(timeout))).settings
        assert settings is not None
        return settings

    def set_log_level(self, level: str, *, timeout: float | None = None) -> None:
        """Let the program that runs the cluster and all peers log at this level."""
        self._carry_out(SetLevel(level, self._seconds(timeout)))


def _name(outcome: Outcome) -> ServerId:
    assert outcome.server_id is not None
    return outcome.server_id


def _members(outcome: Outcome) -> Members:
    assert outcome.members is not None
    return outcome.members
