"""The smallest machine that shows whether a command was lost or applied twice: one number."""

from __future__ import annotations

from actors.replicated import Replicated, command, query


class Counter(Replicated):
    """A replicated number."""

    value: int = 0

    @command
    def incr(self, by: int = 1) -> int:
        """Add `by` and return the new value."""
        self.value += by
        return self.value

    @query
    def get(self) -> int:
        """The present value."""
        return self.value
