"""Linearizable reads without writing to the log: ReadIndex (thesis 6.4).

1. A leader knows what is committed only after it has committed an entry of its own term; reads that come earlier wait.
2. The read index is the commit index at the time the read arrived.
3. A round of heartbeats asks everybody "am I still the leader?".  A majority answering *that round or a later one*
   confirms that no newer leader existed when the read arrived.  Rounds are numbered within the term and never reused.
4. The state machine answers once it has applied the read index; that is the runtime's part, told by `ReadReady`.

All reads of one event share a round.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.effects import Effect, ReadReady, ReadRefused
from raft_core.events import ReadRequested
from raft_core.quorum import quorum_reached
from raft_core.replication import replicate_to_all
from raft_core.state import Leader, PendingRead, Server, Transition


def on_read_requested(server: Server, event: ReadRequested) -> Transition:
    """A client asks for a linearizable read."""
    leader = server.role
    if not isinstance(leader, Leader):
        return Transition(server, (ReadRefused(event.read_ids, server.leader_id),))
    if not has_committed_in_its_term(server):
        leader = replace(leader, early_reads=leader.early_reads + event.read_ids)
        return Transition(replace(server, role=leader), ())
    return _ask_for_round(server, leader, event.read_ids)


def settle_reads(server: Server, leader: Leader) -> Transition:
    """After anything that may have confirmed a round or committed the term's first entry: answer what is due."""
    effects: tuple[Effect, ...] = ()
    if leader.early_reads and has_committed_in_its_term(server):
        early = leader.early_reads
        server, effects = _ask_for_round(server, replace(leader, early_reads=()), early)
        leader = server.role  # type: ignore[assignment]
    reached = {progress.server_id: progress.acknowledged_round for progress in leader.followers}
    reached[server.server_id] = leader.round
    confirmed = quorum_reached(server.configuration, reached)
    ready = [read for read in leader.pending_reads if read.round <= confirmed]
    if not ready:
        return Transition(server, effects)
    leader = replace(leader, pending_reads=leader.pending_reads[len(ready) :])
    answers = tuple(ReadReady(read.read_ids, read.read_index) for read in ready)
    return Transition(replace(server, role=leader), (*effects, *answers))


def has_committed_in_its_term(server: Server) -> bool:
    """Does this leader know what is committed (thesis 6.4, step 1)?"""
    return server.log.term_at(server.commit_index) == server.current_term


def _ask_for_round(server: Server, leader: Leader, read_ids: tuple[int, ...]) -> Transition:
    pending = PendingRead(leader.round + 1, server.commit_index, read_ids)
    leader = replace(leader, round=pending.round, pending_reads=(*leader.pending_reads, pending))
    return replicate_to_all(replace(server, role=leader), heartbeat=True)
