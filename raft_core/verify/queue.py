"""Queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from raft_core.verify.operations import Operation, State, unknown_call


class QueueModel(Struct, frozen=True):
    """`enqueue(item)` and `dequeue()`, first in first out; an empty queue gives `None`, so `None` is no item."""

    initial: tuple[Any, ...] = ()

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""
        match name, arguments:
            case "enqueue", (item,) if item is not None:
                return (*state, item), None
            case "dequeue", ():
                return state[1:], state[0] if state else None
        raise unknown_call(self, name, arguments)

    def only_observes(self, name: str, result: Any) -> bool:
        """Finding the queue empty."""
        return name == "dequeue" and result is None

    def ranks(self, operations: Sequence[Operation]) -> Sequence[int]:
        """Items went in as they came out, and those that never came out went in last."""
        dequeued = {op.result: op.invoked for op in operations if op.name == "dequeue" and op.returned is not None}
        last = max(dequeued.values(), default=0) + 1
        return [dequeued.get(op.arguments[0], last) if op.name == "enqueue" else 0 for op in operations]
