"""Why a history is not linearizable, in as few operations as possible.

A verdict on ten thousand operations is of little use if it names one of them, and leaving operations out is no way to
find those that matter: without a write, whoever read its value becomes a violation that never was.  So nothing is left
out.  It is *loosened*: nobody knows any more when the call did what it did, or how often; it may have been at any time
after its invocation, once, never, or many times.  That takes claims away and adds none.  If what is left is still not
linearizable, then those operations contradict each other *whenever and however often all the others took effect*.  (An
operation of unknown outcome claims something, too: that it took effect once at most.)

An explanation is minimal: loosen one more of its operations, and there is no contradiction.  Where many calls write the
same value, those that were over in time are part of it: loosened, any of them might have come late.  Three steps:

1. One key: the one whose violation was certain first.
2. The shortest beginning in time that is not linearizable: without what was invoked later.
3. All operations in a row, those that only looked in front, then by time.  What is the shortest end of the row that
   contradicts itself, with all the rest loosened?  Its first operation is needed.  With this one given, the shortest
   end is asked for again, until what is needed is a contradiction.  So late operations are preferred to early ones,
   and writes to reads.

The operations of an explanation alone are a history, too, and not linearizable either.  A model may say what is left of
a call that is loosened (`LooseningModel`): of a swap that took, that its new value may be written; of a read, nothing.
Checks that take more than a limit count as if no contradiction had been found, so an explanation may be larger than it
need be, but never wrong.  Models that decide without a search are asked with every call used once at most.

A queue is another matter: leave out an item, with all calls for it, and what was linearizable still is.  A model that
knows such bundles (`OmittingModel`) has them left out instead of loosened.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from raft_core.verify.history import by_key
from raft_core.verify.linearizability import check
from raft_core.verify.operations import (
    DecidingModel,
    LooseningModel,
    Model,
    NotLinearizable,
    ObservingModel,
    OmittingModel,
    Operation,
    State,
    Verdict,
)
from raft_core.verify.search import search

_T = TypeVar("_T")

_LIMIT = 20_000
"""Configurations for one attempt to do without some operations."""

_LIMIT_BESIDE = 1_000
"""The same where the model's own shortcut has failed: states may be many and large."""

_MOST_ORDERS = 10_000
"""Steps through orders of an explanation, to find what should have been returned."""


class Explanation(Struct, frozen=True):
    """Operations that contradict each other whatever the others did."""

    operations: tuple[Operation, ...]
    """In order of invocation; all of one key."""
    culprit: Operation
    """The one that found no place, when all others had theirs: not always the one to blame."""
    instead: tuple[Any, ...]
    """What it would have returned with the other operations alone; nothing if they alone do not tell."""
    why: str
    """What the checker said of it."""
    certain: int
    """The return that no order gets past; what was invoked later does not matter."""
    others: int
    """How many operations of the key there are besides; they do not help."""

    @property
    def key(self) -> Hashable:
        """The key of all operations."""
        return self.culprit.key

    @property
    def sentence(self) -> str:
        """What is wrong, in words."""
        culprit, beside = self.culprit, len(self.operations) - 1
        call = f"{culprit.name}({', '.join(map(repr, culprit.arguments))})"
        where = "" if self.key is None else f" on key {self.key!r}"
        said = f"{call} of client {culprit.client}{where} returned {culprit.result!r}"
        given = f"given {_counted(beside, 'other call')} listed here" if beside else "with no other call at all"
        if self.instead:
            should = f"but {given} it would have returned {' or '.join(map(repr, self.instead))}"
        else:
            should = f"which contradicts {_counted(beside, 'other call')} listed here" if beside else "which cannot be"
            should += f": {self.why}"
        rest = f"; the {_counted(self.others, 'call')} not listed cannot explain it either" if self.others else ""
        return f"{said}, {should}{rest}."

    def __str__(self) -> str:
        lines = [self.sentence]
        for number, op in enumerate(self.operations, 1):
            after = [str(other) for other, before in enumerate(self.operations, 1) if _precedes(before, op)]
            notes = [f"after {', '.join(after)}"] if after else []
            notes += ["no place for this"] if op is self.culprit else []
            lines.append(f"  {number}. {op}" + (f"  ({'; '.join(notes)})" if notes else ""))
        return "\n".join(lines)


def explain(history: Iterable[Operation], model: Model, *, limit: int | None = None) -> Explanation | None:
    """The explanation, or `None` if the history is linearizable, or not decided within `limit` for each key.

    >>> from raft_core.verify.history import RegisterModel
    >>> write = Operation("a", "write", (1,), None, invoked=0, returned=10)
    >>> stale = Operation("b", "read", (), 0, invoked=20, returned=30)
    >>> print(explain([write, stale], RegisterModel(0)))
    read() of client b returned 0, but given 1 other call listed here it would have returned 1.
      1. a: write(1) -> None [0, 10]
      2. b: read() -> 0 [20, 30]  (after 1; no place for this)
    """
    beginnings = [_beginning(part, model, limit) for part in by_key(history).values()]
    violated = [beginning for beginning in beginnings if beginning is not None]
    if not violated:
        return None
    certain, part, total = min(violated, key=lambda beginning: beginning[0])
    operations, verdict = (
        _without_bundles(part, model) if isinstance(model, OmittingModel) else _needed(part, model, certain)
    )
    obstacle = verdict.obstacles[0]
    instead = () if isinstance(model, DecidingModel) else _instead(operations, obstacle.operation, model)
    return Explanation(operations, obstacle.operation, instead, obstacle.why, certain, total - len(operations))


def _beginning(
    part: Sequence[Operation], model: Model, limit: int | None
) -> tuple[int, Sequence[Operation], int] | None:
    """Step 2: when it was certain, what had been seen by then, and how many operations there are in all."""
    verdict = check(part, model, limit=limit)
    if not isinstance(verdict, NotLinearizable):
        return None
    returns = sorted({op.returned for op in part if op.returned is not None})
    certain = _latest(verdict)
    if isinstance(model, OmittingModel):
        return certain, part, len(part)
    if isinstance(model, DecidingModel):  # the search says when it was certain, shortcuts do not
        low, high = 0, len(returns) - 1
        while low < high:
            middle = (low + high) // 2
            violated = check(_until(part, returns[middle]), model, limit=_LIMIT_BESIDE)
            low, high = (low, middle) if isinstance(violated, NotLinearizable) else (middle + 1, high)
        certain = returns[high]
    return certain, _until(part, certain), len(part)


def _latest(verdict: NotLinearizable) -> int:
    """The return that no order gets past."""
    returned = verdict.obstacles[0].operation.returned
    assert returned is not None
    return returned


def _until(part: Sequence[Operation], instant: int) -> list[Operation]:
    """What had been invoked by that instant."""
    return [op for op in part if op.invoked <= instant]


def _unknown(op: Operation) -> Operation:
    return replace(op, result=None, returned=None)


def _contradiction(
    part: Sequence[Operation], loose: Sequence[Operation | None], kept: Iterable[int], model: Model
) -> NotLinearizable | None:
    """The verdict if the operations at these places contradict each other with all others loosened."""
    chosen = set(kept)
    rest = ((place not in chosen, op if place in chosen else loose[place]) for place, op in enumerate(part))
    asked = [(loosened, op) for loosened, op in rest if op is not None]
    operations = [op for _, op in asked]
    verdict: Verdict | None
    if isinstance(model, DecidingModel):
        verdict = model.decide(operations)
        verdict = search(operations, model, limit=_LIMIT_BESIDE) if verdict is None else verdict
    else:
        repeating = {place for place, (loosened, _) in enumerate(asked) if loosened}
        verdict = search(operations, model, limit=_LIMIT, repeating=repeating)
    return verdict if isinstance(verdict, NotLinearizable) else None


def _needed(part: Sequence[Operation], model: Model, certain: int) -> tuple[tuple[Operation, ...], NotLinearizable]:
    """Step 3."""
    loose = [model.loosened(op) if isinstance(model, LooseningModel) else _unknown(op) for op in part]
    in_time = sorted(range(len(part)), key=lambda place: part[place].returned or part[place].invoked)

    def contradiction(places: Sequence[int]) -> NotLinearizable | None:
        return _contradiction(part, loose, places, model)

    in_time.sort(key=lambda place: (part[place].returned == certain, not _only_looked(part[place], model)))
    kept = sorted(_smallest(in_time, contradiction))
    operations, verdict = tuple(part[place] for place in kept), contradiction(kept)
    return operations, _violation(operations, model) if verdict is None else verdict


def _only_looked(op: Operation, model: Model) -> bool:
    return isinstance(model, ObservingModel) and op.returned is not None and model.only_observes(op.name, op.result)


def _without_bundles(part: Sequence[Operation], model: OmittingModel) -> tuple[tuple[Operation, ...], NotLinearizable]:
    """Step 3 for models that know what can be left out."""
    bundles = model.bundles(part)

    def left(chosen: Sequence[Hashable]) -> tuple[Operation, ...]:
        kept = {None, *chosen}
        return tuple(op for op, bundle in zip(part, bundles, strict=True) if bundle in kept)

    def contradiction(chosen: Sequence[Hashable]) -> NotLinearizable | None:
        verdict = check(left(chosen), model, limit=_LIMIT_BESIDE)
        return verdict if isinstance(verdict, NotLinearizable) else None

    operations = left(_smallest([bundle for bundle in dict.fromkeys(bundles) if bundle is not None], contradiction))
    return operations, _violation(operations, model)


def _violation(operations: Sequence[Operation], model: Model) -> NotLinearizable:
    verdict = check(operations, model)
    assert isinstance(verdict, NotLinearizable)
    return verdict


def _smallest(order: Sequence[_T], contradiction: Callable[[Sequence[_T]], NotLinearizable | None]) -> Sequence[_T]:
    """A minimal contradiction, of those that come late in the order if possible; all of it if none is found.

    Of the shortest end that contradicts itself the first is needed; then the next of an even shorter end, and so on.
    """
    needed: list[_T] = []
    rest = order
    while rest and contradiction(needed) is None:
        size = _shortest_end(rest, lambda end: contradiction([*needed, *end]) is not None)
        if size is None:
            return order
        needed.append(rest[-size])
        rest = rest[len(rest) - size + 1 :]
    return needed


def _shortest_end(items: Sequence[_T], suffices: Callable[[Sequence[_T]], bool]) -> int | None:
    """The length of the shortest end that suffices: by doubling, so that long ends are seldom asked about."""
    low, high = 0, 1
    while not suffices(items[-high:]):
        if high >= len(items):
            return None
        low, high = high, min(2 * high, len(items))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(items[-middle:]) else (middle, high)
    return high


def _instead(operations: Sequence[Operation], culprit: Operation, model: Model) -> tuple[Any, ...]:
    """What the culprit returns in those orders of the operations that suit all others; nothing if too many to try."""
    found: dict[Any, None] = {}
    stack: list[tuple[frozenset[int], State, tuple[Any, ...]]] = [(frozenset(), model.initial, ())]
    seen = set(stack)
    while stack and len(seen) < _MOST_ORDERS:
        placed, state, said = stack.pop()
        if len(placed) == len(operations):
            found[said[0]] = None
        for place, op in _next_in_time(operations, placed):
            after, result = model.apply(state, op.name, op.arguments)
            if op is culprit or result == op.result:
                branch = (placed | {place}, after, (result,) if op is culprit else said)
                stack += [] if branch in seen else [branch]
                seen.add(branch)
    return () if stack else tuple(found)


def _next_in_time(operations: Sequence[Operation], placed: frozenset[int]) -> Iterator[tuple[int, Operation]]:
    left = [(place, op) for place, op in enumerate(operations) if place not in placed]
    for place, op in left:
        if not any(_precedes(other, op) for _, other in left):
            yield place, op


def _precedes(first: Operation, second: Operation) -> bool:
    return first.returned is not None and first.returned < second.invoked


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"
