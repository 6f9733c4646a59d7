"""What may happen at one server in a search, apart from messages: timeouts, crashes, and what may be asked of it.

What an administrator and the owner of a state machine may ask for is a small, fixed menu.

Members: without any one of the voters, with any one server more, and, if the bounds say so, one exchanged for another
(that is a joint phase).  Every choice is on the menu, so that servers that differ by name alone stay alike.  Leadership
goes to any other voter.  A snapshot is taken of all that is applied, and is one byte long: what is in it, the log says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from raft_core.configuration import Snapshot
from raft_core.events import (
    ConfigurationProposed,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    Proposed,
    ReadMode,
    ReadRequested,
    SnapshotTaken,
    TransferRequested,
)
from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.situations import Bounds, Situation, Spent

CONTENT = b"."
"""Of every snapshot."""


class Wish(NamedTuple):
    """An event that may happen, what it is called, and what is spent then."""

    what: str
    event: Event
    spent: Spent


def happenings(situation: Situation, server: Server, names: Sequence[ServerId], bounds: Bounds) -> Iterator[Wish]:
    """Everything that may happen to this server in this situation, but for messages and crashes."""
    spent = situation.spent
    if isinstance(server.role, Leader):
        if spent.heartbeats < bounds.heartbeats:
            yield Wish("heartbeat", HeartbeatTimeout(), spent._replace(heartbeats=spent.heartbeats + 1))
        yield from _clients(situation, bounds)
    elif server.current_term < bounds.terms and (not bounds.timeouts or spent.timeouts < bounds.timeouts):
        more = spent._replace(timeouts=spent.timeouts + 1) if bounds.timeouts else spent
        yield Wish("timeout", ElectionTimeout(0), more)
    if bounds.changes or bounds.snapshots or bounds.transfers:
        yield from _wishes(server, names, bounds, spent)


def _clients(situation: Situation, bounds: Bounds) -> Iterator[Wish]:
    spent = situation.spent
    if spent.commands < bounds.commands:
        proposed = Proposed(spent.commands, (b"%d" % (spent.commands + 1),))
        yield Wish("propose", proposed, spent._replace(commands=spent.commands + 1))
    if spent.reads < bounds.reads:
        # The number of a read says how much was committed when it was asked for: that much it must see.
        mode = ReadMode.LEASE if bounds.leases else ReadMode.LEADER
        asked = ReadRequested((len(situation.committed),), mode)
        yield Wish("read", asked, spent._replace(reads=spent.reads + 1))


def _wishes(server: Server, names: Sequence[ServerId], bounds: Bounds, spent: Spent) -> Iterator[Wish]:
    """Everything on the menu for this server."""
    if spent.snapshots < bounds.snapshots:
        snapshot = of_what_is_applied(server)
        if snapshot is not None:
            yield Wish("snapshot", SnapshotTaken(snapshot), spent._replace(snapshots=spent.snapshots + 1))
    if not isinstance(server.role, Leader):
        return
    if spent.changes < bounds.changes:
        more = spent._replace(changes=spent.changes + 1)
        for voters in _other_members(server.configuration.voters, names, swaps=bounds.swaps):
            yield Wish("change", ConfigurationProposed(spent.changes, voters), more)
    if spent.transfers < bounds.transfers and server.current_term < bounds.terms:
        more = spent._replace(transfers=spent.transfers + 1)
        for target in server.configuration.voters:
            if target != server.server_id:
                yield Wish("transfer", TransferRequested(spent.transfers, target), more)


def _other_members(
    voters: tuple[ServerId, ...], names: Sequence[ServerId], *, swaps: bool
) -> Iterator[tuple[ServerId, ...]]:
    outside = [name for name in names if name not in voters]
    for leaving in voters:
        rest = tuple(name for name in voters if name != leaving)
        if rest:
            yield rest
        if swaps:
            for joining in outside:
                yield tuple(sorted((*rest, joining)))
    for joining in outside:
        yield tuple(sorted((*voters, joining)))


def of_what_is_applied(server: Server) -> Snapshot | None:
    """The snapshot that could be taken now; None if there is nothing new, or nobody to name in it."""
    index, before = server.last_applied, 0 if server.snapshot is None else server.snapshot.last_included_index
    term = server.log.term_at(index)
    if index <= before or term is None:
        return None
    configured = next(known for known in reversed(server.configurations) if known.index <= index)
    if not configured.configuration.voters:
        return None
    return Snapshot(index, term, configured, len(CONTENT), "")
