"""The state of a server: Figure 2's "State" box as immutable values.

* Persistent state: `current_term`, `voted_for`, `log`.
* Volatile state on all servers: `commit_index`, `last_applied`; here also `persisted_index`, because the disk answers
  later than memory (thesis 10.2.1).
* Volatile state on leaders, and on all others, lives in the role (`raft_core.roles`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from raft_core.configuration import Configuration, Configured, Snapshot, configuration, configured
from raft_core.effects import Effect
from raft_core.log import Log
from raft_core.roles import Follower, Leader, Role
from raft_core.types import Entry, LogIndex, ServerId, Settings, Term


class Incoming(Struct, frozen=True):
    """A snapshot that is being received."""

    snapshot: Snapshot
    offset: int
    """Bytes that were given to the disk; all of them, and the disk has yet to say that it is sound."""


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
    def contact_timeout(self) -> int:
        """How long a leader that was heard counts as recent, milliseconds (thesis 4.2.3); 0: none was heard.  Whoever
        resets the election timer resets this one too: else nothing would end it."""
        role = self.role
        return self.settings.election_timeout if isinstance(role, Follower) and role.leader_is_recent else 0

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
