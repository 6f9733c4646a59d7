"""Histories: what clients saw, what a sequential object would have answered, and what came of comparing the two.

An `Operation` is one call as its client saw it: invoked at one instant, returned at a later one, or never heard of
again. A `Model` is the object with all concurrency taken away: a state and what each call does to it.  A `Verdict`
says whether the calls can be put in one order that the model would have produced and that respects real time: an
operation that returned before another was invoked comes first (Herlihy & Wing 1990; Raft paper section 8).

Rules of this file.  Instants are integers of any monotone clock that all clients share; nothing here reads one.
Equal instants count as concurrent: a clock too coarse to tell must not accuse anyone.  *Unknown is not failed*: an
operation without a return may take effect at any time after its invocation, once, or never; an operation known to
have failed does not belong in a history at all.  States, arguments and results are hashable values.

An operation names its `key` beside its arguments, not among them: `put(value)` on key "x".  Linearizability is local
(a history is linearizable if and only if the part of every key is), so keys are checked one by one.  A history that
leaves the key among the arguments is refused by the model's pattern matching instead of being checked as if it had
one key.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence

from raft_core.verify.objects import KeyValueModel, LockModel, RegisterModel
from raft_core.verify.operations import (
    DecidingModel,
    Linearizable,
    Model,
    NotLinearizable,
    ObservingModel,
    Obstacle,
    Operation,
    RankingModel,
    SimplifyingModel,
    State,
    Undecided,
    Verdict,
    unknown_call,
)
from raft_core.verify.queue import QueueModel

__all__ = [
    "DecidingModel",
    "KeyValueModel",
    "Linearizable",
    "LockModel",
    "Model",
    "NotLinearizable",
    "ObservingModel",
    "Obstacle",
    "Operation",
    "QueueModel",
    "RankingModel",
    "RegisterModel",
    "SimplifyingModel",
    "State",
    "Undecided",
    "Verdict",
    "by_key",
    "merged",
    "unknown_call",
]


def by_key(history: Iterable[Operation]) -> dict[Hashable, list[Operation]]:
    """The operations of each key, in order of invocation."""
    parts: dict[Hashable, list[Operation]] = {}
    for operation in sorted(history, key=lambda operation: operation.invoked):
        parts.setdefault(operation.key, []).append(operation)
    return parts


def merged(orders: Iterable[Sequence[Operation]]) -> tuple[Operation, ...]:
    """One order of all keys out of one order for each.

    Each operation takes effect as early as its predecessors allow: at the latest invocation among them and itself.
    That is never after its own return, so sorting by these instants respects real time across keys as well.
    """
    streams = [_with_instants(order) for order in orders]
    return tuple(operation for _, operation in heapq.merge(*streams, key=lambda pair: pair[0]))


def _with_instants(order: Sequence[Operation]) -> list[tuple[int, Operation]]:
    pairs = []
    instant = order[0].invoked if order else 0
    for operation in order:
        instant = max(instant, operation.invoked)
        pairs.append((instant, operation))
    return pairs
