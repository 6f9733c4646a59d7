"""Is a history linearizable?  An exact search for any model, and a model's own shortcut before it.

The search is Wing & Gong's (1993) with Lowe's two improvements ("Testing for linearizability", 2017).  *Just in
time*: an operation is given its place only when one returns that has none yet; up to then it does no harm to leave
things open. *Memoisation*: what can still happen depends only on the point in time, the pending operations without a
place and the state, so no such configuration is explored twice.  Two more rules keep the tree small, and neither
loses an order:

- An observer (a read, a failed cas: the model says which) is placed as soon as it fits.  Whatever order places it later
  can be rearranged to place it now: it was invoked already, nothing placed in between returned before it was invoked,
  and no state changes.  A call that merely changes nothing *now* (writing what is there) is no observer: later it may
  be needed for its effect.
- Among pending operations of unknown outcome that make the same call, only the first is tried: they are
  interchangeable.

Rules of this file: no recursion (histories are long), and a verdict is never guessed: what cannot be decided within
the limit is `Undecided`.  Rejected: breadth-first search (Lowe's own form), which keeps every configuration alive
where a good first guess would do; a bitmask of all operations as the memo's key, which grows with the history instead
of with what is pending.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from raft_core.verify.history import (
    DecidingModel,
    Linearizable,
    Model,
    NotLinearizable,
    ObservingModel,
    Obstacle,
    Operation,
    RankingModel,
    State,
    Undecided,
    Verdict,
    by_key,
    merged,
)

Path: TypeAlias = tuple[Any, "Path"] | None
"""A linked list, newest first: branches of the search share what they have in common."""


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
    orders, undecided = [], None
    for operations in by_key(history).values():
        match _check_one_key(operations, model, limit):
            case Linearizable(order):
                orders.append(order)
            case NotLinearizable() as verdict:
                return verdict
            case Undecided() as verdict:
                undecided = verdict
    return Linearizable(merged(orders)) if undecided is None else undecided


def _check_one_key(operations: Sequence[Operation], model: Model, limit: int | None) -> Verdict:
    verdict = model.decide(operations) if isinstance(model, DecidingModel) else None
    return search(operations, model, limit=limit) if verdict is None else verdict


class _Configuration(Struct, frozen=True):
    """A node of the search: everything before `position` in the timeline is explained by `path`."""

    position: int
    unplaced: tuple[int, ...]
    """Pending operations without a place, in order of invocation."""
    state: State
    path: Path


class _Question(Struct, frozen=True):
    """What the search is about: it stays the same from beginning to end."""

    operations: Sequence[Operation]
    model: Model
    timeline: Sequence[int]
    """Invocations (the operation's index) and returns (its complement) by time, invocations first among equals."""
    observers: frozenset[int]
    """Operations of known outcome that changed nothing, wherever their place is."""
    ranks: Sequence[int]
    """The model's guess which operation comes first among those that could."""


def search(operations: Sequence[Operation], model: Model, *, limit: int | None = None) -> Verdict:
    """The verdict on operations of one key, by general search: depth first, the most promising configuration on top."""
    ranks = model.ranks(operations) if isinstance(model, RankingModel) else [0] * len(operations)
    question = _Question(operations, model, _timeline(operations), _observers(operations, model), ranks)
    stack = [_Configuration(0, (), model.initial, None)]
    furthest = stack[0]
    seen: set[tuple[int, tuple[int, ...], State]] = set()
    while stack:
        here, branches = _run(stack.pop(), question)
        if here.position == len(question.timeline):
            return Linearizable(tuple(operations[index] for index in _unrolled(here.path)))
        memo = (here.position, here.unplaced, here.state)
        if memo in seen:
            continue
        if len(seen) == limit:
            return Undecided(len(seen))
        seen.add(memo)
        furthest = max(furthest, here, key=lambda c: (c.position, -len(c.unplaced)))
        stack.extend(reversed(branches))
    return _explained(furthest, question)


def _timeline(operations: Sequence[Operation]) -> list[int]:
    invocations = [(operation.invoked, 0, index) for index, operation in enumerate(operations)]
    returns = [(op.returned, 1, ~index) for index, op in enumerate(operations) if op.returned is not None]
    return [event for _, _, event in sorted(invocations + returns)]


def _observers(operations: Sequence[Operation], model: Model) -> frozenset[int]:
    if not isinstance(model, ObservingModel):
        return frozenset()
    known = ((index, op) for index, op in enumerate(operations) if op.returned is not None)
    return frozenset(index for index, op in known if model.only_observes(op.name, op.result))


def _run(start: _Configuration, question: _Question) -> tuple[_Configuration, list[_Configuration]]:
    """Go on to the next return of an operation that has no place, and list the ways to go from there."""
    unplaced, path, timeline = list(start.unplaced), start.path, question.timeline
    for position in range(start.position, len(timeline)):
        event = timeline[position]
        if event >= 0:
            unplaced.append(event)
        elif ~event in unplaced:
            unplaced, path, steps = _options(unplaced, start.state, path, question)
            if ~event in unplaced:
                here = _Configuration(position, tuple(unplaced), start.state, path)
                return here, _branches(here, steps, question)
    return _Configuration(len(timeline), tuple(unplaced), start.state, path), []


def _options(
    unplaced: list[int], state: State, path: Path, question: _Question
) -> tuple[list[int], Path, list[tuple[int, State]]]:
    """Place the observers that fit; of the rest, list what may come next with the state it leads to."""
    kept, steps = [], []
    for index in unplaced:
        operation = question.operations[index]
        after, result = question.model.apply(state, operation.name, operation.arguments)
        known = operation.returned is not None
        if index in question.observers:
            if result == operation.result:
                path = (index, path)
                continue
        elif result == operation.result if known else after != state:
            steps.append((index, after))
        kept.append(index)
    return kept, path, steps


def _branches(here: _Configuration, steps: list[tuple[int, State]], question: _Question) -> list[_Configuration]:
    """The successors, best guess first: as the model ranks them, then by return, unknown outcomes last."""
    branches: list[tuple[tuple[bool, int, int], _Configuration]] = []
    tried: set[tuple[str, tuple[Any, ...]]] = set()
    for index, after in steps:
        operation = question.operations[index]
        if operation.returned is None:
            call = (operation.name, operation.arguments)
            if call in tried:
                continue
            tried.add(call)
        rest = tuple(other for other in here.unplaced if other != index)
        rank = (operation.returned is None, question.ranks[index], operation.returned or 0)
        branches.append((rank, _Configuration(here.position, rest, after, (index, here.path))))
    return [branch for _, branch in sorted(branches, key=lambda pair: pair[0])]


def _unrolled(path: Path) -> list[Any]:
    items = []
    while path is not None:
        item, path = path
        items.append(item)
    return items[::-1]


def _explained(end: _Configuration, question: _Question) -> NotLinearizable:
    """The furthest configuration, told as a reason: the operation that returned without a place comes first."""
    forced = ~question.timeline[end.position]
    obstacles = []
    for index in sorted(end.unplaced, key=lambda index: index != forced):
        operation = question.operations[index]
        _, result = question.model.apply(end.state, operation.name, operation.arguments)
        if operation.returned is not None and result != operation.result:
            why = f"would return {result!r} here"
        else:
            why = "fits here, but whatever follows leads nowhere"
        obstacles.append(Obstacle(operation, why))
    prefix = tuple(question.operations[index] for index in _unrolled(end.path))
    return NotLinearizable(f"no place for {question.operations[forced]}", prefix, tuple(obstacles))
