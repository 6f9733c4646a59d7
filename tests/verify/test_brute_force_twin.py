"""The checker against a twin that has no ideas: every permutation of every choice of the operations of unknown outcome.

Small random histories, about half of them spoiled, so that both verdicts occur often; that they do is asserted.  The
general search is asked as well where a model has a shortcut, and where its hints are withheld.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from random import Random

import pytest
from msgspec.structs import replace

from raft_core.verify.counter import CounterModel
from raft_core.verify.generator import Call, Workload, valid_history
from raft_core.verify.history import KeyValueModel, LockModel, Model, Operation, QueueModel, RegisterModel
from raft_core.verify.linearizability import check, search


def of(name: str, model: Model, calls: Sequence[Call]) -> Workload:
    return Workload(name, model, lambda rng, client, number: rng.choice(calls))


def _distinct_items(rng: Random, client: int, number: int) -> Call:
    return ("enqueue", (number,)) if rng.random() < 0.5 else ("dequeue", ())


SMALL = [
    of("register", RegisterModel(0), [("write", (1,)), ("write", (2,)), ("read", ()), ("read", ())]),
    of(
        "key-value store",
        KeyValueModel(),
        [("put", (1,)), ("delete", ()), ("cas", (1, 2)), ("cas", (2, 1)), ("get", ())],
    ),
    of("lock", LockModel(), [("acquire", ("a",)), ("acquire", ("b",)), ("release", ("a",)), ("release", ("b",))]),
    of("queue", QueueModel(), [("enqueue", (1,)), ("enqueue", (2,)), ("dequeue", ()), ("dequeue", ())]),
    Workload("queue, no item twice", QueueModel(), _distinct_items),
    of("counter", CounterModel(), [("incr", ()), ("incr", (2,)), ("get", ())]),
]
"""Few different calls, so that results can be mistaken for each other."""

HISTORIES = 2_000


def twin(history: Sequence[Operation], model: Model) -> bool:
    """Whether some order of some of the operations respects real time and gives the results."""
    return any(_explains(order, model) for chosen in _choices(history) for order in permutations(chosen))


def _choices(history: Sequence[Operation]) -> Iterator[list[Operation]]:
    known = [op for op in history if op.returned is not None]
    unknown = [op for op in history if op.returned is None]
    for count in range(len(unknown) + 1):
        for taken in combinations(unknown, count):
            yield [*known, *taken]


def _explains(order: Sequence[Operation], model: Model) -> bool:
    state = model.initial
    for place, op in enumerate(order):
        state, result = model.apply(state, op.name, op.arguments)
        if op.returned is None:
            continue
        if result != op.result or any(op.returned < earlier.invoked for earlier in order[:place]):
            return False
    return True


def small_history(workload: Workload, seed: int) -> list[Operation]:
    """Up to six calls; in two of three histories they happen at other times, in one results are exchanged, too."""
    rng = Random(seed)
    history = valid_history(
        workload, rng, operations=rng.randint(3, 6), clients=rng.randint(2, 4), unknown=rng.choice((0.0, 0.0, 0.3))
    )
    spoil = seed % 3
    if spoil:
        history = [_moved(op, rng) for op in history]
    for _ in range(rng.randint(0, 3) if spoil == 2 else 0):
        place, other = rng.randrange(len(history)), rng.choice(history)
        op = history[place]
        if op.returned is not None and other.returned is not None and op.name == other.name:
            history[place] = replace(op, result=other.result)
    return history


def _moved(op: Operation, rng: Random) -> Operation:
    invoked = rng.randrange(10)
    return replace(op, invoked=invoked, returned=None if op.returned is None else invoked + rng.randrange(5))


class _WithoutHints:
    """A model of which the search knows nothing but what every call does."""

    def __init__(self, model: Model) -> None:
        self.initial, self.apply = model.initial, model.apply


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_the_checker_agrees_with_the_twin_on_small_histories_of_both_kinds(workload: Workload) -> None:
    verdicts: Counter[bool] = Counter()
    with_unknown: Counter[bool] = Counter()
    for seed in range(HISTORIES):
        history = small_history(workload, seed)
        expected = twin(history, workload.model)
        in_order = sorted(history, key=lambda op: op.invoked)
        assert bool(check(history, workload.model)) == expected, history
        assert bool(search(in_order, workload.model)) == expected, history
        assert bool(search(in_order, _WithoutHints(workload.model))) == expected, history
        verdicts[expected] += 1
        with_unknown[expected] += any(op.returned is None for op in history)
    assert min(verdicts[True], verdicts[False]) > HISTORIES / 10, verdicts
    assert min(with_unknown[True], with_unknown[False]) > HISTORIES / 100, with_unknown


def test_the_twin_itself_gives_verdicts_that_can_be_seen_without_thinking() -> None:
    write, stale = Operation("a", "write", (1,), None, 0, 1), Operation("b", "read", (), 0, 2, 3)
    assert not twin([write, stale], RegisterModel(0))
    assert twin([replace(write, returned=2), stale], RegisterModel(0))
    assert twin([replace(write, returned=None), stale], RegisterModel(0))
    assert twin([replace(write, returned=None), replace(stale, result=1)], RegisterModel(0))
    assert not twin([replace(write, returned=None, invoked=4), replace(stale, result=1)], RegisterModel(0))


def test_an_operation_of_unknown_outcome_that_was_spared_is_still_there_when_it_is_needed() -> None:
    """Two ways lead to the same point; one has used up more.  Found by taking the wrong one of the two for better."""
    store = [
        Operation(3, "put", (1,), None, 8, None),
        Operation(0, "delete", (), None, 11, 24),
        Operation(3, "delete", (), None, 12, 17),
        Operation(1, "put", (1,), None, 13, 18),
        Operation(3, "cas", (1, 2), None, 15, None),
        Operation(0, "delete", (), None, 19, None),
        Operation(2, "cas", (1, 2), True, 20, 26),
        Operation(1, "get", (), 1, 22, 25),
        Operation(2, "get", (), 1, 27, 28),
    ]
    lock = [
        Operation(3, "acquire", ("a",), None, 1, None),
        Operation(2, "acquire", ("b",), None, 2, None),
        Operation(1, "acquire", ("b",), False, 3, 7),
        Operation(2, "release", ("a",), False, 4, 5),
        Operation(0, "acquire", ("a",), False, 6, 11),
        Operation(2, "release", ("b",), True, 8, 10),
        Operation(1, "release", ("a",), None, 9, None),
        Operation(1, "release", ("a",), True, 12, 13),
    ]
    for history, model in ((store, KeyValueModel()), (lock, LockModel())):
        assert twin(history, model)
        assert check(history, model)
