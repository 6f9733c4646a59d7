"""Many counters by name, so that commands on different names can be told apart and mixed."""

from __future__ import annotations

from actors.replicated import Replicated, command, query


class Counters(Replicated):
    """Replicated numbers by name; a name nobody has used counts from 0."""

    values: dict[str, int] = {}  # noqa: RUF012  # each instance gets its own copy

    @command
    def incr(self, name: str, by: int = 1) -> int:
        """Add `by` to the counter `name` and return its new value."""
        value = self.values[name] = self.values.get(name, 0) + by
        return value

    @query
    def get(self, name: str) -> int:
        """The present value of the counter `name`."""
        return self.values.get(name, 0)

    @query
    def names(self) -> list[str]:
        """All names in use, sorted."""
        return sorted(self.values)
