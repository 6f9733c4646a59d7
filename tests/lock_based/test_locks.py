"""The lock of a peer knows its owner and its times: the clock is moved by hand, threads go on when told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest

from actors.lock_based.locks import InstrumentedLock, LockHeldAlready, LockNotHeld, LockReport, name_of

PATIENCE = 20.0


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class LockThatTells:
    """A plain lock that says when somebody begins to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.somebody_waits = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self.somebody_waits.set()
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lock(clock: Clock) -> InstrumentedLock:
    return InstrumentedLock(clock=clock)


@pytest.fixture
def another_thread() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Run something in the thread `other`; its result, or its error, is in the future."""

    def named() -> None:
        threading.current_thread().name = "other"

    with ThreadPoolExecutor(1, initializer=named) as executor:
        yield executor.submit


def contend(
    clock: Clock, another_thread: Callable[[Callable[[], Any]], Future[Any]], waited: float
) -> tuple[InstrumentedLock, LockReport]:
    """A lock held for `waited` seconds after another thread began to wait for it, and how it was used then."""
    plain = LockThatTells()
    lock = InstrumentedLock(lambda: plain, clock=clock)

    def take_and_give_up() -> None:
        with lock:
            pass

    with lock:
        future = another_thread(take_and_give_up)
        assert plain.somebody_waits.wait(PATIENCE)
        clock.seconds += waited
    future.result(PATIENCE)
    return lock, lock.report()


def test_the_time_it_is_held_is_measured_and_the_time_it_is_free_is_not(lock: InstrumentedLock, clock: Clock) -> None:
    for held in (1.0, 2.0, 4.0):
        with lock:
            clock.seconds += held
        clock.seconds += 50.0
    report = lock.report()
    assert (report.hold_p50, report.hold_p99, report.hold_total) == (2.0, 4.0, 7.0)
    assert report.seconds == 157.0
    assert report.acquisitions == 3


def test_who_finds_it_free_has_not_waited_and_is_not_counted_as_contended(lock: InstrumentedLock) -> None:
    with lock:
        pass
    report = lock.report()
    assert (report.contended, report.wait_p50, report.wait_p99, report.wait_total) == (0, 0.0, 0.0, 0.0)


def test_who_finds_it_taken_is_counted_and_its_waiting_measured(
    clock: Clock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    _, report = contend(clock, another_thread, waited=3.0)
    assert (report.acquisitions, report.contended) == (2, 1)
    assert (report.wait_p50, report.wait_p99, report.wait_total) == (3.0, 3.0, 3.0)  # of 0 and 3


def test_what_a_thread_waits_for_the_lock_is_not_time_that_it_holds_it(
    clock: Clock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    _, report = contend(clock, another_thread, waited=3.0)
    assert report.hold_total == 3.0, "the first thread's; the second held it for no time"


def test_a_try_that_fails_is_told_and_counts_for_nothing(
    lock: InstrumentedLock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    with lock:
        assert another_thread(lambda: lock.acquire(blocking=False)).result(PATIENCE) is False
        assert another_thread(lambda: lock.acquire(timeout=0.001)).result(PATIENCE) is False
    report = lock.report()
    assert (report.acquisitions, report.contended) == (1, 0)


def test_a_try_does_not_wait(clock: Clock, another_thread: Callable[[Callable[[], Any]], Future[Any]]) -> None:
    plain = LockThatTells()
    lock = InstrumentedLock(lambda: plain, clock=clock)
    with lock:
        another_thread(lambda: lock.acquire(blocking=False)).result(PATIENCE)
    assert not plain.somebody_waits.is_set()


def test_nobody_else_gets_it_while_it_is_held_and_anybody_does_afterwards(
    lock: InstrumentedLock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    def take_and_give_up() -> bool:
        if is_taken := lock.acquire(blocking=False):
            lock.release()
        return is_taken

    with lock:
        assert not another_thread(take_and_give_up).result(PATIENCE)
    assert another_thread(take_and_give_up).result(PATIENCE)


def test_an_error_inside_gives_it_up(lock: InstrumentedLock) -> None:
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    assert lock.acquire(blocking=False)


# --- Who owns it -----------------------------------------------------------------------------------------------------


def change_state_locked(lock: InstrumentedLock) -> None:
    lock.assert_owned()


def test_its_owner_may_do_what_needs_it(lock: InstrumentedLock) -> None:
    with lock:
        change_state_locked(lock)


def test_a_function_that_needs_it_refuses_without_it_and_both_are_named(
    lock: InstrumentedLock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    with pytest.raises(LockNotHeld, match=r"thread other is in change_state_locked without .*; nobody holds it"):
        another_thread(lambda: change_state_locked(lock)).result(PATIENCE)


def test_that_another_thread_holds_it_is_not_enough_and_that_thread_is_named(
    lock: InstrumentedLock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    me = threading.current_thread().name
    with lock, pytest.raises(LockNotHeld, match=rf"thread other .*; thread {me} holds it"):
        another_thread(lambda: change_state_locked(lock)).result(PATIENCE)


def test_who_gave_it_up_owns_it_no_more(lock: InstrumentedLock) -> None:
    with lock:
        pass
    with pytest.raises(LockNotHeld):
        lock.assert_owned()


def test_only_its_owner_gives_it_up(
    lock: InstrumentedLock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    with lock:
        with pytest.raises(LockNotHeld, match="thread other wants to give up a lock that it does not hold"):
            another_thread(lock.release).result(PATIENCE)
        lock.assert_owned()


def test_who_asks_for_what_it_holds_is_told_instead_of_waiting_for_itself(lock: InstrumentedLock) -> None:
    with lock:
        with pytest.raises(LockHeldAlready, match=threading.current_thread().name):
            lock.acquire()
        lock.assert_owned()
    assert lock.report().acquisitions == 1


def test_threads_are_who_the_given_function_says_they_are() -> None:
    """A simulation runs many threads in one of the operating system's."""
    running = ["receiver"]
    lock = InstrumentedLock(current=lambda: running[0])
    with lock:
        running[0] = "ticker"
        with pytest.raises(LockNotHeld, match=r"thread ticker .*; thread receiver holds it"):
            lock.assert_owned()
        assert not lock.acquire(blocking=False)
        running[0] = "receiver"


def test_a_thread_is_called_by_its_name_whatever_stands_for_it() -> None:
    me = threading.current_thread()
    assert name_of(threading.get_ident()) == name_of(me) == me.name
    assert name_of("ticker") == "ticker"
    assert name_of(-1) == "-1", "a thread that has ended"


# --- As the lock of a condition --------------------------------------------------------------------------------------


def condition_on(lock: InstrumentedLock) -> threading.Condition:
    return threading.Condition(cast(threading.Lock, lock))


def test_waiting_for_a_condition_is_not_time_that_the_lock_is_held(
    lock: InstrumentedLock, clock: Clock, another_thread: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    condition = condition_on(lock)
    inside = threading.Event()

    def wait() -> bool:
        with condition:
            clock.seconds += 1.0
            inside.set()
            woken = condition.wait(PATIENCE)
            lock.assert_owned()
            clock.seconds += 2.0
            return woken

    future = another_thread(wait)
    assert inside.wait(PATIENCE)
    with condition:  # only got when the other waits
        clock.seconds += 40.0
        condition.notify_all()
    assert future.result(PATIENCE) is True
    report = lock.report()
    assert report.hold_total == 1.0 + 40.0 + 2.0
    assert report.acquisitions == 3, "waiting gives it up and takes it again"


def test_a_condition_is_neither_waited_for_nor_notified_without_the_lock(lock: InstrumentedLock) -> None:
    condition = condition_on(lock)
    with pytest.raises(RuntimeError):
        condition.wait(0)
    with pytest.raises(RuntimeError):
        condition.notify()
    with condition:
        assert condition.wait(0) is False
    assert lock.report().contended == 0, "a condition does not find out who owns the lock by trying to take it"
