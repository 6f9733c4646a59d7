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


class Store(Replicated):
    """Values and counters by name: what the histories of `tests.chaos.histories` are about."""

    values: dict[str, int] = {}  # noqa: RUF012  # each instance gets its own copy
    counters: dict[str, int] = {}  # noqa: RUF012

    @query
    def get(self, key: str) -> int | None:
        """The value; None if there is none."""
        return self.values.get(key)

    @command
    def put(self, key: str, value: int) -> None:
        """Set the value."""
        self.values[key] = value

    @command
    def delete(self, key: str) -> None:
        """Let there be no value."""
        self.values.pop(key, None)

    @command
    def cas(self, key: str, expected: int | None, value: int) -> bool:
        """Set the value if it is the expected one; whether it was."""
        if self.values.get(key) != expected:
            return False
        self.values[key] = value
        return True

    @query
    def count(self, key: str) -> int:
        """The present value of a counter."""
        return self.counters.get(key, 0)

    @command
    def incr(self, key: str, by: int) -> int:
        """Add to a counter and return its new value."""
        value = self.counters[key] = self.counters.get(key, 0) + by
        return value
