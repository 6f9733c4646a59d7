"""`actors.compare.running` with a core that breaks what Raft promises: what the measured process must notice."""

from __future__ import annotations

from collections.abc import Sequence

from actors import interpreter
from actors.compare.running import main
from raft_core import ApplyCommitted, Entry, Event, Leader, Server, step_all
from raft_core.state import Transition


def forgetful(server: Server, events: Sequence[Event]) -> Transition:
    """As `step_all`, but a leader lets its own machine miss the first of three commands that are committed together:
    State Machine Safety (Figure 3) is broken."""
    after = step_all(server, events)
    if not isinstance(server.role, Leader):
        return after
    return Transition(
        after.server,
        tuple(
            ApplyCommitted(effect.first_index, (Entry(effect.entries[0].term), *effect.entries[1:]))
            if isinstance(effect, ApplyCommitted) and len(effect.entries) >= 3
            else effect
            for effect in after.effects
        ),
    )


if __name__ == "__main__":
    vars(interpreter)["step_all"] = forgetful
    main()
