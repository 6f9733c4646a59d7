"""Histories whose verdict a reader can see, for every object: the examples of the literature, told anew.

Herlihy & Wing (1990) draw registers and queues like these to show what
linearizability adds to sequential consistency: an order must not only exist, it must respect real time.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from raft_core.verify.counter import CounterModel
from raft_core.verify.explanation import explain
from raft_core.verify.history import (
    KeyValueModel,
    Linearizable,
    LockModel,
    Model,
    NotLinearizable,
    Operation,
    QueueModel,
    RegisterModel,
)
from raft_core.verify.linearizability import check


def op(client: str, name: str, *arguments: Any, gives: Any = None, at: tuple[int, int | None]) -> Operation:
    return Operation(client, name, arguments, gives, *at)


def write(value: int, begin: int, end: int | None, client: str = "w") -> Operation:
    return op(client, "write", value, at=(begin, end))


def read(value: int, begin: int, end: int, client: str = "r") -> Operation:
    return op(client, "read", gives=value, at=(begin, end))


def put(value: Any, begin: int, end: int | None) -> Operation:
    return op("w", "put", value, at=(begin, end))


def get(value: Any, begin: int, end: int) -> Operation:
    return op("r", "get", gives=value, at=(begin, end))


def cas(old: Any, new: Any, took: bool | None, begin: int, end: int | None, client: str = "s") -> Operation:
    return op(client, "cas", old, new, gives=took, at=(begin, end))


def acquire(owner: str, took: bool | None, begin: int, end: int | None) -> Operation:
    return op(owner, "acquire", owner, gives=took, at=(begin, end))


def release(owner: str, took: bool | None, begin: int, end: int | None) -> Operation:
    return op(owner, "release", owner, gives=took, at=(begin, end))


def enqueue(item: str, begin: int, end: int | None) -> Operation:
    return op("p", "enqueue", item, at=(begin, end))


def dequeue(item: str | None, begin: int, end: int | None) -> Operation:
    return op("c", "dequeue", gives=item, at=(begin, end))


def incr(value: int | None, begin: int, end: int | None) -> Operation:
    return op("i", "incr", gives=value, at=(begin, end))


REGISTER, STORE, LOCK, QUEUE, COUNTER = RegisterModel(0), KeyValueModel(), LockModel(), QueueModel(), CounterModel()

YES: dict[str, tuple[Model, list[Operation]]] = {
    "a read during a write sees the old value": (REGISTER, [write(1, 0, 10), read(0, 2, 4)]),
    "a read during a write sees the new value": (REGISTER, [write(1, 0, 10), read(1, 2, 4)]),
    "an early reader sees the old value, a later one the new": (
        REGISTER,
        [write(1, 0, 10), read(0, 1, 3), read(1, 4, 6)],
    ),
    "overlapping readers disagree while the write goes on": (REGISTER, [write(1, 0, 10), read(1, 1, 6), read(0, 2, 5)]),
    "a lost write turns up late": (REGISTER, [write(1, 0, None), read(0, 5, 6), read(1, 90, 91)]),
    "of two overlapping writes the one invoked first stays": (
        REGISTER,
        [write(1, 0, 9), write(2, 1, 8), read(1, 10, 11)],
    ),
    "two swaps pass the value on": (STORE, [put(1, 0, 1), cas(2, 3, True, 2, 9), cas(1, 2, True, 3, 8)]),
    "one of two equal swaps is refused": (STORE, [put(1, 0, 1), cas(1, 2, True, 2, 9), cas(1, 2, False, 3, 8)]),
    "a lost swap explains a refusal": (STORE, [put(1, 0, 1), cas(1, 2, None, 2, None), cas(1, 3, False, 5, 6)]),
    "a key is gone after a delete that overlaps the put": (
        STORE,
        [op("d", "delete", at=(0, 9)), put(1, 1, 5), get(None, 10, 11)],
    ),
    "a lock passes on while requests overlap": (
        LOCK,
        [acquire("a", True, 0, 1), acquire("b", True, 2, 9), release("a", True, 3, 8)],
    ),
    "a lost release lets the next one in": (
        LOCK,
        [acquire("a", True, 0, 1), release("a", None, 2, None), acquire("b", True, 5, 6)],
    ),
    "overlapping enqueues come out in either order": (
        QUEUE,
        [enqueue("x", 0, 9), enqueue("y", 1, 8), dequeue("y", 10, 11), dequeue("x", 12, 13)],
    ),
    "a consumer waits for the producer that overlaps": (QUEUE, [enqueue("x", 0, 9), dequeue("x", 1, 8)]),
    "a queue is empty between two items": (
        QUEUE,
        [enqueue("x", 0, 1), dequeue("x", 2, 9), dequeue(None, 3, 8), enqueue("y", 4, 7), dequeue("y", 10, 11)],
    ),
    "a lost dequeue took the first item": (
        QUEUE,
        [enqueue("x", 0, 1), enqueue("y", 2, 3), dequeue(None, 4, None), dequeue("y", 5, 6)],
    ),
    "overlapping increments get their numbers in either order": (COUNTER, [incr(2, 0, 9), incr(1, 1, 8)]),
    "a lost increment counts": (COUNTER, [incr(None, 0, None), incr(2, 5, 6)]),
}

NO: dict[str, tuple[Model, list[Operation], int]] = {
    "sequentially consistent, but late": (REGISTER, [write(1, 0, 1), read(0, 2, 3)], 2),
    "a new value is seen, then the old one": (REGISTER, [write(1, 0, 10), read(1, 1, 3), read(0, 4, 6)], 2),
    "two readers see two writes in different orders": (
        REGISTER,
        [write(1, 0, 9), write(2, 0, 9), read(1, 10, 11), read(2, 12, 13)],
        3,
    ),
    "a value that nobody wrote": (REGISTER, [write(1, 0, 1), read(7, 2, 3)], 1),
    "a value before it is written": (REGISTER, [read(1, 0, 1), write(1, 2, 3)], 1),
    "a lost write taken twice": (
        REGISTER,
        [write(1, 0, None), read(1, 2, 3), write(0, 4, 5), read(0, 6, 7), read(1, 8, 9)],
        4,
    ),
    "two swaps from one value": (STORE, [put(1, 0, 1), cas(1, 2, True, 2, 9), cas(1, 3, True, 3, 8)], 3),
    "a refusal for no reason": (STORE, [put(1, 0, 1), cas(1, 2, False, 2, 3)], 2),
    "a deleted key is there": (STORE, [put(1, 0, 1), op("d", "delete", at=(2, 3)), get(1, 4, 5)], 3),
    "two owners": (LOCK, [acquire("a", True, 0, 9), acquire("b", True, 1, 8)], 2),
    "a lock that was given back is refused": (
        LOCK,
        [acquire("a", True, 0, 1), release("a", True, 2, 3), acquire("b", False, 4, 5)],
        3,
    ),
    "released by another": (LOCK, [acquire("a", True, 0, 1), release("b", True, 2, 3)], 1),
    "last in, first out": (QUEUE, [enqueue("x", 0, 1), enqueue("y", 2, 3), dequeue("y", 4, 5), dequeue("x", 6, 7)], 4),
    "an item is left behind": (QUEUE, [enqueue("x", 0, 1), enqueue("y", 2, 3), dequeue("y", 4, 5)], 3),
    "an item comes out twice": (QUEUE, [enqueue("x", 0, 1), dequeue("x", 2, 9), dequeue("x", 3, 8)], 3),
    "an item from nowhere": (QUEUE, [dequeue("x", 2, 3)], 1),
    "an item before it went in": (QUEUE, [dequeue("x", 0, 1), enqueue("x", 2, 3)], 2),
    "found empty, and is not": (QUEUE, [enqueue("x", 0, 1), dequeue(None, 2, 3)], 2),
    "found empty while one item takes over from another": (
        QUEUE,
        [enqueue("x", 0, 1), enqueue("y", 2, 4), dequeue(None, 2, 9), dequeue("x", 6, 8), dequeue("y", 10, 11)],
        5,
    ),
    "one lost dequeue for two missing items": (
        QUEUE,
        [enqueue(item, at, at + 1) for item, at in (("x", 0), ("y", 2), ("z", 4))]
        + [dequeue(None, 5, None), dequeue("z", 7, 8)],
        5,
    ),
    "an increment is lost": (COUNTER, [incr(1, 0, 9), incr(1, 1, 8)], 2),
    "an increment is counted twice": (COUNTER, [incr(1, 0, 1), incr(3, 2, 3)], 1),
}
"""With the number of operations in the explanation."""


@pytest.mark.parametrize(("model", "history"), YES.values(), ids=YES.keys())
def test_a_history_that_can_be_explained(model: Model, history: list[Operation]) -> None:
    assert isinstance(check(history, model), Linearizable)
    assert explain(history, model) is None


@pytest.mark.parametrize(("model", "history", "size"), NO.values(), ids=NO.keys())
def test_a_history_that_cannot_be_explained(model: Model, history: list[Operation], size: int) -> None:
    assert isinstance(check(history, model), NotLinearizable)
    explanation = explain(history, model)
    assert explanation is not None
    assert len(explanation.operations) == size, str(explanation)
    assert isinstance(check(explanation.operations, model), NotLinearizable)


IN_NO_ORDER = {
    "a value that nobody wrote",
    "two swaps from one value",
    "two owners",
    "released by another",
    "an item comes out twice",
    "an item from nowhere",
    "an increment is lost",
    "an increment is counted twice",
}
"""What no order at all explains, whatever the time."""


@pytest.mark.parametrize("name", NO)
def test_if_all_happens_at_once_only_what_no_order_explains_is_left(name: str) -> None:
    model, history, _ = NO[name]
    at_once = [replace(op, invoked=0, returned=None if op.returned is None else 9) for op in history]
    assert bool(check(at_once, model)) == (name not in IN_NO_ORDER)
