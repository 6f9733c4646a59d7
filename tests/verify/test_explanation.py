"""Explanations: honest, minimal, and readable."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from raft_core.verify import explanation as module
from raft_core.verify.counter import CounterModel
from raft_core.verify.explanation import Explanation, explain
from raft_core.verify.generator import KEY_VALUE, QUEUE, valid_history
from raft_core.verify.history import KeyValueModel, LockModel, NotLinearizable, Operation, QueueModel, RegisterModel
from raft_core.verify.linearizability import check
from raft_core.verify.planted import PLANTS, Plant, spoiled_history


def op(name: str, *arguments: Any, gives: Any = None, at: tuple[int, int | None], key: Any = None) -> Operation:
    return Operation("c", name, arguments, gives, *at, key)


def explained(history: list[Operation], model: Any) -> Explanation:
    explanation = explain(history, model)
    assert explanation is not None
    return explanation


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_violation_is_explained_by_a_few_operations_that_are_a_violation_alone(plant: Plant) -> None:
    history = spoiled_history(plant, Random(5), operations=600)
    found = explained(history, plant.workload.model)
    repeats = plant.workload.name in ("register", "key-value store", "lock")  # then all equal writes may be needed
    assert len(found.operations) <= (30 if repeats else 5)
    assert set(map(str, found.operations)) <= set(map(str, history))
    assert found.culprit in found.operations
    assert found.others == len(history) - len(found.operations)
    if plant.workload.name != "counter":  # a counter's operations are all needed to say what cannot be
        assert isinstance(check(found.operations, plant.workload.model), NotLinearizable)


@pytest.mark.parametrize("plant", [p for p in PLANTS if p.script and "counter" not in p.name], ids=lambda p: p.name)
def test_no_operation_of_an_explanation_can_be_spared(plant: Plant) -> None:
    """Loosened by hand, as the module's essay says: every other call may do what it did at any time, and often."""
    history = sorted(spoiled_history(plant, Random(6), operations=120, clients=4), key=lambda op: op.invoked)
    found = explained(history, plant.workload.model)
    seen = module._until(history, found.certain)
    kept = {place for place, op in enumerate(seen) if op in found.operations}
    loose = [plant.workload.model.loosened(op) for op in seen]  # type: ignore[attr-defined]
    assert module._contradiction(seen, loose, kept, plant.workload.model) is not None
    for place in kept:
        assert module._contradiction(seen, loose, kept - {place}, plant.workload.model) is None


def test_a_valid_history_needs_no_explanation_and_an_undecided_one_gets_none() -> None:
    assert explain(valid_history(KEY_VALUE, Random(1), operations=200), KEY_VALUE.model) is None
    assert explain([], KEY_VALUE.model) is None
    hard = [op("put", n, at=(0, 100)) for n in range(12)] + [op("get", gives=n, at=(0, 100)) for n in range(12)]
    assert explain([*hard, op("get", gives="x", at=(101, 102))], KeyValueModel(), limit=3) is None


def test_a_write_that_a_read_depends_on_is_not_left_out() -> None:
    writes = [op("write", n, at=(10 * n, 10 * n + 1)) for n in range(1, 9)]
    found = explained([*writes, op("read", gives=3, at=(95, 96))], RegisterModel())
    assert [o.arguments for o in found.operations] == [(3,), (8,), ()]


def test_the_sentence_says_what_was_returned_what_should_have_been_and_that_nothing_else_helps() -> None:
    writes = [op("write", n, at=(10 * n, 10 * n + 1), key="x") for n in range(1, 9)]
    found = explained([*writes, op("read", gives=3, at=(95, 96), key="x")], RegisterModel())
    assert str(found).splitlines() == [
        "read() of client c on key 'x' returned 3, but given 2 other calls listed here it would have returned 8; "
        "the 6 calls not listed cannot explain it either.",
        "  1. c: write(3) -> None [30, 31]",
        "  2. c: write(8) -> None [80, 81]  (after 1)",
        "  3. c: read() -> 3 [95, 96]  (after 1, 2; no place for this)",
    ]


def test_the_sentence_of_a_lone_operation_needs_no_others() -> None:
    assert explained([op("read", gives=3, at=(5, 6))], RegisterModel(0)).sentence == (
        "read() of client c returned 3, but with no other call at all it would have returned 0."
    )
    assert explained([op("dequeue", gives=3, at=(5, 6))], QueueModel()).sentence == (
        "dequeue() of client c returned 3, which cannot be: 3 never went in."
    )


def test_what_only_a_call_of_unknown_outcome_could_explain_twice_is_explained_with_that_call() -> None:
    """A retried write that took effect again: the write itself is part of the contradiction."""
    unknown = op("write", 1, at=(0, None))
    reads = [op("read", gives=1, at=(2, 3)), op("read", gives=0, at=(6, 7)), op("read", gives=1, at=(8, 9))]
    found = explained([unknown, reads[0], op("write", 0, at=(4, 5)), *reads[1:]], RegisterModel(0))
    assert unknown in found.operations


def test_of_several_keys_the_one_that_was_certain_first_is_explained() -> None:
    late = [op("write", 1, at=(0, 1), key="late"), op("read", gives=0, at=(50, 60), key="late")]
    soon = [op("write", 1, at=(0, 1), key="soon"), op("read", gives=0, at=(20, 30), key="soon")]
    found = explained([*late, *soon], RegisterModel(0))
    assert (found.key, found.certain) == ("soon", 30)


@pytest.mark.parametrize("model", [RegisterModel(0), KeyValueModel(), CounterModel(), LockModel()], ids=repr)
def test_a_loosened_call_returns_nothing_that_anybody_could_contradict(model: Any) -> None:
    calls = {
        RegisterModel: [op("write", 1, at=(0, 1))],
        KeyValueModel: [op("put", 1, at=(0, 1)), op("delete", at=(0, 1)), op("cas", 1, 2, gives=True, at=(0, 1))],
        CounterModel: [op("incr", gives=1, at=(0, 1))],
        LockModel: [op("acquire", "a", gives=True, at=(0, 1)), op("release", "a", gives=True, at=(0, 1))],
    }[type(model)]
    for call in calls:
        assert (model.loosened(call).returned, model.loosened(call).result) == (None, None)
    assert KeyValueModel().loosened(op("cas", 1, 2, gives=False, at=(0, 1))) is None
    assert LockModel().loosened(op("acquire", "a", gives=False, at=(0, 1))) is None


def test_where_a_shortcut_fails_the_search_explains() -> None:
    history = [op("enqueue", "x", at=(0, 1)), op("dequeue", gives="x", at=(2, 3)), op("dequeue", gives="x", at=(4, 5))]
    again = [*history, op("enqueue", "x", at=(6, 7))]  # an item that repeats
    assert len(explained(again, QueueModel()).operations) == 4


def test_an_explanation_with_too_many_orders_says_what_the_checker_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ORDERS", 1)
    writes = [op("write", n, at=(10 * n, 10 * n + 1)) for n in range(1, 4)]
    found = explained([*writes, op("read", gives=1, at=(95, 96))], RegisterModel())
    assert found.sentence.startswith(
        "read() of client c returned 1, which contradicts 2 other calls listed here: would return 3 here"
    )


def test_checks_that_take_too_long_make_an_explanation_larger_and_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 0)
    writes = [op("write", n, at=(10 * n, 10 * n + 1)) for n in range(1, 4)]
    found = explained([*writes, op("read", gives=1, at=(95, 96))], RegisterModel())
    assert len(found.operations) == 4


def test_an_explanation_is_found_in_a_history_of_a_queue_with_unknown_outcomes() -> None:
    history = valid_history(QUEUE, Random(2), operations=300, unknown=0.02)
    place = next(i for i, o in enumerate(history) if o.name == "dequeue" and o.result is not None and i > 100)
    history[place] = replace(history[place], result="never")
    assert [o.result for o in explained(history, QUEUE.model).operations if o.returned is not None] == ["never"]


class _Plain:
    """A register of which nothing is known but what it does."""

    initial = 0

    def apply(self, state: Any, name: str, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        return RegisterModel().apply(state, name, arguments)


def test_a_model_without_hints_gets_explanations_as_well() -> None:
    history = [op("write", 1, at=(0, 1)), op("write", 2, at=(2, 3)), op("read", gives=2, at=(4, 5))]
    found = explained([*history, op("read", gives=1, at=(6, 7))], _Plain())
    assert found.operations == (history[0], history[2], op("read", gives=1, at=(6, 7)))
