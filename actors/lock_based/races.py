"""What the lockset checker knows of a field: its state, its candidate locks, and who raced with whom."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from actors.lock_based.lockset import WatchedLock

DEPTH = 12
"""Frames of a stack that are kept."""
SHOWN = 4
"""Frames of each stack that the text of a race shows."""
_OWN = frozenset(str(Path(__file__).with_name(name)) for name in ("races.py", "stand_ins.py", "lockset.py"))
"""Files whose frames are of no interest to whoever looks for a race."""


class Place(NamedTuple):
    """A line of the program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Access(NamedTuple):
    """That a thread used a field."""

    thread: str
    deed: str
    """What it did: "reads it", "calls append()"."""
    is_write: bool
    lockset: frozenset[WatchedLock]
    stack: tuple[Place, ...]
    """Innermost first; without the frames of this module."""

    @property
    def locks(self) -> tuple[str, ...]:
        """Names of the locks it held."""
        return tuple(sorted(lock.name for lock in self.lockset))

    def __str__(self) -> str:
        places = "".join(f"\n    {place}" for place in self.stack[:SHOWN])
        kind = "write" if self.is_write else "read"
        return f"thread {self.thread} {self.deed} (a {kind}), holding {', '.join(self.locks) or 'no lock'}:{places}"


class Race(NamedTuple):
    """A field that threads share and change without one lock for all of them."""

    field: str
    earlier: Access
    """By another thread; the latest that conflicts, if possible with no lock in common."""
    later: Access
    """After which no candidate lock was left."""

    def __str__(self) -> str:
        return f"race on {self.field}: no lock guards every access\n  {self.later}\n  after {self.earlier}"


def stack_of_caller() -> tuple[Place, ...]:
    """Where the program is.  `traceback.extract_stack` would look for the source of each line, at each access."""
    places: list[Place] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(places) < DEPTH:
        code = frame.f_code
        if code.co_filename not in _OWN:
            places.append(Place(code.co_filename, frame.f_lineno, code.co_qualname))
        frame = frame.f_back
    return tuple(places)


# --- A field and its states ------------------------------------------------------------------------------------------


class State(Enum):
    """Figure 4 of the paper."""

    VIRGIN = "virgin"
    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    SHARED_MODIFIED = "shared-modified"


class Field:
    """What is known of one field.  It belongs to the checker's lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        """Whoever uses it next has it alone."""
        self.state = State.VIRGIN
        self._owner: Hashable = None
        self._candidates: frozenset[WatchedLock] | None = None
        self._latest: dict[tuple[Hashable, bool], Access] = {}
        """The latest read and the latest write of each thread, oldest first."""

    def take(self, thread: Hashable, access: Access) -> Race | None:
        """`thread` makes this access: a race?"""
        self._move(thread, access)
        race = None
        if self.state is State.SHARED_MODIFIED and not self._candidates:
            race = Race(self.name, self._other_side(thread, access), access)
        self._latest.pop((thread, access.is_write), None)  # so that it becomes the last
        self._latest[thread, access.is_write] = access
        return race

    def _move(self, thread: Hashable, access: Access) -> None:
        if self.state is State.VIRGIN:
            self.state, self._owner = State.EXCLUSIVE, thread
        elif self.state is not State.EXCLUSIVE or self._owner != thread:
            known = self._candidates
            self._candidates = access.lockset if known is None else known & access.lockset
            if access.is_write:
                self.state = State.SHARED_MODIFIED
            elif self.state is State.EXCLUSIVE:
                self.state = State.SHARED

    def _other_side(self, thread: Hashable, access: Access) -> Access:
        def blame(numbered: tuple[int, Access]) -> tuple[bool, bool, int]:
            index, other = numbered
            conflicts = access.is_write or other.is_write
            return conflicts and access.lockset.isdisjoint(other.lockset), conflicts, index

        others = [other for (by, _), other in self._latest.items() if by != thread]
        return max(enumerate(others), key=blame)[1]
