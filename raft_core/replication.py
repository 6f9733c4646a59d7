"""Log replication as the leader sees it: paper 5.3 and 5.4.2, pipelining from thesis 10.2.1.

Figure 2's box "Rules for Servers: Leaders" is here.  `followers.py` holds the other side, "AppendEntries RPC,
receiver"; `progress.py` has what a leader knows of one follower, and how an answer changes that.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.effects import (
    AppendToLog,
    Effect,
    Ignored,
    ProposalAccepted,
    ProposalRefused,
    RefusalReason,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RoundSent,
    Send,
)
from raft_core.events import LogPersisted, Proposed
from raft_core.messages import AppendEntries, AppendEntriesResult
from raft_core.priorities import follow_preference
from raft_core.progress import advance, back_up, entries_from, has_room, note_in_flight, progress_of
from raft_core.quorum import quorum_reached
from raft_core.roles import Leader, Progress
from raft_core.snapshot_sending import replicate_snapshot, still_sending
from raft_core.state import Server, Transition
from raft_core.transfer import hand_over_when_caught_up
from raft_core.types import Entry, EntryKind, LogIndex, ServerId


def become_leader(server: Server, *, is_silent: bool = False) -> Transition:
    """Won: initialise next_index and match_index, open the term with a no-op, speak at once (Figure 2, "Leaders" 1;
    the no-op: thesis 6.4, paper 8).  Own log first, announcement second, all in one step."""
    next_index = server.log.last_index + 1
    followers = tuple(Progress(server_id=peer, next_index=next_index) for peer in server.peers)
    after = replace(server, role=Leader(followers, is_silent=is_silent))
    after, effects = append_as_leader(after, (Entry(after.current_term, b"", EntryKind.NO_OP),))
    timers = (ResetHeartbeatTimer(after.settings.heartbeat_interval), ResetElectionTimer(after.election_timeout))
    return Transition(after, (*effects, *timers))


def on_proposed(server: Server, event: Proposed) -> Transition:
    """Append the commands and replicate them (Figure 2, "Leaders" 2); refuse what would grow the tail too far."""
    role = server.role
    if not isinstance(role, Leader):
        refused = ProposalRefused(event.proposal_id, RefusalReason.NOT_LEADER, server.leader_id)
        return Transition(server, (refused,))
    if role.transfer is not None:
        refused = ProposalRefused(event.proposal_id, RefusalReason.TRANSFERRING, server.server_id)
        return Transition(server, (refused,))
    size = sum(map(len, event.commands))
    if not _has_room(server, role, len(event.commands), size):
        refused = ProposalRefused(event.proposal_id, RefusalReason.OVERLOADED, server.server_id)
        return Transition(server, (refused,))
    first_index, term = server.log.last_index + 1, server.current_term
    server = replace(server, role=replace(role, uncommitted_bytes=role.uncommitted_bytes + size))
    after, effects = append_as_leader(server, tuple([Entry(term, command) for command in event.commands]))
    accepted = ProposalAccepted(event.proposal_id, first_index, after.log.last_index, term)
    return Transition(after, (*effects, accepted))


def _has_room(server: Server, leader: Leader, count: int, size: int) -> bool:
    """Are the uncommitted tail and the state machine's backlog short enough?  An empty tail takes any one proposal, so
    that none is stuck for good."""
    tail = server.log.last_index - server.commit_index
    settings = server.settings
    if server.commit_index - server.last_applied > settings.max_unapplied_entries:
        return False
    if tail == 0:
        return True
    return (
        tail + count <= settings.max_uncommitted_entries
        and leader.uncommitted_bytes + size <= settings.max_uncommitted_bytes
    )


def append_as_leader(server: Server, entries: tuple[Entry, ...]) -> Transition:
    """Append to our own log and send on.  The sends stand first: they need not wait for our disk (thesis 10.2.1)."""
    prev_log_index = server.log.last_index
    after = replace(server, log=server.log.append(entries))
    after, sends = replicate_to_all(after)
    return Transition(after, (*sends, AppendToLog(prev_log_index, entries, after.current_term)))


def replicate_to_all(server: Server, *, heartbeat: bool = False) -> Transition:
    """One round to all followers; with `heartbeat` everybody hears something, entries or none (paper 5.2)."""
    leader = server.role
    assert isinstance(leader, Leader)
    sends: list[Effect] = []
    shared: dict[tuple[LogIndex, bool], AppendEntries] = {}
    followers = tuple([_replicate(server, leader, p, sends, shared, heartbeat) for p in leader.followers])
    return Transition(replace(server, role=replace(leader, followers=followers)), tuple(sends))


def _replicate(
    server: Server,
    leader: Leader,
    progress: Progress,
    sends: list[Effect],
    shared: dict[tuple[LogIndex, bool], AppendEntries],
    heartbeat: bool,
) -> Progress:
    """Send this follower what it may have now, and note what is in flight.  Followers at the same place get the very
    same message, from `shared`."""
    if leader.is_silent:
        return progress
    if progress.sending is not None or progress.next_index <= server.log.last_included_index:
        return replicate_snapshot(server, leader, progress, sends, heartbeat=heartbeat)
    has_entries = progress.next_index <= server.log.last_index and has_room(progress, server.settings)
    if not has_entries and not heartbeat:
        return progress
    key = (progress.next_index, has_entries)
    message = shared.get(key)
    if message is None:
        entries = entries_from(server, progress.next_index) if has_entries else ()
        message = shared[key] = append_entries(server, leader, progress.next_index, entries)
    sends.append(Send(progress.server_id, message))
    return note_in_flight(progress, len(message.entries))


def append_entries(server: Server, leader: Leader, next_index: LogIndex, entries: tuple[Entry, ...]) -> AppendEntries:
    """The message of Figure 2, AppendEntries RPC, arguments."""
    prev_log_index = next_index - 1
    prev_log_term = server.log.term_at(prev_log_index)
    assert prev_log_term is not None
    return AppendEntries(
        server.current_term,
        server.server_id,
        prev_log_index,
        prev_log_term,
        entries,
        server.commit_index,
        leader.round,
    )


def on_heartbeat_timeout(server: Server) -> Transition:
    """Idle for a heartbeat interval: let everybody hear from the leader (Figure 2, "Leaders" 1)."""
    leader = server.role
    if not isinstance(leader, Leader):
        return Transition(server, (Ignored("only leaders send heartbeats"),))
    noted: tuple[Effect, ...] = ()
    if server.settings.lease_reads or leader.has_reads_without_round:
        server = replace(server, role=replace(leader, round=leader.round + 1))
        noted = (RoundSent(leader.round + 1),) if server.settings.lease_reads else ()
    after, sends = replicate_to_all(server, heartbeat=True)
    after, begun = follow_preference(after)
    after, sends = hand_over_when_caught_up(after, sends + begun)
    return Transition(after, (ResetHeartbeatTimer(server.settings.heartbeat_interval), *noted, *sends))


def on_append_entries_result(server: Server, sender: ServerId, result: AppendEntriesResult) -> Transition:
    """Figure 2, "Leaders" 3: on success advance, on refusal back up; either way the follower was heard."""
    role = server.role
    if not isinstance(role, Leader):
        return Transition(server, (Ignored("an answer to a leader that is one no more"),))
    progress = progress_of(role, sender)
    if progress is None or result.match_index > server.log.last_index:
        return Transition(server, (Ignored("an answer to what was never asked"),))
    heard = replace(
        progress,
        is_active=True,
        acknowledged_round=max(progress.acknowledged_round, min(result.round, role.round)),
    )
    if heard.sending is not None:
        moved = still_sending(server, heard, result)
    else:
        moved = advance(heard, result) if result.success else back_up(server, heard, result)
    server = with_progress(server, role, moved)
    if result.success:
        server = _commit(server)
    continued = continue_with(server, moved)
    if role.transfer is None or role.transfer.target != sender:
        return continued
    return hand_over_when_caught_up(*continued)


def with_progress(server: Server, leader: Leader, progress: Progress) -> Server:
    """The leader knows this of one of its followers now."""
    followers = tuple([progress if p.server_id == progress.server_id else p for p in leader.followers])
    return replace(server, role=replace(leader, followers=followers))


def continue_with(server: Server, progress: Progress) -> Transition:
    """Send the follower that just answered whatever its window now admits."""
    leader = server.role
    assert isinstance(leader, Leader)
    sends: list[Effect] = []
    while True:
        after = _replicate(server, leader, progress, sends, {}, heartbeat=False)
        if after is progress:
            break
        progress = after
    return Transition(with_progress(server, leader, progress) if sends else server, tuple(sends))


def on_peer_restarted(server: Server, server_id: ServerId) -> Transition:
    """The link to a follower is new: what was in flight is lost, so find out again where its log ends."""
    leader = server.role
    if not isinstance(leader, Leader):
        return Transition(server, (Ignored("only leaders keep track of their peers"),))
    progress = progress_of(leader, server_id)
    if progress is None:
        return Transition(server, (Ignored("not a peer"),))
    next_index = progress.next_index if progress.is_probing else progress.match_index + 1
    probing = replace(progress, next_index=next_index, is_probing=True, in_flight=(), careful_until=0, sending=None)
    return continue_with(with_progress(server, leader, probing), probing)


def on_log_persisted(server: Server, event: LogPersisted) -> Transition:
    """Our own disk has it: a leader may now count its own copy (thesis 10.2.1)."""
    if event.term != server.current_term:
        return Transition(server, (Ignored("an older term's write: what it wrote may have been replaced"),))
    persisted_index = min(max(server.persisted_index, event.index), server.log.last_index)
    server = replace(server, persisted_index=persisted_index)
    if not isinstance(server.role, Leader):
        return Transition(server, ())
    return _speak(_commit(server)) if server.role.is_silent else Transition(_commit(server), ())


def _speak(server: Server) -> Transition:
    """Our term is on our disk, for an entry of it is.  Had we spoken earlier, and fallen, we could lead in this term
    again, with other entries."""
    leader = server.role
    assert isinstance(leader, Leader)
    return replicate_to_all(replace(server, role=replace(leader, is_silent=False)), heartbeat=True)


def _commit(server: Server) -> Server:
    """Figure 2, "Leaders" 4: the highest index on a majority of disks, if its entry is of the current term.

    Entries of older terms are never committed by counting, only with a current-term entry behind them (paper 5.4.2,
    Figure 8)."""
    leader = server.role
    assert isinstance(leader, Leader)
    reached = {progress.server_id: progress.match_index for progress in leader.followers}
    reached[server.server_id] = server.persisted_index
    index = quorum_reached(server.configuration, reached)
    if index <= server.commit_index or server.log.term_at(index) != server.current_term:
        return server
    committed = server.log.entries(server.commit_index + 1, index)
    size = sum([len(entry.command) for entry in committed if entry.term == server.current_term])
    leader = replace(leader, uncommitted_bytes=leader.uncommitted_bytes - size)
    return replace(server, commit_index=index, role=leader)
