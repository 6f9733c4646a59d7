"""The safety properties that a golden script checks after every single event (Figure 3 of the paper).

Election Safety, Log Matching, Leader Completeness and State Machine Safety are looked at as they are stated, over all
servers at once; besides them that a commit index never falls while a server is up, and that nobody speaks of what its
disk does not hold.  Scripts are short and logs have a handful of entries, so the plain way is fast enough.

The witness remembers what the servers may forget: who led which term, and what was once committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

from raft_core.messages import AppendEntriesResult, Message, RequestPreVote, RequestVote, RequestVoteResult
from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import Entry, LogIndex, ServerId, Term
from raft_core.verify.script_words import entry_words, name_words


class PropertyViolated(AssertionError):
    """A safety property of Raft does not hold; the text says which, and for whom."""


class Durable(NamedTuple):
    """What a server's disk holds while it speaks."""

    term: Term
    vote: ServerId | None
    length: LogIndex


class Witness:
    """Sees every state of every server and every message that leaves one; raises `PropertyViolated`."""

    def __init__(self) -> None:
        self._leaders: dict[Term, ServerId] = {}
        self._committed: dict[LogIndex, tuple[Entry, Term]] = {}
        """Each committed entry, and the lowest term in which somebody knew of it."""

    def see_states(self, servers: Mapping[ServerId, Server]) -> None:
        """Check all properties on the servers that are up."""
        for server in servers.values():
            self._see_leader(server)
            self._see_commit(server)
        for server in servers.values():
            self._see_completeness(server)
        for one, other in combinations(servers.values(), 2):
            _see_matching(one, other)

    def see_step(self, before: Server, after: Server) -> None:
        """Neither term nor commit index falls; a vote is not exchanged inside a term."""
        if after.current_term < before.current_term:
            raise PropertyViolated(f"the term of {after.server_id} fell: {before.current_term} -> {after.current_term}")
        if after.commit_index < before.commit_index:
            fall = f"{before.commit_index} -> {after.commit_index}"
            raise PropertyViolated(f"the commit index of {after.server_id} fell: {fall}")
        if after.current_term == before.current_term and before.voted_for not in (None, after.voted_for):
            votes = f"{before.voted_for} -> {name_words(after.voted_for)}"
            raise PropertyViolated(f"{after.server_id} changed its vote in term {after.current_term}: {votes}")

    def see_sent(self, sender: ServerId, to: ServerId, message: Message, disk: Durable) -> None:
        """Stable storage comes before what is said of it (Figure 2, persistent state; thesis 3.8)."""
        if not isinstance(message, RequestPreVote) and message.term > disk.term:
            raise PropertyViolated(f"{sender} speaks of term {message.term}, which is not on its disk")
        if isinstance(message, RequestVote) and disk.vote != sender:
            raise PropertyViolated(f"{sender} asks for votes, and its own is not on its disk")
        if isinstance(message, RequestVoteResult) and message.vote_granted and disk.vote != to:
            raise PropertyViolated(f"{sender} grants {to} a vote that is not on its disk")
        if isinstance(message, AppendEntriesResult) and message.success and message.match_index > disk.length:
            raise PropertyViolated(f"{sender} vouches for entry {message.match_index}, which is not on its disk")

    def _see_leader(self, server: Server) -> None:
        if isinstance(server.role, Leader):
            known = self._leaders.setdefault(server.current_term, server.server_id)
            if known != server.server_id:
                both = f"{known} and {server.server_id}"
                raise PropertyViolated(f"Election Safety: {both} both lead term {server.current_term}")

    def _see_commit(self, server: Server) -> None:
        first = server.log.last_included_index + 1
        for index, entry in enumerate(server.log.entries(first, server.commit_index), start=first):
            known, term = self._committed.get(index, (entry, server.current_term))
            if known != entry:
                texts = f"{entry_words(index, entry)} on {server.server_id}, {entry_words(index, known)} before"
                raise PropertyViolated(f"State Machine Safety: two entries are committed at index {index}: {texts}")
            self._committed[index] = (entry, min(term, server.current_term))

    def _see_completeness(self, server: Server) -> None:
        if not isinstance(server.role, Leader):
            return
        for index, (entry, term) in self._committed.items():
            if index <= server.log.last_included_index:
                continue
            if server.current_term > term and server.log.entries(index, index) != (entry,):
                lacks = f"{server.server_id} leads term {server.current_term} without {entry_words(index, entry)}"
                raise PropertyViolated(f"Leader Completeness: {lacks}, which is committed")


def _see_matching(one: Server, other: Server) -> None:
    """Same index and term: then the logs are the same up to there (paper 5.3)."""
    first = max(one.log.last_included_index, other.log.last_included_index) + 1
    shared = range(min(one.log.last_index, other.log.last_index), first - 1, -1)
    index = next((i for i in shared if one.log.term_at(i) == other.log.term_at(i)), 0)
    if one.log.entries(first, index) != other.log.entries(first, index):
        both = f"{one.server_id} and {other.server_id}"
        raise PropertyViolated(f"Log Matching: {both} agree on the term of entry {index}, not on all up to it")
