"""A call is answered once, tells everybody who asked, and never loses a callback between two threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from actors.calls import DEFAULT_OPTIONS, Call, EventWaiter, SubmitOptions
from actors.codec import encode_command
from actors.errors import CallTimeout, OutcomeUnknown, UnknownCommand
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.replicated import Replicated, command
from actors.replies import RefusalKind, decode_refusal, encode_refusal, encode_result

decode = Counter.get.signature.decode_reply
PATIENCE = 10.0


class RecordingWaiter:
    """A client that reads its links in the thread that waits: it answers when asked to wait, if it has an answer."""

    def __init__(self, reply: bytes | None = None) -> None:
        self.reply = reply
        self.deadlines: list[float | None] = []
        self.attended = 0

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        self.deadlines.append(deadline)
        if self.reply is not None:
            call._resolve(self.reply)

    def attend(self, call: Call[Any]) -> None:
        self.attended += 1


def a_call(waiter: EventWaiter | RecordingWaiter | None = None, timeout: float | None = PATIENCE) -> Call[int]:
    return Call(decode, waiter or EventWaiter(), timeout, "counter.get", safe_to_retry=True)


def test_a_call_is_pending_until_it_is_resolved() -> None:
    call = a_call()
    assert not call.done() and "pending" in repr(call)
    call._resolve(encode_result(5))
    assert call.done() and call.result() == 5 and call.exception() is None and "done" in repr(call)


def test_a_result_is_decoded_only_when_somebody_asks() -> None:
    decoded: list[bytes] = []
    call = Call(decoded.append, EventWaiter())
    call._resolve(b"reply")
    assert decoded == []
    call.result()
    assert decoded == [b"reply"]


def test_a_refusal_is_raised_as_its_typed_error() -> None:
    call = a_call()
    call._resolve(encode_refusal(RefusalKind.UNKNOWN_COMMAND, "no such thing"))
    with pytest.raises(UnknownCommand):
        call.result()
    assert isinstance(call.exception(), UnknownCommand)


def test_the_first_outcome_stays() -> None:
    call = a_call()
    call._fail(OutcomeUnknown("x", why="", fix="", docs=""))
    call._resolve(encode_result(1))
    with pytest.raises(OutcomeUnknown):
        call.result()
    answered = a_call()
    answered._resolve(encode_result(1))
    answered._fail(OutcomeUnknown("x", why="", fix="", docs=""))
    assert answered.result() == 1


def test_waiting_is_the_waiters_and_happens_in_the_callers_thread() -> None:
    waiter = RecordingWaiter(encode_result(7))
    before = time.monotonic()
    assert a_call(waiter, timeout=3.0).result() == 7
    (deadline,) = waiter.deadlines
    assert deadline is not None and before + 3.0 <= deadline <= time.monotonic() + 3.0


def test_a_time_out_of_the_caller_goes_before_the_calls_own_and_none_waits_for_ever() -> None:
    waiter = RecordingWaiter()
    call = a_call(waiter, timeout=1000.0)
    with pytest.raises(CallTimeout, match=r"within 0\.5 s"):
        call.result(timeout=0.5)
    assert waiter.deadlines[0] is not None and waiter.deadlines[0] < time.monotonic() + 1.0
    with pytest.raises(CallTimeout):
        a_call(waiter, timeout=None).result()
    assert waiter.deadlines[1] is None


def test_a_call_that_timed_out_may_be_asked_again() -> None:
    waiter = RecordingWaiter()
    call = a_call(waiter)
    with pytest.raises(CallTimeout):
        call.exception()
    waiter.reply = encode_result(3)
    assert call.result() == 3


def test_a_command_that_timed_out_has_an_unknown_outcome_and_a_query_has_none() -> None:
    command_call = Call(decode, RecordingWaiter(), 1.0, "counter.incr")
    with pytest.raises(OutcomeUnknown, match="may still take effect"):
        command_call.result()
    command_call.safe_to_retry = True
    with pytest.raises(CallTimeout, match="nothing was changed"):
        command_call.result()


def test_the_event_waiter_really_waits_and_is_woken() -> None:
    call = a_call()
    with pytest.raises(CallTimeout):
        call.result(timeout=0.01)
    resolver = threading.Thread(target=call._resolve, args=(encode_result(5),))
    resolver.start()
    assert call.result() == 5
    resolver.join()


def test_callbacks_run_once_each_before_and_after_the_answer() -> None:
    waiter, seen = RecordingWaiter(), list[str]()
    call = a_call(waiter)
    call.add_done_callback(lambda _: seen.append("first"))
    call.add_done_callback(lambda _: seen.append("second"))
    assert waiter.attended == 2, "somebody must read the links although nobody waits"
    call._resolve(encode_result(1))
    assert seen == ["first", "second"]
    call.add_done_callback(lambda done: seen.append(f"late {done.result()}"))
    assert seen == ["first", "second", "late 1"]
    assert waiter.attended == 2


def test_a_callback_that_raises_is_reported_and_hinders_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    call, seen = a_call(), list[int]()
    call.add_done_callback(lambda _: 1 // 0)
    call.add_done_callback(lambda done: seen.append(done.result()))
    call._resolve(encode_result(4))
    assert seen == [4]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_no_callback_is_lost_or_doubled_when_two_threads_meet() -> None:
    calls = [a_call() for _ in range(3000)]
    counts = [0] * len(calls)
    start = threading.Barrier(2)

    def count(position: int) -> None:
        counts[position] += 1

    def resolve() -> None:
        start.wait()
        for call in calls:
            call._resolve(b"")

    resolver = threading.Thread(target=resolve)
    resolver.start()
    start.wait()
    for position, call in enumerate(calls):
        call.add_done_callback(lambda _, position=position: count(position))  # type: ignore[misc]
    resolver.join()
    assert counts == [1] * len(calls)


class ResolvesWhileRegistering(EventWaiter):
    """The worst moment: the answer comes between putting the callback down and looking for an outcome."""

    def attend(self, call: Call[Any]) -> None:
        call._resolve(encode_result(1))


def test_an_answer_in_the_middle_of_registering_runs_the_callback_once() -> None:
    seen: list[int] = []
    call = a_call(ResolvesWhileRegistering())
    call.add_done_callback(lambda done: seen.append(done.result()))
    assert seen == [1]


def test_a_call_can_be_awaited_and_is_resolved_from_another_thread() -> None:
    async def main() -> list[int]:
        calls = [a_call() for _ in range(3)]
        threads = [threading.Thread(target=c._resolve, args=(encode_result(i),)) for i, c in enumerate(calls)]
        for thread in threads:
            thread.start()
        return [await call for call in calls]

    assert asyncio.run(main()) == [0, 1, 2]


def test_calls_can_be_gathered() -> None:
    async def main() -> list[int]:
        calls = [a_call() for _ in range(3)]
        for number, call in enumerate(calls):
            asyncio.get_running_loop().call_soon(call._resolve, encode_result(number))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [0, 1, 2]


def test_awaiting_ends_with_the_typed_error_or_the_time_out() -> None:
    async def main() -> None:
        refused = a_call()
        refused._resolve(encode_refusal(RefusalKind.SESSION_EXPIRED, "gone"))
        with pytest.raises(Exception, match="gone"):
            await refused
        with pytest.raises(CallTimeout):
            await a_call(timeout=0.01)

    asyncio.run(main())


def test_an_answer_to_somebody_who_stopped_waiting_harms_nobody() -> None:
    troubles: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
        call = a_call()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.01)
        call._resolve(encode_result(5))
        assert await call == 5
        await asyncio.sleep(0)

    asyncio.run(main())
    assert troubles == []


def test_an_answer_after_the_loop_is_closed_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    call = a_call()

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 0.01)

    asyncio.run(give_up())
    call._resolve(encode_result(5))
    assert call.result() == 5
    assert capsys.readouterr().err == ""


class Waits(Replicated):
    @command
    def wait_for_another(self) -> None:
        Call(decode, EventWaiter(), 0.01).result()


def test_waiting_for_a_call_inside_a_command_is_refused() -> None:
    host = MachineHost(Waits())
    host.apply(1, OPEN_SESSION_COMMAND)
    refused = decode_refusal(host.apply(2, encode_command(1, 1, 0, "wait_for_another", b"\x90")))
    assert refused is not None and refused.kind is RefusalKind.BLOCKING_CALL
    with pytest.raises(OutcomeUnknown):
        Call(decode, EventWaiter(), 0.01).result()


def test_options_default_to_a_linearizable_answer_and_the_clusters_time_out() -> None:
    assert SubmitOptions() == DEFAULT_OPTIONS == SubmitOptions(timeout=None, consistency="linearizable")
