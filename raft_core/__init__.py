"""Raft's Figure 2 as pure functions on immutable values.

>>> from raft_core import RequestVote, RequestVoteResult, Send, follower, received, step
>>> server = follower("n1", ["n1", "n2", "n3"], current_term=3, voted_for="n2")
>>> after, effects = step(server, received("n3", RequestVote(3, "n3", last_log_index=0, last_log_term=0)))
>>> after == server, effects == (Send("n3", RequestVoteResult(3, vote_granted=False)),)
(True, True)
"""

from raft_core.batching import coalesce, step_all
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    Effect,
    Ignored,
    PersistEffect,
    PersistTermAndVote,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    RefusalReason,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RoleChanged,
    Send,
    StopHeartbeatTimer,
)
from raft_core.events import (
    Applied,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LogPersisted,
    PeerRestarted,
    Proposed,
    ReadRequested,
    Received,
)
from raft_core.log import Log
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
)
from raft_core.quorum import VoteOutcome, majority, quorum_value, vote_outcome
from raft_core.state import (
    Candidate,
    Follower,
    Leader,
    PendingRead,
    PreCandidate,
    Progress,
    Role,
    Server,
    Transition,
    election_timeout,
    follower,
    restore,
)
from raft_core.step import step
from raft_core.types import Entry, EntryKind, LogIndex, ServerId, Settings, Term

received = Received
"""`received(sender, message)`: the event of a message that arrived."""

__all__ = [
    "AppendEntries",
    "AppendEntriesResult",
    "AppendToLog",
    "Applied",
    "ApplyCommitted",
    "Candidate",
    "Effect",
    "ElectionTimeout",
    "Entry",
    "EntryKind",
    "Event",
    "Follower",
    "HeartbeatTimeout",
    "Ignored",
    "Leader",
    "LeaderContactExpired",
    "Log",
    "LogIndex",
    "LogPersisted",
    "Message",
    "PeerRestarted",
    "PendingRead",
    "PersistEffect",
    "PersistTermAndVote",
    "PreCandidate",
    "Progress",
    "ProposalAccepted",
    "ProposalRefused",
    "Proposed",
    "ReadReady",
    "ReadRefused",
    "ReadRequested",
    "Received",
    "RefusalReason",
    "RequestPreVote",
    "RequestPreVoteResult",
    "RequestVote",
    "RequestVoteResult",
    "ResetElectionTimer",
    "ResetHeartbeatTimer",
    "Role",
    "RoleChanged",
    "Send",
    "Server",
    "ServerId",
    "Settings",
    "StopHeartbeatTimer",
    "Term",
    "Transition",
    "VoteOutcome",
    "coalesce",
    "election_timeout",
    "follower",
    "majority",
    "quorum_value",
    "received",
    "restore",
    "step",
    "step_all",
    "vote_outcome",
]
