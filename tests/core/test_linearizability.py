"""The linearizability checker: known verdicts, planted violations, and its twins on random histories.

Three judges must agree wherever they can be compared: the general search, the counter's shortcut, and a brute-force
twin that tries every order without a clever thought.  A positive verdict is never taken on trust: its order is replayed
against the model and against real time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raft_core.verify.counter import CounterModel
from raft_core.verify.history import (
    KeyValueModel,
    Linearizable,
    LockModel,
    Model,
    NotLinearizable,
    Operation,
    QueueModel,
    RegisterModel,
    Undecided,
)
from raft_core.verify.linearizability import check, search

Call = tuple[str, tuple[Any, ...]]
NextCall = Callable[[random.Random], Call]

CALLS: dict[Model, list[Call]] = {
    RegisterModel(0): [("write", (1,)), ("write", (2,)), ("read", ())],
    CounterModel(): [("incr", ()), ("incr", (2,)), ("incr", (3,)), ("get", ())],
    KeyValueModel(): [("put", (1,)), ("put", (2,)), ("cas", (1, 2)), ("cas", (2, 1)), ("delete", ()), ("get", ())],
    LockModel(): [("acquire", ("a",)), ("acquire", ("b",)), ("release", ("a",)), ("release", ("b",))],
    QueueModel(): [("enqueue", (1,)), ("enqueue", (2,)), ("dequeue", ())],
}
"""Models small enough that random histories often collide."""


def op(name: str, *arguments: Any, gives: Any = None, at: tuple[int, int | None], key: Hashable = None) -> Operation:
    """`op("incr", 5, gives=7, at=(0, 10))`; `at=(0, None)` is an unknown outcome."""
    return Operation("c", name, arguments, gives, *at, key)


def explains(order: Sequence[Operation], history: Sequence[Operation], model: Model) -> bool:
    """Whether `order` is what a positive verdict claims: complete, as the model has it, and true to real time."""
    states: dict[Hashable, Any] = {}
    latest = -1
    for operation in order:
        before = states.get(operation.key, model.initial)
        states[operation.key], result = model.apply(before, operation.name, operation.arguments)
        if operation.returned is not None and (result != operation.result or operation.returned < latest):
            return False
        latest = max(latest, operation.invoked)
    placed, recorded = Counter(order), Counter(history)
    return placed <= recorded and all(operation.returned is None for operation in recorded - placed)


def slowly_linearizable(history: Sequence[Operation], model: Model, state: Any = None, *, begun: bool = False) -> bool:
    """The twin: tries whatever may come first, then the rest.  Exponential, and short enough to be believed."""
    state = state if begun else model.initial
    if (deadline := min((o.returned for o in history if o.returned is not None), default=None)) is None:
        return True
    for index, first in enumerate(history):
        after, result = model.apply(state, first.name, first.arguments)
        if first.invoked > deadline or (first.returned is not None and result != first.result):
            continue
        if slowly_linearizable([*history[:index], *history[index + 1 :]], model, after, begun=True):
            return True
    return False


def record(
    model: Model, next_call: NextCall, *, operations: int, in_flight: int, seed: int, lost: float = 0, keys: int = 1
) -> list[Operation]:
    """What clients of a correct object see: each call takes effect at an instant; some are lost, some replies are."""
    rng, now = random.Random(seed), 0
    states: dict[Hashable, Any] = {}
    history, waiting, effective = list[Operation](), list[Operation](), list[Operation]()
    while len(history) < operations:
        now += 1
        started = len(waiting) + len(effective) + len(history)
        if started < operations and len(waiting) + len(effective) < in_flight and rng.random() < 0.7:
            waiting.append(Operation(started % 4, *next_call(rng), None, now, None, rng.randrange(keys)))
        elif waiting and (not effective or rng.random() < 0.5):
            operation = waiting.pop(rng.randrange(len(waiting)))
            if rng.random() < lost / 2:
                history.append(operation)
                continue
            before = states.get(operation.key, model.initial)
            states[operation.key], result = model.apply(before, operation.name, operation.arguments)
            effective.append(replace(operation, result=result))
        elif effective:
            operation = effective.pop(rng.randrange(len(effective)))
            unknown = rng.random() < lost / 2
            history.append(replace(operation, result=None) if unknown else replace(operation, returned=now))
    return history


def small_history(model: Model, operations: int, distortions: int, seed: int) -> list[Operation]:
    """A correct run, in which some results are then replaced by others that occur and some intervals cut short."""
    rng = random.Random(seed)
    in_flight, lost = rng.randint(1, 5), rng.choice([0.0, 0.3, 0.6])
    history = record(
        model, lambda r: r.choice(CALLS[model]), operations=operations, in_flight=in_flight, seed=seed, lost=lost
    )
    for _ in range(distortions):
        index = rng.randrange(operations)
        operation, other = history[index], rng.choice(history)
        if operation.returned is None or other.returned is None:
            continue
        instant = rng.randint(operation.invoked, operation.returned)
        changes: list[dict[str, Any]] = [{"result": other.result}, {"returned": instant}, {"invoked": instant}]
        history[index] = replace(operation, **rng.choice(changes))
    return history


SMALL = {"operations": st.integers(3, 7), "distortions": st.integers(1, 6), "seed": st.integers(0, 10**9)}


@pytest.mark.parametrize("model", CALLS, ids=lambda model: type(model).__name__)
@settings(max_examples=800, deadline=None)
@given(**SMALL)
def test_all_judges_agree_and_what_they_quote_can_be_replayed(
    model: Model, operations: int, distortions: int, seed: int
) -> None:
    history = small_history(model, operations, distortions, seed)
    verdicts = [check(history, model), search(sorted(history, key=lambda o: o.invoked), model)]
    if isinstance(model, CounterModel):
        shortcut = model.decide(history)
        assert shortcut is not None
        verdicts.append(shortcut)
    for verdict in verdicts:
        assert bool(verdict) == slowly_linearizable(history, model)
        if isinstance(verdict, Linearizable):
            assert explains(verdict.order, history, model)
        if isinstance(verdict, NotLinearizable):
            assert explains(verdict.prefix, verdict.prefix, model)
            assert Counter(verdict.prefix) + Counter([verdict.obstacles[0].operation]) <= Counter(history)


class _Plain:
    """A key-value model without any hint to the search."""

    initial = None

    def apply(self, state: Any, name: str, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        return KeyValueModel().apply(state, name, arguments)


@settings(max_examples=300, deadline=None)
@given(**SMALL)
def test_a_model_without_hints_gets_the_same_verdicts(operations: int, distortions: int, seed: int) -> None:
    history = small_history(KeyValueModel(), operations, distortions, seed)
    assert bool(check(history, _Plain())) == slowly_linearizable(history, KeyValueModel())


def test_concurrent_operations_may_take_effect_in_either_order() -> None:
    first, second = op("write", 1, at=(0, 10)), op("write", 2, at=(0, 10))
    for value in (1, 2):
        assert check([first, second, op("read", gives=value, at=(11, 12))], RegisterModel())


def test_two_reads_may_not_disagree_about_the_order_of_two_writes() -> None:
    writes = [op("write", 1, at=(0, 10)), op("write", 2, at=(0, 10))]
    reads = [op("read", gives=1, at=(11, 12)), op("read", gives=2, at=(13, 14))]
    assert not check(writes + reads, RegisterModel())


def test_equal_instants_count_as_concurrent() -> None:
    write = op("write", 1, at=(0, 10))
    assert check([write, op("read", gives=None, at=(10, 20))], RegisterModel())
    assert not check([write, op("read", gives=None, at=(11, 20))], RegisterModel())


def test_writing_what_is_there_already_may_still_be_needed_later() -> None:
    again, other = op("write", 1, at=(3, 20)), op("write", 2, at=(4, 6))
    history = [op("write", 1, at=(0, 2)), again, other, op("read", gives=1, at=(21, 22))]
    assert check(history, RegisterModel())


def read(gives: int, invoked: int, returned: int) -> Operation:
    return op("read", gives=gives, at=(invoked, returned))


def test_an_unknown_write_may_show_up_late_or_never() -> None:
    unknown = op("write", 9, at=(0, None))
    assert check([unknown, read(0, 10, 20), read(9, 30, 40)], RegisterModel(0))
    assert check([unknown, read(0, 10, 20)], RegisterModel(0))


def test_an_unknown_write_cannot_be_undone_or_foreseen() -> None:
    assert not check([op("write", 9, at=(0, None)), read(9, 10, 20), read(0, 30, 40)], RegisterModel(0))
    assert not check([read(9, 0, 10), op("write", 9, at=(11, None))], RegisterModel(0))


def test_a_lock_is_held_by_one_owner_at_a_time() -> None:
    first, second = op("acquire", "a", gives=True, at=(0, 10)), op("acquire", "b", gives=True, at=(5, 15))
    assert not check([first, second], LockModel())
    assert check([first, op("release", "a", gives=True, at=(8, 14)), second], LockModel())
    assert check([first, replace(second, result=False)], LockModel())
    assert not check([first, op("release", "b", gives=True, at=(11, 12))], LockModel())


def test_a_queue_hands_out_each_item_once_and_in_order() -> None:
    items = [op("enqueue", 1, at=(0, 1)), op("enqueue", 2, at=(2, 3))]
    assert check([*items, op("dequeue", gives=1, at=(4, 5)), op("dequeue", gives=2, at=(6, 7))], QueueModel())
    assert not check([*items, op("dequeue", gives=2, at=(4, 5))], QueueModel())
    assert not check([*items, op("dequeue", gives=1, at=(4, 5)), op("dequeue", gives=1, at=(4, 5))], QueueModel())


@pytest.mark.parametrize("seed", range(10))
def test_keys_are_independent_and_their_orders_are_merged_into_one(seed: int) -> None:
    model = KeyValueModel()
    history = record(
        model, lambda rng: rng.choice(CALLS[model]), operations=100, in_flight=9, seed=seed, lost=0.1, keys=3
    )
    verdict = check(history, model)
    assert isinstance(verdict, Linearizable)
    assert explains(verdict.order, history, model)


def test_a_violation_on_one_key_is_reported_with_that_key() -> None:
    history = [op("put", 1, at=(0, 1), key="x"), op("put", 1, at=(0, 1), key="y"), op("get", at=(2, 3), key="y")]
    verdict = check(history, KeyValueModel())
    assert isinstance(verdict, NotLinearizable)
    assert "(key 'y')" in str(verdict)


def incr(gives: int | None, invoked: int, returned: int | None, by: int = 1) -> Operation:
    return op("incr", by, gives=gives, at=(invoked, returned))


def get(gives: int, invoked: int, returned: int) -> Operation:
    return op("get", gives=gives, at=(invoked, returned))


PLANTED = {
    "stale read": [incr(1, 0, 1), incr(2, 2, 3), get(1, 4, 5)],
    "lost update": [incr(1, 0, 5), incr(1, 1, 6)],
    "double apply": [incr(1, 0, 1), incr(3, 2, 3)],
    "reordered": [incr(2, 0, 1), incr(1, 2, 3)],
    "phantom": [incr(1, 0, 1), get(7, 2, 3)],
    "half an increment": [incr(4, 0, 9, by=4), get(2, 1, 8)],
    "below the beginning": [get(-1, 0, 1)],
    "unknown outcome taken twice": [incr(None, 0, None), incr(2, 1, 2), incr(4, 3, 4)],
    "unknown outcome that was not invoked yet": [incr(2, 0, 1), incr(None, 2, None)],
    "unknown outcomes that do not add up": [
        incr(None, 0, None, 2),
        incr(None, 0, None, 4),
        incr(4, 1, 9),
        get(3, 1, 9),
    ],
}


@pytest.mark.parametrize("history", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_found_by_the_shortcut_by_the_search_and_by_brute_force(
    history: list[Operation],
) -> None:
    assert isinstance(CounterModel().decide(history), NotLinearizable)
    assert isinstance(search(history, CounterModel()), NotLinearizable)
    assert not slowly_linearizable(history, CounterModel())


EXPLICABLE = {
    "unknown outcome taken once": [incr(None, 0, None), incr(2, 1, 2), incr(3, 3, 4)],
    "unknown outcome between two reads": [get(1, 3, 9), incr(None, 0, None), incr(None, 5, None), get(2, 3, 9)],
    "unknown outcomes of two sizes": [incr(None, 0, None, 2), incr(None, 0, None, 3), get(3, 1, 2), get(5, 3, 4)],
    "unknown outcome not needed": [incr(None, 0, None), get(0, 1, 2)],
    "get between concurrent increments": [incr(2, 0, 9), get(1, 0, 9), incr(1, 0, 9)],
}


@pytest.mark.parametrize("history", EXPLICABLE.values(), ids=EXPLICABLE.keys())
def test_an_explicable_history_is_explained_by_the_shortcut_and_by_the_search(history: list[Operation]) -> None:
    for verdict in (CounterModel().decide(history), search(history, CounterModel())):
        assert isinstance(verdict, Linearizable)
        assert explains(verdict.order, history, CounterModel())
        assert str(verdict).startswith(f"linearizable: one order explains {len(verdict.order)} operations")


NOT_UPWARDS = {
    "negative": [incr(-1, 0, 1, by=-1)],
    "zero": [incr(0, 0, 1, by=0)],
    "fraction": [op("incr", 0.5, gives=0.5, at=(0, 1))],
    "unknown and negative": [incr(None, 0, None, by=-1), get(-1, 1, 2)],
}


@pytest.mark.parametrize("history", NOT_UPWARDS.values(), ids=NOT_UPWARDS.keys())
def test_increments_that_do_not_go_upwards_by_integers_are_left_to_the_search(history: list[Operation]) -> None:
    assert CounterModel().decide(history) is None
    assert check(history, CounterModel())


def test_too_many_ways_to_fill_a_gap_are_left_to_the_search() -> None:
    amounts = [2**n for n in range(4, 22)]
    unknown = [incr(None, 0, None, by) for by in amounts]
    history = [*unknown, get(sum(amounts) // 2 + 1, 1, 2)]
    assert CounterModel().decide(history) is None
    assert isinstance(check(history, CounterModel(), limit=1000), Undecided)


def test_a_negative_verdict_says_what_could_not_come_next_and_why() -> None:
    history = [op("write", 1, at=(0, 10)), op("read", gives=0, at=(20, 30)), op("read", gives=1, at=(20, 40))]
    assert str(check(history, RegisterModel(0))).splitlines() == [
        "not linearizable: no place for c: read() -> 0 [20, 30]",
        "  longest explanation: 2 operations, ending with",
        "    c: write(1) -> None [0, 10]",
        "    c: read() -> 1 [20, 40]",
        "  what could not come next:",
        "    c: read() -> 0 [20, 30]: would return 1 here",
    ]


def test_a_verdict_shows_some_obstacles_and_counts_the_rest() -> None:
    swaps = [op("cas", n, n, gives=True, at=(0, 10)) for n in range(7)]
    text = str(check(swaps, KeyValueModel()))
    assert text.count("would return False here") == 5
    assert text.endswith("    ... and 2 more")
    assert str(Undecided(7)) == "undecided: gave up after 7 configurations"


def test_a_violation_of_a_counter_names_both_operations() -> None:
    text = str(check([incr(1, 0, 5), incr(1, 1, 6)], CounterModel()))
    assert (
        "c: incr(1) -> 1 [1, 6]: needs the value 0, but the counter stands at 1: c: incr(1) -> 1 [0, 5] took it" in text
    )


def test_the_lowest_violation_is_the_one_reported() -> None:
    later = [incr(10, 50, 60, by=5), incr(10, 50, 60, by=5)]
    assert "real time" in str(check([*PLANTED["reordered"], *later], CounterModel()))


def test_verdicts_are_conditions_and_undecided_is_not_true() -> None:
    contended = [op("put", n, at=(0, 100)) for n in range(12)]
    verdict = check([*contended, op("get", gives="x", at=(101, 102))], _Plain(), limit=50)
    assert verdict == Undecided(50)
    assert not verdict


def test_a_violation_outweighs_a_key_that_could_not_be_decided() -> None:
    hard = [op("put", n, at=(0, 100), key="hard") for n in range(12)]
    hard.append(op("get", gives="x", at=(101, 102), key="hard"))
    wrong = [op("put", 1, at=(0, 1), key="wrong"), op("get", gives=2, at=(2, 3), key="wrong")]
    assert isinstance(check([*hard, *wrong], _Plain(), limit=50), NotLinearizable)
    assert isinstance(check(hard, _Plain(), limit=50), Undecided)


def test_an_operation_cannot_return_before_it_was_invoked() -> None:
    with pytest.raises(ValueError, match="before it was invoked"):
        incr(1, 5, 4)


@pytest.mark.parametrize("model", CALLS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("name", ["put", "incr", "write", "acquire", "enqueue"])
def test_a_call_that_the_model_does_not_have_is_refused(model: Model, name: str) -> None:
    for arguments in (("key", 1), (None, None)):
        with pytest.raises(ValueError, match="the key goes apart"):
            check([op(name, *arguments, at=(0, 1))], model)
    with pytest.raises(ValueError, match="no operation enqueue"):
        check([op("enqueue", None, at=(0, 1))], model)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("amounts", [(1,), (1, 2, 5)], ids=["one size", "three sizes"])
def test_twenty_thousand_increments_with_a_thousand_in_flight_are_checked(amounts: tuple[int, ...]) -> None:
    model = CounterModel()
    call = lambda rng: ("incr", (rng.choice(amounts),))  # noqa: E731
    history = record(model, call, operations=20_000, in_flight=1024, seed=1, lost=0.02)
    verdict = check(history, model)
    assert isinstance(verdict, Linearizable)
    assert explains(verdict.order, history, model)
    seen = max(range(len(history)), key=lambda i: history[i].result if history[i].returned is not None else 0)
    history[seen] = replace(history[seen], result=history[seen].result - 1)
    assert isinstance(check(history, model), NotLinearizable)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("keys", [1, 20])
def test_ten_thousand_operations_on_a_key_value_store_are_checked(keys: int) -> None:
    values = range(10)
    calls: list[Call] = [
        ("get", ()),
        *(("put", (a,)) for a in values),
        *(("cas", (a, b)) for a in values for b in values),
    ]
    model = KeyValueModel()
    call = lambda rng: rng.choice(calls)  # noqa: E731
    history = record(model, call, operations=10_000, in_flight=10, seed=2, lost=0.001, keys=keys)
    assert isinstance(check(history, model), Linearizable)


@pytest.mark.timeout(30)
def test_a_good_guess_gets_a_long_queue_checked() -> None:
    items = iter(range(2000))
    call = lambda rng: ("enqueue", (next(items),)) if rng.random() < 0.5 else ("dequeue", ())  # noqa: E731
    history = record(QueueModel(), call, operations=2000, in_flight=10, seed=1)
    assert isinstance(check(history, QueueModel(), limit=20_000), Linearizable)
