"""Many machines in one: each part has its names to itself, and a command of the whole is one step for all."""

from __future__ import annotations

from typing import ClassVar

import pytest

from actors.codec import encode_command
from actors.context import at
from actors.errors import ActorumError, UnknownCommand
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.machines.key_value import KeyValue
from actors.machines.queue import Queue
from actors.replicated import Replicated, command, query
from actors.replies import encode_result


class Shop(Replicated):
    """Goods, orders and a count of visits, and one field of its own."""

    stock: KeyValue = KeyValue()
    orders: Queue = Queue()
    visits: Counter = Counter()
    name: str = "corner shop"

    @command
    def order(self, what: str) -> int | None:
        """Take one off the stock and put in an order, or neither."""
        left: int = self.stock.get(what) or 0
        if not left:
            return None
        self.stock.put(what, left - 1)
        return self.orders.put(what)

    @query
    def rename_me(self) -> str:
        return self.name


class Mall(Replicated):
    north: Shop = Shop()
    south: Shop = Shop()


def test_on_a_plain_object_the_parts_are_plain_objects_and_of_one_instance_only() -> None:
    shop, other = Shop(), Shop()
    shop.stock.put("fig", 1)
    assert shop.order("fig") == 1 and shop.order("fig") is None
    assert other.stock.get("fig") is None and other.orders.size() == 0


def test_operations_of_parts_have_dotted_names_however_deep() -> None:
    names = set(Mall._operations)
    assert {"north.stock.put", "south.orders.take", "north.order", "south.visits.incr"} <= names
    assert Mall._operations["north.stock.put"].label == "Mall.north.stock.put"
    assert Mall._parts == {"north": Shop, "south": Shop} and Mall._replicated_fields == ()
    assert Shop._replicated_fields == ("name",)


def test_a_replica_carries_out_what_is_for_a_part_on_that_part() -> None:
    host = MachineHost(Mall())
    host.apply(1, OPEN_SESSION_COMMAND)
    for index, name in enumerate(["north.visits.incr", "south.visits.incr", "north.visits.incr"], 2):
        reply = host.apply(index, encode_command(1, index, 0, name, b"\x90"))
    assert reply == encode_result(2)
    assert host.state()["south"]["visits"] == {"value": 1}  # type: ignore[index]


@pytest.mark.parametrize("engine", ["sim", "threads", "processes"])
def test_on_a_cluster_parts_are_called_as_on_a_plain_object(engine: str) -> None:
    with Mall.cluster(nodes=3, engine=engine, check_determinism=True) as mall:  # type: ignore[arg-type]
        mall.north.stock.put("fig", 2)
        assert mall.south.order("fig") is None and mall.north.order("fig") == 1
        assert mall.north.stock.get("fig") == 1 and mall.north.stock.item("fig") is not None
        assert mall.north.visits.incr.submit(5).result() == 5 and mall.south.visits.get() == 0
        mall.cluster.wait_until_equal()
        assert mall.north.cluster is mall.cluster


def test_a_bound_part_has_no_fields_and_says_what_it_has() -> None:
    with Mall.cluster(nodes=1, engine="sim") as mall:
        with pytest.raises(UnknownCommand, match=r"Counter\.value cannot be read here"):
            _ = mall.north.visits.value
        with pytest.raises(ActorumError, match=r"Mall\.north\.visits\.incr: parameter 'by' must be int"):
            mall.north.visits.incr("1")  # type: ignore[arg-type]


def test_time_limits_of_parts_hold() -> None:
    mall = Mall()
    mall.north.stock.put("fig", 1, ttl=1.0)
    host = MachineHost(mall)
    assert host.next_deadline == 1_000
    with at(clock=1_000):
        assert mall.north.stock.get("fig") is None


def test_a_snapshot_has_all_parts_and_a_new_part_starts_with_its_defaults() -> None:
    class Larger(Mall):
        version: ClassVar[int] = 2
        west: Shop = Shop()

    Larger._machine_name = "mall"
    mall = Mall()
    mall.south.stock.put("fig", 3)
    mall.north.orders.put("x")
    host, other, larger = MachineHost(mall), MachineHost(Mall()), MachineHost(Larger())
    other.restore(host.save())
    assert other.state_digest() == host.state_digest() and other.save() == host.save()
    larger.restore(host.save())
    assert isinstance(larger.machine, Larger)
    assert larger.machine.south.stock.get("fig") == 3 and larger.machine.west.stock.get("fig") is None


def test_a_code_command_gets_the_whole() -> None:
    with Shop.cluster(nodes=3, engine="sim") as shop:
        assert shop.cluster.submit(lambda whole: whole.orders.put(whole.name)) == 1
        assert shop.orders.pop() is not None


def test_a_part_without_an_annotation_and_a_name_taken_twice_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Bare\.stock would be shared by all instances: annotate it as a part"):

        class Bare(Replicated):
            stock = KeyValue()

    with pytest.raises(TypeError, match=r"Hiding\.stock hides the part of that name"):

        class Hiding(Shop):
            stock = None  # type: ignore[assignment]
