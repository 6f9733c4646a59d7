"""The answer to `InspectPeer`: where a server stands, with what only its runtime can know."""

from __future__ import annotations

from typing import TypedDict, Unpack

from actors.protocol import Status
from raft_core import Server


class KnownToTheRuntime(TypedDict):
    """What neither the core nor the interpreter can tell of a peer.  Times are seconds."""

    inbox_depth: int
    dropped_messages: int
    fsync_p99: float
    uptime: float
    process_id: int


def status_of(server: Server, batch_id: int, **known: Unpack[KnownToTheRuntime]) -> Status:
    """How `server` is."""
    members = server.configuration
    return Status(
        **known,
        batch_id=batch_id,
        server_id=server.server_id,
        role=server.role_name,
        term=server.current_term,
        leader_id=server.leader_id,
        last_index=server.log.last_index,
        written_index=server.persisted_index,
        commit_index=server.commit_index,
        applied_index=server.last_applied,
        voters=members.voters,
        learners=members.learners,
        old_voters=members.old_voters,
        configuration_index=server.configurations[-1].index,
        snapshot_index=0 if server.snapshot is None else server.snapshot.last_included_index,
        first_index=server.log.last_included_index + 1,
        priorities=members.priorities,
    )
