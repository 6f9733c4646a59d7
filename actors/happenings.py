"""What happens to a peer, for those who watch: one type for each kind, with what was before and what is now.

They are derived (`changes`) from what the core was and what it is, once for each turn of the interpreter: a pure
function, the same lines for every runtime and engine, and nothing at all while nobody watches.  What can only be
measured - answers to heartbeats, silence, a timer that has nearly run out - is added by `observer`.

Rules of the file:

1. A kind is a value of its own type, so `match` knows what is in it.  Its name on the wire and in the terminal is that
   of its class.
2. `source` is the peer to which it happened, `at` the time on that peer's clock in seconds: monotonic, the same clock
   for all peers of one machine, virtual in a simulation.
3. Within a turn several changes may fall together: two entries committed are one `CommitAdvanced`.  Roles, terms and
   leaders are told one by one.

Rejected: one type with a kind and two values of any type, as in goraft (a listener would have to know by heart what
they are); telling of effects (what the core asks for is not what has become so).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, get_args

from msgspec import Struct

from raft_core import Configuration, Effect, Leader, LogIndex, Server, ServerId, Settings, Snapshot, Term
from raft_core.effects import RestoreSnapshot, TransferEnded, TransferRefusal, TransferRefused
from raft_core.effects import RoleChanged as RoleEffect


class Happened(Struct, frozen=True, tag=True, kw_only=True):
    """What all kinds have in common."""

    source: ServerId
    at: float


class RoleChanged(Happened, frozen=True, kw_only=True):
    """'follower', 'pre-candidate', 'candidate' or 'leader' (paper 5.1)."""

    previous: str
    value: str
    term: Term


class TermChanged(Happened, frozen=True, kw_only=True):
    """A later term began here."""

    previous: Term
    value: Term


class LeaderChanged(Happened, frozen=True, kw_only=True):
    """Whom this peer takes for the leader; None: it knows of none."""

    previous: ServerId | None
    value: ServerId | None
    term: Term


class CommitAdvanced(Happened, frozen=True, kw_only=True):
    """Everything up to `value` is committed, as far as this peer knows."""

    previous: LogIndex
    value: LogIndex


class MembersChanged(Happened, frozen=True, kw_only=True):
    """Other members are in force here: appended, rolled back, or of a snapshot (paper 6)."""

    previous: Configuration
    value: Configuration


class MemberAdded(Happened, frozen=True, kw_only=True):
    """With a change of members: who came, "voter" or "learner"."""

    member: ServerId
    previous: None = None
    value: str


class MemberRemoved(Happened, frozen=True, kw_only=True):
    """With a change of members: who left, and what it was."""

    member: ServerId
    previous: str
    value: None = None


class SnapshotTaken(Happened, frozen=True, kw_only=True):
    """This peer saved its state: up to which entry the one before it stood, and this one does (paper 7)."""

    previous: LogIndex
    value: LogIndex
    size: int
    """Bytes."""


class SnapshotInstalled(Happened, frozen=True, kw_only=True):
    """This peer took its state from a snapshot of the leader's."""

    previous: LogIndex
    value: LogIndex
    size: int


class TransferFinished(Happened, frozen=True, kw_only=True):
    """A leader was asked to hand over to `target`: "handed over", or why not (thesis 3.10)."""

    target: ServerId
    previous: str = "under way"
    value: str


class DiskStalled(Happened, frozen=True, kw_only=True):
    """A write has taken an election timeout and is not done: this peer can promise nothing."""

    previous: bool = False
    value: bool = True


class DiskRecovered(Happened, frozen=True, kw_only=True):
    """The disk writes again."""

    previous: bool = True
    value: bool = False


class SettingsChanged(Happened, frozen=True, kw_only=True):
    """Other timers or bounds are in force."""

    previous: Settings
    value: Settings


class ElectionThreshold(Happened, frozen=True, kw_only=True):
    """Four fifths of the election timeout have passed without a word of a leader: seconds, of `timeout` seconds."""

    previous: None = None
    value: float
    timeout: float


class PeerUnreachable(Happened, frozen=True, kw_only=True):
    """A leader has not been answered by `member` for an election timeout; `value`: for how many seconds."""

    member: ServerId
    previous: None = None
    value: float


class PeerReachable(Happened, frozen=True, kw_only=True):
    """`member` answers again, after `value` seconds of silence."""

    member: ServerId
    previous: None = None
    value: float


class HeartbeatAnswered(Happened, frozen=True, kw_only=True):
    """`member` answered a heartbeat after `value` seconds; `previous`: the time before (None: the first)."""

    member: ServerId
    previous: float | None
    value: float


Happening: TypeAlias = (
    RoleChanged
    | TermChanged
    | LeaderChanged
    | CommitAdvanced
    | MembersChanged
    | MemberAdded
    | MemberRemoved
    | SnapshotTaken
    | SnapshotInstalled
    | TransferFinished
    | DiskStalled
    | DiskRecovered
    | SettingsChanged
    | ElectionThreshold
    | PeerUnreachable
    | PeerReachable
    | HeartbeatAnswered
)

KINDS: dict[str, type[Happening]] = {kind.__name__: kind for kind in get_args(Happening)}
"""All kinds by their names."""


def changes(at: float, before: Server, after: Server, effects: Iterable[Effect]) -> list[Happening]:
    """What happened in a turn that took a server from `before` to `after`; `effects` are those of the turn."""
    source = after.server_id
    found = [*_roles(at, before, effects)]
    if after.commit_index != before.commit_index:
        found.append(CommitAdvanced(source=source, at=at, previous=before.commit_index, value=after.commit_index))
    if after.configuration != before.configuration:
        found.extend(_members(source, at, before.configuration, after.configuration))
    found.extend(_snapshots(at, before, after, effects))
    found.extend(_transfers(source, at, before, effects))
    if after.disk_is_stalled != before.disk_is_stalled:
        found.append((DiskStalled if after.disk_is_stalled else DiskRecovered)(source=source, at=at))
    if after.settings != before.settings:
        found.append(SettingsChanged(source=source, at=at, previous=before.settings, value=after.settings))
    return found


def _roles(at: float, before: Server, effects: Iterable[Effect]) -> Iterator[Happening]:
    """Each step that changed one of the three said so."""
    source = before.server_id
    role, term, leader_id = before.role_name, before.current_term, before.leader_id
    for effect in effects:
        if not isinstance(effect, RoleEffect):
            continue
        if effect.term != term:
            yield TermChanged(source=source, at=at, previous=term, value=effect.term)
        if effect.role != role:
            yield RoleChanged(source=source, at=at, previous=role, value=effect.role, term=effect.term)
        if effect.leader_id != leader_id:
            yield LeaderChanged(source=source, at=at, previous=leader_id, value=effect.leader_id, term=effect.term)
        role, term, leader_id = effect.role, effect.term, effect.leader_id


def _members(source: ServerId, at: float, before: Configuration, after: Configuration) -> Iterator[Happening]:
    yield MembersChanged(source=source, at=at, previous=before, value=after)
    for member in after.servers:
        if member not in before.servers:
            yield MemberAdded(source=source, at=at, member=member, value=_kind(after, member))
    for member in before.servers:
        if member not in after.servers:
            yield MemberRemoved(source=source, at=at, member=member, previous=_kind(before, member))


def _kind(members: Configuration, server_id: ServerId) -> str:
    return "voter" if members.has_voter(server_id) else "learner"


def _snapshots(at: float, before: Server, after: Server, effects: Iterable[Effect]) -> Iterator[Happening]:
    now = after.snapshot
    if now is None or now == before.snapshot:
        return
    installed = any(isinstance(effect, RestoreSnapshot) and effect.snapshot == now for effect in effects)
    kind = SnapshotInstalled if installed else SnapshotTaken
    previous, value = _end_of(before.snapshot), now.last_included_index
    yield kind(source=after.server_id, at=at, previous=previous, value=value, size=now.size)


def _end_of(snapshot: Snapshot | None) -> LogIndex:
    return 0 if snapshot is None else snapshot.last_included_index


def _transfers(source: ServerId, at: float, before: Server, effects: Iterable[Effect]) -> Iterator[Happening]:
    role = before.role
    transfer = role.transfer if isinstance(role, Leader) else None
    for effect in effects if transfer is not None else ():
        assert transfer is not None
        match effect:
            case TransferEnded(transfer_id=transfer.transfer_id):
                yield TransferFinished(source=source, at=at, target=transfer.target, value="handed over")
            case TransferRefused(transfer_id=transfer.transfer_id, reason=TransferRefusal.TIMED_OUT as reason):
                yield TransferFinished(source=source, at=at, target=transfer.target, value=reason.value)
            case _:
                pass
