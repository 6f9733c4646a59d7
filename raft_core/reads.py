"""Linearizable reads without writing to the log: ReadIndex (thesis 6.4), from the leader, from followers, by lease.

1. A leader knows what is committed only after it has committed an entry of its own term; reads that come earlier wait.
2. The read index is the commit index at the time the read arrived.
3. A round of heartbeats asks everybody "am I still the leader?".  A majority answering *that round or a later one*
   confirms that no newer leader existed when the read arrived.  Rounds are numbered within the term and never reused.
4. The state machine answers once it has applied the read index; that is the runtime's part, told by `ReadReady`.

All reads of one event share a round.

A *follower* asks the leader for the read index, waits until it is committed here, and answers from its own state
machine.  It asks again with the second heartbeat that brought no answer; if it loses its leader, it hands the reads
back.  What followers ask while a round is unconfirmed waits for the next one, which begins with the confirmation or
with the next heartbeat.  A round for each question would be a storm: its heartbeats let followers ask again, those who
wait for answers that are late, and each of these questions would begin a round.

A *lease* spares the round (thesis 6.4.1): who has answered a round will not vote for anybody else for an election
timeout, in whatever term it is by then (`election.protects_its_leader`, `adopt_term`).  The core has no clock: it tells
when a round is sent and when it is confirmed, and the runtime says when that makes a lease and when the lease is over.
A transfer of leadership ends it for good, for the successor is voted for at once.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.effects import Effect, Ignored, ReadReady, ReadRefused, RoundConfirmed, RoundSent, Send
from raft_core.events import LeaseExtended, ReadMode, ReadRequested
from raft_core.messages import RequestReadIndex, RequestReadIndexResult
from raft_core.quorum import quorum_reached
from raft_core.replication import replicate_to_all
from raft_core.roles import Follower, Leader, PendingRead
from raft_core.state import Server, Transition
from raft_core.types import ServerId


def on_read_requested(server: Server, event: ReadRequested) -> Transition:
    """A client asks for a linearizable read."""
    role = server.role
    if isinstance(role, Leader):
        if event.mode is ReadMode.LEASE and role.has_lease and has_committed_in_its_term(server):
            return Transition(server, (ReadReady(event.read_ids, server.commit_index),))
        return _begin(server, role, event.read_ids, None)
    if isinstance(role, Follower) and role.leader_id is not None and event.mode is ReadMode.FOLLOWER:
        asking = replace(role, asked_reads=role.asked_reads + event.read_ids)
        request = RequestReadIndex(server.current_term, event.read_ids)
        return Transition(replace(server, role=asking), (Send(role.leader_id, request),))
    return Transition(server, (ReadRefused(event.read_ids, server.leader_id),))


def on_request_read_index(server: Server, sender: ServerId, request: RequestReadIndex) -> Transition:
    """A follower asks on behalf of its clients."""
    leader = server.role
    if not isinstance(leader, Leader) or request.term < server.current_term:
        return Transition(server, (Ignored("a read for a leader that is one no more"),))
    return _begin(server, leader, request.read_ids, sender)


def _begin(server: Server, leader: Leader, read_ids: tuple[int, ...], asker: ServerId | None) -> Transition:
    read = PendingRead(0, 0, read_ids, asker)
    if not has_committed_in_its_term(server):
        leader = replace(leader, early_reads=(*leader.early_reads, read))
        return Transition(replace(server, role=leader), ())
    if asker is not None and _confirmed_round(server, leader) < leader.round:
        waiting = replace(read, round=leader.round + 1, read_index=server.commit_index)
        leader = replace(leader, pending_reads=(*leader.pending_reads, waiting))
        return Transition(replace(server, role=leader), ())
    return _ask_for_round(server, leader, (read,))


def settle_reads(server: Server, leader: Leader) -> Transition:
    """After anything that may have confirmed a round or committed the term's first entry: answer what is due."""
    effects: tuple[Effect, ...] = ()
    if leader.early_reads and has_committed_in_its_term(server):
        early = leader.early_reads
        server, effects = _ask_for_round(server, replace(leader, early_reads=()), early)
        leader = server.role  # type: ignore[assignment]
    confirmed = _confirmed_round(server, leader)
    ready = [read for read in leader.pending_reads if read.round <= confirmed]
    if ready:
        leader = replace(leader, pending_reads=leader.pending_reads[len(ready) :])
        server = replace(server, role=leader)
        effects += tuple(_answer(server, read) for read in ready)
    if leader.has_reads_without_round and confirmed == leader.round:
        server, begun = _ask_for_round(server, leader, ())
        effects += begun
    return Transition(server, effects)


def _confirmed_round(server: Server, leader: Leader) -> int:
    reached = {progress.server_id: progress.acknowledged_round for progress in leader.followers}
    reached[server.server_id] = leader.round
    return quorum_reached(server.configuration, reached)


def _answer(server: Server, read: PendingRead) -> Effect:
    if read.asker is None:
        return ReadReady(read.read_ids, read.read_index)
    return Send(read.asker, RequestReadIndexResult(server.current_term, read.read_ids, read.read_index))


def has_committed_in_its_term(server: Server) -> bool:
    """Does this leader know what is committed (thesis 6.4, step 1)?"""
    return server.log.term_at(server.commit_index) == server.current_term


def _ask_for_round(server: Server, leader: Leader, reads: tuple[PendingRead, ...]) -> Transition:
    number = leader.round + 1
    pending = [replace(read, round=number, read_index=server.commit_index) for read in reads]
    leader = replace(leader, round=number, pending_reads=(*leader.pending_reads, *pending))
    after, sends = replicate_to_all(replace(server, role=leader), heartbeat=True)
    return Transition(after, (RoundSent(number), *sends) if server.settings.lease_reads else sends)


# --- Followers.


def on_request_read_index_result(server: Server, result: RequestReadIndexResult) -> Transition:
    """The leader's answer: wait until so much is committed here, too."""
    role = server.role
    answered = set(result.read_ids)
    if not isinstance(role, Follower) or answered.isdisjoint(role.asked_reads):
        return Transition(server, (Ignored("an answer about reads that nobody waits for"),))
    mine = tuple(read_id for read_id in role.asked_reads if read_id in answered)
    pending = PendingRead(0, result.read_index, mine)
    left = tuple(read_id for read_id in role.asked_reads if read_id not in answered)
    is_overdue = role.is_answer_overdue and bool(left)
    role = replace(role, asked_reads=left, is_answer_overdue=is_overdue, pending_reads=(*role.pending_reads, pending))
    return Transition(replace(server, role=role), ())


def settle_followers_reads(server: Server, follower: Follower) -> Transition:
    """Answer what is committed here by now."""
    ready = [read for read in follower.pending_reads if read.read_index <= server.commit_index]
    if not ready:
        return Transition(server, ())
    left = tuple(read for read in follower.pending_reads if read.read_index > server.commit_index)
    answers = tuple(ReadReady(read.read_ids, read.read_index) for read in ready)
    return Transition(replace(server, role=replace(follower, pending_reads=left)), answers)


def abandoned_reads(before: Server, after: Server) -> tuple[Effect, ...]:
    """What a follower had asked its leader and can ask it no more, once it follows another or none, or the same in
    another term: that leader has forgotten what it was asked before."""
    role = before.role
    if not isinstance(role, Follower) or not (role.asked_reads or role.pending_reads):
        return ()
    is_same_term = before.current_term == after.current_term
    if is_same_term and isinstance(after.role, Follower) and after.role.leader_id == role.leader_id:
        return ()
    read_ids = sum((read.read_ids for read in role.pending_reads), role.asked_reads)
    return (ReadRefused(read_ids, after.leader_id),)


def ask_again(server: Server, follower: Follower) -> Transition:
    """A heartbeat came, and questions are open.  If they were at the one before, they or their answers may be lost."""
    assert follower.leader_id is not None
    server = replace(server, role=replace(follower, is_answer_overdue=not follower.is_answer_overdue))
    if not follower.is_answer_overdue:
        return Transition(server, ())
    return Transition(server, (Send(follower.leader_id, RequestReadIndex(server.current_term, follower.asked_reads)),))


# --- Leases (thesis 6.4.1).


def confirm_round(server: Server, leader: Leader) -> Transition:
    """After an answer: has a majority answered a later round than before?"""
    confirmed = _confirmed_round(server, leader)
    if confirmed <= leader.confirmed_round:
        return Transition(server, ())
    server = replace(server, role=replace(leader, confirmed_round=confirmed))
    return Transition(server, (RoundConfirmed(confirmed),))


def on_lease_extended(server: Server, event: LeaseExtended) -> Transition:
    """The runtime says that the confirmed round was sent lately."""
    leader = server.role
    settings = server.settings
    is_sound = settings.lease_reads and settings.check_quorum
    if not isinstance(leader, Leader) or event.round > leader.confirmed_round or not is_sound:
        return Transition(server, (Ignored("a lease for a leader that is one no more"),))
    return Transition(replace(server, role=replace(leader, has_lease=leader.may_have_lease)), ())


def on_lease_expired(server: Server) -> Transition:
    """No majority has answered for too long."""
    leader = server.role
    if not isinstance(leader, Leader) or not leader.has_lease:
        return Transition(server, (Ignored("there is no lease"),))
    return Transition(replace(server, role=replace(leader, has_lease=False)), ())
