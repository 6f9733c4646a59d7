"""What histories are made of: an operation, the sequential object it was meant for, and the verdicts on all of them.

The words are explained in `raft_core.verify.history`, which offers all of these names as well; they live here so that
the models can use them.  A model is a `Model`; the other protocols are hints that it may give or not, to make the
search faster.  `only_observes`, `simplified` and `decide` must be true, for the verdict depends on them; `ranks` may be
any guess.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
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


@runtime_checkable
class SimplifyingModel(Model, Protocol):
    """A model that knows which values nobody in a history can tell apart."""

    def simplified(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The operations, one for one, with such values made equal: linearizable in the very same orders."""


@runtime_checkable
class LooseningModel(Model, Protocol):
    """A model that knows what a call can have done at most.  Explanations get smaller for it."""

    def loosened(self, operation: Operation) -> Operation | None:
        """A call of unknown outcome that can do all that this one may have done, or more; `None` if that is nothing."""


@runtime_checkable
class OmittingModel(Model, Protocol):
    """A model that knows what can be left out of a linearizable history without making it another."""

    def bundles(self, operations: Sequence[Operation]) -> Sequence[Hashable]:
        """For each operation a bundle, which can be left out as a whole; `None` for those that have to stay."""


def unknown_call(model: object, name: str, arguments: tuple[Any, ...]) -> ValueError:
    """What a model raises when it is asked for something it does not have."""
    return ValueError(
        f"{type(model).__name__} has no operation {name} with arguments {arguments!r} (the key goes apart)"
    )
