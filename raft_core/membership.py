"""Changing who belongs to the cluster (paper 6, thesis 4).

* A change of at most one voter is a single entry: any majority before shares a server with any majority after (thesis
  4.1).  Learners come and go freely.  Anything larger goes through a joint phase: an entry with both sets of voters,
  and when that is committed, a second one with the new voters alone (paper 6; thesis 4.3).
* One change at a time, and none before the leader has committed an entry of its own term: without that, two leaders
  could each add a server, and their majorities need not meet (Ongaro, raft-dev, July 2015).
* A new voter has most of the log already: it was a learner before (thesis 4.2.1).
* A leader that is not among the new voters manages the change without counting itself, and steps down when it is
  committed (thesis 4.2.2).  Those who leave are sent the entry that says so; if it is lost, the others protect their
  leader from them (thesis 4.2.3, `election.protects_its_leader`).
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.configuration import Configuration, Configured, configuration, configuration_entry
from raft_core.effects import (
    ConfigurationAccepted,
    ConfigurationChanged,
    ConfigurationCommitted,
    ConfigurationRefusal,
    ConfigurationRefused,
    Effect,
)
from raft_core.election import step_down
from raft_core.events import ConfigurationProposed
from raft_core.reads import has_committed_in_its_term
from raft_core.replication import append_as_leader, replicate_to_all
from raft_core.roles import Leader, Progress
from raft_core.state import Server, Transition
from raft_core.types import ServerId


def on_configuration_proposed(server: Server, event: ConfigurationProposed) -> Transition:
    """An administrator wishes other members."""
    priorities = server.configuration.priorities if event.priorities is None else event.priorities
    wished = configuration(event.voters, event.learners, priorities)
    reason = _refusal(server, event, wished)
    if reason is not None:
        return Transition(server, (ConfigurationRefused(event.proposal_id, reason, server.leader_id),))
    now = server.configuration
    accepted: tuple[Effect, ...] = (
        ConfigurationAccepted(event.proposal_id, server.log.last_index + 1, server.current_term),
    )
    if wished == now:
        in_force = server.configurations[-1].index
        return Transition(server, (ConfigurationAccepted(event.proposal_id, in_force, server.current_term),))
    if len(set(now.voters) ^ set(wished.voters)) > 1:
        wished = replace(wished, old_voters=now.voters)
    after, effects = _append_configuration(server, wished)
    return Transition(after, effects + accepted)


def _refusal(server: Server, event: ConfigurationProposed, wished: Configuration) -> ConfigurationRefusal | None:
    leader = server.role
    in_force = server.configurations[-1]
    if not isinstance(leader, Leader):
        return ConfigurationRefusal.NOT_LEADER
    if leader.transfer is not None:
        return ConfigurationRefusal.TRANSFERRING
    if not has_committed_in_its_term(server):
        return ConfigurationRefusal.TOO_EARLY
    if in_force.index > server.commit_index or in_force.configuration.is_joint:
        return ConfigurationRefusal.CHANGE_UNDER_WAY
    if event.expected_index not in (None, in_force.index):
        return ConfigurationRefusal.NOT_AS_EXPECTED
    if not wished.voters:
        return ConfigurationRefusal.NO_VOTERS
    if set(wished.voters) & set(wished.learners):
        return ConfigurationRefusal.BOTH
    if any(_lacks_too_much(server, leader, voter) for voter in wished.voters if voter not in server.voters):
        return ConfigurationRefusal.NOT_CAUGHT_UP
    return None


def _lacks_too_much(server: Server, leader: Leader, server_id: ServerId) -> bool:
    """Would this new voter hold up commitment for long (thesis 4.2.1)?  This server itself has the whole log."""
    if server_id == server.server_id:
        return False
    match_index = next((p.match_index for p in leader.followers if p.server_id == server_id), 0)
    return server.log.last_index - match_index > server.settings.max_promotion_lag


def _append_configuration(server: Server, members: Configuration) -> Transition:
    """In force with the entry, before it is committed (paper 6).  Those who leave are sent it too."""
    leader = server.role
    assert isinstance(leader, Leader)
    index = server.log.last_index + 1
    entry = configuration_entry(server.current_term, members)
    known = {progress.server_id: progress for progress in leader.followers}
    others = sorted({*members.servers, *known} - {server.server_id})
    followers = tuple([known.get(other) or Progress(server_id=other, next_index=index) for other in others])
    size = leader.uncommitted_bytes + len(entry.command)
    configurations = (*server.configurations, Configured(index, members))
    role = replace(leader, followers=followers, uncommitted_bytes=size)
    after, effects = append_as_leader(replace(server, role=role, configurations=configurations), (entry,))
    return Transition(_without_strangers(after, members), effects)


def _without_strangers(server: Server, members: Configuration) -> Server:
    leader = server.role
    assert isinstance(leader, Leader)
    followers = tuple([progress for progress in leader.followers if progress.server_id in members.servers])
    return replace(server, role=replace(leader, followers=followers))


def is_settled(before: Server, after: Server) -> bool:
    """The commit index grew: need nothing be done about the members?  So it is for nearly all entries of a log."""
    in_force = after.configurations[-1]
    if in_force.index > before.commit_index:
        return False
    members = in_force.configuration
    return not isinstance(after.role, Leader) or (not members.is_joint and members.has_voter(after.server_id))


def settle_configuration(before: Server, after: Server) -> Transition:
    """The commit index grew, and the members are not `is_settled`: what does that mean for them?"""
    in_force = after.configurations[-1]
    if in_force.index > after.commit_index:
        return Transition(_forget_superseded(after), ())
    effects: list[Effect] = []
    if in_force.index > before.commit_index:
        effects.append(ConfigurationCommitted(in_force.index, in_force.configuration))
        after = replace(after, configurations=(in_force,))
    if not isinstance(after.role, Leader):
        return Transition(after, tuple(effects))
    if in_force.configuration.is_joint:
        after, more = _append_configuration(after, in_force.configuration.after_joint())
    elif not in_force.configuration.has_voter(after.server_id):
        after, more = _resign(after)
    else:
        more = ()
    return Transition(after, (*effects, *more))


def _forget_superseded(server: Server) -> Server:
    """Only the latest committed one and what is behind it may ever be in force again."""
    committed = [known for known in server.configurations if known.index <= server.commit_index]
    if len(committed) == 1:
        return server
    return replace(server, configurations=server.configurations[len(committed) - 1 :])


def _resign(server: Server) -> Transition:
    """Our own removal is committed: say so to those who stay, then step down (thesis 4.2.2)."""
    told, sends = replicate_to_all(server, heartbeat=True)
    after, effects = step_down(told, None)
    return Transition(after, sends + effects)


def announce_configuration(before: Server, after: Server) -> tuple[Effect, ...]:
    """Tell the runtime whom to talk to, if that changed."""
    in_force = after.configurations[-1]
    if in_force == before.configurations[-1]:
        return ()
    return (ConfigurationChanged(in_force.index, in_force.configuration),)
