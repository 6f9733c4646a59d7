"""A witness: sees every write, message, application and answer of a small cluster and knows what may never be.

It judges by what is *on disk at that moment* (a copy kept beside each storage), never by what a server believes.  The
rules it holds servers to are Figure 3's five properties, "updated on stable storage before responding to RPCs"
(Figure 2), one vote per term across restarts (paper 5.2, thesis 3.8), and that an answered command is on the disks of
a majority.

It keeps its own memory of the whole run.  A server that forgets, crashes and comes back is compared with what it said
in its earlier lives.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.storage.memory import MemoryStorage
from actors.storage.port import Storage, Stored
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Entry,
    Leader,
    Message,
    PersistEffect,
    PersistTermAndVote,
    RequestPreVote,
    RequestVote,
    RequestVoteResult,
    Server,
    ServerId,
    Term,
    majority,
)


class Witness:
    """The memory of everybody's promises."""

    def __init__(self, names: Sequence[ServerId]) -> None:
        self.names = tuple(names)
        self.disks = {name: MemoryStorage() for name in names}
        """What is on each disk: written when the real write has returned."""
        self.votes: dict[tuple[ServerId, Term], ServerId] = {}
        self.leaders: dict[Term, ServerId] = {}
        self.committed: list[Entry] = []
        self.committed_in: list[Term] = []
        self.truncations = 0
        self.servers: dict[ServerId, Server] = {}

    # --- disks --------------------------------------------------------------------------------------------------------

    def stored(self, name: ServerId) -> Stored:
        """What `name` would find if it restarted now."""
        return self.disks[name].load()

    def writes(self, name: ServerId, changes: Sequence[PersistEffect]) -> None:
        """A write has returned: terms never go back, a vote never changes within its term, nothing committed goes."""
        for change in changes:
            before = self.stored(name)
            if isinstance(change, PersistTermAndVote):
                self._check_vote_written(name, before, change)
            elif isinstance(change, AppendToLog) and change.prev_log_index < len(before.entries):
                self.truncations += 1
            self.disks[name].write([change])
            if isinstance(change, AppendToLog) and change.prev_log_index < len(self.committed):
                self.check_on_majority(len(self.committed))

    def _check_vote_written(self, name: ServerId, before: Stored, change: PersistTermAndVote) -> None:
        assert change.current_term >= before.current_term, f"{name}: the term on disk went back"
        if change.current_term == before.current_term:
            assert before.voted_for in (None, change.voted_for), f"{name}: the vote on disk changed within a term"

    def check_on_majority(self, count: int) -> None:
        """The first `count` committed entries are on the disks of a majority."""
        wanted = tuple(self.committed[:count])
        holders = sum(self.stored(name).entries[:count] == wanted for name in self.names)
        assert holders >= majority(self.names), f"{count} committed entries are on {holders} disks only"

    # --- messages -----------------------------------------------------------------------------------------------------

    def sends(self, name: ServerId, to: ServerId, message: Message) -> None:
        """A message leaves: what it vouches for is on the sender's disk."""
        stored = self.stored(name)
        if not isinstance(message, RequestPreVote):
            assert message.term <= stored.current_term, f"{name} spoke of a term that is not on its disk: {message}"
        match message:
            case RequestVote():
                self._votes(name, message.term, name, stored)
            case RequestVoteResult(vote_granted=True):
                self._votes(name, message.term, to, stored)
            case AppendEntriesResult(success=True) if stored.current_term == message.term:
                self._check_acknowledged(name, to, message, stored)
            case AppendEntries():
                assert self.leaders.get(message.term) in (None, name), f"two leaders in term {message.term}"
            case _:
                pass

    def _votes(self, name: ServerId, term: Term, candidate: ServerId, stored: Stored) -> None:
        assert self.votes.setdefault((name, term), candidate) == candidate, f"{name} voted twice in term {term}"
        on_disk = stored.current_term > term or stored.voted_for == candidate
        assert on_disk, f"{name} spoke of its vote for {candidate} in term {term} before it was on disk"

    def _check_acknowledged(self, name: ServerId, to: ServerId, result: AppendEntriesResult, stored: Stored) -> None:
        assert len(stored.entries) >= result.match_index, f"{name} acknowledged {result} before it was on disk"
        leader = self.servers.get(to)
        if leader is not None and isinstance(leader.role, Leader) and leader.current_term == result.term:
            wanted = leader.log.entries(1, result.match_index)
            assert stored.entries[: result.match_index] == wanted, f"{name} acknowledged other entries than {to} has"

    # --- commitment ---------------------------------------------------------------------------------------------------

    def applies(self, server: Server, first_index: int, entries: Sequence[Entry]) -> None:
        """Entries reach a state machine: State Machine Safety, and a quorum of disks when they do so first."""
        for index, entry in enumerate(entries, start=first_index):
            assert index <= len(self.committed) + 1, "applied with a gap"
            if index <= len(self.committed):
                assert self.committed[index - 1] == entry, f"two commands at index {index} (State Machine Safety)"
            else:
                self.committed.append(entry)
                self.committed_in.append(server.current_term)
        self.check_on_majority(first_index + len(entries) - 1)

    # --- servers ------------------------------------------------------------------------------------------------------

    def restarts(self, server: Server) -> None:
        """A server comes back with what is on its disk and nothing else."""
        stored = self.stored(server.server_id)
        found = (server.current_term, server.voted_for, server.log.entries(1, server.log.last_index))
        assert found == (stored.current_term, stored.voted_for, stored.entries), "the storage lost or made up something"
        self.servers[server.server_id] = server

    def stops(self, name: ServerId) -> None:
        """A server's memory is gone."""
        self.servers.pop(name, None)

    def moves(self, after: Server) -> None:
        """A server took a turn."""
        before = self.servers[after.server_id]
        self.servers[after.server_id] = after
        assert after.current_term >= before.current_term
        assert before.commit_index <= after.commit_index <= after.log.last_index
        assert after.persisted_index <= len(self.stored(after.server_id).entries), "believed to be on disk, and is not"
        if after.log is not before.log:
            self._check_log_matching(after)
        if isinstance(after.role, Leader):
            self._check_leader(before, after)

    def _check_log_matching(self, server: Server) -> None:
        for other in self.servers.values():
            index = min(server.log.last_index, other.log.last_index)
            while server.log.term_at(index) != other.log.term_at(index):
                index -= 1
            assert server.log.entries(1, index) == other.log.entries(1, index), "Log Matching"

    def _check_leader(self, before: Server, after: Server) -> None:
        term = after.current_term
        assert self.leaders.setdefault(term, after.server_id) == after.server_id, f"Election Safety in term {term}"
        if isinstance(before.role, Leader) and before.current_term == term:
            last_index = before.log.last_index
            assert after.log.entries(1, last_index) == before.log.entries(1, last_index), "Leader Append-Only"
            return
        count = sum(committed_in < term for committed_in in self.committed_in)
        assert list(after.log.entries(1, count)) == self.committed[:count], f"Leader Completeness in term {term}"


class WitnessedStorage:
    """A storage whose every write the witness sees once it has returned."""

    def __init__(self, inner: Storage, name: ServerId, witness: Witness) -> None:
        self._inner = inner
        self._name = name
        self._witness = witness
        self.blocking = inner.blocking

    def load(self) -> Stored:
        """What is really there."""
        return self._inner.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Write, then tell."""
        self._inner.write(changes)
        self._witness.writes(self._name, changes)

    def close(self) -> None:
        """Close what is really there."""
        self._inner.close()
