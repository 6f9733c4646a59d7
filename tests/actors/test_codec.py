"""Bytes and back: nothing is lost, nothing broken gets through, and nothing alive is shipped."""

from __future__ import annotations

import io
import logging
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.codec import (
    MAX_FRAME_BYTES,
    CommandEnvelope,
    code_tag,
    decode_code,
    decode_command,
    decode_message,
    encode_code,
    encode_command,
    encode_message,
)
from actors.errors import ActorumError, BadFrame, GlobalInLambda, UnpicklableCommand, WrongArguments, WrongVersion
from actors.machines.counter import Counter
from actors.replies import SUCCESS, RefusalKind, Refused, decode_refusal, encode_refusal, encode_result, refusal_error
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
)
from raft_core.types import Entry, EntryKind

MESSAGES: list[Message] = [
    RequestVote(3, "n1", 7, 2),
    RequestVoteResult(3, True),
    RequestPreVote(4, "n1", 7, 2),
    RequestPreVoteResult(3, 4, False),
    AppendEntries(3, "n1", 7, 2, (Entry(3, b"\x00\xff"), Entry(3, kind=EntryKind.NO_OP)), 6, 9),
    AppendEntriesResult(3, False, 7, 0, 2, 5, 9),
]
CHANGING_GLOBAL = [1]
CONSTANT_GLOBAL = (1, "two")
LOCK_GLOBAL = threading.Lock()


def run(function: Callable[[Any], object], argument: object) -> object:
    return decode_code(encode_code(function), code_tag())(argument)


# --- envelopes and messages


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.text(), st.binary())
def test_a_command_comes_back_as_it_went_in(session: int, sequence: int, name: str, arguments: bytes) -> None:
    command = encode_command(session, sequence, sequence, name, arguments)
    assert decode_command(command) == CommandEnvelope(session, sequence, sequence, name, arguments)


@given(
    st.binary(max_size=64)
    | st.recursive(st.integers(-(2**63), 2**64 - 1), st.lists, max_leaves=6).map(msgspec.msgpack.encode)
)
def test_garbage_is_a_bad_frame_and_never_another_exception(garbage: bytes) -> None:
    for decode in (decode_command, decode_message, decode_refusal):
        try:
            decode(garbage)
        except BadFrame as error:
            assert error.why and error.fix


@pytest.mark.parametrize(
    "envelope", [(-1, 1, 1, "a", b""), (1, 1, 2, "a", b""), (1, 1, 1, "a", b"", 0), (1, 1, 1, 5, b"")]
)
def test_an_envelope_that_is_nearly_right_is_refused(envelope: tuple[object, ...]) -> None:
    with pytest.raises(BadFrame):
        decode_command(msgspec.msgpack.encode(envelope))


def test_a_command_over_the_limit_fails_at_the_client_with_both_sizes() -> None:
    with pytest.raises(WrongArguments, match=r"command put is \d+ bytes long, 100 are allowed"):
        encode_command(1, 1, 1, "put", b"x" * 100, max_bytes=100)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_rpc_comes_back_as_it_went_out_and_no_truncation_of_it_does(message: Message) -> None:
    frame = encode_message(message)
    assert decode_message(frame) == message
    for length in range(len(frame)):
        with pytest.raises(BadFrame):
            decode_message(frame[:length])
    with pytest.raises(BadFrame):
        decode_message(frame + b"\x00")


def test_deeply_nested_and_oversized_frames_are_refused() -> None:
    with pytest.raises(BadFrame):
        decode_message(b"\x91" * 100_000)
    with pytest.raises(BadFrame, match="more than"):
        decode_message(bytes(MAX_FRAME_BYTES + 1))


# --- replies


def test_a_reply_with_a_result_is_an_array_of_tag_and_result() -> None:
    assert encode_result({"a": 1}) == msgspec.msgpack.encode([0, {"a": 1}])
    assert encode_result(5).startswith(SUCCESS)


def test_sets_and_keys_are_sorted_in_a_reply_so_that_replicas_agree() -> None:
    assert encode_result({"b", "a", "c"}) == msgspec.msgpack.encode([0, ["a", "b", "c"]])
    assert encode_result({"b": 1, "a": 2}) == encode_result({"a": 2, "b": 1})
    assert encode_result({2: "b", 1: "a"}) == msgspec.msgpack.encode([0, {2: "b", 1: "a"}])


@pytest.mark.parametrize("kind", RefusalKind)
def test_every_refusal_becomes_a_typed_error_that_says_why_and_what_to_do(kind: RefusalKind) -> None:
    refused = decode_refusal(encode_refusal(kind, "broken \ud800", "ValueError"))
    assert refused == Refused(kind, "ValueError", "broken \\ud800")
    error = refusal_error(refused, "counter.incr")
    assert type(error) is not ActorumError
    assert "counter.incr" in error.what and "ValueError" in error.what and error.why and error.fix


# --- code commands


def test_a_closure_runs_with_copies_of_what_it_captured() -> None:
    captured = [1]

    def add(state: int, by: int = 10) -> int:
        return state + by + captured[0] + int(math.sqrt(CONSTANT_GLOBAL[0])) + helper(0)

    def helper(n: int) -> int:
        return n + 3

    packed = encode_code(add)
    captured[0] = 1000
    assert decode_code(packed, code_tag())(5) == 20
    assert run(len, "abc") == 3


def live_objects() -> Iterator[tuple[str, object]]:
    yield from {
        "lock": threading.Lock(),
        "rlock": threading.RLock(),
        "event": threading.Event(),
        "thread": threading.Thread(),
        "local": threading.local(),
        "file": sys.stderr,
        "buffer": io.BytesIO(),
        "logger": logging.getLogger("x"),
        "generator": (i for i in "ab"),
        "nested": {"deep": [threading.Lock()]},
        "call": Counter().incr.submit(),
    }.items()


@pytest.mark.parametrize(("name", "live"), list(live_objects()), ids=[name for name, _ in live_objects()])
def test_a_live_object_is_refused_by_the_name_of_the_variable(name: str, live: object) -> None:
    with pytest.raises(UnpicklableCommand, match="variable 'live'"):
        encode_code(lambda state: (live, state))
    with pytest.raises(UnpicklableCommand, match="default of 'kept'"):
        encode_code(lambda state, kept=live: state)
    with pytest.raises(UnpicklableCommand, match="default of 'kept'"):
        encode_code(lambda state, *, kept=live: state)


def test_a_closure_that_calls_itself_is_refused_and_told_so() -> None:
    def count_down(n: int) -> int:
        return n and count_down(n - 1)

    with pytest.raises(UnpicklableCommand, match="refers to itself"):
        encode_code(count_down)


def test_a_socket_is_refused() -> None:
    with socket.socket() as open_socket, pytest.raises(UnpicklableCommand, match=r"socket\.socket"):
        encode_code(lambda state: open_socket.fileno())


def test_a_bound_method_takes_its_object_along_and_is_refused_for_it() -> None:
    with pytest.raises(UnpicklableCommand, match=r"holds a live threading\.Thread"):
        encode_code(threading.Thread(target=print).join)


def test_a_live_object_is_found_through_a_helper_function_too() -> None:
    lock = threading.Lock()

    def helper() -> bool:
        return lock.locked()

    with pytest.raises(UnpicklableCommand, match="variable 'lock'"):
        encode_code(lambda state: helper())


def test_a_global_that_may_change_or_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(GlobalInLambda, match="'CHANGING_GLOBAL', which is a list"):
        encode_code(lambda state: [inner + state for inner in CHANGING_GLOBAL])
    with pytest.raises(GlobalInLambda, match="'missing', which does not exist"):
        encode_code(lambda state: missing)  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(UnpicklableCommand, match="global 'LOCK_GLOBAL'"):
        encode_code(lambda state: LOCK_GLOBAL)


def test_assigning_a_global_is_refused() -> None:
    def assign(state: int) -> None:
        global CONSTANT_GLOBAL
        CONSTANT_GLOBAL = (state, "")

    with pytest.raises(GlobalInLambda, match="is assigned to"):
        encode_code(assign)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(WrongArguments, match="not int"):
        encode_code(5)  # type: ignore[arg-type]


def test_code_of_another_runtime_is_refused_before_it_is_unpickled(tmp_path: Any) -> None:
    # A pickle whose mere loading leaves a trace: protocol 0, calling open(path, "w").
    trace = tmp_path / "loaded"
    bomb = f"cbuiltins\nopen\n(S'{trace}'\nS'w'\ntR.".encode()
    with pytest.raises(WrongVersion, match=r"Python 3\.1, dill 0"):
        decode_code(msgspec.msgpack.encode(["Python 3.1, dill 0", bomb]), code_tag())
    assert not trace.exists()
    opened: Any = decode_code(msgspec.msgpack.encode([code_tag(), bomb]), code_tag())
    opened.close()
    assert trace.exists(), "the trace must be able to appear, or its absence proves nothing"


def test_garbage_instead_of_code_is_a_bad_frame() -> None:
    for garbage in (b"", b"\xc1", msgspec.msgpack.encode([1, 2]), b"\x80\x04."):
        with pytest.raises(BadFrame):
            decode_code(garbage, code_tag())


def test_dill_is_not_imported_before_the_first_code_command() -> None:
    check = "import sys, actors.replicated; assert not {'dill', 'asyncio'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
