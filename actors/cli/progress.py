"""Progress of long work, on stderr: a bar where a person looks, a line now and then where nobody does.

Work that is done within half a second shows nothing, and does not pay for importing what draws the bar (0.1 s).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from time import monotonic
from types import TracebackType

from actors.cli.output import is_terminal, say

_GRACE = 0.5
"""Seconds before a bar is shown."""
_NEWS_EVERY = 5.0
"""Seconds between lines where there is no terminal."""
_LOOK_EVERY = 0.05
"""Seconds between two changes of the bar."""


class Progress:
    """So much of `total` is done; as a context manager it takes its bar away at the end.  `quiet`: it shows nothing."""

    def __init__(self, title: str, total: int, *, quiet: bool = False) -> None:
        self._title = title
        self._total = max(total, 1)
        self._has_bar = is_terminal(sys.stderr)
        self._began = monotonic()
        self._next = inf if quiet else monotonic() + (_GRACE if self._has_bar else _NEWS_EVERY)
        self._update: Callable[[int], None] | None = None
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._stop()

    def show(self, done: int) -> None:
        """So far; cheap enough to be called for every piece of work."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + (_LOOK_EVERY if self._has_bar else _NEWS_EVERY)
        if self._has_bar:
            self._draw(done)
        else:
            say(f"{self._title}: {100 * done // self._total} %{self._time_left(now, done)}")

    def _time_left(self, now: float, done: int) -> str:
        """Of work that takes minutes; it is guessed from the pace so far."""
        if not done:
            return ""
        left = (now - self._began) / done * (self._total - done)
        return f", about {left / 60:.0f} min left" if left >= 60 else ""

    def _draw(self, done: int) -> None:
        if self._update is None:
            self._start()
        assert self._update is not None
        self._update(done)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        task = bar.add_task(self._title, total=self._total)
        bar.start()
        self._update = lambda done: bar.update(task, completed=done)
        self._stop = bar.stop
