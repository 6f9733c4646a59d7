"""Queues, and why their histories seldom need a search.

A search is at its worst here: the state is a whole queue, and which of two concurrent enqueues came first shows only
when their items come out, much later.  But if every item is enqueued only once, its two calls tell all there is to know
about it, and only four things can be wrong (Henzinger, Sezgin & Vafeiadis, "Aspect-oriented linearizability proofs",
2013):

1. an item comes out that had not gone in,
2. or comes out twice,
3. or is overtaken: it went in before another one, which came out, while it came out later or never,
4. or a queue is found empty while, at every instant, some item was certainly in it.

If one of them is found, the verdict is negative.  If not, an order is built: items in an order that both their enqueues
and their dequeues allow, calls as late as they can be.  What is built is checked before it is believed.  So both
verdicts are exact, and where neither is reached the shortcut says `None` and the general search decides: items that
repeat, and some cases with dequeues of unknown outcome.

Unknown outcomes.  An enqueue counts if its item came out.  A dequeue may have taken one item away: so as many items may
be missing as there are such dequeues early enough, and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from raft_core.verify.operations import Linearizable, NotLinearizable, Obstacle, Operation, State, unknown_call
from raft_core.verify.queue_order import FOREVER, Item, Traffic, build

_Problem: TypeAlias = tuple[int, str, Obstacle]
"""When it was certain, in general terms, and in particular."""

_Stretch: TypeAlias = tuple[float, float, Item]
"""Time in which the queue is certainly not empty, without its two ends, and the item that it begins with."""


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

    def bundles(self, operations: Sequence[Operation]) -> Sequence[Hashable]:
        """All calls for one item; a dequeue of unknown outcome has to stay, as nobody knows its item."""
        return [_bundle(place, op) for place, op in enumerate(operations)]

    def decide(self, operations: Sequence[Operation]) -> Linearizable | NotLinearizable | None:
        """The verdict without a search; `None` where an item repeats, or where nothing is found and nothing built."""
        traffic = _traffic(operations)
        if traffic is None or self.initial:
            return None
        problems = [*_wrong_items(operations), *_overtaken(traffic), *_missing(traffic), *_wrongly_empty(traffic)]
        if problems:
            _, reason, obstacle = min(problems, key=lambda problem: problem[0])
            return NotLinearizable(reason, (), (obstacle,))
        order = build(traffic, _empty_at(traffic), operations)
        return None if order is None else Linearizable(order)


def _bundle(place: int, op: Operation) -> Hashable:
    if op.name == "enqueue":
        return "item", op.arguments[0]
    if op.returned is None:
        return None
    return ("empty", place) if op.result is None else ("item", op.result)


def _traffic(operations: Sequence[Operation]) -> Traffic | None:
    """Who put which item in and who took it out; `None` if that is not certain."""
    enqueued: dict[Any, Operation] = {}
    for op in operations:
        match op.name, op.arguments:
            case "enqueue", (item,) if item is not None and item not in enqueued:
                enqueued[item] = op
            case "dequeue", ():
                continue
            case _:
                return None
    known = [op for op in operations if op.name == "dequeue" and op.returned is not None]
    dequeued = {op.result: op for op in known if op.result is not None}
    items = [Item(op, dequeued.get(item)) for item, op in enqueued.items() if _went_in(item, op, dequeued)]
    unknown = [op for op in operations if op.name == "dequeue" and op.returned is None]
    unknown.sort(key=lambda op: op.invoked)
    return Traffic(items, unknown, [op for op in known if op.result is None])


def _went_in(item: Any, enqueue: Operation, dequeued: dict[Any, Operation]) -> bool:
    return enqueue.returned is not None or item in dequeued


def _wrong_items(operations: Sequence[Operation]) -> Iterator[_Problem]:
    """Aspects 1 and 2."""
    enqueued = {op.arguments[0]: op for op in operations if op.name == "enqueue"}
    taken: dict[Any, Operation] = {}
    known = [(op.returned, op) for op in operations if op.name == "dequeue" and op.returned is not None]
    for returned, op in sorted(known, key=lambda pair: pair[0]):
        if op.result is None:
            continue
        source = enqueued.get(op.result)
        if source is None:
            yield returned, "an item that nobody enqueued", Obstacle(op, f"{op.result!r} never went in")
        elif source.invoked > returned:
            why = f"{op.result!r} went in later: {source}"
            yield returned, "an item came out before it went in", Obstacle(op, why)
        elif op.result in taken:
            why = f"{op.result!r} went in once and was taken by {taken[op.result]}"
            yield returned, "an item came out twice", Obstacle(op, why)
        taken.setdefault(op.result, op)


def _overtaken(traffic: Traffic) -> Iterator[_Problem]:
    """Aspect 3 for items that came out: too late."""
    earlier = sorted((item for item in traffic.items if item.dequeue), key=lambda item: item.in_by)
    latest: list[Item] = []  # of each so many items that went in first, the one that came out last
    for item in earlier:
        latest.append(max(item, *latest[-1:], key=lambda item: item.out_from) if latest else item)
    went_in = [item.in_by for item in earlier]
    for item in earlier:
        position = bisect_left(went_in, item.in_from)
        if position and latest[position - 1].out_from > item.out_by:
            first = latest[position - 1]
            assert first.dequeue is not None
            why = f"it went in before {item.value!r}, which had come out before: {item.dequeue}"
            yield int(first.out_by), "an item was overtaken", Obstacle(first.dequeue, why)


def _missing(traffic: Traffic) -> Iterator[_Problem]:
    """Aspect 3 for items that never came out, less those that dequeues of unknown outcome may have taken."""
    stayed = sorted((item for item in traffic.items if not item.dequeue), key=lambda item: item.in_by)
    went_in = [item.in_by for item in stayed]
    for item in traffic.items:
        before = bisect_left(went_in, item.in_from)
        if item.dequeue and before > _takers(traffic, item.out_by):
            why = f"{stayed[0].value!r} went in before {item.value!r} and never came out: {stayed[0].enqueue}"
            yield int(item.out_by), "an item was overtaken", Obstacle(item.dequeue, why)


def _takers(traffic: Traffic, until: float) -> int:
    return sum(op.invoked <= until for op in traffic.unknown)


def _wrongly_empty(traffic: Traffic) -> Iterator[_Problem]:
    """Aspect 4.  An item is certainly in the queue between the end of its enqueue and the beginning of its dequeue."""
    stretches = _certain(traffic)
    for op in traffic.empties:
        stretch = _stretch_at(op.invoked, stretches)
        if op.returned is not None and stretch and stretch[1] > op.returned:
            why = f"from {stretch[0]} on there was always an item, first {stretch[2].value!r}"
            yield op.returned, "the queue was found empty, and was not", Obstacle(op, why)


def _empty_at(traffic: Traffic) -> list[float]:
    """For each dequeue that found the queue empty, the first instant at which it may have been."""
    stretches = _certain(traffic)
    found = ((op.invoked, _stretch_at(op.invoked, stretches)) for op in traffic.empties)
    return sorted(stretch[1] if stretch else invoked for invoked, stretch in found)


def _stretch_at(instant: float, stretches: Sequence[_Stretch]) -> _Stretch | None:
    position = bisect_left(stretches, instant, key=lambda stretch: stretch[0]) - 1
    return stretches[position] if position >= 0 and stretches[position][1] > instant else None


def _certain(traffic: Traffic) -> list[_Stretch]:
    """All stretches, which neither touch nor overlap in more than an end."""
    stretches: list[_Stretch] = []
    for item in sorted(traffic.items, key=lambda item: item.in_by):
        end = FOREVER if not item.dequeue and not traffic.unknown else item.out_from if item.dequeue else item.in_by
        if end <= item.in_by:
            continue
        if stretches and item.in_by < stretches[-1][1]:
            begin, before, first = stretches[-1]
            stretches[-1] = begin, max(before, end), first
        else:
            stretches.append((item.in_by, end, item))
    return stretches
