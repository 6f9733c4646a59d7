"""The objects that histories are checked against: a register, a key-value store, a lock.

Each is a state, what every call does to it, and two hints to the search.  Which calls only look can be told from
their results alone.  And which *values* can be told apart can be told from the whole history: a value that no read
returned and no swap expected has been seen by nobody, so all such values are one, `HIDDEN`.  Where most writes are
overwritten unread, that is what keeps a search short that would try them in every order.

The queue and the counter have modules of their own: they know shortcuts.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from raft_core.verify.operations import Operation, State, unknown_call

HIDDEN = ("a value that nobody has seen",)
"""Stands for all of them."""


class RegisterModel(Struct, frozen=True):
    """`write(value)` and `read()`."""

    initial: State = None

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""
        match name, arguments:
            case "read", ():
                return state, state
            case "write", (value,):
                return value, None
        raise unknown_call(self, name, arguments)

    def only_observes(self, name: str, result: Any) -> bool:
        """Reads."""
        return name == "read"

    def simplified(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Values that were never read are one."""
        seen = {op.result for op in operations if op.name == "read" and op.returned is not None}
        return _with_hidden_values(operations, seen)

    def loosened(self, operation: Operation) -> Operation | None:
        """A read does nothing."""
        return None if operation.name == "read" else replace(operation, result=None, returned=None)


class KeyValueModel(Struct, frozen=True):
    """One key of a key-value store: `get()`, `put(value)`, `delete()` `cas(expected, value)`, which says if it took.

    A key that is absent has the value `None`.
    """

    initial: State = None

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""
        match name, arguments:
            case "get", ():
                return state, state
            case "put", (value,):
                return value, None
            case "delete", ():
                return None, None
            case "cas", (expected, value):
                return (value, True) if state == expected else (state, False)
        raise unknown_call(self, name, arguments)

    def only_observes(self, name: str, result: Any) -> bool:
        """Reads and refused swaps."""
        return name == "get" or result is False

    def simplified(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Values that were never read, nor expected by a swap, are one."""
        seen = {op.result for op in operations if op.name == "get" and op.returned is not None}
        return _with_hidden_values(operations, seen | {op.arguments[0] for op in operations if op.name == "cas"})

    def loosened(self, operation: Operation) -> Operation | None:
        """A read did nothing, nor did a refused swap; one that may have taken may write its new value."""
        loose = replace(operation, result=None, returned=None)
        match operation.name, operation.arguments, operation.result:
            case ("get", _, _) | ("cas", _, False):
                return None
            case "cas", (_, value), _:
                return replace(loose, name="put", arguments=(value,))
        return loose


class LockModel(Struct, frozen=True):
    """`acquire(owner)` and `release(owner)`: true if the lock was free, or the owner's; the state is the owner."""

    initial: State = None

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""
        match name, arguments:
            case "acquire", (owner,):
                return (owner, True) if state is None else (state, False)
            case "release", (owner,):
                return (None, True) if state == owner else (state, False)
        raise unknown_call(self, name, arguments)

    def only_observes(self, name: str, result: Any) -> bool:
        """Refusals."""
        return result is False

    def loosened(self, operation: Operation) -> Operation | None:
        """What was refused did nothing."""
        return None if operation.result is False else replace(operation, result=None, returned=None)


def _with_hidden_values(operations: Sequence[Operation], seen: Collection[Hashable]) -> list[Operation]:
    """Every value that is written, but not among those seen, becomes the same one.  The last argument is the value."""
    return [
        replace(op, arguments=(*op.arguments[:-1], HIDDEN)) if op.arguments and op.arguments[-1] not in seen else op
        for op in operations
    ]
