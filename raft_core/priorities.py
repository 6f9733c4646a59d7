"""Preferred leaders: a leader hands over to a voter of higher priority, as soon as that has proved itself.

A priority is a number in the configuration; voters that none is given for have `DEFAULT_PRIORITY`.  It changes nothing
about elections: timeouts, votes and what a candidate must have stay as they are, so whoever has the most complete log
and asks first still wins, and a cluster whose preferred voters are all dead serves as any other.  Only afterwards a
leader that sees a better one transfers leadership to it (thesis 3.10).  So 0 means: leads while nobody else can.

With each heartbeat, and only then, a leader looks at the voters with a higher priority than its own:

* The best of those that can be reached and have nearly the whole log is wished for, and gets leadership once that was
  so for `PATIENCE` election timeouts.  Being heard is forgotten whenever the quorum is checked, so one silent heartbeat
  says nothing; two in a row say that it is silent.
* After a transfer that failed the same voter has to wait twice as long, and twice as long again: a preferred voter that
  can be reached and cannot lead costs a pause for each attempt, and must not cost one every few seconds.

Rejected: shorter election timeouts for the preferred (they would disturb a leader that works, and split votes with each
other); a voter that refuses to campaign (with the others down, nobody would lead); a new leader that tells the old one
to come back (two servers would have to agree on who is wished for; now it is the business of one).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from raft_core.roles import Leader, Preference, Progress
from raft_core.state import Server, Transition
from raft_core.transfer import begin_transfer
from raft_core.types import Settings

PATIENCE: Final = 10
"""Election timeouts for which a better leader must have been there."""
_LONGEST: Final = 6
"""Failures after which the wait grows no more: 64 times as long as at first."""


def follow_preference(server: Server) -> Transition:
    """A heartbeat of the leader: is it time to hand over to somebody better?"""
    leader = server.role
    assert isinstance(leader, Leader)
    wish, heir = leader.preference, _better_leader(server, leader)
    if heir is None:
        return Transition(server if wish is None else _with(server, leader, _given_up(wish)), ())
    wish = _seen(wish, heir)
    server = _with(server, leader, wish)
    if wish.heartbeats < _patience(server.settings, wish) or not _is_quiet(server, leader):
        return Transition(server, ())
    return begin_transfer(server, heir.server_id, None)


def _with(server: Server, leader: Leader, wish: Preference) -> Server:
    return replace(server, role=replace(leader, preference=wish))


def _better_leader(server: Server, leader: Leader) -> Progress | None:
    """The voter with the highest priority above our own that could lead; of equals the first by name."""
    members = server.configuration
    best, highest = None, members.priority(server.server_id)
    for progress in leader.followers:
        priority = members.priority(progress.server_id)
        if priority > highest and progress.server_id in members.voters and _could_lead(server, leader, progress):
            best, highest = progress, priority
    return best


def _could_lead(server: Server, leader: Leader, progress: Progress) -> bool:
    wish = leader.preference
    was_there = wish is not None and wish.target == progress.server_id and not wish.was_silent
    lacks = server.log.last_index - progress.match_index
    has_nearly_all = not progress.is_probing and lacks <= server.settings.max_promotion_lag
    return has_nearly_all and (progress.is_active or was_there)


def _seen(wish: Preference | None, heir: Progress) -> Preference:
    if wish is None or wish.target != heir.server_id:
        return Preference(heir.server_id)
    return replace(wish, heartbeats=wish.heartbeats + heir.is_active, was_silent=not heir.is_active)


def _given_up(wish: Preference) -> Preference:
    """For now.  That it failed before is not forgotten."""
    return replace(wish, heartbeats=0, was_silent=True)


def _patience(settings: Settings, wish: Preference) -> int:
    """In heartbeats."""
    timeouts = PATIENCE << min(wish.failures, _LONGEST)
    return timeouts * settings.election_timeout // max(1, settings.heartbeat_interval)


def _is_quiet(server: Server, leader: Leader) -> bool:
    """Nothing else is under way that a change of leaders would disturb."""
    in_force = server.configurations[-1]
    is_settled = in_force.index <= server.commit_index and not in_force.configuration.is_joint
    return leader.transfer is None and is_settled
