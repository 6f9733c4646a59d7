"""Machines for these tests; in a module of their own, because peers in processes import them."""

from __future__ import annotations

from time import monotonic, sleep

from actors.replicated import Replicated, command, query


class SlowCounter(Replicated):
    """A number whose increments may take as long as one likes.  (What they do meanwhile does not touch the state.)"""

    value: int = 0

    @command
    def incr(self) -> int:
        """Add 1, at once."""
        self.value += 1
        return self.value

    @command
    def incr_asleep(self, seconds: float) -> int:
        """Add 1 after having waited."""
        sleep(seconds)
        self.value += 1
        return self.value

    @command
    def incr_busy(self, seconds: float) -> int:
        """Add 1 after having computed without a pause."""
        end = monotonic() + seconds
        while monotonic() < end:
            pass
        self.value += 1
        return self.value

    @query
    def get(self) -> int:
        """The present value."""
        return self.value


class Journal(Replicated):
    """Texts, in order: something that fills a disk."""

    lines: list[str] = []  # noqa: RUF012  # each instance gets its own copy

    @command
    def append(self, line: str) -> int:
        """Add a line; the number of lines."""
        self.lines.append(line)
        return len(self.lines)

    @query
    def size(self) -> int:
        """The number of lines."""
        return len(self.lines)
