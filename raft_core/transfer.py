"""Handing leadership over (thesis 3.10).

1. The leader stops accepting proposals and brings the successor's log up to its own.
2. It sends TimeoutNow; the successor campaigns at once, with a flag that tells the voters not to protect the old leader
   (thesis 4.2.3).
3. The higher term of that election ends the old leadership.  If it does not come within an election timeout, the leader
   gives up and accepts proposals again.

TimeoutNow may be lost: it is sent again with each heartbeat.  A leader hands over by itself, too, to a voter that shall
lead rather than it (`raft_core.priorities`); then nobody waits for the outcome.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.effects import Effect, ResetElectionTimer, Send, TransferEnded, TransferRefusal, TransferRefused
from raft_core.events import TransferRequested
from raft_core.messages import TimeoutNow
from raft_core.roles import Leader, Preference, Progress, Transfer
from raft_core.state import Server, Transition
from raft_core.types import ServerId


def on_transfer_requested(server: Server, event: TransferRequested) -> Transition:
    """Begin to hand over, if this server leads and there is somebody."""
    leader = server.role
    if not isinstance(leader, Leader):
        return _refused(server, event.transfer_id, TransferRefusal.NOT_LEADER)
    if leader.transfer is not None:
        return _refused(server, event.transfer_id, TransferRefusal.UNDER_WAY)
    heir = successor(server, leader, event.target)
    if heir is None:
        return _refused(server, event.transfer_id, TransferRefusal.NO_SUCH_VOTER)
    return hand_over_when_caught_up(*begin_transfer(server, heir.server_id, event.transfer_id))


def begin_transfer(server: Server, target: ServerId, transfer_id: int | None) -> Transition:
    """From now on nothing is accepted; the successor gets an election timeout, and no lease outlives this."""
    leader = server.role
    assert isinstance(leader, Leader)
    transfer = Transfer(transfer_id, target)
    server = replace(server, role=replace(leader, transfer=transfer, has_lease=False, may_have_lease=False))
    return Transition(server, (ResetElectionTimer(server.election_timeout),))


def _refused(server: Server, transfer_id: int, reason: TransferRefusal) -> Transition:
    return Transition(server, (TransferRefused(transfer_id, reason, server.leader_id),))


def successor(server: Server, leader: Leader, target: ServerId | None = None) -> Progress | None:
    """Who was named, or else the voter with most of the log that was heard of lately; of equals the first by name."""
    voters = [progress for progress in leader.followers if progress.server_id in server.configuration.voters]
    if target is not None:
        return next((progress for progress in voters if progress.server_id == target), None)
    return max(voters, key=lambda progress: (progress.is_active, progress.match_index), default=None)


def hand_over_when_caught_up(server: Server, effects: tuple[Effect, ...]) -> Transition:
    """Behind `effects`, ask the successor to campaign as soon as it has everything."""
    leader = server.role
    assert isinstance(leader, Leader)
    transfer = leader.transfer
    if transfer is None:
        return Transition(server, effects)
    progress = next((p for p in leader.followers if p.server_id == transfer.target), None)
    if progress is None or progress.match_index < server.log.last_index:
        return Transition(server, effects)
    return Transition(server, (*effects, Send(transfer.target, TimeoutNow(server.current_term, server.server_id))))


def give_up_transfer(server: Server, leader: Leader) -> Transition:
    """An election timeout passed: `leader` goes on, without a successor."""
    transfer = leader.transfer
    if transfer is None:
        return Transition(replace(server, role=leader), ())
    if transfer.transfer_id is None:
        return Transition(replace(server, role=replace(leader, transfer=None, preference=_later(leader))), ())
    server = replace(server, role=replace(leader, transfer=None))
    return _refused(server, transfer.transfer_id, TransferRefusal.TIMED_OUT)


def _later(leader: Leader) -> Preference | None:
    """The leader's own attempt failed: the next one takes longer to come."""
    wish = leader.preference
    return wish and replace(wish, heartbeats=0, failures=wish.failures + 1)


def transfer_ended(leader: Leader) -> tuple[Effect, ...]:
    """It leads no more: say so to who asked for that."""
    transfer = leader.transfer
    return () if transfer is None or transfer.transfer_id is None else (TransferEnded(transfer.transfer_id),)
