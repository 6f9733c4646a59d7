"""May a peer answer a weaker read from what it has, without asking anybody?

Two reads do without the leader most of the time.  A *bounded* one ("stale" with `max_staleness`) wants what was
committed so many seconds ago; a *session* read wants what its client has already been shown.  Whoever is not sure that
it has so much asks the leader as for a "follower" read (thesis 6.4): then it knows, or it has no leader and refuses,
and the client asks another.  So neither read ever waits for a state that nobody is bringing.

1. What this peer *knows to be recent*: when it asked for a read index that has been confirmed and committed here since.
   Everything that was committed at the asking is below that index, so it is in every later state of this peer.
2. A bounded read is answered here if that asking is at most `max_staleness` ago.  It sees whatever was acknowledged
   `max_staleness` seconds before it was called: it arrived later than that, and only the peer's own clock is compared
   with itself.  Neither clocks of different machines nor the time that a message takes play a part; a clock that runs
   slow, or stands still because its machine sleeps, makes the bound longer.
3. A lease is no such knowledge, for it trusts other clocks.
4. A session read is answered here if the entry that its client names is committed here: what is committed goes to the
   state machine in front of the read.

Rejected: counting from the last AppendEntries that arrived.  That may have been under way for any time, and come from a
leader that has long been replaced; the election timeout bounds neither on the side of the receiver.  Also rejected:
asking all the time so that an answer is always at hand; so, who does not read does not pay.
"""

from __future__ import annotations

from math import inf
from typing import Final, get_args

from actors.errors import WrongArguments
from actors.protocol import Consistency, SubmitQuery
from raft_core import LogIndex, ReadMode

LONGEST_BOUND: Final = 1e9
"""Seconds."""
_MODES: Final[dict[Consistency, ReadMode]] = {
    "linearizable": ReadMode.LEADER,
    "follower": ReadMode.FOLLOWER,
    "lease": ReadMode.LEASE,
    "stale": ReadMode.FOLLOWER,
    "session": ReadMode.FOLLOWER,
}
"""How the core is asked, if it has to be."""
_CONSISTENCIES: Final = get_args(Consistency)


class Freshness:
    """What one peer knows of the age of its state."""

    def __init__(self) -> None:
        self._asked_at = -inf
        """What was committed then is committed here."""

    def suffices(self, query: SubmitQuery, commit_index: LogIndex, now: float) -> bool:
        """May `query`, which has arrived by `now`, be answered behind entry `commit_index`?"""
        match query.consistency:
            case "stale":
                return query.max_staleness is None or now - self._asked_at <= query.max_staleness
            case "session":
                return commit_index >= query.seen_index
            case _:
                return False

    def confirmed(self, mode: ReadMode, asked_at: float) -> None:
        """A read that was asked for then may be answered now."""
        if mode is not ReadMode.LEASE:
            self._asked_at = max(self._asked_at, asked_at)


def mode_of(query: SubmitQuery) -> ReadMode:
    """How the core is to be asked."""
    return _MODES[query.consistency]


def check_freshness(consistency: Consistency, max_staleness: float | None) -> None:
    """Raises `WrongArguments` unless there is such a read."""
    if consistency not in _CONSISTENCIES:
        raise WrongArguments(
            f"there is no consistency {str(consistency)[:40]!r}", fix=f"one of {', '.join(_CONSISTENCIES)}"
        )
    if max_staleness is None:
        return
    if consistency != "stale":
        raise WrongArguments(
            f"max_staleness={max_staleness!r} does not go with consistency={consistency!r}",
            why="only a stale read has a bound",
            fix=f'consistency="stale", max_staleness={max_staleness!r}',
        )
    is_number = isinstance(max_staleness, int | float) and not isinstance(max_staleness, bool)
    if not is_number or not 0 < max_staleness <= LONGEST_BOUND:
        raise WrongArguments(
            f"max_staleness={max_staleness!r} is no bound",
            why=f"it is seconds, more than none and at most {LONGEST_BOUND:.0f}",
            fix='max_staleness=0.5; for none at all consistency="follower"',
        )
