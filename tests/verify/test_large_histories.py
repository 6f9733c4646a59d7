"""Ten thousand operations: histories that are valid by construction pass, and every planted violation is found.

The verdict is asserted, not the time; how long each takes is in `benchmarks/linearizability.py`.  What is asserted
instead is that the search stays within a limit of configurations that a few seconds allow.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from raft_core.verify.generator import KEY_VALUE, QUEUE, WORKLOADS, Workload, valid_history
from raft_core.verify.history import Linearizable, NotLinearizable, Operation
from raft_core.verify.linearizability import check
from raft_core.verify.planted import PLANTS, Plant, spoiled_history

OPERATIONS = 10_000
LIMIT = 500_000
"""Configurations for each key."""


def explains(verdict: Linearizable, history: Sequence[Operation], workload: Workload) -> bool:
    """Whether the order is complete, gives the results, and respects real time."""
    states: dict[Any, Any] = {}
    latest = -1
    for op in verdict.order:
        if workload is QUEUE:
            result = _queued(states.setdefault(op.key, deque()), op)
        else:
            before = states.get(op.key, workload.model.initial)
            states[op.key], result = workload.model.apply(before, op.name, op.arguments)
        if op.returned is not None and (result != op.result or op.returned < latest):
            return False
        latest = max(latest, op.invoked)
    left_out = Counter(history) - Counter(verdict.order)
    return Counter(verdict.order) <= Counter(history) and all(op.returned is None for op in left_out)


def _queued(queue: deque[Any], op: Operation) -> Any:
    """The queue's model copies its state with every call; over so many calls this does not."""
    if op.name == "enqueue":
        queue.append(op.arguments[0])
        return None
    return queue.popleft() if queue else None


@pytest.mark.parametrize("keys", [1, 10])
@pytest.mark.parametrize("unknown", [0.0, 0.01], ids=["all known", "a hundred unknown"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_valid_history_of_ten_clients_is_explained(workload: Workload, unknown: float, keys: int) -> None:
    history = valid_history(workload, Random(keys), operations=OPERATIONS, clients=10, keys=keys, unknown=unknown)
    verdict = check(history, workload.model, limit=LIMIT)
    assert isinstance(verdict, Linearizable), verdict
    assert explains(verdict, history, workload)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_violation_is_found_in_a_long_history(plant: Plant) -> None:
    history = spoiled_history(plant, Random(7), operations=OPERATIONS, keys=10)
    assert isinstance(check(history, plant.workload.model, limit=LIMIT), NotLinearizable)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_violation_is_found_on_one_hot_key_wherever_it_is(plant: Plant) -> None:
    for seed, at in enumerate((0.1, 0.45, 0.9)):
        history = spoiled_history(plant, Random(seed), operations=1_000, at=at)
        assert isinstance(check(history, plant.workload.model, limit=LIMIT), NotLinearizable)


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant.edit], ids=lambda plant: plant.name)
def test_a_lie_about_one_of_several_queues_is_a_lie_about_that_queue(plant: Plant) -> None:
    for seed in range(30):
        history = spoiled_history(plant, Random(seed), operations=300, keys=6)
        assert isinstance(check(history, plant.workload.model, limit=LIMIT), NotLinearizable)


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant.script], ids=lambda plant: plant.name)
def test_unknown_outcomes_do_not_hide_a_planted_violation(plant: Plant) -> None:
    history = spoiled_history(plant, Random(3), operations=1_000, unknown=0.02)
    assert sum(op.returned is None for op in history) > 10
    assert isinstance(check(history, plant.workload.model, limit=LIMIT), NotLinearizable)


def test_every_object_has_a_plant_of_every_kind() -> None:
    kinds = {(plant.workload.name, plant.kind) for plant in PLANTS}
    for workload in WORKLOADS:
        for kind in ("stale read", "lost update", "double apply", "reordered"):
            assert (workload.name, kind) in kinds


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_made_up_history_is_the_same_for_the_same_seed_and_really_concurrent(workload: Workload) -> None:
    history, again, other = (
        valid_history(workload, Random(seed), operations=300, clients=10, unknown=0.05) for seed in (1, 1, 2)
    )
    assert history == again != other
    overlaps = sum(a.invoked < b.invoked <= (a.returned or 0) for a in history for b in history)
    assert overlaps > 2 * len(history)


def test_a_client_of_a_made_up_history_has_one_known_call_at_a_time() -> None:
    history = valid_history(KEY_VALUE, Random(4), operations=2_000, clients=7, unknown=0.02)
    for client in range(7):
        own = [op for op in history if op.client == client and op.returned is not None]
        for before, after in pairwise(own):
            assert before.returned is not None
            assert before.returned <= after.invoked
