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
from raft_core.types import ServerId
from raft_core.verify.exploration_wishes import Wish
from raft_core.verify.situations import Bounds, Spent


def with_leases(
    wishes: Iterable[Wish], server: Server, servers: Sequence[Server], bounds: Bounds, spent: Spent
) -> Iterator[Wish]:
    """`wishes` without the timers of `server` that a lease rules out, and with what leases add."""
    waits = is_bound(server, servers)
    for wish in wishes:
        if not (waits and isinstance(wish.event, ElectionTimeout)):
            yield wish
    role = server.role
    if isinstance(role, Follower) and role.leader_is_recent and not waits:
        yield Wish("contact expired", LeaderContactExpired(), spent)
    if not isinstance(role, Leader):
        return
    if role.has_lease:
        yield Wish("lease over", LeaseExpired(), spent)
    elif role.confirmed_round and spent.leases < bounds.leases and _all_remember(server, role, servers):
        yield Wish("lease", LeaseExtended(role.confirmed_round), spent._replace(leases=spent.leases + 1))


def is_bound(server: Server, servers: Sequence[Server]) -> bool:
    """Does some leader rely on an answer of this server?  Then its timers have not run out."""
    return any(
        isinstance(role := other.role, Leader) and role.has_lease and server.server_id in _counted(role)
        for other in servers
    )


def _counted(leader: Leader) -> set[ServerId]:
    """Whose answers confirm the latest round that is confirmed."""
    return {
        progress.server_id for progress in leader.followers if progress.acknowledged_round >= leader.confirmed_round
    }


def _all_remember(leader: Server, role: Leader, servers: Sequence[Server]) -> bool:
    """Have the timers of all whose answers count not run out since?  A server whose contact did not expire, in this
    very term: in a later one it may have voted for somebody else."""
    counted = _counted(role)
    return all(
        isinstance(other.role, Follower) and other.role.leader_is_recent and other.current_term == leader.current_term
        for other in servers
        if other.server_id in counted
    )
