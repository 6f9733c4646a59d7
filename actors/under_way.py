"""What a client's session has under way, as values: what was asked, of whom, and who waits for the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from actors.calls import Call
from actors.protocol import Asking, ClientMessage, Consistency, PeerAnswer
from raft_core import ServerId

Question: TypeAlias = Callable[[int], Asking]
"""What one peer is asked, made from the number by which it will answer."""
Told: TypeAlias = Callable[[PeerAnswer | None], None]
"""Who is told the answer; None: there will be none."""

Answer = tuple[Call[Any], bytes]
"""A call, and the reply it is to be resolved with."""


@dataclass(slots=True)
class Command:
    """To be applied exactly once."""

    name: str
    arguments: bytes
    call: Call[Any]
    is_exposed: bool = False
    """It was sent to somebody who never said what became of it."""


@dataclass(slots=True)
class Query:
    """It changes nothing and may be asked any number of times."""

    name: str
    arguments: bytes
    consistency: Consistency
    call: Call[Any]
    max_staleness: float | None = None
    was_asked: bool = False
    """Somebody did not answer it."""


@dataclass(slots=True)
class Batch:
    """Sent to one peer and not (wholly) answered yet."""

    server_id: ServerId
    sent_at: float
    sequences: list[int] = field(default_factory=list)
    query: Query | None = None
    opens_session: bool = False
    answered: int = 0


@dataclass(slots=True)
class Inspection:
    """One peer was asked: how it is, or to do something that nobody else could do for it."""

    server_id: ServerId
    sent_at: float
    told: Told


class Outgoing(NamedTuple):
    """A message for a peer."""

    server_id: ServerId
    message: ClientMessage
