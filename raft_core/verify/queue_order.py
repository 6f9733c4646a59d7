"""An order for the calls on a queue, built from what is known of its items instead of searched for.

First the items are put in a row: one goes before another if its enqueue, or its dequeue, ended before the other's
began.  A row is found from the front: of the items whose enqueue nobody else's precedes, take the one whose dequeue
began first.  Where the queue must be empty at some instant, items that can be in and out by then go before all others.
Items that never came out stand last, unless one that came out was put in later: they are *lost*, and a dequeue of
unknown outcome has to take them.

Then time is gone through, and every call is given its place when it returns, with those that the row puts before it.  A
dequeue that found the queue empty gets its place as soon as the queue can be empty.  The whole may fail where dequeues
of unknown outcome leave a choice; so the order is replayed at the end, and only one that holds is returned.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Any

from msgspec import Struct

from raft_core.verify.operations import Operation

FOREVER = inf


class Item(Struct, frozen=True):
    """An item that went in, and the known dequeue that returned it."""

    enqueue: Operation
    dequeue: Operation | None

    @property
    def value(self) -> Any:
        """What was enqueued."""
        return self.enqueue.arguments[0]

    @property
    def in_from(self) -> int:
        """It was not in before."""
        return self.enqueue.invoked

    @property
    def in_by(self) -> float:
        """It had gone in by then."""
        return FOREVER if self.enqueue.returned is None else self.enqueue.returned

    @property
    def out_from(self) -> float:
        """It had not come out before, for nobody had asked, or it had not gone in."""
        return max(self.in_from, self.dequeue.invoked) if self.dequeue else FOREVER

    @property
    def out_by(self) -> float:
        """It had come out by then."""
        return self.dequeue.returned if self.dequeue and self.dequeue.returned is not None else FOREVER


class Traffic(Struct, frozen=True):
    """All there is to know about the calls on one queue, if no item was enqueued twice."""

    items: Sequence[Item]
    unknown: Sequence[Operation]
    """Dequeues of unknown outcome, the earliest first."""
    empties: Sequence[Operation]
    """Dequeues that found the queue empty."""


def build(traffic: Traffic, empty_at: Sequence[float], operations: Sequence[Operation]) -> tuple[Operation, ...] | None:
    """An order that explains everything, or `None` if this way leads to none.

    `empty_at` are instants at which the queue should be empty, in order of time.
    """
    row = _row(traffic, empty_at)
    order = None if row is None else _Builder(row, traffic).built(operations)
    return tuple(order) if order is not None and _holds(order) else None


def _row(traffic: Traffic, empty_at: Sequence[float]) -> list[Item] | None:
    """The items in an order that their enqueues and their dequeues allow; `None` if they allow none."""
    line = _Line(traffic, empty_at)
    row: list[Item] = []
    while len(row) < len(traffic.items):
        following = line.following()
        if following is None:
            return None
        row.append(following)
    return row


class _Line:
    """Items that wait for their place in the row."""

    def __init__(self, traffic: Traffic, empty_at: Sequence[float]) -> None:
        self.items, self.empty_at = traffic.items, empty_at
        places = range(len(self.items))
        self.ahead = deque(sorted(places, key=lambda index: self.items[index].in_from))
        self.ends_in = sorted((self.items[index].in_by, index) for index in places)
        self.ends_out = sorted((self.items[index].out_by, index) for index in places)
        later = [item.in_from for item in self.items if item.dequeue] + [op.invoked for op in traffic.empties]
        self.lost_before = max(later, default=0)
        # Heaps of those whose enqueue nobody else's precedes: the part of the row they belong to, time, index.
        self.ready: list[tuple[int, float, int]] = []
        self.lost: list[tuple[int, float, int]] = []
        self.placed: set[int] = set()

    def following(self) -> Item | None:
        """The item that comes next."""
        first_in, first_out = self._lowest(self.ends_in), self._lowest(self.ends_out)
        while self.ahead and self.items[self.ahead[0]].in_from <= first_in:
            self._let_in(self.ahead.popleft())
        source = self.lost
        if self.ready and self.ready[0][1] <= first_out and (not self.lost or self.ready[0][0] <= self.lost[0][0]):
            source = self.ready
        if not source:
            return None
        index = heappop(source)[2]
        self.placed.add(index)
        return self.items[index]

    def _let_in(self, index: int) -> None:
        item = self.items[index]
        if item.dequeue is None and item.in_by < self.lost_before:
            heappush(self.lost, (bisect_right(self.empty_at, item.in_by), item.in_by, index))
        else:
            heappush(self.ready, (bisect_left(self.empty_at, item.out_from), item.out_from, index))

    def _lowest(self, ends: list[tuple[float, int]]) -> float:
        """The first end of those that are not placed yet; the others are dropped."""
        while ends[0][1] in self.placed:
            heappop(ends)
        return ends[0][0]


class _Stuck(Exception):
    """There is no place for a call that has to have one by now."""


class _Builder:
    """The queue as far as it has been built."""

    def __init__(self, row: Sequence[Item], traffic: Traffic) -> None:
        self.row = row
        self.spare = deque(traffic.unknown)
        self.waiting: list[Operation] = []
        self.order: list[Operation] = []
        self.put = self.taken = 0
        self.place = {item.value: place for place, item in enumerate(row)}

    def built(self, operations: Sequence[Operation]) -> list[Operation] | None:
        """The order, or `None`."""
        try:
            for now, invoked, op in _events(operations):
                self._go_on(now, invoked, op)
        except _Stuck:
            return None
        return self.order

    def _go_on(self, now: int, invoked: bool, op: Operation) -> None:
        if op.name == "enqueue" and not invoked:
            self._put_through(self.place[op.arguments[0]], now)
        elif op.name == "dequeue" and op.result is not None and not invoked:
            self._take_through(self.place[op.result], now)
        elif op.name == "dequeue" and op.result is None and invoked:
            self.waiting.append(op)
            self._let_in_those_who_wait()
        elif op in self.waiting:
            self._drain(now)
            if op in self.waiting:
                raise _Stuck

    def _put_through(self, place: int, now: int) -> None:
        while self.put <= place:
            self._drain(now)
            self.order.append(self.row[self.put].enqueue)
            self.put += 1

    def _take_through(self, place: int, now: int) -> None:
        self._put_through(place, now)
        while self.taken <= place:
            self.order.append(self.row[self.taken].dequeue or self._taker(now))
            self.taken += 1
        self._let_in_those_who_wait()

    def _taker(self, now: int) -> Operation:
        if not self.spare or self.spare[0].invoked > now:
            raise _Stuck
        return self.spare.popleft()

    def _drain(self, now: int) -> None:
        """Empty the queue if somebody waits for that and all that is in it may come out by now."""
        if not self.waiting:
            return
        inside = self.row[self.taken : self.put]
        lost = sum(item.dequeue is None for item in inside)
        spare = sum(op.invoked <= now for op in self.spare)
        if lost <= spare and all(item.out_from <= now for item in inside if item.dequeue):
            self._take_through(self.put - 1, now)

    def _let_in_those_who_wait(self) -> None:
        if self.put == self.taken:
            self.order += self.waiting
            self.waiting.clear()


def _events(operations: Sequence[Operation]) -> Iterator[tuple[int, bool, Operation]]:
    """Invocations (true) and returns of known operations in order of time, invocations first among equals."""
    known = [(op.invoked, op.returned, op) for op in operations if op.returned is not None]
    events = [(invoked, True, op) for invoked, _, op in known] + [(returned, False, op) for _, returned, op in known]
    return iter(sorted(events, key=lambda event: (event[0], not event[1])))


def _holds(order: Sequence[Operation]) -> bool:
    """Whether a queue gives these results in this order, and nobody precedes one that had returned before."""
    queue: deque[Any] = deque()
    latest = -inf
    for op in order:
        if op.name == "enqueue":
            queue.append(op.arguments[0])
            result = None
        else:
            result = queue.popleft() if queue else None
        if op.returned is not None and (op.returned < latest or result != op.result):
            return False
        latest = max(latest, op.invoked)
    return True
