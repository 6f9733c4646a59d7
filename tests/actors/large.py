"""A machine whose state takes a second or so to be saved; in a module of its own, because peers import it."""

from __future__ import annotations

from actors.replicated import Replicated, command, query


class Large(Replicated):
    """Many numbers, and one that counts."""

    numbers: dict[int, int] = {}  # noqa: RUF012  # each instance gets its own copy
    value: int = 0

    @command
    def fill(self, count: int) -> None:
        """Hold this many numbers."""
        self.numbers = dict(zip(range(count), range(count), strict=True))

    @command
    def incr(self) -> int:
        """Add 1."""
        self.value += 1
        return self.value

    @query
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.numbers)
