"""A machine whose operations take and give whatever JSON can, and cannot, say."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from actors import Replicated, command, query


class Entry(Struct):
    """A line of a book."""

    account: str
    amount: int = 0
    tags: list[str] = []


class Book(Replicated):
    """Entries in order, and bytes by name."""

    entries: list[Entry] = []  # noqa: RUF012  # each instance gets its own copy
    blobs: dict[str, bytes] = {}  # noqa: RUF012

    @command
    def add(self, entry: Entry, times: Annotated[int, Meta(ge=1, le=10)] = 1, *, front: bool = False) -> int:
        """Write an entry.

        Several times, if that is wanted.
        """
        for _ in range(times):
            self.entries.insert(0 if front else len(self.entries), entry)
        return len(self.entries)

    @command
    def keep(self, name: str, blob: bytes, /) -> int:
        """Keep bytes; how many there are."""
        self.blobs[name] = blob
        return len(blob)

    @command
    def fail(self, reason: str) -> None:
        """Raise."""
        raise ValueError(reason)

    @command
    def anything(self, value: Any = None) -> Any:
        """Give back what came."""
        return value

    @query
    def accounts(self) -> list[str]:
        """All accounts, in order."""
        return [entry.account for entry in self.entries]

    @query
    def blob(self, name: str) -> bytes:
        """What was kept."""
        return self.blobs.get(name, b"")

    @query
    def by_pair(self) -> dict[tuple[int, int], str]:
        """What JSON has no word for."""
        return {(1, 2): "three"}

    @query
    def day(self, when: datetime.date) -> datetime.date:
        """The day after."""
        return when + datetime.timedelta(days=1)
