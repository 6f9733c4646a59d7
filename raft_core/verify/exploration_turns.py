"""A schedule that a search found, as the turns that servers take in it: what is drawn."""

from __future__ import annotations

from raft_core.effects import Send
from raft_core.verify.exploration import Explorer
from raft_core.verify.simulation import Turn
from raft_core.verify.situations import Action, Bounds


def turns_of(bounds: Bounds, schedule: tuple[Action, ...]) -> list[Turn]:
    """What the servers do in a schedule; a crash shows as the server that came back.  If the core falls over, the last
    turn is the one that makes it."""
    explorer = Explorer(bounds)
    atlas, locals_ = explorer.atlas, list(explorer.start().locals)
    turns: list[Turn] = []
    for number, action in enumerate(schedule, start=1):
        at, name, local = number * 1_000, explorer.names[action.place], locals_[action.place]
        restarted = atlas.restarted(local)
        if action.event is not None:
            try:
                outcome = atlas.outcome(local, atlas.event(action.event))
            except Exception:
                return [*turns, Turn(at, name, (action.event,), (), atlas.locals[local].server)]
            local, sent = outcome.after, outcome.sent
            if action.cut is not None:
                restarted, sent = outcome.cuts[action.cut]
            packets = [atlas.packets[packet] for packet in sorted(sent)]
            effects = tuple(Send(packet.to, packet.message) for packet in packets)
            turns.append(Turn(at, name, (action.event,), effects, atlas.locals[local].server))
        if action.event is None or action.cut is not None:
            local = restarted
            turns.append(Turn(at, name, (), (), atlas.locals[local].server))
        locals_[action.place] = local
    return turns
