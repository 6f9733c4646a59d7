"""The order that is built for a queue: refused where there is none, also if nobody has looked for violations before."""

from __future__ import annotations

from random import Random

import pytest

from raft_core.verify.generator import QUEUE, valid_history
from raft_core.verify.history import Linearizable, Operation, QueueModel
from raft_core.verify.linearizability import check
from raft_core.verify.planted import PLANTS, spoiled_history
from raft_core.verify.queue_order import Item, Traffic, build


def enqueue(item: str, invoked: int) -> Operation:
    return Operation("p", "enqueue", (item,), None, invoked, invoked + 1)


def dequeue(item: str | None, invoked: int) -> Operation:
    return Operation("c", "dequeue", (), item, invoked, invoked + 1)


def test_items_that_overtake_each_other_have_no_order() -> None:
    calls = [enqueue("x", 0), enqueue("y", 2), dequeue("y", 4), dequeue("x", 6)]
    traffic = Traffic([Item(calls[0], calls[3]), Item(calls[1], calls[2])], [], [])
    assert build(traffic, [], calls) is None


def test_an_item_that_nobody_can_have_taken_blocks_those_behind_it() -> None:
    calls = [enqueue("x", 0), enqueue("y", 2), dequeue("y", 4)]
    traffic = Traffic([Item(calls[0], None), Item(calls[1], calls[2])], [], [])
    assert build(traffic, [], calls) is None
    lost = Operation("c", "dequeue", (), None, 3, None)
    order = build(Traffic(traffic.items, [lost], []), [], [*calls, lost])
    assert order == (calls[0], calls[1], lost, calls[2])


def test_a_queue_that_cannot_be_empty_is_not_found_empty() -> None:
    calls = [enqueue("x", 0), dequeue(None, 2), dequeue("x", 4)]
    assert build(Traffic([Item(calls[0], calls[2])], [], [calls[1]]), [], calls) is None


@pytest.mark.parametrize("seed", range(100))
def test_an_order_is_built_without_any_search_whenever_there_is_one(seed: int) -> None:
    for unknown in (0.0, 0.02):
        history = valid_history(QUEUE, Random(seed), operations=300, clients=6, unknown=unknown)
        assert isinstance(QueueModel().decide(history), Linearizable)


def test_items_that_fit_before_the_queue_is_empty_go_before_it() -> None:
    """Of some thousand histories that were tried, the one whose order is not found without that rule."""
    history = valid_history(QUEUE, Random(32), operations=1_000, clients=6, unknown=0.02)
    assert isinstance(QueueModel().decide(history), Linearizable)


def test_a_queue_that_is_not_empty_at_the_beginning_is_left_to_the_search() -> None:
    model = QueueModel(("x",))
    assert model.decide([dequeue("x", 0)]) is None
    assert check([dequeue("x", 0)], model)
    assert not check([dequeue(None, 0)], model)


def test_a_history_too_short_for_a_plant_is_refused() -> None:
    plant = next(plant for plant in PLANTS if plant.name == "reordered, queue")
    with pytest.raises(ValueError, match="too short"):
        spoiled_history(plant, Random(1), operations=4)
