"""Who of several programs leads: an election for the users of a cluster, by the cluster.

A candidate says `campaign` again and again, more often than its time limit; the first of those who still do leads.  A
leader that falls silent, or resigns, is followed by the next in the order of arrival, without anybody's doing.  Every
change of leader has a *term*, greater than all before, which the leader sends along with what it does: as a fencing
token it lets others refuse a leader that does not know yet that it was replaced (see `lock`).

    >>> from actors.context import at
    >>> election = Election()
    >>> with at(clock=0):
    ...     election.campaign("ann", ttl=5.0), election.campaign("bob", ttl=9.0)
    (Leadership(leader='ann', term=1), Leadership(leader='ann', term=1))
    >>> with at(clock=5_000):
    ...     election.leader()
    Leadership(leader='bob', term=2)
    >>> with at(clock=6_000):
    ...     election.campaign("ann", ttl=5.0), election.resign("bob"), election.leader()
    (Leadership(leader='bob', term=2), True, Leadership(leader='ann', term=3))
"""

from __future__ import annotations

from msgspec import Struct

from actors.context import HERE, Context
from actors.replicated import Replicated, command, query


class Leadership(Struct, frozen=True):
    """Who leads, and in which term; the leader is None if there is no candidate."""

    leader: str | None
    term: int


class Election(Replicated):
    """One office and those who want it."""

    deadlines: dict[str, int] = {}  # noqa: RUF012  # each instance gets its own copy
    """Until when each candidate stands, on the replicated clock, in milliseconds; in the order of arrival."""
    current: Leadership = Leadership(None, 0)

    @command
    def campaign(self, candidate: str, ttl: float, *, context: Context = HERE) -> Leadership:
        """Stand for election, or go on standing, for `ttl` seconds from now; who leads."""
        deadline = context.after(ttl)
        self.on_clock(context)
        self.deadlines[candidate] = deadline
        self.on_clock(context)
        return self.current

    @command
    def resign(self, candidate: str, *, context: Context = HERE) -> bool:
        """Stand no more; False if it did not stand."""
        self.on_clock(context)
        stood = self.deadlines.pop(candidate, None) is not None
        self.on_clock(context)
        return stood

    @query
    def leader(self, *, context: Context = HERE) -> Leadership:
        """Who leads."""
        return self._settled(self._standing(context))

    @query
    def candidates(self, *, context: Context = HERE) -> list[str]:
        """Who stands, in the order of arrival."""
        return list(self._standing(context))

    def on_clock(self, context: Context) -> None:
        """Who was silent too long stands no more."""
        self.deadlines = self._standing(context)
        self.current = self._settled(self.deadlines)

    def next_deadline(self) -> int | None:
        """When the next candidate is out."""
        return min(self.deadlines.values(), default=None)

    def _standing(self, context: Context) -> dict[str, int]:
        return {name: deadline for name, deadline in self.deadlines.items() if deadline > context.clock}

    def _settled(self, standing: dict[str, int]) -> Leadership:
        """A leader stays one as long as it stands; then it is the first who stands."""
        if self.current.leader in standing:
            return self.current
        first = next(iter(standing), None)
        return Leadership(first, self.current.term + (first is not None))
