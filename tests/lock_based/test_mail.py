"""A queue with a waiting reader: nothing is lost, nobody sleeps on, and being woken proves nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from actors.lock_based.mail import Mail
from actors.lock_based.threads import OsThreads

PATIENCE = 20.0


def taking(mail: Mail[int], timeout: float | None = None) -> tuple[threading.Thread, list[list[int] | None]]:
    """A thread that takes once, and what it got."""
    got: list[list[int] | None] = []
    thread = threading.Thread(target=lambda: got.append(mail.take(timeout)))
    thread.start()
    return thread, got


def while_it_waits(mail: Mail[int], action: Callable[[], None]) -> list[list[int] | None]:
    """What a thread got that was waiting when `action` happened."""
    thread, got = taking(mail)
    deadline = monotonic() + PATIENCE
    while not mail._condition._waiters:  # type: ignore[attr-defined]
        assert monotonic() < deadline
    action()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return got


def test_all_that_was_put_is_taken_at_once_and_in_order() -> None:
    mail: Mail[int] = Mail(OsThreads())
    mail.put([1, 2])
    mail.put([3])
    assert mail.take() == [1, 2, 3]
    assert mail.take(0.0) == []


def test_who_waits_is_woken_by_what_is_put() -> None:
    mail: Mail[int] = Mail(OsThreads())
    assert while_it_waits(mail, lambda: mail.put([1])) == [[1]]


def test_who_waits_is_woken_by_the_end() -> None:
    mail: Mail[int] = Mail(OsThreads())
    assert while_it_waits(mail, mail.close) == [None]
    mail.put([1])
    assert mail.take() is None


def test_what_is_there_is_taken_before_a_finished_one_ends() -> None:
    mail: Mail[int] = Mail(OsThreads())
    assert while_it_waits(mail, mail.finish) == [None]
    mail = Mail(OsThreads())
    mail.put([1, 2])
    mail.finish()
    assert mail.take() == [1, 2]
    assert mail.take() is None
    mail = Mail(OsThreads())
    mail.put([1, 2])
    mail.close()
    assert mail.take() is None


def test_a_wake_up_without_a_reason_ends_no_wait() -> None:
    mail: Mail[int] = Mail(OsThreads())

    def wake_for_nothing() -> None:
        with mail._condition:
            mail._condition.notify_all()
        mail.put([7])

    assert while_it_waits(mail, wake_for_nothing) == [[7]]


def test_a_wait_ends_after_its_time() -> None:
    began = monotonic()
    assert Mail[int](OsThreads()).take(0.05) == []
    assert monotonic() - began >= 0.05
