"""Is a history linearizable?  The front door: one verdict out of one for each key.

Linearizability is local (Herlihy & Wing 1990, theorem 1), so every key is judged alone: by the model's own shortcut, if
it has one and the shortcut applies (`raft_core.verify.counter`, `raft_core.verify.queue`), else by the general search
(`raft_core.verify.search`).  A violation on one key is a violation; the orders of all keys are merged into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from raft_core.verify.history import by_key, merged
from raft_core.verify.operations import (
    DecidingModel,
    Linearizable,
    Model,
    NotLinearizable,
    Operation,
    Undecided,
    Verdict,
)
from raft_core.verify.search import search

__all__ = ["check", "search"]


def check(history: Iterable[Operation], model: Model, *, limit: int | None = None) -> Verdict:
    """Whether `history` is linearizable with respect to `model`.

    `limit` bounds the configurations explored for each key; a search that hits it is `Undecided`.  A violation on any
    key outweighs that.

    >>> from raft_core.verify.history import RegisterModel
    >>> write = Operation("a", "write", (1,), None, invoked=0, returned=10)
    >>> stale = Operation("b", "read", (), None, invoked=20, returned=30)
    >>> bool(check([write, stale], RegisterModel()))
    False
    """
    orders: list[Sequence[Operation]] = []
    undecided: Undecided | None = None
    for operations in by_key(history).values():
        verdict = _check_one_key(operations, model, limit)
        match verdict:
            case Linearizable(order):
                orders.append(order)
            case NotLinearizable():
                return verdict
            case Undecided():
                undecided = verdict
            case _:
                assert_never(verdict)
    return Linearizable(merged(orders)) if undecided is None else undecided


def _check_one_key(operations: Sequence[Operation], model: Model, limit: int | None) -> Verdict:
    verdict = model.decide(operations) if isinstance(model, DecidingModel) else None
    return search(operations, model, limit=limit) if verdict is None else verdict
