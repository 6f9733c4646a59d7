"""Which states of a server can be at all: the rules that hold of one server, whatever has happened.

`strategies.servers` draws states that keep them, and `step` leads from each of them to another one: an inductive
invariant of the core, to be tested as such.  What involves several servers (Figure 3) cannot be said of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import assert_never

from raft_core import Candidate, Follower, Leader, PreCandidate, Progress, Server
from raft_core.quorum import VoteOutcome, quorum_value, vote_outcome


def inconsistencies(server: Server) -> list[str]:
    """What cannot be in `server`, a sentence each; an empty list if there is nothing."""
    return [*_of_indices(server), *_of_terms(server), *_of_role(server)]


def _of_indices(server: Server) -> Iterator[str]:
    if not server.last_applied <= server.commit_index <= server.log.last_index:
        yield "last_applied <= commit_index <= the last index does not hold"
    if not 0 <= server.persisted_index <= server.log.last_index:
        yield "more is persisted than there is"


def _of_terms(server: Server) -> Iterator[str]:
    terms = [0, *(entry.term for entry in server.log)]
    if any(one > other for one, other in pairwise(terms)):
        yield "the terms in the log decrease"
    if terms[-1] > server.current_term:
        yield "an entry is of a later term than the server"


def _of_role(server: Server) -> Iterator[str]:
    match server.role:
        case Follower(leader_id=leader_id, leader_is_recent=is_recent):
            if is_recent and leader_id is None:
                yield "a leader was heard that nobody knows"
        case PreCandidate() | Candidate() as role:
            yield from _of_campaign(server, role)
        case Leader() as leader:
            yield from _of_leader(server, leader)
            for progress in leader.followers:
                yield from _of_progress(server, progress)
        case _:
            assert_never(server.role)


def _of_campaign(server: Server, role: PreCandidate | Candidate) -> Iterator[str]:
    if server.server_id not in role.granted:
        yield "it does not vote for itself"
    if vote_outcome(server.voters, role.granted, role.refused) is not VoteOutcome.PENDING:
        yield "the election is decided, and goes on"
    if isinstance(role, Candidate):
        if server.voted_for != server.server_id:
            yield "a candidate voted for another"
        if server.log.last_term >= server.current_term:
            yield "a candidate has an entry of the term that it has not won"


def _of_leader(server: Server, leader: Leader) -> Iterator[str]:
    if server.log.last_term != server.current_term:
        yield "a leader has no entry of its term"
    if server.voted_for != server.server_id:
        yield "a leader voted for another"
    if tuple(progress.server_id for progress in leader.followers) != server.peers:
        yield "the leader's followers are not its peers"
    tail = server.log.entries(server.commit_index + 1, server.log.last_index)
    if leader.uncommitted_bytes != sum(len(entry.command) for entry in tail if entry.term == server.current_term):
        yield "uncommitted bytes are miscounted"
    yield from _of_commitment(server, leader)
    yield from _of_reads(server, leader)


def _of_commitment(server: Server, leader: Leader) -> Iterator[str]:
    on_quorum = quorum_value([server.persisted_index, *(progress.match_index for progress in leader.followers)])
    commits_own = server.log.term_at(server.commit_index) == server.current_term
    could_commit = server.log.term_at(on_quorum) == server.current_term
    if (commits_own or could_commit) and server.commit_index != on_quorum:
        yield "the commit index is not what a majority has (Figure 2, Leaders 4)"


def _of_reads(server: Server, leader: Leader) -> Iterator[str]:
    if leader.early_reads and server.log.term_at(server.commit_index) == server.current_term:
        yield "reads wait for an entry of the term, and one is committed"
    confirmed = quorum_value([leader.round, *(progress.acknowledged_round for progress in leader.followers)])
    rounds = [read.round for read in leader.pending_reads]
    if rounds != sorted(rounds) or (rounds and not confirmed < rounds[0] <= rounds[-1] <= leader.round + 1):
        yield "reads wait for a round that is over, or was not asked"
    if any(read.read_index > server.commit_index for read in leader.pending_reads):
        yield "a read index is ahead of the commit index"


def _of_progress(server: Server, progress: Progress) -> Iterator[str]:
    name, last_index = progress.server_id, server.log.last_index
    if not progress.match_index < progress.next_index <= last_index + 1:
        yield f"match_index < next_index <= the last index + 1 does not hold for {name}"
    if any(one >= other for one, other in pairwise((progress.match_index, *progress.in_flight))):
        yield f"what is in flight to {name} is not in order, or was answered"
    if progress.is_probing:
        if len(progress.in_flight) > 1 or any(not progress.next_index <= last for last in progress.in_flight):
            yield f"more than one probe is under way to {name}, or one from elsewhere"
    elif (progress.match_index, *progress.in_flight)[-1] != progress.next_index - 1:
        yield f"not everything between match_index and next_index is in flight to {name}"
    if progress.in_flight and progress.in_flight[-1] > last_index:
        yield f"entries that are not there are in flight to {name}"
