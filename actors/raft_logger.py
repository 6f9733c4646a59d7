"""What a peer says of its server to the logger "actorum.raft", for people: roles, terms and members (INFO), and what
was refused or ignored (DEBUG).

Programs do not read this: for them there are happenings, status and reports.  Below the logger's level nothing is put
together; who calls `tell_refusals` looks at the level first, for it would look through all events of a turn.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from raft_core import ConfigurationChanged, Event, Ignored, Received, RoleChanged, Server

LOG = logging.getLogger("actorum.raft")
"""Changes of role, term or leader (INFO), and what was refused or ignored (DEBUG)."""


def tell_refusals(server: Server, events: Iterable[Event]) -> None:
    """What came from an older term was refused, or ignored (paper 5.1): say what, from whom, and both terms."""
    ours = server.current_term
    for event in events:
        if isinstance(event, Received) and event.message.term < ours:
            kind, theirs = type(event.message).__name__, event.message.term
            LOG.debug("%s refused %s of %s: its term %d, ours %d", server.server_id, kind, event.sender, theirs, ours)


def tell_members(server: Server, effect: ConfigurationChanged) -> None:
    """Who is a member now, whether that is committed or not."""
    LOG.info("%s: members of entry %d: %s", server.server_id, effect.index, effect.configuration)


def tell_role(server: Server, effect: RoleChanged) -> None:
    """What the server is now, and whom it takes for the leader."""
    LOG.info("%s is %s in term %d; leader: %s", server.server_id, effect.role, effect.term, effect.leader_id)


def tell_ignored(server: Server, effect: Ignored) -> None:
    """An event that changed nothing, and why."""
    LOG.debug("%s ignored an event: %s", server.server_id, effect.reason)
