"""Who runs in a cluster, and every name that anybody ever had in it.

A name stands for what its peer has promised: votes, acknowledged entries.  So no name is given twice, not even after
its peer was removed (thesis 3.8).  With a directory this is written down there before a new peer starts, and a removed
peer is written off only when the others no longer count on it: after a crash in between, a peer runs that nobody needs,
which is harmless; the other way round one would be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from actors.errors import NameTaken, WrongArguments
from actors.storage.record import note_added, note_born, note_removed, read_record
from raft_core import ServerId

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""A peer's directory is called like it."""
_NUMBERED = re.compile(r"n([0-9]+)")


class Roster:
    """The names of one cluster.  It belongs to who starts the peers, and to one thread."""

    def __init__(self, names: Iterable[ServerId], directory: Path | None = None) -> None:
        """`names` are running; the record in `directory`, if there is one, knows who was there before."""
        record = None if directory is None else read_record(directory)
        self._directory = None if record is None else directory
        self._ever = list(dict.fromkeys((*(record.ever if record is not None else ()), *names)))
        self._removed = set(record.removed if record is not None else ())

    def claim(self, name: ServerId | None) -> ServerId:
        """A name for a new peer: this one, or the next number.  Raises `NameTaken` or `WrongArguments`."""
        name = self._next_name() if name is None else name
        if name in self._ever:
            raise NameTaken(
                f"there is a peer {name} already" if name not in self._removed else f"{name} was removed",
                why="a name stands for what its peer has promised, so it is never given to another one",
                fix=f"choose another name, {self._next_name()} for example",
            )
        if not _NAME.fullmatch(name):
            raise WrongArguments(
                f"{name!r} cannot be a peer's name",
                why="letters, digits, - and _ make one, at most 63 of them",
                fix=self._next_name(),
            )
        if self._directory is not None:
            note_added(self._directory, name)
        self._ever.append(name)
        return name

    def number(self, name: ServerId) -> int:
        """Its place among all names that ever were, counted from 1."""
        return self._ever.index(name) + 1

    def born(self, name: ServerId) -> None:
        """A new peer is up: from now on, it must find its log again."""
        if self._directory is not None:
            note_born(self._directory, name)

    def remove(self, name: ServerId) -> None:
        """This peer is not started any more."""
        if self._directory is not None:
            note_removed(self._directory, name)
        self._removed.add(name)

    def was_removed(self, name: ServerId) -> bool:
        """It belonged to the cluster once."""
        return name in self._removed

    def _next_name(self) -> ServerId:
        numbers = [int(found[1]) for name in self._ever if (found := _NUMBERED.fullmatch(name))]
        return f"n{max(numbers, default=0) + 1}"
