"""What servers may say: the promises of the whole run, and the checks on every message as it leaves.

Figure 2's "updated on stable storage before responding to RPCs" is judged by what is *on disk at that moment*, never by
what a server believes; "one vote per term" by everything a server ever said, its earlier lives included.  The rules of
`invariants` apply here as well: this is its half that looks at messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raft_core.effects import Effect, Send
from raft_core.events import Event, Received
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
)
from raft_core.quorum import majority
from raft_core.state import Candidate, Follower, Leader, PreCandidate, Server
from raft_core.types import Entry, LogIndex, ServerId, Term


class Violation(AssertionError):
    """A property that must always hold does not."""

    def __init__(self, rule: str, explanation: str) -> None:
        super().__init__(f"{rule}: {explanation}")
        self.rule = rule
        """Name of the property, as in Figure 3 where it is one of those."""
        self.explanation = explanation

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        """Violations travel between processes."""
        return Violation, (self.rule, self.explanation)


class Stored(Protocol):
    """What is on a disk (Figure 2, persistent state)."""

    current_term: Term
    voted_for: ServerId | None
    entries: list[Entry]


class Promises:
    """The memory of what everybody said.  `disks` are looked at, whenever a check wants to know what is durable."""

    def __init__(self, disks: dict[ServerId, Stored]) -> None:
        self.disks = disks
        self.servers: dict[ServerId, Server] = {}
        """Those that run, as they are now."""
        self.leaders: dict[Term, ServerId] = {}
        self._votes: dict[tuple[ServerId, Term], ServerId] = {}
        self._pre_votes: dict[tuple[ServerId, Term], set[ServerId]] = {}
        self._answered: dict[tuple[ServerId, ServerId, Term], tuple[LogIndex, int]] = {}
        self._majority = majority(disks)

    def sent(self, name: ServerId, to: ServerId, message: Message) -> None:
        """A message leaves: what it vouches for is on the sender's disk (Figure 2, "Persistent state")."""
        disk = self.disks[name]
        if isinstance(message, RequestPreVote):
            return
        if message.term > disk.current_term:
            raise Violation(
                "Durable Before Spoken", f"{name} spoke of term {message.term}, on disk is {disk.current_term}"
            )
        match message:
            case RequestVote():
                self._votes_for(name, message.term, name)
                if not message.leadership_transfer:
                    self._is_encouraged(name, message.term)
            case RequestVoteResult(vote_granted=True):
                self._votes_for(name, message.term, to)
            case AppendEntriesResult():
                self._answers(name, to, message)
                if message.success and disk.current_term == message.term:
                    self._acknowledges(name, to, message)
            case AppendEntries():
                self._leads(name, message.term)
            case RequestPreVoteResult(vote_granted=True):
                self._pre_votes.setdefault((to, message.requested_term), set()).add(name)
            case _:
                pass

    def _is_encouraged(self, name: ServerId, term: Term) -> None:
        """A majority would vote for it (thesis 9.6); whom a leader asked to take over need not ask."""
        server = self.servers.get(name)
        if server is None or not server.settings.pre_vote:
            return
        granted = self._pre_votes.get((name, term), set()) | {name}
        if len(granted) < self._majority:
            raise Violation("Pre-Vote", f"{name} stands in term {term}, and only {sorted(granted)} encouraged it")

    def _votes_for(self, name: ServerId, term: Term, candidate: ServerId) -> None:
        if self._votes.setdefault((name, term), candidate) != candidate:
            earlier = self._votes[name, term]
            raise Violation("One Vote Per Term", f"{name} voted for {earlier} and for {candidate} in term {term}")
        disk = self.disks[name]
        if disk.current_term == term and disk.voted_for != candidate:
            raise Violation("Durable Before Spoken", f"{name}'s vote for {candidate} in term {term} is not on its disk")
        if self._votes.get((candidate, term)) != candidate:
            raise Violation(
                "Votes For Candidates", f"{name} votes for {candidate}, which does not stand in term {term}"
            )

    def _answers(self, name: ServerId, to: ServerId, result: AppendEntriesResult) -> None:
        match_index, round_ = self.answered(name, to, result.term)
        if result.success:
            match_index = max(match_index, result.match_index)
        self._answered[name, to, result.term] = match_index, max(round_, result.round)

    def answered(self, name: ServerId, to: ServerId, term: Term) -> tuple[LogIndex, int]:
        """The highest index that `name` ever acknowledged to `to` in `term`, and the highest round it answered."""
        return self._answered.get((name, to, term), (0, 0))

    def _acknowledges(self, name: ServerId, to: ServerId, result: AppendEntriesResult) -> None:
        entries, index = self.disks[name].entries, result.match_index
        if len(entries) < index:
            raise Violation("Durable Before Spoken", f"{name} acknowledged {index}, on disk are {len(entries)} entries")
        leader = self.servers.get(to)
        if not index or leader is None or leader.current_term != result.term or not isinstance(leader.role, Leader):
            return
        if leader.log.term_at(index) != entries[index - 1].term:
            raise Violation("Durable Before Spoken", f"{name} acknowledged an entry {index} that {to} does not have")

    def _leads(self, name: ServerId, term: Term) -> None:
        if self.leaders.setdefault(term, name) != name:
            raise Violation("Election Safety", f"{self.leaders[term]} and {name} lead in term {term}")

    def stepped(self, after: Server, event: Event, effects: Sequence[Effect]) -> None:
        """A server took a turn for this one event.  What it says is of the term it is in (paper 5.1); who hears from a
        leader of its term runs for election no more (paper 5.2)."""
        term, name = after.current_term, after.server_id
        for effect in effects:
            if isinstance(effect, Send):
                _check_said(after, effect.message)
        if not isinstance(event, Received) or not isinstance(event.message, AppendEntries):
            return
        if event.message.term == term and isinstance(after.role, Candidate | PreCandidate):
            raise Violation(
                "Leader Recognized", f"{name} heard from the leader of term {term} and is {after.role_name}"
            )


def _check_said(server: Server, message: Message) -> None:
    name, term = server.server_id, server.current_term
    if message.term != term + isinstance(message, RequestPreVote):
        raise Violation("Speaks In Its Term", f"{name} is in term {term} and says {message}")
    if isinstance(message, RequestPreVoteResult) and message.vote_granted:
        role = server.role
        if isinstance(role, Leader) or (isinstance(role, Follower) and role.leader_is_recent):
            raise Violation("Pre-Vote", f"{name} has a leader and encourages another")
