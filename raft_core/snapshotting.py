"""Snapshots and log compaction: paper 7, Figure 13 (InstallSnapshot RPC); thesis 5.

The core never sees the content of a snapshot.  The state machine's owner takes one when it likes and tells
(`SnapshotTaken`); then the log is cut, but for some trailing entries that spare a follower a little late a snapshot.
What a leader sends goes straight to the disk (`ReceiveSnapshotChunk`); only when the disk has found it sound does it
replace the log and the state machine's state (`SnapshotReceived`).

* A snapshot never takes back: one that is not ahead of what is committed here changes nothing, and the leader is told
  that it is not needed.  The term is not touched.
* If the log has the snapshot's last entry, what stands behind it stays (Figure 13, receiver 6); else the log is
  replaced as a whole (receiver 7).
* The members it names are in force, unless the log names later ones (thesis 5.1).
* The follower is a follower all the while, answers heartbeats and votes: receiving is no role that one could be stuck
  in.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.configuration import Snapshot
from raft_core.effects import (
    CompactLog,
    Effect,
    Ignored,
    ReceiveSnapshotChunk,
    ResetElectionTimer,
    RestoreSnapshot,
    Send,
)
from raft_core.followers import following
from raft_core.log import Log
from raft_core.messages import InstallSnapshot, InstallSnapshotResult
from raft_core.replication import continue_with, with_progress
from raft_core.roles import Leader, Progress, SnapshotSending
from raft_core.snapshot_sending import chunk, going_on, has_all_up_to
from raft_core.state import Incoming, Server, Transition
from raft_core.types import ServerId


def on_snapshot_taken(server: Server, snapshot: Snapshot) -> Transition:
    """Our own snapshot is on disk: cut the log (paper 7)."""
    index = snapshot.last_included_index
    if server.log.term_at(index) != snapshot.last_included_term or index > server.commit_index:
        return Transition(server, (Ignored("a snapshot of what is not in the log"),))
    if server.snapshot is not None and index <= server.snapshot.last_included_index:
        return Transition(server, (Ignored("an older snapshot"),))
    server = replace(server, snapshot=snapshot)
    cut = index - server.settings.trailing_entries
    if cut <= server.log.last_included_index:
        return Transition(server, ())
    log = server.log.compact(cut)
    return Transition(replace(server, log=log), (CompactLog(cut, log.last_included_term),))


def on_install_snapshot(server: Server, sender: ServerId, request: InstallSnapshot) -> Transition:
    """Figure 13, receiver 1 to 4.  A higher term has been adopted already."""
    snapshot = request.snapshot
    index = snapshot.last_included_index
    if request.term < server.current_term:
        return Transition(server, (Send(sender, InstallSnapshotResult(server.current_term, index, 0, False)),))
    if isinstance(server.role, Leader):
        return Transition(server, (Ignored("a second leader in one term cannot be"),))
    server = replace(server, role=following(server, request.leader_id))
    reset = ResetElectionTimer(server.election_timeout, server.settings.election_timeout)
    if index <= server.commit_index:
        covered = InstallSnapshotResult(server.current_term, index, snapshot.size, True)
        return Transition(replace(server, incoming=None), (reset, Send(sender, covered)))
    after, effects = _take(server, sender, request)
    return Transition(after, (reset, *effects))


def _take(server: Server, sender: ServerId, request: InstallSnapshot) -> Transition:
    """Give the part to the disk if it is the one that is missing; say which one is, unless the disk has to say."""
    snapshot, incoming = request.snapshot, server.incoming
    is_begun = incoming is not None and incoming.snapshot == snapshot
    held = incoming.offset if incoming is not None and is_begun else 0
    if is_begun and held == snapshot.size:
        return Transition(server, (Ignored("the disk is checking the snapshot"),))
    end = request.offset + len(request.data)
    effects: tuple[Effect, ...] = ()
    if request.offset == held and end <= snapshot.size and (request.data or not is_begun):
        server = replace(server, incoming=Incoming(snapshot, end))
        effects = (ReceiveSnapshotChunk(snapshot, held, request.data),)
        held = end
    if held == snapshot.size:
        return Transition(server, effects)
    answer = InstallSnapshotResult(server.current_term, snapshot.last_included_index, held, False)
    return Transition(server, (*effects, Send(sender, answer)))


def on_snapshot_received(server: Server, snapshot: Snapshot) -> Transition:
    """The disk has the whole of it and it is sound (Figure 13, receiver 5 to 8)."""
    server = replace(server, incoming=None)
    index = snapshot.last_included_index
    answer = InstallSnapshotResult(server.current_term, index, snapshot.size, True)
    tell = () if server.leader_id in (None, server.server_id) else (Send(str(server.leader_id), answer),)
    if index <= server.commit_index:
        return Transition(server, (*tell, Ignored("committed entries have overtaken the snapshot")))
    continues = server.log.term_at(index) == snapshot.last_included_term
    log = (
        server.log.compact(index)
        if continues
        else Log(last_included_index=index, last_included_term=snapshot.last_included_term)
    )
    later = [known for known in server.configurations if known.index > index] if continues else []
    after = replace(
        server,
        log=log,
        commit_index=index,
        persisted_index=max(server.persisted_index, index) if continues else index,
        configurations=(snapshot.configured, *later),
        snapshot=snapshot,
    )
    cut = CompactLog(index, snapshot.last_included_term, discards_all=not continues)
    return Transition(after, (cut, RestoreSnapshot(snapshot), *tell))


def on_snapshot_spoiled(server: Server, snapshot: Snapshot) -> Transition:
    """What came together is not what was sent: from the beginning."""
    if server.incoming is None or server.incoming.snapshot != snapshot:
        return Transition(server, (Ignored("a snapshot that is not being received"),))
    server = replace(server, incoming=None)
    if server.leader_id is None:
        return Transition(server, ())
    again = InstallSnapshotResult(server.current_term, snapshot.last_included_index, 0, False)
    return Transition(server, (Send(server.leader_id, again),))


def on_install_snapshot_result(server: Server, sender: ServerId, result: InstallSnapshotResult) -> Transition:
    """The follower says how far it is: go on from there."""
    leader = server.role
    if not isinstance(leader, Leader):
        return Transition(server, (Ignored("an answer to a leader that is one no more"),))
    progress = next((p for p in leader.followers if p.server_id == sender), None)
    if progress is None or result.last_included_index > server.commit_index:
        return Transition(server, (Ignored("an answer to what was never asked"),))
    progress = replace(progress, is_active=True)
    sending = progress.sending
    if sending is None or sending.snapshot.last_included_index != result.last_included_index:
        return Transition(with_progress(server, leader, progress), (Ignored("a snapshot that is not being sent"),))
    if result.is_installed:
        moved = has_all_up_to(progress, result.last_included_index)
        return continue_with(with_progress(server, leader, moved), moved)
    if result.next_offset >= sending.snapshot.size or result.next_offset == sending.offset:
        return Transition(with_progress(server, leader, progress), (Ignored("that part is under way"),))
    return _send_from(server, leader, progress, going_on(server, sending, result.next_offset))


def _send_from(server: Server, leader: Leader, progress: Progress, sending: SnapshotSending) -> Transition:
    progress = replace(progress, sending=sending)
    return Transition(with_progress(server, leader, progress), (chunk(server, progress, sending),))


def on_snapshot_unreadable(server: Server, snapshot: Snapshot) -> Transition:
    """It was removed while it was being sent: send the latest one instead."""
    leader = server.role
    if not isinstance(leader, Leader) or server.snapshot is None or server.snapshot == snapshot:
        return Transition(server, (Ignored("there is no later snapshot to send"),))
    effects: list[Effect] = []
    for progress in leader.followers:
        if progress.sending is not None and progress.sending.snapshot == snapshot:
            server, more = _send_from(server, leader, progress, SnapshotSending(server.snapshot))
            leader = server.role
            assert isinstance(leader, Leader)
            effects.extend(more)
    return Transition(server, tuple(effects))
