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
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

State: TypeAlias = Any
"""Whatever a model chooses as its state; hashable and compared by value."""

_SHOWN = 5
"""Operations of a prefix, and obstacles, that `str` shows; the values themselves hold all of them."""


class Operation(Struct, frozen=True):
    """One call by a client.  `client` is only a name: it may have any number of operations in flight."""

    client: str | int
    name: str
    arguments: tuple[Any, ...]
    result: Any
    """What the call returned; meaningless where the outcome is unknown."""
    invoked: int
    returned: int | None
    """`None`: the outcome is unknown (the reply was lost, the client gave up or died)."""
    key: Hashable = None

    def __post_init__(self) -> None:
        if self.returned is not None and self.returned < self.invoked:
            raise ValueError(f"operation returned at {self.returned}, before it was invoked at {self.invoked}: {self}")

    def __str__(self) -> str:
        call = f"{self.client}: {self.name}({', '.join(map(repr, self.arguments))})"
        if self.returned is None:
            return f"{call} -> unknown [{self.invoked}, ...)"
        return f"{call} -> {self.result!r} [{self.invoked}, {self.returned}]"


class Linearizable(Struct, frozen=True):
    """An order that explains every result.  Operations of unknown outcome appear in it if they had to take effect."""

    order: tuple[Operation, ...]

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        guessed = sum(operation.returned is None for operation in self.order)
        note = f", {guessed} of unknown outcome among them" if guessed else ""
        return f"linearizable: one order explains {len(self.order)} operations{note}"


class Obstacle(Struct, frozen=True):
    """An operation that could not come next, and why."""

    operation: Operation
    why: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.why}"


class NotLinearizable(Struct, frozen=True):
    """No order explains the results.  `prefix` is the longest explanation found, `obstacles` is where it ends."""

    reason: str
    prefix: tuple[Operation, ...]
    obstacles: tuple[Obstacle, ...]

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        keys = {obstacle.operation.key for obstacle in self.obstacles} - {None}
        lines = [f"not linearizable{''.join(f' (key {key!r})' for key in keys)}: {self.reason}"]
        lines.append(f"  longest explanation: {len(self.prefix)} operations" + (", ending with" if self.prefix else ""))
        lines += [f"    {operation}" for operation in self.prefix[-_SHOWN:]]
        lines.append("  what could not come next:")
        lines += [f"    {obstacle}" for obstacle in self.obstacles[:_SHOWN]]
        if len(self.obstacles) > _SHOWN:
            lines.append(f"    ... and {len(self.obstacles) - _SHOWN} more")
        return "\n".join(lines)


class Undecided(Struct, frozen=True):
    """The search reached the limit its caller set.  Neither verdict may be inferred; as a condition it is false."""

    explored: int

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"undecided: gave up after {self.explored} configurations"


Verdict: TypeAlias = Linearizable | NotLinearizable | Undecided


class Model(Protocol):
    """A sequential object: one state at the beginning and what a call does to it.  `apply` is a pure function."""

    @property
    def initial(self) -> State:
        """The state before the first operation."""

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""


@runtime_checkable
class DecidingModel(Model, Protocol):
    """A model that knows a shortcut."""

    def decide(self, operations: Sequence[Operation]) -> Linearizable | NotLinearizable | None:
        """The verdict on the operations of one key, or `None` to leave it to the general search."""


@runtime_checkable
class ObservingModel(Model, Protocol):
    """A model that knows which calls only look.  Without this the search is as exact, but slower."""

    def only_observes(self, name: str, result: Any) -> bool:
        """Whether a call that returned `result` changed nothing, *whatever* the state was."""


@runtime_checkable
class RankingModel(Model, Protocol):
    """A model that can guess a good order from the results.  Guesses cost or save time; they never change a verdict."""

    def ranks(self, operations: Sequence[Operation]) -> Sequence[int]:
        """A number for each operation; of those that could come next, the smallest is tried first."""


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


def unknown_call(model: object, name: str, arguments: tuple[Any, ...]) -> ValueError:
    """What a model raises when it is asked for something it does not have."""
    return ValueError(
        f"{type(model).__name__} has no operation {name} with arguments {arguments!r} (the key goes apart)"
    )


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
