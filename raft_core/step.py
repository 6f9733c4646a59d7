"""`step`: one event in, the next server and what is to be done out.  Figure 2 as a total function.

The rules "for all servers" stand here and only here, around the handlers of the roles:

* before: a message with a higher term is adopted, and then the *same* message is handled in the new role, within the
  same step (Figure 2, "All Servers" 2); nothing is re-queued;
* after: if commit_index grew, the newly committed entries are handed on (Figure 2, "All Servers" 1), waiting reads are
  settled, and a change of role, term or leader is announced.

`step` never raises and never blocks: each pair of role and event is defined, and what changes nothing says so with
`Ignored`.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from raft_core.effects import ApplyCommitted, Effect, Ignored, RoleChanged
from raft_core.election import (
    adopt_term,
    on_disk_stalled,
    on_election_timeout,
    on_leader_contact_expired,
    on_request_pre_vote,
    on_request_pre_vote_result,
    on_request_vote,
    on_request_vote_result,
    on_timeout_now,
    protects_its_leader,
)
from raft_core.events import (
    Applied,
    ConfigurationProposed,
    DiskRecovered,
    DiskStalled,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LeaseExpired,
    LeaseExtended,
    LogPersisted,
    PeerRestarted,
    Proposed,
    ReadRequested,
    Received,
    SettingsChanged,
    SnapshotReceived,
    SnapshotSpoiled,
    SnapshotTaken,
    SnapshotUnreadable,
    TransferRequested,
)
from raft_core.followers import on_append_entries
from raft_core.membership import announce_configuration, is_settled, on_configuration_proposed, settle_configuration
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    InstallSnapshot,
    InstallSnapshotResult,
    Message,
    MessageResult,
    RequestPreVote,
    RequestPreVoteResult,
    RequestReadIndex,
    RequestReadIndexResult,
    RequestVote,
    RequestVoteResult,
    TimeoutNow,
)
from raft_core.reads import (
    abandoned_reads,
    confirm_round,
    on_lease_expired,
    on_lease_extended,
    on_read_requested,
    on_request_read_index,
    on_request_read_index_result,
    settle_followers_reads,
    settle_reads,
)
from raft_core.replication import (
    on_append_entries_result,
    on_heartbeat_timeout,
    on_log_persisted,
    on_peer_restarted,
    on_proposed,
)
from raft_core.roles import Follower, Leader
from raft_core.snapshotting import (
    on_install_snapshot,
    on_install_snapshot_result,
    on_snapshot_received,
    on_snapshot_spoiled,
    on_snapshot_taken,
    on_snapshot_unreadable,
)
from raft_core.state import Server, Transition
from raft_core.transfer import on_transfer_requested
from raft_core.tuning import on_settings_changed
from raft_core.types import ServerId


def step(server: Server, event: Event) -> Transition:
    """The next state of `server` after `event`, and the effects to carry out, in order (see `raft_core.effects`)."""
    return _for_all_servers(server, _on_event(server, event))


def _on_event(server: Server, event: Event) -> Transition:
    match event:
        case Received():
            return _on_received(server, event.sender, event.message)
        case LogPersisted():
            return on_log_persisted(server, event)
        case Proposed():
            return on_proposed(server, event)
        case Applied():
            last_applied = max(server.last_applied, min(event.index, server.commit_index))
            return Transition(replace(server, last_applied=last_applied), ())
        case DiskStalled():
            return on_disk_stalled(server)
        case DiskRecovered():
            return Transition(replace(server, disk_is_stalled=False), ())
        case ReadRequested():
            return on_read_requested(server, event)
        case LeaseExtended():
            return on_lease_extended(server, event)
        case LeaseExpired():
            return on_lease_expired(server)
        case ConfigurationProposed():
            return on_configuration_proposed(server, event)
        case TransferRequested():
            return on_transfer_requested(server, event)
        case HeartbeatTimeout():
            return on_heartbeat_timeout(server)
        case ElectionTimeout():
            return on_election_timeout(server, event)
        case LeaderContactExpired():
            return on_leader_contact_expired(server)
        case PeerRestarted():
            return on_peer_restarted(server, event.server_id)
        case SettingsChanged():
            return on_settings_changed(server, event)
        case _:
            return _on_snapshot_event(server, event)


def _on_snapshot_event(
    server: Server, event: SnapshotTaken | SnapshotReceived | SnapshotSpoiled | SnapshotUnreadable
) -> Transition:
    """What the disk and the state machine have to say of snapshots (paper 7)."""
    match event:
        case SnapshotTaken(snapshot=snapshot):
            return on_snapshot_taken(server, snapshot)
        case SnapshotReceived(snapshot=snapshot):
            return on_snapshot_received(server, snapshot)
        case SnapshotSpoiled(snapshot=snapshot):
            return on_snapshot_spoiled(server, snapshot)
        case SnapshotUnreadable(snapshot=snapshot):
            return on_snapshot_unreadable(server, snapshot)
        case _:
            assert_never(event)


def _on_received(server: Server, sender: ServerId, message: Message) -> Transition:
    """ "All Servers" 2 before the message itself: higher terms win, whatever the message (paper 5.1)."""
    if sender == server.server_id:
        return Transition(server, (Ignored("a message from ourselves"),))
    if message.term > server.current_term and not isinstance(message, RequestPreVote):
        if isinstance(message, RequestVote) and protects_its_leader(server, message):
            return Transition(server, (Ignored("an election, but the leader was heard just now"),))
        adopted, effects = adopt_term(server, message.term)
        after, more = _dispatch(adopted, sender, message)
        return Transition(after, effects + more)
    return _dispatch(server, sender, message)


def _dispatch(server: Server, sender: ServerId, message: Message) -> Transition:
    match message:
        case AppendEntries():
            return on_append_entries(server, sender, message)
        case RequestVote():
            return on_request_vote(server, sender, message)
        case InstallSnapshot():
            return on_install_snapshot(server, sender, message)
        case RequestPreVote():
            return on_request_pre_vote(server, sender, message)
        case TimeoutNow():
            return on_timeout_now(server, message)
        case RequestReadIndex():
            return on_request_read_index(server, sender, message)
        case _:
            return _on_result(server, sender, message)


def _on_result(server: Server, sender: ServerId, result: MessageResult) -> Transition:
    """An answer of an older term answers a question nobody asks any more (paper 5.1)."""
    if result.term < server.current_term and not isinstance(result, RequestPreVoteResult):
        return Transition(server, (Ignored("an answer of an older term"),))
    match result:
        case AppendEntriesResult():
            return on_append_entries_result(server, sender, result)
        case RequestVoteResult():
            return on_request_vote_result(server, sender, result)
        case RequestPreVoteResult():
            return on_request_pre_vote_result(server, sender, result)
        case InstallSnapshotResult():
            return on_install_snapshot_result(server, sender, result)
        case RequestReadIndexResult():
            return on_request_read_index_result(server, result)
        case _:
            assert_never(result)


def _for_all_servers(before: Server, handled: Transition) -> Transition:
    """ "All Servers" 1, and what else follows from a change whoever made it.  Most events change none of it."""
    after, effects = handled
    more: list[Effect] = []
    if after.configurations is not before.configurations:
        more.extend(announce_configuration(before, after))
    has_more_committed = after.commit_index > before.commit_index
    if has_more_committed:
        after = _hand_on(before, after, more)
    if after.role is not before.role or has_more_committed:
        after = _settle_reads(before, after, more)
        if after.role is not before.role and _looks_different(before, after):
            more.append(RoleChanged(after.role_name, after.current_term, after.leader_id))
    return Transition(after, effects + tuple(more)) if more else handled


def _hand_on(before: Server, after: Server, more: list[Effect]) -> Server:
    """What is newly committed: its entries to the state machine, its members into force."""
    first_index = before.commit_index + 1
    entries = after.log.entries(first_index, after.commit_index)
    if entries:
        more.append(ApplyCommitted(first_index, entries))
    if is_settled(before, after):
        return after
    settled, effects = settle_configuration(before, after)
    more.extend(effects)
    if settled.configurations is not after.configurations:
        more.extend(announce_configuration(after, settled))
    return settled


def _settle_reads(before: Server, after: Server, more: list[Effect]) -> Server:
    """Answer the reads that are due now, and hand back those that this server can serve no more."""
    role = after.role
    if role is not before.role:
        more.extend(abandoned_reads(before, after))
    if isinstance(role, Leader) and after.settings.lease_reads:
        after, confirmed = confirm_round(after, role)
        more.extend(confirmed)
        role = after.role
    if isinstance(role, Leader) and (role.pending_reads or role.early_reads):
        after, settled = settle_reads(after, role)
        more.extend(settled)
    elif isinstance(role, Follower) and role.pending_reads:
        after, settled = settle_followers_reads(after, role)
        more.extend(settled)
    return after


def _looks_different(before: Server, after: Server) -> bool:
    """Did role, term or known leader change?"""
    return (
        type(after.role) is not type(before.role)
        or after.current_term != before.current_term
        or after.leader_id != before.leader_id
    )
