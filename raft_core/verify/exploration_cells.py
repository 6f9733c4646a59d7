"""What a search has tried: a table with a column for each role and a row for each kind of event.

A cell says in how many situations of a server the two met.  One that stays empty was not tried by any schedule, so the
search says nothing about it: it cannot happen within the bounds, or the search has no such event (it does not check
quorums, so no contact ever expires, and knows of no links, so none is renewed).

Rows and columns are those of the types `Role`, `Event` and `Message`: a new one has its own by itself, an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, get_args

from raft_core.events import Event, Received
from raft_core.messages import Message
from raft_core.roles import Role
from raft_core.state import Server

Cell: TypeAlias = tuple[str, str]
"""A role, and a kind of event; for a message that arrives, of which kind it is."""

ROLES: tuple[str, ...] = tuple(str(role.__struct_config__.tag) for role in get_args(Role))
KINDS: tuple[str, ...] = tuple(
    kind.__name__ for kind in (*get_args(Message), *get_args(Event)) if not issubclass(kind, Received)
)


def cell_of(server: Server, event: Event) -> Cell:
    """Where this step belongs."""
    happens = event.message if isinstance(event, Received) else event
    return server.role_name, type(happens).__name__


def cell_rows(cells: Mapping[Cell, int]) -> list[dict[str, object]]:
    """The table, a row for each kind of event; None where the two never met.

    >>> cell_rows({("leader", "Proposed"): 3})[KINDS.index("Proposed")]
    {'event': 'Proposed', 'follower': None, 'pre-candidate': None, 'candidate': None, 'leader': 3}
    """
    return [{"event": kind} | {role: cells.get((role, kind)) for role in ROLES} for kind in KINDS]
