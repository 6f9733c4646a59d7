"""A client that keeps so many commands under way, in a thread of its own, and counts the answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from actors.calls import Call

Submit: TypeAlias = Callable[[int], Call[Any]]
"""Sends command number so and so."""
PATIENCE = 60.0


class Load:
    """A thread that keeps commands under way until it is told to stop."""

    def __init__(self, submit: Submit, in_flight: int) -> None:
        self._submit = submit
        self._in_flight = in_flight
        self._stopping = False
        self.answered = 0
        self.longest_gap = 0.0
        """Seconds between two answers; may be set to 0."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        calls: deque[Call[Any]] = deque()
        number, last = 0, perf_counter()
        while not self._stopping:
            while len(calls) < self._in_flight:
                calls.append(self._submit(number))
                number += 1
            calls.popleft().result(PATIENCE)
            self.answered += 1
            now = perf_counter()
            self.longest_gap, last = max(self.longest_gap, now - last), now
        for call in calls:
            call.result(PATIENCE)
            self.answered += 1

    def stop(self) -> None:
        """Submit no more and wait for the rest."""
        self._stopping = True
        self._thread.join()
