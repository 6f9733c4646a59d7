"""One replica's machine: every command once, every refusal alike, and equal states from equal entries."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.canonical import canonical, digest
from actors.codec import RUN_CODE, code_tag, encode_code, encode_command
from actors.errors import ActorumError, BlockingCallInsideApply, UnpicklableCommand, WrongVersion
from actors.machine import OPEN_SESSION_COMMAND, MachineHost, Session, refuse_inside_apply
from actors.machines.counter import Counter
from actors.machines.counters import Counters
from actors.replicated import Replicated, command, query
from actors.replies import RefusalKind, decode_refusal, encode_result
from raft_core.types import Entry, EntryKind


class Awkward(Replicated):
    """A machine that does what machines should not."""

    steps: list[str] = []  # noqa: RUF012
    draws: float = 0.0

    @command
    def half_way(self) -> int:
        self.steps.append("before")
        raise ValueError(f"no further than {object()}")

    @command
    def leave(self) -> None:
        sys.exit(3)

    @command
    def draw(self) -> float:
        self.draws = random.random()
        return 0.0

    @command
    def unsendable(self) -> Any:
        return object()

    @command
    def blocks(self) -> None:
        refuse_inside_apply("counter.get")

    @command
    def keywords(self, first: int, *, last: str, middle: int = 2) -> str:
        self.steps.append(f"{first}{middle}{last}")
        return self.steps[-1]

    @command
    def fill(self, box: list[int] = [1]) -> list[int]:  # noqa: B006
        box.append(len(box))
        return box

    @query
    def sneaky(self) -> int:
        self.steps.append("changed by a query")
        return len(self.steps)


class Exhausted(Replicated):
    @command
    def exhaust(self) -> None:
        raise MemoryError


def arguments_of(machine: type[Replicated], name: str, *values: object, **keywords: object) -> bytes:
    return machine._operations[name].signature.encode(values, keywords)


def an_incr(sequence: int, by: int = 1, lowest_pending: int = 0, session: int = 1) -> bytes:
    return encode_command(session, sequence, lowest_pending, "incr", arguments_of(Counter, "incr", by))


def host_with_session(machine: Replicated | None = None, **options: Any) -> MachineHost:
    host = MachineHost(machine or Counter(), **options)
    assert host.apply(1, OPEN_SESSION_COMMAND) == encode_result(1)
    return host


def refusal(reply: bytes) -> RefusalKind:
    refused = decode_refusal(reply)
    assert refused is not None, f"carried out: {reply!r}"
    return refused.kind


def value(host: MachineHost) -> object:
    return host.state()["value"]


def run(host: MachineHost, name: str, *values: object, **keywords: object) -> bytes:
    index = host.last_applied + 1
    arguments = arguments_of(type(host.machine), name, *values, **keywords)  # type: ignore[arg-type]
    return host.apply(index, encode_command(1, index, 0, name, arguments))


# --- sessions (thesis 6.3)


def test_the_index_of_its_entry_is_the_id_of_a_session() -> None:
    host = MachineHost(Counter())
    assert host.apply(7, OPEN_SESSION_COMMAND) == encode_result(7)
    assert host.apply(8, an_incr(1, session=7)) == encode_result(1)


def test_a_repeated_command_gets_the_first_reply_and_is_not_applied_again() -> None:
    host = host_with_session()
    first = host.apply(2, an_incr(5))
    host.apply(3, an_incr(6))
    assert host.apply(4, an_incr(5)) == first == encode_result(1)
    assert value(host) == 2


def test_sequences_may_come_in_any_order() -> None:
    host = host_with_session()
    for index, sequence in enumerate([9, 3, 7, 3, 9, 4], start=2):
        host.apply(index, an_incr(sequence))
    assert value(host) == 4


def test_an_acknowledged_sequence_is_refused_and_not_applied_again() -> None:
    host = host_with_session()
    host.apply(2, an_incr(1))
    host.apply(3, an_incr(2, lowest_pending=2))
    assert refusal(host.apply(4, an_incr(1))) is RefusalKind.ALREADY_ANSWERED
    assert host.apply(5, an_incr(2, lowest_pending=2)) == encode_result(2)
    assert value(host) == 2


def test_a_delayed_command_does_not_take_back_what_was_acknowledged() -> None:
    host = host_with_session()
    for sequence in (1, 2, 3):
        host.apply(sequence + 1, an_incr(sequence))
    host.apply(5, an_incr(4, lowest_pending=4))
    host.apply(6, an_incr(5, lowest_pending=1))
    assert refusal(host.apply(7, an_incr(3))) is RefusalKind.ALREADY_ANSWERED


def test_a_session_that_was_never_opened_is_expired() -> None:
    host = MachineHost(Counter())
    assert refusal(host.apply(1, an_incr(1, session=9))) is RefusalKind.SESSION_EXPIRED
    assert value(host) == 0


def test_the_session_that_was_silent_longest_goes_first() -> None:
    host = MachineHost(Counter(), max_sessions=2)
    host.apply(1, OPEN_SESSION_COMMAND)
    host.apply(2, OPEN_SESSION_COMMAND)
    host.apply(3, an_incr(1, session=1))
    host.apply(4, OPEN_SESSION_COMMAND)
    assert host.session_count() == 2
    assert refusal(host.apply(5, an_incr(1, session=2))) is RefusalKind.SESSION_EXPIRED
    assert host.apply(6, an_incr(1, session=1)) == encode_result(1), "kept, and deduplicated"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_a_session_agrees_with_one_that_keeps_everything(steps: list[tuple[int, int]]) -> None:
    session, applied, lowest = Session(0), set[int](), 0
    for sequence, lowest_pending in steps:
        session.acknowledge(lowest_pending)
        lowest = max(lowest, lowest_pending)
        if sequence >= lowest:
            session.replies[sequence] = b"x"
            applied.add(sequence)
        assert set(session.replies) == {kept for kept in applied if kept >= lowest}
        assert session.lowest_pending == lowest


def test_an_acknowledgement_far_ahead_costs_no_more_than_what_is_kept() -> None:
    session = Session(0, replies={1: b"a", 2**60: b"b"})
    session.acknowledge(2**60)
    assert session.replies == {2**60: b"b"}


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 6)), max_size=40))
def test_however_often_and_in_whatever_order_commands_arrive_each_counts_once(arrivals: list[tuple[int, int]]) -> None:
    host = MachineHost(Counter())
    host.apply(1, OPEN_SESSION_COMMAND)
    host.apply(2, OPEN_SESSION_COMMAND)
    for index, (session, sequence) in enumerate(arrivals, start=3):
        host.apply(index, an_incr(sequence, session=session))
    assert value(host) == len(set(arrivals))


# --- batches


def test_a_batch_answers_commands_and_passes_over_entries_that_are_none() -> None:
    host = MachineHost(Counter())
    entries = (Entry(1, kind=EntryKind.NO_OP), Entry(1, OPEN_SESSION_COMMAND), Entry(1, an_incr(1, 5, session=2)))
    assert host.apply_batch(1, entries) == [None, encode_result(2), encode_result(5)]
    assert host.last_applied == 3


def test_entries_that_come_again_are_refused_instead_of_doubled() -> None:
    host = host_with_session()
    host.apply(2, an_incr(1))
    with pytest.raises(ValueError, match="comes again"):
        host.apply(2, an_incr(2))
    assert value(host) == 1


# --- bad commands


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"", RefusalKind.UNREADABLE),
        (b"\xc1garbage", RefusalKind.UNREADABLE),
        (encode_command(1, 1, 0, "decr", b"\x90"), RefusalKind.UNKNOWN_COMMAND),
        (encode_command(1, 1, 0, "get", b"\x90"), RefusalKind.UNKNOWN_COMMAND),
        (encode_command(1, 1, 0, "$open", b"\x90"), RefusalKind.UNKNOWN_COMMAND),
        (encode_command(1, 1, 0, "incr", b"\x91\xa1x"), RefusalKind.WRONG_ARGUMENTS),
        (encode_command(1, 1, 0, "incr", b"\x92\x01\x02"), RefusalKind.WRONG_ARGUMENTS),
        (encode_command(1, 1, 0, "incr", b""), RefusalKind.WRONG_ARGUMENTS),
        (encode_command(1, 1, 0, RUN_CODE, b"\x90"), RefusalKind.CODE_REFUSED),
    ],
)
def test_a_bad_command_is_answered_and_leaves_the_state_alone(bad: bytes, kind: RefusalKind) -> None:
    host = host_with_session()
    assert refusal(host.apply(2, bad)) is kind
    assert value(host) == 0
    assert host.apply(3, an_incr(2)) == encode_result(1)


@given(st.binary(max_size=40), st.text(max_size=5))
def test_no_bytes_make_apply_or_query_raise(garbage: bytes, name: str) -> None:
    host = host_with_session(allow_code=True)
    host.apply(2, garbage)
    for index, chosen in enumerate((name, "incr", RUN_CODE), start=3):
        host.apply(index, encode_command(1, index, 0, chosen, garbage))
    host.query(name, garbage)
    host.query("get", garbage)


def test_a_parameter_added_with_a_default_reads_commands_from_before() -> None:
    host = host_with_session()
    assert host.apply(2, encode_command(1, 1, 0, "incr", b"\x90")) == encode_result(1)


def test_a_default_that_the_method_changes_is_whole_again_for_the_next_command() -> None:
    host = host_with_session(Awkward())
    replies = [host.apply(index, encode_command(1, index, 0, "fill", b"\x90")) for index in (2, 3)]
    assert replies == [encode_result([1, 1])] * 2


def test_an_exception_becomes_a_reply_without_addresses_and_what_was_changed_stays() -> None:
    host = host_with_session(Awkward())
    first, second = run(host, "half_way"), run(host, "half_way")
    refused = decode_refusal(first)
    assert refused is not None and refused.kind is RefusalKind.COMMAND_FAILED and refused.exception == "ValueError"
    assert refused.message == "no further than <object object>"
    assert first == second
    assert host.state()["steps"] == ["before", "before"]


def test_exit_and_results_that_cannot_be_sent_are_failures_and_do_not_end_the_replica() -> None:
    host = host_with_session(Awkward())
    assert refusal(run(host, "leave")) is RefusalKind.COMMAND_FAILED
    assert refusal(run(host, "unsendable")) is RefusalKind.COMMAND_FAILED


def test_a_replica_out_of_memory_stops_instead_of_having_its_own_outcome() -> None:
    host = host_with_session(Exhausted())
    with pytest.raises(MemoryError):
        run(host, "exhaust")


def test_a_failed_command_is_not_tried_again_when_it_is_repeated() -> None:
    host = host_with_session(Awkward())
    failing = encode_command(1, 9, 0, "half_way", b"\x90")
    assert host.apply(2, failing) == host.apply(3, failing)
    assert host.state()["steps"] == ["before"]


def test_a_cluster_call_inside_a_command_is_refused_and_outside_allowed() -> None:
    host = host_with_session(Awkward())
    assert refusal(run(host, "blocks")) is RefusalKind.BLOCKING_CALL
    refuse_inside_apply("counter.get")
    with pytest.raises(BlockingCallInsideApply):
        Awkward._operations["blocks"].signature.decode_reply(run(host, "blocks"))


def test_keyword_only_parameters_travel() -> None:
    host = host_with_session(Awkward())
    assert run(host, "keywords", 1, last="z") == encode_result("12z")
    assert run(host, "keywords", 1, middle=5, last="z") == encode_result("15z")


# --- queries


def test_a_query_reads_and_a_command_is_none() -> None:
    host = host_with_session()
    host.apply(2, an_incr(1, 5))
    assert host.query("get", b"\x90") == encode_result(5)
    assert refusal(host.query("incr", b"\x90")) is RefusalKind.UNKNOWN_COMMAND
    assert refusal(host.query("get", b"\x91\x01")) is RefusalKind.WRONG_ARGUMENTS


def test_the_debug_mode_finds_a_query_that_changes_the_state() -> None:
    host = MachineHost(Awkward(), check_determinism=True)
    assert refusal(host.query("sneaky", b"\x90")) is RefusalKind.NON_DETERMINISTIC
    assert host.state()["steps"] == []


# --- determinism


def test_the_debug_mode_refuses_a_random_command_and_keeps_neither_outcome() -> None:
    host = host_with_session(Awkward(), check_determinism=True)
    assert refusal(run(host, "draw")) is RefusalKind.NON_DETERMINISTIC
    assert host.state()["draws"] == 0.0
    assert host_with_session(Awkward()).apply(2, encode_command(1, 1, 0, "draw", b"\x90")) == encode_result(0.0)


def test_the_debug_mode_applies_a_deterministic_command_once() -> None:
    machine = Counter()
    host = host_with_session(machine, check_determinism=True)
    assert host.apply(2, an_incr(1, 5)) == encode_result(5)
    assert machine.value == 5


def test_equal_entries_give_equal_digests_and_one_different_entry_another() -> None:
    hosts = [host_with_session() for _ in range(3)]
    for host, by in zip(hosts, (1, 1, 2), strict=True):
        host.apply(2, an_incr(1, by))
    assert hosts[0].state_digest() == hosts[1].state_digest() != hosts[2].state_digest()


def test_sessions_are_part_of_the_digest() -> None:
    host = host_with_session()
    before = host.state_digest()
    host.apply(2, an_incr(1, 0))
    assert value(host) == 0
    assert host.state_digest() != before


def test_the_digest_does_not_depend_on_the_hash_seed_or_the_order_of_filling() -> None:
    script = (
        "from actors.canonical import digest; from collections import *; from decimal import Decimal;"
        "import datetime; s = {'a', 'b', 'c', ('d', 1)};"
        "print(digest([s, frozenset(s), dict.fromkeys(s, 1), deque([1]), Decimal('1.5'), datetime.date(2026, 1, 2)]))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_values_that_differ_in_type_structure_or_content_are_spelt_differently() -> None:
    values: list[object] = [1, 1.0, True, "1", b"1", bytearray(b"1"), None, (), [], {}, set(), frozenset()]
    values += [
        [1, [2]],
        [[1], 2],
        [1, 2],
        ["12"],
        ["1", "2"],
        {1: 2},
        {2: 1},
        0.0,
        -0.0,
        EntryKind.NO_OP,
        Counter,
        Counters,
    ]
    values += [Entry(1), Entry(2), range(3), Session(1), Session(2)]
    assert len({canonical(value) for value in values}) == len(values)


def test_a_state_without_content_is_reported() -> None:
    host = MachineHost(Counter())
    vars(host.machine)["lock"] = sys._getframe()
    with pytest.raises(UnpicklableCommand, match="counter@1"):
        host.state_digest()


# --- code commands


def run_code(host: MachineHost, function: Any) -> bytes:
    index = host.last_applied + 1
    return host.apply(index, encode_command(1, index, 0, RUN_CODE, encode_code(function)))


def test_code_on_a_machine_of_one_field_gets_its_value_and_returns_the_new_one() -> None:
    host = host_with_session(allow_code=True)
    assert run_code(host, lambda state: state + 5) == encode_result(5)
    assert run_code(host, lambda state: None) == encode_result(None)
    assert value(host) == 5


def test_code_may_change_the_value_in_place() -> None:
    host = host_with_session(Counters(), allow_code=True)
    assert run_code(host, lambda values: values.update(a=3)) == encode_result(None)
    assert host.state()["values"] == {"a": 3}


def test_code_cannot_change_the_type_of_the_field() -> None:
    host = host_with_session(Counters(), allow_code=True)
    assert refusal(run_code(host, lambda values: len(values))) is RefusalKind.COMMAND_FAILED
    assert host.state()["values"] == {}


def test_code_on_a_machine_of_several_fields_gets_the_machine() -> None:
    host = host_with_session(Awkward(), allow_code=True)
    assert run_code(host, lambda machine: machine.steps.append("a") or len(machine.steps)) == encode_result(1)
    assert host.state() == {"steps": ["a"], "draws": 0.0}


def test_code_that_raises_is_a_failed_command() -> None:
    host = host_with_session(allow_code=True)
    assert refusal(run_code(host, lambda state: 1 // 0)) is RefusalKind.COMMAND_FAILED


def test_code_is_refused_unless_allowed_and_for_another_runtime_always() -> None:
    assert refusal(run_code(host_with_session(), lambda state: state + 1)) is RefusalKind.CODE_REFUSED
    host = host_with_session(allow_code=True)
    other = msgspec.msgpack.encode(["Python 2.7, dill 0.1", b"\x80\x04."])
    assert refusal(host.apply(2, encode_command(1, 1, 0, RUN_CODE, other))) is RefusalKind.CODE_REFUSED
    assert value(host) == 0


def test_a_replica_of_another_runtime_than_its_cluster_does_not_start() -> None:
    MachineHost(Counter(), allow_code=True, expected_code_tag=code_tag())
    with pytest.raises(WrongVersion, match=r"Python 2\.7"):
        MachineHost(Counter(), allow_code=True, expected_code_tag="Python 2.7, dill 0.1")


def test_a_refusal_is_an_error_at_the_client() -> None:
    host = host_with_session(Awkward())
    with pytest.raises(ActorumError, match="ValueError: no further"):
        Awkward._operations["half_way"].signature.decode_reply(run(host, "half_way"))


def test_a_machine_is_described_by_name_and_version() -> None:
    assert MachineHost(Counter()).describe() == "counter@1"
