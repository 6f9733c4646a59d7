"""A peer in full, and the entries of its log, as they are told to those who ask.

Both are read off one server value, which never changes: a peer spends one message on them, and what is said fits
together.  Rejected: reading a peer's files from outside (they say what is on disk, not what is going on, and belong to
one process).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from actors.codec import decode_command
from actors.errors import BadFrame
from raft_core import Configured, Leader, LogIndex, Server, ServerId, Settings, Snapshot, Term
from raft_core.types import Entry, EntryKind

PAGE = 256
"""Entries in one answer at most."""


class FollowerReport(Struct, frozen=True):
    """What a leader knows of one follower (Figure 2, "Volatile state on leaders")."""

    server_id: ServerId
    next_index: LogIndex
    match_index: LogIndex
    is_probing: bool
    """Where the logs agree is not known yet."""
    in_flight: int
    """Messages with entries that are not answered."""
    is_active: bool
    """Heard from since the leader last checked its quorum."""
    last_contact: float | None
    """Seconds since anything arrived from it; None: nothing ever did."""
    snapshot_index: LogIndex | None
    """It is being sent the snapshot that ends with this entry."""
    snapshot_offset: int | None
    """Bytes of that which it has."""


class Details(Struct, frozen=True):
    """A peer in full: what is not in its `Status`.  Times are seconds."""

    voted_for: ServerId | None
    last_term: Term
    """Of the last entry."""
    last_included_term: Term
    """Of the entry before the first."""
    configurations: tuple[Configured, ...]
    """Members and the entry that names them: the last are in force, the first are committed."""
    election_timeout: float
    """The one that was drawn last."""
    settings: Settings
    snapshot: Snapshot | None
    followers: tuple[FollowerReport, ...]
    """Of a leader."""
    last_contact: float | None
    """Seconds since anything arrived from the leader, of which it knows."""
    has_lease: bool
    """This leader reads without asking."""
    transfer_target: ServerId | None
    """To whom leadership is being handed over."""
    uncommitted_bytes: int
    waiting_reads: int
    disk_is_stalled: bool
    unconfirmed_writes: int
    ignored_events: int
    watchers: int
    """Clients that are told what happens to it."""
    log_level: str
    """Of the loggers "actorum.*" in its process."""
    metrics: dict[str, float]
    """What its runtime measures: durations in seconds, counts."""


class EntryView(Struct, frozen=True, array_like=True):
    """One entry of a log, without its content."""

    index: LogIndex
    term: Term
    kind: str
    """"command", "no_op" or "configuration"."""
    size: int
    """Bytes of its content."""
    name: str = ""
    """Of the command; of what it is not known, nothing."""
    session: int = 0
    """Of the client that asked for it; 0 of none."""
    sequence: int = 0
    """Its number in that session."""


def details(
    server: Server,
    contacts: Mapping[ServerId, float],
    *,
    unconfirmed_writes: int,
    ignored_events: int,
    watchers: int,
    log_level: str,
    metrics: dict[str, float],
) -> Details:
    """Everything about `server`.  `contacts`: seconds since each other peer was heard."""
    leader = server.role if isinstance(server.role, Leader) else None
    transfer = leader.transfer if leader is not None else None
    return Details(
        voted_for=server.voted_for,
        last_term=server.log.last_term,
        last_included_term=server.log.last_included_term,
        configurations=server.configurations,
        election_timeout=server.election_timeout / 1000,
        settings=server.settings,
        snapshot=server.snapshot,
        followers=() if leader is None else tuple(_followers(leader, contacts)),
        last_contact=None if server.leader_id is None else contacts.get(server.leader_id),
        has_lease=leader is not None and leader.has_lease,
        transfer_target=None if transfer is None else transfer.target,
        uncommitted_bytes=0 if leader is None else leader.uncommitted_bytes,
        waiting_reads=_waiting_reads(server),
        disk_is_stalled=server.disk_is_stalled,
        unconfirmed_writes=unconfirmed_writes,
        ignored_events=ignored_events,
        watchers=watchers,
        log_level=log_level,
        metrics=metrics,
    )


def _followers(leader: Leader, contacts: Mapping[ServerId, float]) -> Iterator[FollowerReport]:
    for progress in leader.followers:
        sending = progress.sending
        yield FollowerReport(
            server_id=progress.server_id,
            next_index=progress.next_index,
            match_index=progress.match_index,
            is_probing=progress.is_probing,
            in_flight=len(progress.in_flight),
            is_active=progress.is_active,
            last_contact=contacts.get(progress.server_id),
            snapshot_index=None if sending is None else sending.snapshot.last_included_index,
            snapshot_offset=None if sending is None else sending.offset,
        )


def _waiting_reads(server: Server) -> int:
    role = server.role
    pending = getattr(role, "pending_reads", ()) + getattr(role, "early_reads", ())
    return sum(len(read.read_ids) for read in pending) + len(getattr(role, "asked_reads", ()))


def page(server: Server, first: LogIndex, last: LogIndex) -> tuple[EntryView, ...]:
    """The entries from `first` on, as far as the log has them, up to `last` and `PAGE` of them."""
    begin = max(first, server.log.last_included_index + 1)
    end = min(last, server.log.last_index, begin + PAGE - 1)
    return tuple([_view(begin + number, entry) for number, entry in enumerate(server.log.entries(begin, end))])


def _view(index: LogIndex, entry: Entry) -> EntryView:
    kind, size = entry.kind.name.lower(), len(entry.command)
    if entry.kind is not EntryKind.COMMAND:
        return EntryView(index, entry.term, kind, size)
    try:
        command = decode_command(entry.command)
    except BadFrame:  # offered as it was, by `OfferCommand`
        return EntryView(index, entry.term, kind, size)
    return EntryView(index, entry.term, kind, size, command.name, command.session, command.sequence)
