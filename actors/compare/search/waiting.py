"""Who waits for whom: a graph with one edge from each who waits, and a deadlock is a cycle in it.

An edge is drawn when somebody begins to wait for what another has: a thread for a lock, an actor for an answer.  As
everybody waits for one thing at a time, a walk along the edges finds the cycle, if the new edge closed one, or ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Wait(NamedTuple):
    """Somebody waits."""

    who: str
    what: str
    """For what: a lock, an answer."""
    owner: Callable[[], str | None]
    """Who has it now."""
    site: str
    """Where in the program it waits."""
    held: tuple[str, ...]
    """What it holds meanwhile."""

    def __str__(self) -> str:
        held = f"holds {', '.join(self.held)} and " if self.held else ""
        return f"{self.who} {held}waits for {self.what} ({self.site}), which {self.owner()} has"


class Waiting:
    """All who wait; `cycle` is the first that was found."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}
        self.cycle: tuple[Wait, ...] = ()
        self.held: dict[str, list[str]] = {}
        """Names of the locks of each thread, oldest first."""

    def begins(self, wait: Wait) -> None:
        """Somebody begins to wait."""
        self._waits[wait.who] = wait
        if not self.cycle:
            self.cycle = self._cycle_from(wait.who)

    def ends(self, who: str) -> None:
        """It waits no more."""
        self._waits.pop(who, None)

    def owner_for(self, who: str) -> str | None:
        """Who has what it waits for."""
        wait = self._waits.get(who)
        return None if wait is None else wait.owner()

    def _cycle_from(self, start: str) -> tuple[Wait, ...]:
        path: list[Wait] = []
        who: str | None = start
        while who is not None and (wait := self._waits.get(who)) is not None:
            path.append(wait)
            who = wait.owner()
            if who == start:
                return tuple(path)
        return ()


def in_words(cycle: tuple[Wait, ...]) -> str:
    """The cycle, in one line."""
    return "; ".join(map(str, cycle))
