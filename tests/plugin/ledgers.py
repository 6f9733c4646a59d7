"""Machines with one mistake each, and logs that were never in a cluster."""

from __future__ import annotations

from itertools import count

from msgspec import msgpack

from actors import Replicated, command, query
from actors.codec import encode_command
from actors.machine import OPEN_SESSION_COMMAND
from raft_core import Entry, EntryKind

RECEIPTS = count(1)


class Honest(Replicated):
    """No mistake."""

    accounts: dict[str, int] = {}  # noqa: RUF012

    @command
    def deposit(self, name: str, amount: int) -> int:
        """Put money in."""
        self.accounts[name] = self.accounts.get(name, 0) + amount
        return self.accounts[name]

    @command
    def close(self, name: str) -> int:
        """Give the money back; raises if there is no account."""
        return self.accounts.pop(name)

    @query
    def total(self) -> int:
        """All the money."""
        return sum(self.accounts.values())


class CountsReceipts(Honest):
    """Has state outside of the machine."""

    @command
    def deposit(self, name: str, amount: int) -> int:
        """The number of the receipt."""
        self.accounts[name] = self.accounts.get(name, 0) + amount
        return next(RECEIPTS)


class TakesTheFirst(Honest):
    """Goes by the order of a set."""

    @command
    def close(self, name: str) -> int:
        """Of whoever comes first."""
        return self.accounts.pop(next(iter({"ann", "bob", "carl"} & set(self.accounts))))


def log_of(*commands: tuple[int, str, tuple[object, ...]]) -> tuple[Entry, ...]:
    """A leader's no-op, a session, and commands: sequence number, name, arguments.  The session has number 2."""
    entries = [Entry(1, b"", EntryKind.NO_OP), Entry(1, OPEN_SESSION_COMMAND)]
    entries += [Entry(1, encode_command(2, number, 0, name, msgpack.encode(args))) for number, name, args in commands]
    return tuple(entries)
