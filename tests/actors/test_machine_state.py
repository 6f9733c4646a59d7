"""A replica that was saved and restored is, for ever after, as if it had never been away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import nan
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, msgpack

from actors.codec import encode_command
from actors.errors import ActorumError, BadFrame, UnpicklableCommand, WrongVersion
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machine_state import SavedReplica, loaded_fields, save_machine, set_fields
from actors.machines.counters import Counters
from actors.replicated import Replicated, command
from actors.replies import decode_refusal, encode_result


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Item(Struct, frozen=True):
    name: str
    tags: frozenset[str] = frozenset()


@dataclass
class Basket:
    items: list[Item] = field(default_factory=list)
    owners: set[str] = field(default_factory=set)


class Rich(Replicated):
    """Whatever annotations allow."""

    number: int = 0
    share: float = 0
    shares: dict[str, list[float]] = {}  # noqa: RUF012
    nothing: int | None = None
    either: int | str = 0
    blob: bytes = b""
    colour: Colour = Colour.RED
    point: Point = Point(0)
    pair: tuple[int, str] = (0, "")
    small: Annotated[int, Meta(ge=0)] = 0
    by_place: dict[tuple[int, int], str] = {}  # noqa: RUF012
    names: set[str] = set()  # noqa: RUF012
    groups: dict[str, frozenset[int]] = {}  # noqa: RUF012
    basket: Basket = Basket()
    order: dict[str, int] = {}  # noqa: RUF012

    @command
    def put(self, name: str, value: int) -> int:
        """The order of the keys shows in the result."""
        self.order[name] = value
        return list(self.order).index(name)


TEXT = st.text(max_size=5)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
ITEMS = st.builds(Item, TEXT, st.frozensets(TEXT, max_size=3))
STATES = st.fixed_dictionaries(
    {
        "number": INTEGERS,
        "share": st.floats() | INTEGERS,
        "shares": st.dictionaries(TEXT, st.lists(st.floats() | INTEGERS, max_size=3), max_size=3),
        "nothing": st.none() | INTEGERS,
        "either": INTEGERS | TEXT,
        "blob": st.binary(max_size=9),
        "colour": st.sampled_from(Colour),
        "point": st.builds(Point, INTEGERS, st.floats()),
        "pair": st.tuples(INTEGERS, TEXT),
        "small": st.integers(0, 9),
        "by_place": st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), TEXT, max_size=3),
        "names": st.sets(TEXT, max_size=4),
        "groups": st.dictionaries(TEXT, st.frozensets(INTEGERS, max_size=3), max_size=3),
        "basket": st.builds(Basket, st.lists(ITEMS, max_size=2), st.sets(TEXT, max_size=3)),
        "order": st.dictionaries(TEXT, INTEGERS, max_size=4),
    }
)


def restored(host: MachineHost, machine: Replicated) -> MachineHost:
    other = MachineHost(machine)
    other.restore(host.save())
    return other


def a_command(host: MachineHost, session: int, sequence: int, name: str, *values: object) -> bytes:
    arguments = host.machine._operations[name].signature.encode(values, {})
    return encode_command(session, sequence, 0, name, arguments)


def active_counters(rounds: int = 5, seed: int = 1) -> MachineHost:
    host = MachineHost(Counters())
    host.apply(1, OPEN_SESSION_COMMAND)
    host.apply(2, OPEN_SESSION_COMMAND)
    for index in range(3, 3 + rounds):
        session, name = 1 + (index + seed) % 2, f"c{(index * seed) % 3}"
        host.apply(index, a_command(host, session, index, "incr", name, index))
    return host


# --- what comes back


@given(state=STATES)
def test_whatever_the_annotations_allow_comes_back_with_its_types_and_its_order(state: dict[str, Any]) -> None:
    machine = Rich()
    vars(machine).update(state)
    host = MachineHost(machine)
    other = restored(host, Rich())
    assert other.state_digest() == host.state_digest()
    assert list(other.state()["order"]) == list(state["order"])  # type: ignore[call-overload]
    assert other.save() == host.save()


@given(rounds=st.integers(0, 12), seed=st.integers(0, 9))
def test_sessions_answer_after_a_restore_as_before(rounds: int, seed: int) -> None:
    host = active_counters(rounds, seed)
    other = restored(host, Counters())
    assert other.last_applied == host.last_applied and other.session_count() == 2
    for index in range(3, 3 + rounds):
        session, name = 1 + (index + seed) % 2, f"c{(index * seed) % 3}"
        again = a_command(host, session, index, "incr", name, index)
        place = host.last_applied + 1
        assert other.apply(place, again) == host.apply(place, again)
    assert other.save() == host.save()


def test_the_session_that_was_silent_longest_is_still_the_first_to_go() -> None:
    host = MachineHost(Counters(), max_sessions=2)
    host.apply(1, OPEN_SESSION_COMMAND)
    host.apply(2, OPEN_SESSION_COMMAND)
    host.apply(3, a_command(host, 1, 1, "incr", "a", 1))
    other = MachineHost(Counters(), max_sessions=2)
    other.restore(host.save())
    other.apply(4, OPEN_SESSION_COMMAND)
    assert other.apply(5, a_command(host, 1, 1, "incr", "a", 1)) == encode_result(1)
    assert other.apply(6, a_command(host, 2, 1, "incr", "a", 1)) != encode_result(2)


def test_what_was_there_before_a_restore_is_gone() -> None:
    host = active_counters(9)
    host.restore(MachineHost(Counters()).save())
    assert host.save() == MachineHost(Counters()).save()


def test_a_command_that_looks_at_the_order_of_a_dict_answers_alike_after_a_restore() -> None:
    host = MachineHost(Rich())
    host.apply(1, OPEN_SESSION_COMMAND)
    for index, name in enumerate("zebra", 2):
        host.apply(index, a_command(host, 1, index, "put", name, 1))
    other = restored(host, Rich())
    again = a_command(host, 1, 99, "put", "z", 2)
    assert other.apply(9, again) == host.apply(9, again) == encode_result(0)


def test_an_int_in_a_float_field_stays_an_int_and_not_a_number_stays_that() -> None:
    host = MachineHost(Rich())
    vars(host.machine).update(share=0, shares={"a": [1, 2.0, nan]})
    state = restored(host, Rich()).state()
    assert repr(state["share"]) == "0" and repr(state["shares"]) == "{'a': [1, 2.0, nan]}"


PROGRAM = """
from tests.actors.test_machine_state import Basket, Item, MachineHost, Rich
machine = Rich()
names = [f"name {number}" for number in range(50)]
machine.names.update(names)
machine.groups = {"b": frozenset(range(0, 10**6, 9973)), "a": frozenset()}
machine.basket = Basket([Item("x", frozenset(names))], set(names))
print(MachineHost(machine).save().hex())
"""


def test_equal_states_are_saved_in_equal_bytes_by_processes_that_order_their_sets_differently() -> None:
    saved = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        saved.add(ran.stdout)
    assert len(saved) == 1


# --- what is refused when it is saved


class Loose(Replicated):
    held: dict[str, Any] = {}  # noqa: RUF012
    numbers: list[int] = []  # noqa: RUF012


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("held", defaultdict(int)),
        ("held", {"a": (1, 2)}),
        ("held", {"a": {1, 2}}),
        ("held", {"a": Item("x")}),
        ("held", {"a": Colour.RED}),
        ("held", {"a": Random(1)}),
        ("held", {"a": 2**70}),
        ("numbers", (1, 2)),
        ("numbers", [1, "2"]),
        ("numbers", [True]),
        ("numbers", None),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", repr(value)),  # the same in every process that collects
)
def test_a_field_that_would_come_back_as_something_else_is_refused_when_it_is_saved(
    field_name: str, value: object
) -> None:
    machine = Loose()
    vars(machine)[field_name] = value
    with pytest.raises(UnpicklableCommand, match="state of loose@1 cannot be saved"):
        MachineHost(machine).save()


def test_the_check_of_determinism_finds_such_a_field_at_once() -> None:
    host = MachineHost(Tallies(), check_determinism=True)
    host.apply(1, OPEN_SESSION_COMMAND)
    refused = decode_refusal(host.apply(2, a_command(host, 1, 1, "count", "a")))
    assert refused is not None and "field 'tallies' would come back as something else" in refused.message
    assert host.state() == {"tallies": {}}


class Tallies(Replicated):
    """Declares a dict and holds something that behaves otherwise."""

    tallies: dict[str, int] = {}  # noqa: RUF012

    @command
    def count(self, name: str) -> int:
        self.tallies = defaultdict(int, self.tallies)
        self.tallies[name] += 1
        return self.tallies[name]


def test_an_attribute_that_the_class_does_not_declare_is_named() -> None:
    machine = Loose()
    vars(machine)["stray"] = 1
    with pytest.raises(UnpicklableCommand, match="stray is declared and not there, or there and not declared"):
        MachineHost(machine).save()


class Clockwork(Replicated):
    random: Random = Random(1)


class Unnamed(Replicated):
    later: NeverDefined = 0  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("machine", [Clockwork, Unnamed])
def test_a_machine_with_fields_that_cannot_be_saved_works_until_somebody_saves_it(machine: type[Replicated]) -> None:
    with pytest.raises(UnpicklableCommand, match="cannot be saved"):
        MachineHost(machine()).save()


# --- what is refused when it is loaded


def test_the_state_of_another_machine_is_refused_and_changes_nothing() -> None:
    host = active_counters()
    before = host.save()
    with pytest.raises(WrongVersion, match="this is the state of rich@1, not of counters@1"):
        host.restore(MachineHost(Rich()).save())
    assert host.save() == before


def test_the_state_of_a_newer_version_is_refused() -> None:
    class Counters2(Counters):
        version: ClassVar[int] = 2

    Counters2._machine_name = "counters"
    with pytest.raises(WrongVersion, match="this is the state of counters@2, not of counters@1"):
        MachineHost(Counters()).restore(MachineHost(Counters2()).save())


def test_a_later_format_is_refused_by_its_number() -> None:
    with pytest.raises(WrongVersion, match="saved in format 2, and this program reads format 1"):
        MachineHost(Counters()).restore(msgpack.encode([2, "whatever comes then"]))


def test_a_state_that_does_not_fit_the_fields_is_refused_and_changes_nothing() -> None:
    host = active_counters()
    before = host.save()
    saved = msgpack.decode(before, type=SavedReplica)
    wrong: list[object] = [{"values": {"a": "b"}}, {"values": {}, "more": 1}, {"values": []}, [1]]
    for fields in wrong:
        state = msgpack.decode(msgpack.encode(["counters", 1, fields, {}]))
        with pytest.raises(BadFrame, match="not a state of counters@1"):
            host.restore(msgpack.encode([1, saved.last_applied, 0, 0, state, []]))
    assert host.save() == before


@given(garbage=st.binary(max_size=60))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ActorumError):
        MachineHost(Counters()).restore(garbage)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_leaves_something_of_the_right_types(place: int, bit: int) -> None:
    saved = bytearray(active_counters().save())
    saved[place % len(saved)] ^= 1 << bit
    host = MachineHost(Counters())
    try:
        host.restore(bytes(saved))
    except ActorumError:
        assert host.save() == MachineHost(Counters()).save()
    else:
        assert restored(host, Counters()).save() == host.save()


# --- versions


class Account(Replicated):
    balance: int = 0


class Account3(Replicated):
    version: ClassVar[int] = 3

    cents: int = 0
    owner: str = "nobody"

    @classmethod
    def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Version 2 had cents; 1 had whole units."""
        if from_version == 0:
            raise LookupError("nobody remembers version 0")
        return {"cents": state["balance"] * 100} if from_version == 1 else state


Account3._machine_name = "account"


def saved_account(balance: int, version: int = 1) -> SavedReplica:
    host = MachineHost(Account())
    vars(host.machine)["balance"] = balance
    saved = msgpack.decode(host.save())
    saved[4][1] = version
    return msgpack.decode(msgpack.encode(saved), type=SavedReplica)


def test_the_state_of_an_older_version_is_migrated_and_new_fields_have_their_defaults() -> None:
    host = MachineHost(Account3())
    vars(host.machine)["owner"] = "ann"
    host.restore(saved_account(7).encode())
    assert host.state() == {"cents": 700, "owner": "nobody"}
    assert restored(host, Account3()).state() == host.state()


def test_a_migration_that_fails_or_leaves_old_fields_is_named_and_changes_nothing() -> None:
    host = MachineHost(Account3())
    with pytest.raises(WrongVersion, match="account@0 does not become account@3: nobody remembers version 0"):
        host.restore(saved_account(7, 0).encode())
    with pytest.raises(WrongVersion, match=r"account@2 does not become account@3: .*balance"):
        host.restore(saved_account(7, 2).encode())
    assert host.state() == {"cents": 0, "owner": "nobody"}


# --- parts


class Branch(Replicated):
    _parts: ClassVar[Mapping[str, type[Replicated]]] = {"left": Account, "right": Counters}

    name: str = "x"

    def __init__(self) -> None:
        super().__init__()
        vars(self).update(left=Account(), right=Counters())


def test_parts_are_saved_each_with_its_name_and_version_and_migrate_by_themselves() -> None:
    class Newer(Branch):
        version: ClassVar[int] = 2
        _parts: ClassVar[Mapping[str, type[Replicated]]] = {"left": Account3, "extra": Counters}

        def __init__(self) -> None:
            super().__init__()
            vars(self).update(left=Account3(), extra=Counters())

    Newer._machine_name = "branch"
    old, new = Branch(), Newer()
    vars(old)["left"].balance, vars(old)["right"].values = 3, {"a": 1}
    state = save_machine(old)
    assert {name: (part.machine, part.version) for name, part in state.parts.items()} == {
        "left": ("account", 1),
        "right": ("counters", 1),
    }
    set_fields(new, loaded_fields(Newer, state))
    assert vars(vars(new)["left"]) == {"cents": 300, "owner": "nobody"}
    with pytest.raises(WrongVersion, match="state of branch@1 of left, right, not of rich@1"):
        loaded_fields(Rich, state)
    Newer.version = 1
    with pytest.raises(WrongVersion, match="of left, right, not of branch@1 of extra, left"):
        loaded_fields(Newer, state)
