"""Every schedule of a small cluster, up to given bounds: breadth first, each situation once.

What may happen in a situation: any message under way arrives (so messages overtake each other at will; one that never
arrives is lost), arrives and stays (a repetition), any server's election or heartbeat timer runs out, any server
crashes and comes back, a client asks for a command or a read, an administrator for other members or another leader,
a state machine is put into a snapshot.  The bounds say how often.  Within them *nothing is left
out*: when the search ends by itself, no schedule whatsoever breaks a rule.

    >>> explored = explore(Bounds(terms=1, commands=1, crashes=0, heartbeats=0))
    >>> explored.violation, explored.is_exhausted
    (None, True)

Breadth first means that the first schedule that breaks a rule is a shortest one.  Situations are kept as numbers (see
`local_states`), those visited as hashes of 64 bits: two of ten million situations share one with a chance of 1 in
370,000, and would hide a part of the search.  Equal but for the names of servers is equal (`symmetry`).

`Bounds.forgets_answered` leaves out messages that by the paper's rules can never matter again (answers of an older
term, or to a role that is gone).  A core that takes such messages is broken in a way that only a search without finds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeAlias

from msgspec import Struct

from raft_core.events import Received
from raft_core.state import Server
from raft_core.types import Settings
from raft_core.verify.exploration_cells import Cell
from raft_core.verify.exploration_leases import with_leases
from raft_core.verify.exploration_rules import Rules
from raft_core.verify.exploration_starts import Election, after_elections
from raft_core.verify.exploration_wishes import happenings
from raft_core.verify.invariants import Violation
from raft_core.verify.local_states import Atlas, LocalNumber, PacketNumber
from raft_core.verify.situations import Action, Bounds, Situation, Spent
from raft_core.verify.symmetry import Symmetry
from raft_core.verify.violation import fallen_over

Told: TypeAlias = Callable[[int, int], object]
"""Somebody who is told the depth that was searched, and how many situations were found."""


class Explored(Struct, frozen=True, kw_only=True):
    """What a search found."""

    bounds: Bounds
    situations: int
    """Different ones, up to the names of servers."""
    depth: int
    """Actions of the longest schedule that was needed to reach any of them."""
    steps: int
    """Calls of `step`: each pair of a server's situation and an event once."""
    is_exhausted: bool
    """There is nothing more within the bounds."""
    violation: Violation | None
    schedule: tuple[Action, ...]
    """A shortest one that breaks the rule."""
    cells: dict[Cell, int]
    """Pairs of a role and a kind of event, and in how many of a server's situations they met."""


class Explorer:
    """The search."""

    def __init__(self, bounds: Bounds, elections: Sequence[Election] = ()) -> None:
        self.bounds = bounds
        self.elections = tuple(elections)
        """What has gone before."""
        self.names = tuple(f"n{number}" for number in range(1, bounds.servers + 1))
        settings = Settings(
            pre_vote=bounds.pre_vote,
            check_quorum=bool(bounds.leases),
            lease_reads=bool(bounds.leases),
            max_entries_per_message=bounds.entries_per_message,
            trailing_entries=0,
        )
        self.atlas = Atlas(self.names, settings, founders=self.names[: bounds.members or bounds.servers])
        self._symmetry = Symmetry(self.atlas)
        self._places = {name: place for place, name in enumerate(self.names)}
        self._rules = Rules(self.atlas)
        self._actions: list[Action] = []
        self._action_numbers: dict[Action, int] = {}
        self._parents = array("q", [-1])
        self._reasons = array("q", [-1])
        self._arrivals: dict[PacketNumber, tuple[int, int, Action, Action]] = {}

    def start(self) -> Situation:
        """All servers are new, but for the elections that went before."""
        return after_elections(self.atlas, self.bounds, self.elections).situation

    def run(
        self, most: int | None = None, told: Callable[[int, int], object] = lambda depth, situations: None
    ) -> Explored:
        """Search until there is nothing more, a rule is broken, or `most` situations were found.

        `told(depth, situations)` is called after each level.
        """
        start = self.start()
        seen = {self._key(start)}
        level = [(0, start)]
        depth = 0
        while level and (most is None or len(seen) < most):
            following: list[tuple[int, Situation]] = []
            for number, situation in level:
                try:
                    for action, after in self._successors(situation):
                        key = self._key(after)
                        if key not in seen:
                            seen.add(key)
                            following.append((self._remember(number, action), after))
                except _Broken as broken:
                    before = after_elections(self.atlas, self.bounds, self.elections).schedule
                    schedule = (*before, *self._schedule(number), broken.action)
                    return self._explored(len(seen), depth + 1, broken.violation, schedule, is_exhausted=False)
                if most is not None and len(seen) >= most:
                    break
            level = following
            depth += bool(level)
            told(depth, len(seen))
        return self._explored(len(seen), depth, None, (), is_exhausted=not level)

    def _explored(
        self,
        situations: int,
        depth: int,
        violation: Violation | None,
        schedule: tuple[Action, ...],
        *,
        is_exhausted: bool,
    ) -> Explored:
        return Explored(
            bounds=self.bounds,
            situations=situations,
            depth=depth,
            steps=self.atlas.steps,
            is_exhausted=is_exhausted,
            violation=violation,
            schedule=schedule,
            cells=dict(self.atlas.cells),
        )

    def _key(self, situation: Situation) -> int:
        locals_, packets, leaders, committed, spent = situation
        return self._symmetry.key(locals_, packets, leaders, committed, spent)

    def _remember(self, parent: int, action: Action) -> int:
        number = self._action_numbers.setdefault(action, len(self._actions))
        if number == len(self._actions):
            self._actions.append(action)
        self._parents.append(parent)
        self._reasons.append(number)
        return len(self._parents) - 1

    def _schedule(self, number: int) -> tuple[Action, ...]:
        actions: list[Action] = []
        while number:
            actions.append(self._actions[self._reasons[number]])
            number = self._parents[number]
        return tuple(reversed(actions))

    # --- what may happen ----------------------------------------------------------------------------------------------

    def _successors(self, situation: Situation) -> Iterator[tuple[Action, Situation]]:
        bounds, spent = self.bounds, situation.spent
        for packet in situation.packets:
            place, event, deliver, repeat = self._arrival(packet)
            yield from self._happens(situation, deliver, place, event, spent, without=packet)
            if spent.repetitions < bounds.repetitions:
                more = spent._replace(repetitions=spent.repetitions + 1)
                yield from self._happens(situation, repeat, place, event, more)
        for place, number in enumerate(situation.locals):
            yield from self._at(situation, place, number)

    def _at(self, situation: Situation, place: int, number: LocalNumber) -> Iterator[tuple[Action, Situation]]:
        """What may happen at one server, apart from messages."""
        spent, server = situation.spent, self.atlas.locals[number].server
        wishes = happenings(situation, server, self.names, self.bounds)
        if self.bounds.leases:
            wishes = with_leases(wishes, server, self._servers(situation), self.bounds, spent)
        for what, event, more in wishes:
            yield from self._happens(situation, Action(what, place, event), place, self.atlas.event(event), more)
        if spent.crashes < self.bounds.crashes:
            more = spent._replace(crashes=spent.crashes + 1)
            again = self.atlas.restarted(number)
            after = self._with(situation, place, again, situation.packets, more)
            yield Action("crash", place, None), after

    def _servers(self, situation: Situation) -> list[Server]:
        return [self.atlas.locals[number].server for number in situation.locals]

    def _arrival(self, packet: PacketNumber) -> tuple[int, int, Action, Action]:
        known = self._arrivals.get(packet)
        if known is None:
            sender, to, message = self.atlas.packets[packet]
            place, event = self._places[to], Received(sender, message)
            deliver, repeat = Action("deliver", place, event), Action("repeat", place, event)
            known = self._arrivals[packet] = (place, self.atlas.event(event), deliver, repeat)
        return known

    def _happens(
        self,
        situation: Situation,
        action: Action,
        place: int,
        event: int,
        spent: Spent,
        without: PacketNumber | None = None,
    ) -> Iterator[tuple[Action, Situation]]:
        try:
            outcome = self.atlas.outcome(situation.locals[place], event)
        except Exception as error:
            raise _Broken(action, fallen_over(error)) from error
        packets = situation.packets if without is None else situation.packets - {without}
        after = self._with(situation, place, outcome.after, packets, spent)
        try:
            self._rules.check(situation, after, place, outcome)
        except Violation as violation:
            raise _Broken(action, violation) from violation
        leaders, committed = self._rules.leaders(after, place), self._rules.committed(after, place)
        for sent in self._carried(after.packets, outcome.sent):
            yield action, Situation(after.locals, sent, leaders, committed, spent)
        if outcome.cuts and spent.crashes < self.bounds.crashes:
            more = spent._replace(crashes=spent.crashes + 1)
            for number, (restarted, sent) in enumerate(outcome.cuts):
                cut = action._replace(what=f"{action.what}, crash", cut=number)
                after = self._with(situation, place, restarted, packets, more)
                for there in self._carried(after.packets, sent):
                    yield cut, after._replace(packets=there)

    def _carried(
        self, packets: frozenset[PacketNumber], sent: frozenset[PacketNumber]
    ) -> Iterator[frozenset[PacketNumber]]:
        """What may be under way when these were sent."""
        most = self.bounds.under_way
        if not most:
            yield packets | sent
            return
        for count in range(len(sent) + 1):
            for some in combinations(sorted(sent - packets), count):
                if len(packets) + count <= most:
                    yield packets.union(some)

    def _with(
        self, situation: Situation, place: int, local: LocalNumber, packets: frozenset[PacketNumber], spent: Spent
    ) -> Situation:
        locals_ = (*situation.locals[:place], local, *situation.locals[place + 1 :])
        if self.bounds.forgets_answered and packets:
            packets = self._rules.still_matter(locals_, packets)
        return Situation(locals_, packets, situation.leaders, situation.committed, spent)


class _Broken(Exception):
    """A rule is broken by this action."""

    def __init__(self, action: Action, violation: Violation) -> None:
        super().__init__(str(violation))
        self.action = action
        self.violation = violation


def explore(
    bounds: Bounds,
    most: int | None = None,
    told: Told = lambda depth, situations: None,
    elections: Sequence[Election] = (),
) -> Explored:
    """Search everything within `bounds`, or until `most` situations were found; see `Explorer.run`.  With `elections`
    the search begins behind these."""
    return Explorer(bounds, elections).run(most, told)
