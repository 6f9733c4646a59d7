"""Bringing a follower up to date that needs what the log no longer has: the leader's side of paper 7.

One part of the snapshot is under way at a time, and the follower's answer says where the next one begins.  So the
follower's disk sets the pace, a part that was lost or doubled does no harm, and what a follower has already is not sent
again, not even by the next leader.  Heartbeats go on meanwhile, without entries.

A part that is not answered is sent again at the second heartbeat after it, or a later one: when the follower has
answered a heartbeat meanwhile, for parts would only pile up on the way to one that does not listen.  A follower leaves
this mode when it has the snapshot, or shows that it has the entries anyway: there is no other way to stay in it than to
be silent.

If the log is cut behind the snapshot meanwhile, the latest one takes its place, for who had the old one would need the
next at once - but once only, so that snapshots arrive though they be taken faster than they can be sent.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.effects import Effect, Send, SendSnapshotChunk
from raft_core.messages import AppendEntries, AppendEntriesResult
from raft_core.roles import Leader, Progress, SnapshotSending
from raft_core.state import Server


def replicate_snapshot(
    server: Server, leader: Leader, progress: Progress, sends: list[Effect], *, heartbeat: bool
) -> Progress:
    """Begin to send the latest snapshot, or let the follower hear that we still lead."""
    sending = progress.sending
    if sending is None:
        assert server.snapshot is not None, "a log is cut only behind a snapshot"
        sending = SnapshotSending(server.snapshot)
        sends.append(chunk(server, progress, sending))
        progress = replace(progress, sending=sending, is_probing=True, in_flight=())
    if not heartbeat:
        return progress
    # It vouches for nothing: it stands before the first entry, where all logs agree.
    sends.append(
        Send(
            progress.server_id,
            AppendEntries(server.current_term, server.server_id, 0, 0, (), server.commit_index, leader.round),
        )
    )
    if not (sending.is_overdue and sending.is_heard):
        return replace(progress, sending=replace(sending, is_overdue=True))
    again = going_on(server, sending, sending.offset)
    sends.append(chunk(server, progress, again))
    return replace(progress, sending=again)


def going_on(server: Server, sending: SnapshotSending, offset: int) -> SnapshotSending:
    """The same snapshot from `offset` on, if the log continues it; else the latest one from its beginning."""
    if sending.is_replacement or sending.snapshot.last_included_index >= server.log.last_included_index:
        return SnapshotSending(sending.snapshot, offset, is_replacement=sending.is_replacement)
    assert server.snapshot is not None, "a log is cut only behind a snapshot"
    return SnapshotSending(server.snapshot, is_replacement=True)


def chunk(server: Server, progress: Progress, sending: SnapshotSending) -> SendSnapshotChunk:
    """The part that is due."""
    length = min(server.settings.snapshot_chunk_bytes, sending.snapshot.size - sending.offset)
    return SendSnapshotChunk(progress.server_id, server.current_term, sending.snapshot, sending.offset, length)


def still_sending(server: Server, progress: Progress, result: AppendEntriesResult) -> Progress:
    """An answer to a heartbeat, or to entries from before: usually it says nothing.  But if it shows that the follower
    has all that the log lacks, entries will do."""
    if result.success and result.match_index >= server.log.last_included_index:
        return has_all_up_to(progress, result.match_index)
    sending = progress.sending
    if sending is None or sending.is_heard:
        return progress
    return replace(progress, sending=replace(sending, is_heard=True))


def has_all_up_to(progress: Progress, index: int) -> Progress:
    """The follower is known to have everything up to `index`: from there on it is sent entries."""
    match_index = max(progress.match_index, index)
    return replace(
        progress, match_index=match_index, next_index=match_index + 1, is_probing=True, in_flight=(), sending=None
    )
