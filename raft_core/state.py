"""The state of a server: Figure 2's "State" box as immutable values.

* Persistent state: `current_term`, `voted_for`, `log`.
* Volatile state on all servers: `commit_index`, `last_applied`; here also `persisted_index`, because the disk answers
  later than memory (thesis 10.2.1).
* Volatile state on leaders lives in the role `Leader` alone: "next_index of a follower" cannot be written down.

Roles are a sum type: `Follower | PreCandidate | Candidate | Leader` (pre-candidate: thesis 9.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raft_core.configuration import Configuration, Configured, Snapshot, configuration, configured
from raft_core.effects import Effect
from raft_core.log import Log
from raft_core.types import Entry, LogIndex, ServerId, Settings, Term


class PendingRead(Struct, frozen=True):
    """Reads that wait until a majority acknowledges `round`: one that was begun, or the next (thesis 6.4)."""

    round: int
    read_index: LogIndex
    read_ids: tuple[int, ...]
    asker: ServerId | None = None
    """The follower on whose behalf; None: our own clients."""


class Follower(Struct, frozen=True, tag="follower"):
    """Responds to requests; knows at most who leads (paper 5.1)."""

    leader_id: ServerId | None = None
    """The leader of the current term, if it has made itself known; reset when an election starts."""
    leader_is_recent: bool = False
    """Heard from within the minimum election timeout: pre-votes are refused (thesis 9.6)."""
    asked_reads: tuple[int, ...] = ()
    """Reads of our clients that we asked the leader about (thesis 6.4)."""
    is_answer_overdue: bool = False
    """A heartbeat came since we asked; at the next one we ask again."""
    pending_reads: tuple[PendingRead, ...] = ()
    """Those that it answered, and that wait until their index is committed here."""


class PreCandidate(Struct, frozen=True, tag="pre-candidate"):
    """Asks whether an election could be won, without raising its term (thesis 9.6)."""

    granted: frozenset[ServerId]
    refused: frozenset[ServerId] = frozenset()


class Candidate(Struct, frozen=True, tag="candidate"):
    """Asks for votes in its term.  Voters are a set: a repeated answer counts once (paper 5.2)."""

    granted: frozenset[ServerId]
    refused: frozenset[ServerId] = frozenset()


class SnapshotSending(Struct, frozen=True):
    """A follower needs entries that the log no longer has, and is sent a snapshot, one part at a time (paper 7)."""

    snapshot: Snapshot
    offset: int = 0
    """Where the part begins that was sent last and is not answered."""
    is_overdue: bool = False
    """No answer since the heartbeat before: at the next one the part is sent again."""


class Incoming(Struct, frozen=True):
    """A snapshot that is being received."""

    snapshot: Snapshot
    offset: int
    """Bytes that were given to the disk; all of them, and the disk has yet to say that it is sound."""


class Progress(Struct, frozen=True):
    """What a leader knows of one follower (Figure 2: next_index, match_index; thesis 10.2.1 for the rest)."""

    server_id: ServerId
    next_index: LogIndex
    """Index of the next entry to send; always greater than `match_index`."""
    match_index: LogIndex = 0
    """Highest index known to be on the follower's disk and equal to the leader's log; never decreases in a term."""
    is_probing: bool = True
    """Where the logs agree is not known yet: one message at a time until an answer tells."""
    in_flight: tuple[LogIndex, ...] = ()
    """Last index of each unanswered message that carried entries (of the probe, while probing), oldest first."""
    careful_until: LogIndex = 0
    """Until this matches, few messages at a time, lest refusals of what is under way make a storm; 0: no such thing."""
    acknowledged_round: int = 0
    """Highest `AppendEntries.round` the follower has answered in this term."""
    is_active: bool = True
    """Heard from since the leader last checked its quorum (thesis 6.2)."""
    sending: SnapshotSending | None = None
    """Entries are of no use to this follower before it has this snapshot."""


class Transfer(Struct, frozen=True):
    """Leadership is to go to `target` (thesis 3.10)."""

    transfer_id: int | None
    """None: nobody asked for it; the leader prefers `target`."""
    target: ServerId


class Preference(Struct, frozen=True):
    """Somebody has a higher priority than the leader (see `raft_core.priorities`)."""

    target: ServerId
    heartbeats: int = 0
    """How often it was found reachable, with nearly the whole log, since it was last found otherwise."""
    was_silent: bool = False
    """It was not, at the last heartbeat."""
    failures: int = 0
    """Transfers to it that failed, in this term."""


class Leader(Struct, frozen=True, tag="leader"):
    """Handles clients and replicates (Figure 2, "Volatile state on leaders")."""

    followers: tuple[Progress, ...]
    round: int = 0
    """Number of the last round of "am I still the leader?"; within a term it only grows."""
    pending_reads: tuple[PendingRead, ...] = ()
    early_reads: tuple[PendingRead, ...] = ()
    """Reads that came before an entry of this term was committed (thesis 6.4, step 1); round and index are open."""
    confirmed_round: int = 0
    """Highest round that a majority has answered, as far as leases are concerned."""
    has_lease: bool = False
    """Nobody else can have been elected yet (thesis 6.4.1)."""
    may_have_lease: bool = True
    """No transfer was begun in this term: a TimeoutNow that is still under way would break the lease."""
    uncommitted_bytes: int = 0
    """Bytes of commands behind the commit index, for back-pressure."""
    is_silent: bool = False
    """Elected by itself alone, in the step in which it raised its term: it speaks once that term is on its disk."""
    transfer: Transfer | None = None
    """Leadership is being handed over; nothing new is accepted meanwhile (thesis 3.10)."""
    preference: Preference | None = None
    """Somebody else shall lead, as soon as that can be relied on."""

    @property
    def has_reads_without_round(self) -> bool:
        """Does any read wait for a round that has not begun?"""
        return bool(self.pending_reads) and self.pending_reads[-1].round > self.round


Role: TypeAlias = Follower | PreCandidate | Candidate | Leader


class Server(Struct, frozen=True):
    """One server.  `step` turns it and an event into the next one; it is never changed in place."""

    server_id: ServerId
    settings: Settings
    current_term: Term
    voted_for: ServerId | None
    log: Log
    commit_index: LogIndex
    last_applied: LogIndex
    persisted_index: LogIndex
    """Highest index known to be on this server's own disk."""
    configurations: tuple[Configured, ...]
    """The one in force is the last; the first is committed, and those behind it may still be rolled back (paper 6)."""
    election_timeout: int
    """Length of this server's current election timeout, milliseconds in [T, 2T)."""
    role: Role
    snapshot: Snapshot | None = None
    """The latest one on this server's disk."""
    incoming: Incoming | None = None
    """The one that is being received."""
    disk_is_stalled: bool = False
    """Nothing can be promised, so this server neither leads nor campaigns."""

    @property
    def leader_id(self) -> ServerId | None:
        """The leader of the current term, as far as this server knows."""
        match self.role:
            case Leader():
                return self.server_id
            case Follower(leader_id=leader_id):
                return leader_id
            case _:
                return None

    @property
    def role_name(self) -> str:
        """'follower', 'pre-candidate', 'candidate' or 'leader'."""
        return str(self.role.__struct_config__.tag)

    @property
    def configuration(self) -> Configuration:
        """The members as this server knows them: the latest in its log, committed or not (paper 6)."""
        return self.configurations[-1].configuration

    @property
    def voters(self) -> tuple[ServerId, ...]:
        """Whose votes count, in both configurations of a joint one; sorted."""
        members = self.configuration
        return tuple(sorted({*members.voters, *members.old_voters})) if members.is_joint else members.voters

    @property
    def peers(self) -> tuple[ServerId, ...]:
        """All members but this server: voters and learners."""
        return tuple([server_id for server_id in self.configuration.servers if server_id != self.server_id])


class Transition(NamedTuple):
    """What `step` returns: the next state, and what is to be done, in order."""

    server: Server
    effects: tuple[Effect, ...]


def election_timeout(settings: Settings, randomness: int) -> int:
    """A timeout in [T, 2T) milliseconds, uniform if `randomness` is (paper 5.2, 9.3)."""
    return settings.election_timeout + randomness % settings.election_timeout


def restore(
    server_id: ServerId,
    voters: Iterable[ServerId],
    settings: Settings,
    *,
    randomness: int,
    current_term: Term = 0,
    voted_for: ServerId | None = None,
    entries: Iterable[Entry] = (),
    learners: Iterable[ServerId] = (),
    snapshot: Snapshot | None = None,
    last_included: tuple[LogIndex, Term] = (0, 0),
    incoming: Incoming | None = None,
) -> Server:
    """A server as it starts or restarts: from persistent state, as a follower (paper 5.2, Figure 2 "State").

    `voters` and `learners` are the members the cluster began with; what `snapshot` and the log say later counts.
    `entries` begin behind `last_included` (index and term), which `snapshot` covers.  The state machine must have taken
    its state from `snapshot`: `commit_index` and `last_applied` begin there, or at 0; what is committed beyond is found
    out again from the leader.  With leases the server may have promised a leader, just before it fell, to vote for
    nobody else: it keeps to that for the shortest election timeout (thesis 6.4.1).

    Raises ValueError if `entries` name members in bytes that cannot be read.
    """
    log = Log(entries, last_included_index=last_included[0], last_included_term=last_included[1])
    base = Configured(0, configuration(voters, learners)) if snapshot is None else snapshot.configured
    covered = 0 if snapshot is None else snapshot.last_included_index
    found = configured(log, log.last_included_index + 1)
    if found is None:
        raise ValueError("the log holds a configuration that cannot be read")
    return Server(
        server_id=server_id,
        settings=settings,
        current_term=current_term,
        voted_for=voted_for,
        log=log,
        commit_index=covered,
        last_applied=covered,
        persisted_index=log.last_index,
        configurations=(base, *(known for known in found if known.index > base.index)),
        election_timeout=election_timeout(settings, randomness),
        role=Follower(leader_is_recent=settings.lease_reads and current_term > 0),
        snapshot=snapshot,
        incoming=incoming,
    )


def follower(
    server_id: ServerId,
    peers: Iterable[ServerId],
    *,
    current_term: Term = 0,
    voted_for: ServerId | None = None,
    terms: Iterable[Term] = (),
    commit_index: LogIndex = 0,
    leader_id: ServerId | None = None,
    settings: Settings | None = None,
) -> Server:
    """A follower for a test, in a line: its log is given by the terms of its entries, as Figure 7 draws them.

    `peers` are all servers of the cluster; whether `server_id` is among them makes no difference.

    >>> follower("n1", ["n1", "n2", "n3"], current_term=2, terms=[1, 1, 2]).log.last_term
    2
    """
    entries = [Entry(term, b"%d" % index) for index, term in enumerate(terms, start=1)]
    server = restore(
        server_id,
        {server_id, *peers},
        settings or Settings(),
        randomness=0,
        current_term=current_term,
        voted_for=voted_for,
        entries=entries,
    )
    return replace(server, commit_index=commit_index, role=Follower(leader_id))
