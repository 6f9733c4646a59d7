"""A core that costs nothing: what is left is the runtime's own cost.

From the moment it takes the place of `step_all`, a leader accepts every proposal at the end of its log and commits it
at once; nobody is told, nothing is written, nobody campaigns.  It is no Raft, and only the control "null core" uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from raft_core import ApplyCommitted, Effect, Entry, Event, Leader, ProposalAccepted, Proposed, Server
from raft_core.state import Transition


class _Ends:
    """The last index that each server gave away.  Servers are values, and this one's is never replaced."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[Server, int]] = {}

    def take(self, server: Server, count: int) -> int:
        """The index before the next `count`."""
        _, end = self._ends.get(id(server), (server, server.log.last_index))
        self._ends[id(server)] = server, end + count
        return end


_ENDS = _Ends()


def step_all(server: Server, events: Sequence[Event]) -> Transition:
    """As `raft_core.step_all`."""
    effects: list[Effect] = []
    if isinstance(server.role, Leader):
        for event in events:
            if isinstance(event, Proposed):
                before = _ENDS.take(server, len(event.commands))
                term = server.current_term
                last = before + len(event.commands)
                effects.append(ProposalAccepted(event.proposal_id, before + 1, last, term))
                entries = tuple(Entry(term, command) for command in event.commands)
                effects.append(ApplyCommitted(before + 1, entries))
    return Transition(server, tuple(effects))
