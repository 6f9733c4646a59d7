"""The key-value store, as a plain object: revisions, comparisons, expiry, ranges and the history."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.context import Context, at
from actors.machine import MachineHost
from actors.machines.key_value import Change, Item, KeyValue, Listing, watch
from actors.replicated_clock import encode_stamp


class ShortMemory(KeyValue):
    HISTORY: ClassVar[int] = 3


def kinds(store: KeyValue, since: int = 0, prefix: str = "") -> list[tuple[int, str, str]]:
    return [(change.revision, change.kind, change.key) for change in store.changes(since, prefix).changes]


def test_every_change_has_a_revision_of_its_own() -> None:
    store = KeyValue()
    assert (store.put("a", 1), store.put("a", 2), store.delete("a"), store.latest()) == (1, 2, True, 3)
    assert not store.delete("a") and store.latest() == 3


def test_a_key_that_is_not_there_has_the_value_none_and_so_none_is_no_value() -> None:
    store = KeyValue()
    assert store.get("a") is None and store.item("a") is None
    with pytest.raises(ValueError, match="use delete"):
        store.put("a", None)
    assert store.latest() == 0


def test_compare_and_set_by_value() -> None:
    store = KeyValue()
    assert store.cas("a", None, 1) and not store.cas("a", None, 2) and not store.cas("b", 1, 2)
    assert store.cas("a", 1, 2) and store.get("a") == 2


def test_compare_and_set_by_revision_sees_a_change_back_to_the_same_value() -> None:
    store = KeyValue()
    assert store.cas_revision("a", 1, "x") is None
    assert store.cas_revision("a", 0, "x") == 1
    store.put("a", "y")
    store.put("a", "x")
    assert store.cas_revision("a", 1, "z") is None
    assert store.cas_revision("a", 3, "z") == 4


def test_what_has_expired_is_gone_for_queries_and_for_commands() -> None:
    store = KeyValue()
    with at(clock=1_000):
        store.put("a", 1, ttl=2.0)
        assert store.ttl("a") == 2.0 and store.item("a") == Item(1, 1, 3_000)
    with at(clock=2_999):
        assert store.get("a") == 1
    with at(clock=3_000):
        assert store.get("a") is None and store.ttl("a") is None and store.prefix() == Listing({}, 1)
        assert not store.cas("a", 1, 2) and store.cas_revision("a", 1, 2) is None and not store.delete("a")
        assert not store.touch("a", 5.0) and store.cas("a", None, 2)
    assert kinds(store) == [(1, "put", "a"), (2, "expire", "a"), (3, "put", "a")]


def test_a_new_value_has_a_new_time_limit_or_none() -> None:
    store = KeyValue()
    store.put("a", 1, ttl=1.0)
    store.put("b", 1, ttl=1.0)
    store.put("a", 2)
    store.put("b", 2, ttl=2.0)
    assert store.ttl("a") is None
    with at(clock=1_500) as context:
        store.on_clock(context)
        assert (store.get("a"), store.get("b"), store.ttl("b")) == (2, 2, 0.5)


def test_touching_changes_the_time_limit_and_no_revision() -> None:
    store = KeyValue()
    store.put("a", 1, ttl=1.0)
    assert store.touch("a", 9.0) and store.ttl("a") == 9.0
    assert store.touch("a", None) and store.ttl("a") is None
    assert store.latest() == 1 and store.item("a") == Item(1, 1)


def test_a_time_limit_that_is_no_time_changes_nothing() -> None:
    store = KeyValue()
    for ttl in (float("nan"), float("inf")):
        with pytest.raises((ValueError, OverflowError)):
            store.put("a", 1, ttl=ttl)
    assert store.latest() == 0


def test_a_range_and_a_prefix_are_in_the_order_of_the_keys_with_the_revision_they_were_read_at() -> None:
    store = KeyValue()
    for key in ("b/2", "a", "b/1", "c"):
        store.put(key, key)
    assert list(store.prefix("b/").items) == ["b/1", "b/2"]
    assert list(store.range("a", "b/2").items) == ["a", "b/1"]
    assert list(store.range("b", limit=2).items) == ["b/1", "b/2"]
    assert list(store.range(limit=-1).items) == []
    assert store.prefix("x") == Listing({}, 4)


def test_the_history_goes_on_from_any_revision_and_says_where_to_ask_next() -> None:
    store = KeyValue()
    for number in range(5):
        store.put(f"k{number % 2}", number)
    assert [change.value for change in store.changes(0, "k1").changes] == [1, 3]
    part = store.changes(1, limit=2)
    assert ([change.value for change in part.changes], part.revision, part.is_complete) == ([1, 2], 3, True)
    assert store.changes(5).changes == [] and store.changes(9).revision == 9


def test_who_asks_for_what_is_forgotten_is_told_so() -> None:
    store = ShortMemory()
    for number in range(7):
        store.put("a", number)
    assert [change.revision for change in store.history] == [5, 6, 7]
    assert store.changes(4).is_complete and not store.changes(3).is_complete
    assert kinds(store, 3) == [(5, "put", "a"), (6, "put", "a"), (7, "put", "a")]


def test_a_watch_yields_every_change_and_reads_everything_anew_where_some_are_forgotten() -> None:
    store = ShortMemory()
    changes = watch(store, since=0, prefix="a", pause=0.0)
    store.put("a1", "x")
    store.put("b", "not watched")
    store.delete("a1")
    assert list(islice(changes, 2)) == [Change(1, "put", "a1", "x"), Change(3, "delete", "a1")]
    for number in range(7):
        store.put("a2", number)
    store.put("a3", "y")
    assert list(islice(changes, 3)) == [
        Change(11, "lost", ""),
        Change(10, "put", "a2", 6),
        Change(11, "put", "a3", "y"),
    ]
    store.delete("a3")
    assert next(changes) == Change(12, "delete", "a3")


def test_a_watch_without_a_revision_begins_with_what_happens_after_it_was_made() -> None:
    store = KeyValue()
    store.put("a", 1)
    changes = watch(store, pause=0.0)
    store.put("a", 2)
    assert next(changes) == Change(2, "put", "a", 2)


def test_stale_deadlines_do_not_pile_up() -> None:
    store = KeyValue()
    for number in range(1_000):
        store.put("a", number, ttl=100.0 + number)
    assert len(store.deadlines) <= 67
    with at(clock=100_000 + 998_000) as context:
        store.on_clock(context)
        assert store.get("a") == 999
    assert store.next_deadline() == 100_000 + 999_000


class AgainstNaive(RuleBasedStateMachine):
    """The store does what a dict of values and deadlines does, and its history can rebuild it."""

    KEYS = st.sampled_from("abc")
    VALUES = st.integers(0, 3)
    LIMITS = st.none() | st.integers(1, 5)

    def __init__(self) -> None:
        super().__init__()
        self.host = MachineHost(KeyValue())
        self.naive: dict[str, tuple[int, float]] = {}
        self.clock = 0

    @property
    def store(self) -> KeyValue:
        assert isinstance(self.host.machine, KeyValue)
        return self.host.machine

    def gone(self) -> None:
        self.naive = {key: held for key, held in self.naive.items() if held[1] > self.clock}

    @rule(key=KEYS, value=VALUES, ttl=LIMITS)
    def put(self, key: str, value: int, ttl: int | None) -> None:
        with at(clock=self.clock):
            self.store.put(key, value, ttl=ttl)
        self.naive[key] = value, float("inf") if ttl is None else self.clock + ttl * 1000

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        with at(clock=self.clock):
            assert self.store.delete(key) == (self.naive.pop(key, None) is not None)

    @rule(key=KEYS, expected=st.none() | VALUES, value=VALUES)
    def cas(self, key: str, expected: int | None, value: int) -> None:
        with at(clock=self.clock):
            taken = self.store.cas(key, expected, value)
        assert taken == (self.naive.get(key, (None, 0.0))[0] == expected)
        if taken:
            self.naive[key] = value, float("inf")

    @rule(seconds=st.integers(1, 4), stamped=st.booleans())
    def time_passes(self, seconds: int, stamped: bool) -> None:
        """With a stamp, or so that the next command is the first to see it."""
        self.clock += seconds * 1000
        if stamped:
            self.host.apply(self.host.last_applied + 1, encode_stamp(self.clock))
        self.gone()

    @rule()
    def restart(self) -> None:
        other = MachineHost(KeyValue())
        other.restore(self.host.save())
        self.host = other

    @invariant()
    def they_agree(self) -> None:
        with at(clock=self.clock):
            assert {key: self.store.get(key) for key in "abc"} == {
                key: self.naive.get(key, (None,))[0] for key in "abc"
            }
        deadline = self.store.next_deadline()
        held = [item.deadline for item in self.store.items.values() if item.deadline is not None]
        assert not held or (deadline is not None and deadline <= min(held))

    @invariant()
    def the_history_rebuilds_the_store(self) -> None:
        rebuilt: dict[str, object] = {}
        for change in self.store.changes(0, limit=10_000).changes:
            if change.kind == "put":
                rebuilt[change.key] = change.value
            else:
                del rebuilt[change.key]
        assert rebuilt == {key: item.value for key, item in self.store.items.items()}


TestAgainstNaive = AgainstNaive.TestCase


def test_a_machine_can_be_tested_with_a_context_in_hand() -> None:
    store = KeyValue()
    store.put("a", 1, ttl=1.0)
    store.on_clock(Context(clock=999))
    assert store.latest() == 1
    store.on_clock(Context(clock=1_000))
    assert kinds(store, 1) == [(2, "expire", "a")]
