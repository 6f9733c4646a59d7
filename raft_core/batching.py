"""Batching as pure functions: a whole mailbox drain in one go (thesis 10.2).

`step_all` folds events through `step`; `coalesce` merges what the steps asked for, so that many small requests become
one disk write and one message per peer.  Merging keeps the order contract of `raft_core.effects`: a write may move
forward to an earlier one, an answer may move back to a later one, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    Effect,
    PersistTermAndVote,
    ReceiveSnapshotChunk,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RestoreSnapshot,
    Send,
    StopHeartbeatTimer,
)
from raft_core.events import Event
from raft_core.messages import AppendEntries, AppendEntriesResult
from raft_core.state import Server, Transition
from raft_core.step import step
from raft_core.types import Settings

_NOTHING_PASSES: Final[dict[type[Effect], type[Effect]]] = {
    PersistTermAndVote: AppendToLog,
    CompactLog: AppendToLog,
    ReceiveSnapshotChunk: AppendToLog,
    RestoreSnapshot: ApplyCommitted,
}
"""No later effect of the kind on the right moves before one on the left."""
_TIMERS: Final = (ResetElectionTimer, ResetHeartbeatTimer, StopHeartbeatTimer)


def step_all(server: Server, events: Sequence[Event]) -> Transition:
    """`step` for each event in turn; the effects of all, coalesced."""
    if len(events) == 1:
        return step(server, events[0])
    effects: list[Effect] = []
    for event in events:
        server, more = step(server, event)
        effects.extend(more)
    return Transition(server, coalesce(effects, server.settings))


def coalesce(effects: Iterable[Effect], settings: Settings) -> tuple[Effect, ...]:
    """The same work in fewer effects.

    * neighbouring `AppendToLog` of one term become one, in the place of the first;
    * AppendEntries to one peer that continue each other become one, within the bounds of `settings`, in
      the place of the first;
    * of several successful AppendEntriesResult to one peer the last stays, in its own place;
    * of several timer settings of one kind the last stays; neighbouring `ApplyCommitted` become one.
    """
    merged: list[Effect | None] = []
    latest: dict[object, int] = {}
    for effect in effects:
        key = _key(effect)
        if key is not None:
            position = latest.get(key)
            earlier = None if position is None else merged[position]
            together = None if earlier is None else _merge(earlier, effect, settings)
            if together is not None and position is not None:
                if _belongs_to_the_later_place(effect):
                    merged[position] = None
                else:
                    merged[position] = together
                    continue
            latest[key] = len(merged)
        if type(effect) in _NOTHING_PASSES:
            latest.pop(_NOTHING_PASSES[type(effect)], None)
        merged.append(effect)
    return tuple([effect for effect in merged if effect is not None])


def _key(effect: Effect) -> object:
    """Effects with the same key may be merged; None: never."""
    match effect:
        case Send(to=to, message=AppendEntries() | AppendEntriesResult()):
            return (to, type(effect.message))
        case AppendToLog() | ApplyCommitted() | ResetElectionTimer():
            return type(effect)
        case ResetHeartbeatTimer() | StopHeartbeatTimer():
            return ResetHeartbeatTimer
        case _:
            return None


def _belongs_to_the_later_place(effect: Effect) -> bool:
    """Answers and timers keep the place of the last; writes, requests and applications that of the first."""
    if isinstance(effect, Send):
        return isinstance(effect.message, AppendEntriesResult)
    return isinstance(effect, _TIMERS)


def _merge(earlier: Effect, later: Effect, settings: Settings) -> Effect | None:
    """Both in one, or None if they must stay apart."""
    match earlier, later:
        case AppendToLog(), AppendToLog():
            return _merge_writes(earlier, later)
        case Send(message=AppendEntries() as first), Send(message=AppendEntries() as second):
            message = _merge_requests(first, second, settings)
            return None if message is None else Send(later.to, message)
        case Send(message=AppendEntriesResult() as first), Send(message=AppendEntriesResult() as second):
            return later if _supersedes(second, first) else None
        case ApplyCommitted(), ApplyCommitted():
            return ApplyCommitted(earlier.first_index, earlier.entries + later.entries)
        case _:
            return later


def _merge_writes(earlier: AppendToLog, later: AppendToLog) -> AppendToLog | None:
    continues = earlier.prev_log_index + len(earlier.entries) == later.prev_log_index
    if not continues or earlier.current_term != later.current_term:
        return None
    return replace(earlier, entries=earlier.entries + later.entries)


def _merge_requests(earlier: AppendEntries, later: AppendEntries, settings: Settings) -> AppendEntries | None:
    entries = earlier.entries + later.entries
    continues = earlier.prev_log_index + len(earlier.entries) == later.prev_log_index
    if not continues or earlier.term != later.term:
        return None
    if len(entries) > settings.max_entries_per_message:
        return None
    if later.entries and sum([len(entry.command) for entry in entries]) > settings.max_bytes_per_message:
        return None
    return replace(earlier, entries=entries, leader_commit=later.leader_commit, round=later.round)


def _supersedes(later: AppendEntriesResult, earlier: AppendEntriesResult) -> bool:
    """A later success of the same term vouches for all that the earlier one did."""
    return (
        earlier.success
        and later.success
        and earlier.term == later.term
        and later.match_index >= earlier.match_index
        and later.round >= earlier.round
    )
