"""Versions of a machine: a new one takes effect at one entry of the log, on all replicas alike.

Servers get a new program one after the other, and until the last has it, all must go on doing what the old one did.  So
the new class names the one it `replaces`, which stays in the program:

    class Account(Replicated):
        version: ClassVar[int] = 2
        replaces: ClassVar[type[Replicated]] = Account1

A replica begins with the oldest class it has, or with that of its snapshot.  `cluster.upgrade()` asks every voter which
versions it knows (`upgrading`) and then commits the entry that begins one which all of them do; there each replica
makes the new machine of the old one's fields, by `migrate`.  Whoever meets an entry of a version that it does not know
- an old program, started too late - stops, and is not started again by itself: it could only drift apart.  Nothing of
its log is lost, and with the new program it goes on from there.  When no log that begins before the entry is left, and
no snapshot of the old version either, the old class may go.

A class that replaces none takes effect at once, from the first entry on.

Rejected: one class that asks in every command which version is in force (old and new behaviour in one method, for
ever); the leader proposing by itself (an upgrade that begins before its operator looks cannot be called off).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol, TypeVar

from msgspec import msgpack

from actors.codec import DOCS, GARBAGE
from actors.errors import WrongVersion

UPGRADE: Final = "$upgrade"
"""Command that begins a version; its argument is the number."""


class Versioned(Protocol):
    """What must be known of a machine to change its version."""

    _machine_name: ClassVar[str]
    version: ClassVar[int]


V = TypeVar("V", bound=Versioned)


def versions_of(cls: type[V]) -> list[type[V]]:
    """`cls` and the classes it replaces, the oldest first."""
    chain = [cls]
    while (older := vars(chain[0]).get("replaces")) is not None:
        chain.insert(0, older)
    return chain


def check_replaces(cls: type[Any]) -> None:
    """Refuse, by TypeError, a class that replaces something else than an older version of itself."""
    older = vars(cls).get("replaces")
    if older is not None and (older._machine_name != cls._machine_name or older.version >= cls.version):
        raise TypeError(
            f"{cls.__name__} is {cls._machine_name}@{cls.version} and cannot replace {older._machine_name}@"
            f'{older.version}: give the old class name="{cls._machine_name}", and this one a greater version'
        )


def encode_upgrade(version: int) -> bytes:
    """The arguments of `UPGRADE`."""
    return msgpack.encode(version)


def version_for(arguments: bytes, chain: Sequence[type[V]]) -> type[V] | None:
    """The class that an `UPGRADE` begins; None for garbage.  Raises `WrongVersion` if this program does not have it."""
    try:
        version = msgpack.decode(arguments, type=int)
    except GARBAGE:
        return None
    for cls in chain:
        if cls.version == version:
            return cls
    newest = chain[-1]
    raise WrongVersion(
        f"the cluster goes on with {newest._machine_name}@{version}, and this replica knows {newest.version} at most",
        why="it was started with an older program after the others had been asked which versions they know",
        fix="start it with the program that the others run; its data is in order",
        docs=DOCS,
    )


def version_that_loads(version: int, chain: Sequence[type[V]]) -> type[V]:
    """The class for a state that was saved at `version`: that very one, or the next that is there."""
    return next((cls for cls in chain if cls.version >= version), chain[-1])
