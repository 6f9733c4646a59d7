"""Reads by lease in a search that knows no time (thesis 6.4.1): the promise of the clocks, put as an order of events.

A lease lasts less than an election timeout from the sending of a round, and who answered that round had heard it by
then.  So with clocks that run alike, as long as a leader relies on a round, the timers of those whose answers it counts
have not run out; and when it begins to rely on it, they have not run out since they answered.  In all else timers run
out whenever they like, a lease may be over at any moment, and a leader need not begin to rely on a round at all.

Rejected: a clock in each situation.  There would be as many situations as pairs of times, and the order is all that
matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from raft_core.events import ElectionTimeout, LeaderContactExpired, LeaseExpired, LeaseExtended
from raft_core.roles import Follower, Leader
from raft_core.state import Server
from raft_core.types import Round, ServerId, Term
from raft_core.verify.exploration_wishes import Wish
from raft_core.verify.situations import Bounds, Spent


def with_leases(
    wishes: Iterable[Wish], server: Server, servers: Sequence[Server], bounds: Bounds, spent: Spent
) -> Iterator[Wish]:
    """`wishes` without the timers of `server` that a lease rules out, and with what leases add."""
    waits = is_bound(server, servers, spent)
    for wish in wishes:
        if not (waits and isinstance(wish.event, ElectionTimeout)):
            yield wish
    role, term = server.role, server.current_term
    if isinstance(role, Follower) and role.leader_is_recent and not waits:
        yield Wish("contact expired", LeaderContactExpired(), spent)
    if not isinstance(role, Leader):
        return
    if role.has_lease:
        yield Wish("lease over", LeaseExpired(), spent._replace(relied=_relied(spent, term, 0)))
    is_new = role.confirmed_round > (_round(spent, term) if role.has_lease else 0)
    if is_new and spent.leases < bounds.leases and _all_remember(server, role, servers):
        relied = _relied(spent, term, role.confirmed_round)
        more = spent._replace(leases=spent.leases + 1, relied=relied)
        yield Wish("lease", LeaseExtended(role.confirmed_round), more)


def is_bound(server: Server, servers: Sequence[Server], spent: Spent) -> bool:
    """Does some leader rely on an answer of this server?  Then its timers have not run out."""
    return any(
        isinstance(role := other.role, Leader)
        and role.has_lease
        and server.server_id in _counted(role, _round(spent, other.current_term))
        for other in servers
    )


def _round(spent: Spent, term: Term) -> Round:
    """The round on which the leader of `term` relies."""
    return dict(spent.relied).get(term, 0)


def _relied(spent: Spent, term: Term, number: Round) -> tuple[tuple[Term, Round], ...]:
    """`Spent.relied` when the leader of `term` relies on this round, 0 for none."""
    others = [(of, relied) for of, relied in spent.relied if of != term]
    return tuple(sorted([*others, (term, number)] if number else others))


def _counted(leader: Leader, number: Round) -> set[ServerId]:
    """Whose answers confirm this round."""
    return {progress.server_id for progress in leader.followers if progress.acknowledged_round >= number}


def _all_remember(leader: Server, role: Leader, servers: Sequence[Server]) -> bool:
    """Have the timers of all whose answers count not run out since?  A server whose contact did not expire, in this
    very term: in a later one it may have voted for somebody else."""
    counted = _counted(role, role.confirmed_round)
    return all(
        isinstance(other.role, Follower) and other.role.leader_is_recent and other.current_term == leader.current_term
        for other in servers
        if other.server_id in counted
    )
