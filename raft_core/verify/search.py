"""The general search: exact, for any model, on the operations of one key.

The search is Wing & Gong's (1993) with Lowe's two improvements ("Testing for linearizability", 2017).  *Just in
time*: an operation is given its place only when one returns that has none yet; up to then it does no harm to leave
things open. *Memoisation*: what can still happen depends only on the point in time, the pending operations without a
place and the state, so no such configuration is explored twice.  More rules keep the tree small, and none of them
loses an order:

- *Observers at once.*  An observer (a read, a failed cas: the model says which) is placed as soon as it fits.  Whatever
  order places it later can be rearranged to place it now: it was invoked already, nothing placed in between returned
  before it was invoked, and no state changes.  A call that merely changes nothing *now* (writing what is there) is no
  observer: later it may be needed for its effect.
- *The hurried one of equals.*  Of pending operations that make the same call and fit, only the one that returns first
  is tried, and one of unknown outcome only if no other is there: they can swap their places.
- *Spared is better.*  Operations of unknown outcome never have to be placed.  Of two configurations that differ only in
  those, one that has used no more than the other makes the other superfluous.
- *Nothing for nothing.*  If what comes right after an operation of unknown outcome would have fitted without it, and
  led to the same state, then it was not needed there.
- *Indistinguishable values are the same.*  A model may replace what no result depends on (`SimplifyingModel`): ten
  writes that nobody reads are ten equal calls instead of ten different states.

Rules of this file: no recursion (histories are long), and a verdict is never guessed: what cannot be decided within
the limit is `Undecided`.

First a *dive*, depth first: with a good guess a linearizable history needs hardly a second look.  Where guesses fail, a
*sweep*, breadth first by position (Lowe's own form): a dive that must explore all would go through the same future
again for every way of using up fewer operations of unknown outcome; the sweep has compared them before it goes on.
Rejected: a bitmask of all operations as the memo's key, which grows with the history instead of with what is pending
(it is right for the unknown outcomes, which are few and pend forever).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, TypeAlias

from msgspec import Struct

from raft_core.verify.operations import (
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
)

Path: TypeAlias = tuple[Any, "Path"] | None
"""A linked list, newest first: branches of the search share what they have in common."""

_Call: TypeAlias = tuple[str, tuple[Any, ...]]


class _Configuration(Struct, frozen=True):
    """A node of the search: everything before `position` in the timeline is explained by `path`."""

    position: int
    unplaced: tuple[int, ...]
    """Pending operations of known outcome without a place, in order of invocation."""
    used: int
    """The operations of unknown outcome that have a place, as bits."""
    state: State
    path: Path
    without: tuple[State, ...] = ()
    """If the last operation placed is of unknown outcome: the state before it."""


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
    unknown: Sequence[Sequence[tuple[int, int]]]
    """Operations of unknown outcome, equal calls together, by invocation: bit (0 if it repeats) and index."""


_Seen: TypeAlias = dict[int, dict[tuple[tuple[int, ...], State], list[int]]]
"""What has been explored: by position, then the bits `used` for all else of a configuration."""

_Rank: TypeAlias = Callable[[_Configuration, int], tuple[int, ...]]
"""Which of the waiting configurations comes next: the lowest.  They are numbered, the better of siblings last."""

_PATIENCE = 2
"""How many configurations a dive may explore for each operation; a lucky one needs less than one."""


def search(
    operations: Sequence[Operation], model: Model, *, limit: int | None = None, repeating: Collection[int] = ()
) -> Verdict:
    """The verdict on operations of one key, by general search: a dive, and a sweep if that was not lucky.

    Operations of unknown outcome whose index is in `repeating` may take effect any number of times.
    """
    question = _question(operations, model, repeating)
    patience = _PATIENCE * len(operations)
    dive = patience if limit is None else min(patience, limit)
    end = _explore(question, _deepest_first, dive)
    if isinstance(end, Undecided) and dive != limit:
        end = _explore(question, _earliest_first, None if limit is None else limit - dive)
    if isinstance(end, Undecided):
        return Undecided(limit or 0)
    if end.position == len(question.timeline):
        return Linearizable(tuple(operations[index] for index in _unrolled(end.path)))
    return _explained(end, operations, question)


def _deepest_first(here: _Configuration, number: int) -> tuple[int, ...]:
    return (-number,)


def _earliest_first(here: _Configuration, number: int) -> tuple[int, ...]:
    return here.position, here.used.bit_count(), number


def _explore(question: _Question, rank: _Rank, limit: int | None) -> _Configuration | Undecided:
    """The configuration that explains all, or else the one that got furthest."""
    furthest = _run(_Configuration(0, (), 0, question.model.initial, None), question)
    waiting, number, explored, seen = [(rank(furthest, 0), 0, furthest)], 0, 0, _Seen()
    while waiting:
        _, _, here = heappop(waiting)
        if here.position == len(question.timeline):
            return here
        if not _is_new(here, seen):
            continue
        if explored == limit:
            return Undecided(explored)
        explored += 1
        furthest = max(furthest, here, key=_progress)
        for branch in reversed(_branches(here, question)):
            number += 1
            after = _run(branch, question)
            heappush(waiting, (rank(after, number), number, after))
    return furthest


def _question(operations: Sequence[Operation], model: Model, repeating: Collection[int]) -> _Question:
    ranks = model.ranks(operations) if isinstance(model, RankingModel) else [0] * len(operations)
    simple = model.simplified(operations) if isinstance(model, SimplifyingModel) else operations
    observers = _observers(operations, model)
    return _Question(simple, model, _timeline(operations), observers, ranks, _unknown(simple, repeating))


def _unknown(operations: Sequence[Operation], repeating: Collection[int]) -> list[list[tuple[int, int]]]:
    unknown = [(op.invoked, index) for index, op in enumerate(operations) if op.returned is None]
    equals: dict[_Call, list[tuple[int, int]]] = {}
    for number, (_, index) in enumerate(sorted(unknown)):
        bit = 0 if index in repeating else 1 << number
        equals.setdefault(_call(operations[index]), []).append((bit, index))
    return list(equals.values())


def _call(operation: Operation) -> _Call:
    return operation.name, operation.arguments


def _timeline(operations: Sequence[Operation]) -> list[int]:
    known = [(index, op) for index, op in enumerate(operations) if op.returned is not None]
    invocations = [(op.invoked, 0, index) for index, op in known]
    returns = [(op.returned, 1, ~index) for index, op in known]
    return [event for _, _, event in sorted(invocations + returns)]


def _observers(operations: Sequence[Operation], model: Model) -> frozenset[int]:
    if not isinstance(model, ObservingModel):
        return frozenset()
    known = ((index, op) for index, op in enumerate(operations) if op.returned is not None)
    return frozenset(index for index, op in known if model.only_observes(op.name, op.result))


def _is_new(here: _Configuration, seen: _Seen) -> bool:
    """Whether nothing explored so far is as good as this.  What this makes superfluous is forgotten."""
    alike = seen.setdefault(here.position, {}).setdefault((here.unplaced, here.state), [])
    if any(used & here.used == used for used in alike):
        return False
    alike[:] = [used for used in alike if used & here.used != here.used]
    alike.append(here.used)
    return True


def _progress(here: _Configuration) -> tuple[int, int]:
    return here.position, -len(here.unplaced)


def _run(start: _Configuration, question: _Question) -> _Configuration:
    """Go on to the next return of an operation that has no place, placing the observers that fit on the way."""
    unplaced, path, timeline = list(start.unplaced), start.path, question.timeline
    for position in range(start.position, len(timeline)):
        event = timeline[position]
        if event >= 0:
            unplaced.append(event)
        elif ~event in unplaced:
            unplaced, path = _observed(unplaced, start.state, path, question)
            if ~event in unplaced:
                without = start.without if path is start.path else ()
                return _Configuration(position, tuple(unplaced), start.used, start.state, path, without)
    return _Configuration(len(timeline), tuple(unplaced), start.used, start.state, path)


def _observed(unplaced: list[int], state: State, path: Path, question: _Question) -> tuple[list[int], Path]:
    kept = []
    for index in unplaced:
        operation = question.operations[index]
        if index in question.observers:
            _, result = question.model.apply(state, operation.name, operation.arguments)
            if result == operation.result:
                path = (index, path)
                continue
        kept.append(index)
    return kept, path


def _branches(here: _Configuration, question: _Question) -> list[_Configuration]:
    """The successors, best guess first: as the model ranks them, then by return, unknown outcomes last."""
    operations, ranks, hurried = question.operations, question.ranks, _hurried(here, question)
    branches = []
    for index, after in sorted(hurried.values(), key=lambda step: ranks[step[0]]):
        if not _fits_without(here, operations[index], after, question.model):
            rest = tuple(other for other in here.unplaced if other != index)
            branches.append(_Configuration(here.position, rest, here.used, after, (index, here.path)))
    for bit, index, after in sorted(_spare(here, question), key=lambda spare: ranks[spare[1]]):
        if _call(operations[index]) not in hurried:
            path, used = (index, here.path), here.used | bit
            branches.append(_Configuration(here.position, here.unplaced, used, after, path, (here.state,)))
    return branches


def _hurried(here: _Configuration, question: _Question) -> dict[_Call, tuple[int, State]]:
    """Of the pending operations that fit, for each call the one that returns first, and the state it leads to."""
    hurried: dict[_Call, tuple[int, State]] = {}
    for index in sorted(here.unplaced, key=lambda index: question.operations[index].returned or 0):
        operation = question.operations[index]
        after, result = question.model.apply(here.state, operation.name, operation.arguments)
        if result == operation.result and index not in question.observers:
            hurried.setdefault(_call(operation), (index, after))
    return hurried


def _spare(here: _Configuration, question: _Question) -> Iterator[tuple[int, int, State]]:
    """Operations of unknown outcome that would change something here: of each call the first that is left."""
    now = question.operations[~question.timeline[here.position]].returned
    assert now is not None
    for equals in question.unknown:
        bit, index = next((spare for spare in equals if not here.used & spare[0]), (0, None))
        if index is None or question.operations[index].invoked > now:
            continue
        operation = question.operations[index]
        after, _ = question.model.apply(here.state, operation.name, operation.arguments)
        if after != here.state and not _fits_without(here, operation, after, question.model):
            yield bit, index, after


def _fits_without(here: _Configuration, operation: Operation, after: State, model: Model) -> bool:
    """Whether the operation could have come before the last one, of unknown outcome, to the same end."""
    for before in here.without:
        state, result = model.apply(before, operation.name, operation.arguments)
        return state == after and (operation.returned is None or result == operation.result)
    return False


def _unrolled(path: Path) -> list[Any]:
    items = []
    while path is not None:
        item, path = path
        items.append(item)
    return items[::-1]


def _explained(end: _Configuration, operations: Sequence[Operation], question: _Question) -> NotLinearizable:
    """The furthest configuration, told as a reason: the operation that returned without a place comes first.

    None of those left fits there: with one more in its place the configuration would be further on.
    """
    prefix = tuple(operations[index] for index in _unrolled(end.path))
    state, model = question.model.initial, question.model
    for operation in prefix:
        state, _ = model.apply(state, operation.name, operation.arguments)
    forced = ~question.timeline[end.position]
    obstacles = []
    for index in sorted(end.unplaced, key=lambda index: index != forced):
        _, result = model.apply(state, operations[index].name, operations[index].arguments)
        obstacles.append(Obstacle(operations[index], f"would return {result!r} here"))
    return NotLinearizable(f"no place for {operations[forced]}", prefix, tuple(obstacles))
