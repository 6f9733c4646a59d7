"""What a search is about: the bounds, a situation of the whole cluster, and what may happen next."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from msgspec import Struct

from raft_core.events import Event
from raft_core.types import Entry, Round, Term
from raft_core.verify.local_states import LocalNumber, PacketNumber

NOBODY = -1


class Bounds(Struct, frozen=True, kw_only=True):
    """How much may happen in one schedule."""

    servers: int = 3
    terms: int = 2
    """No election is started in this term."""
    commands: int = 1
    reads: int = 0
    crashes: int = 1
    """Of any server, together; each comes back at once."""
    heartbeats: int = 0
    timeouts: int = 0
    """Election timeouts, together; 0: no bound."""
    changes: int = 0
    """Wishes for other members."""
    swaps: bool = False
    """Among them: one voter exchanged for another, which takes a joint phase."""
    members: int = 0
    """With so many of the servers the cluster begins; 0: with all of them.  The others start empty."""
    snapshots: int = 0
    transfers: int = 0
    leases: int = 0
    """How often a leader begins to rely on a lease; reads are by lease then, where there is one."""
    repetitions: int = 0
    """Messages that arrive and stay under way."""
    entries_per_message: int = 1
    under_way: int = 0
    """Messages under way at a time; what is more gets lost as it is sent, in every possible way.  0: no bound."""
    pre_vote: bool = False
    forgets_answered: bool = True


class Spent(NamedTuple):
    """How much has happened."""

    commands: int = 0
    reads: int = 0
    crashes: int = 0
    heartbeats: int = 0
    repetitions: int = 0
    changes: int = 0
    snapshots: int = 0
    transfers: int = 0
    timeouts: int = 0
    leases: int = 0
    relied: tuple[tuple[Term, Round], ...] = ()
    """For each term whose leader relies on a lease, the round that this was of."""


Committed: TypeAlias = tuple[tuple[Term, Entry], ...]
"""The longest log that anybody knew to be committed, with the term each entry was committed in."""


class Situation(NamedTuple):
    """Everything there is."""

    locals: tuple[LocalNumber, ...]
    packets: frozenset[PacketNumber]
    leaders: tuple[int, ...]
    """For each term, the place of the server that led in it; `NOBODY` as long as nobody did."""
    committed: Committed
    spent: Spent


class Action(NamedTuple):
    """One thing that happens."""

    what: str
    """deliver, repeat, timeout, contact expired, heartbeat, propose, read, lease, lease over, change, snapshot,
    transfer, crash; "..., crash" if the server falls in the middle."""
    place: int
    """Of the server in the list of names."""
    event: Event | None
    cut: int | None = None
    """If it falls in the middle: before which of the writes (see `local_states.Outcome`)."""
