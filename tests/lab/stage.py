"""Time, and what goes on beside a scenario: tasks that take turns in its own thread, whatever the world.

A task is a generator that yields how long it wants to sleep.  Tasks go on while the scenario lets time pass, and at no
other moment; so nothing needs a lock, and in a simulation the same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias, TypeVar

from tests.lab.ports import Port

R = TypeVar("R")
Task: TypeAlias = Generator[float, None, R]
"""Something that goes on beside the scenario: it yields how many lab seconds it wants to sleep."""

MOMENT = 0.001
"""Lab seconds between two looks whether something has come true."""


class Background:
    """A task under way."""

    def __init__(self, task: Task[Any]) -> None:
        self.task = task
        self.is_over = False
        self.result: Any = None


class Stage:
    """Lets time pass in the world of `port`."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self._tasks: list[tuple[float, int, Background]] = []
        self._order = count()

    @property
    def now(self) -> float:
        """Lab seconds since the start."""
        return self.port.now

    def sleep(self, seconds: float) -> None:
        """Let lab seconds pass, and the tasks in the background go on."""
        end = self.port.now + seconds
        while self._tasks and self._tasks[0][0] <= end:
            time, _, background = heappop(self._tasks)
            self.port.pump(time)
            self._step(background)
        self.port.pump(end)

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition` holds, at most for `seconds`; whether it does."""
        deadline = self.port.now + seconds
        while not condition():
            if self.port.now > deadline:
                return False
            self.sleep(MOMENT)
        return True

    def spawn(self, task: Task[Any]) -> Background:
        """Let a task go on beside the scenario, whenever that lets time pass."""
        background = Background(task)
        self._step(background)
        return background

    def _step(self, background: Background) -> None:
        try:
            pause = next(background.task)
        except StopIteration as end:
            background.is_over, background.result = True, end.value
        else:
            heappush(self._tasks, (self.port.now + pause, next(self._order), background))

    def run(self, task: Task[R]) -> R:
        """Run a task and wait for its result."""
        while True:
            try:
                pause = next(task)
            except StopIteration as end:
                result: R = end.value
                return result
            self.sleep(pause)
