"""What servers may say: the promises of the whole run, and the checks on every message as it leaves.

Figure 2's "updated on stable storage before responding to RPCs" is judged by what is *on disk at that moment*, never by
what a server believes; "one vote per term" by everything a server ever said, its earlier lives included.  The rules of
`invariants` apply here as well: this is its half that looks at messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raft_core.configuration import Configuration, configuration
from raft_core.effects import Effect, Send
from raft_core.events import Event, Received
from raft_core.log import Log
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    InstallSnapshot,
    InstallSnapshotResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    TimeoutNow,
)
from raft_core.roles import Candidate, Follower, Leader, PreCandidate
from raft_core.state import Server
from raft_core.types import Entry, EntryKind, LogIndex, ServerId, Term
from raft_core.verify.member_rules import MemberRules, decides
from raft_core.verify.violation import Violation

__all__ = ["Promises", "Stored", "Violation"]


class Stored(Protocol):
    """What is on a disk (Figure 2, persistent state)."""

    current_term: Term
    voted_for: ServerId | None
    covered: LogIndex
    """Last index of the latest snapshot."""

    @property
    def last_index(self) -> LogIndex:
        """The last that the log or a snapshot has."""

    def term_at(self, index: LogIndex) -> Term | None:
        """What the log says; None where it says nothing."""

    def has(self, index: LogIndex, entry: Entry) -> bool:
        """Is this committed entry in the log, or covered by a snapshot?"""


class Promises:
    """The memory of what everybody said.  `disks` are looked at, whenever a check wants to know what is durable."""

    def __init__(self, disks: dict[ServerId, Stored], founding: Configuration | None = None) -> None:
        self.disks = disks
        self.members = MemberRules(founding or configuration(disks))
        self.servers: dict[ServerId, Server] = {}
        """Those that run, as they are now."""
        self.committed: list[Entry] = []
        """The longest log that anybody knows to be committed."""
        self.leaders: dict[Term, ServerId] = {}
        self._votes: dict[tuple[ServerId, Term], ServerId] = {}
        self._pre_votes: dict[tuple[ServerId, Term], set[ServerId]] = {}
        self._answered: dict[tuple[ServerId, ServerId, Term], tuple[LogIndex, int]] = {}
        self._stood: dict[tuple[ServerId, Term], Configuration] = {}
        """The members by which a candidate counted when it became one; its requests may leave later."""
        self._asked_nobody: set[tuple[ServerId, Term]] = set()
        """Candidates whose settings let them stand without pre-votes, whatever they are when the requests leave."""

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
            case RequestPreVoteResult(vote_granted=True):
                self._pre_votes.setdefault((to, message.requested_term), set()).add(name)
            case AppendEntriesResult() | InstallSnapshotResult():
                self._answers(name, to, message)
                if disk.current_term == message.term:
                    self._keeps(name, to, message)
            case AppendEntries() | InstallSnapshot():
                self._leads(name, message.term)
            case TimeoutNow():
                self._leads(name, message.term)
            case _:
                pass

    def _is_encouraged(self, name: ServerId, term: Term) -> None:
        """A majority would vote for it (thesis 9.6); whom a leader asked to take over need not ask."""
        server = self.servers.get(name)
        if server is None or not server.settings.pre_vote or (name, term) in self._asked_nobody:
            return
        granted = self._pre_votes.get((name, term), set()) | {name}
        members = self._stood.get((name, term)) or self.members.in_force(name)
        if not decides(members, granted):
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

    def _answers(self, name: ServerId, to: ServerId, result: AppendEntriesResult | InstallSnapshotResult) -> None:
        match_index, round_ = self.answered(name, to, result.term)
        match result:
            case AppendEntriesResult():
                round_ = max(round_, result.round)
                match_index = max(match_index, result.match_index if result.success else 0)
            case InstallSnapshotResult():
                match_index = max(match_index, result.last_included_index if result.is_installed else 0)
        self._answered[name, to, result.term] = match_index, round_

    def answered(self, name: ServerId, to: ServerId, term: Term) -> tuple[LogIndex, int]:
        """The highest index that `name` ever acknowledged to `to` in `term`, and the highest round it answered."""
        return self._answered.get((name, to, term), (0, 0))

    def _keeps(self, name: ServerId, to: ServerId, result: AppendEntriesResult | InstallSnapshotResult) -> None:
        match result:
            case AppendEntriesResult(success=True):
                self._acknowledges(name, to, result)
            case InstallSnapshotResult(is_installed=True):
                self._has_all(name, result.last_included_index)
            case _:
                pass

    def _acknowledges(self, name: ServerId, to: ServerId, result: AppendEntriesResult) -> None:
        disk, index = self.disks[name], result.match_index
        if disk.last_index < index:
            raise Violation("Durable Before Spoken", f"{name} acknowledged {index}, on disk are {disk.last_index}")
        leader = self.servers.get(to)
        if not index or leader is None or leader.current_term != result.term or not isinstance(leader.role, Leader):
            return
        if not self._is_same(leader.log, disk, index):
            raise Violation("Durable Before Spoken", f"{name} acknowledged an entry {index} that {to} does not have")

    def _has_all(self, name: ServerId, index: LogIndex) -> None:
        if not self.disks[name].has(index, self.committed[index - 1]):
            raise Violation("Durable Before Spoken", f"{name} has no snapshot of {index}, and says that it has")

    def _is_same(self, log: Log, disk: Stored, index: LogIndex) -> bool:
        """Do the two agree at `index`?  What was compacted, here or there, is what was committed."""
        mine = self._committed_term(index) if index < log.last_included_index else log.term_at(index)
        theirs = self._committed_term(index) if index <= disk.covered else disk.term_at(index)
        return mine is not None and mine == theirs

    def _committed_term(self, index: LogIndex) -> Term | None:
        return self.committed[index - 1].term if 0 < index <= len(self.committed) else None

    def _hands_over(self, server: Server, to: ServerId) -> None:
        """The successor has the whole log (thesis 3.10); all but the end of a joint phase, which may come just then.
        Who leads no more, or has given up, is not asked; nor is who follows a later leader: that may have replaced what
        this one had, and it will not listen."""
        transfer = server.role.transfer if isinstance(server.role, Leader) else None
        if transfer is None or transfer.target != to or self.disks[to].current_term > server.current_term:
            return
        log, index = server.log, server.log.last_index
        if any(entry.kind is EntryKind.CONFIGURATION for entry in log.entries(index, index)):
            index -= 1
        if index and not self._is_same(log, self.disks[to], index):
            raise Violation("Caught Up Before Handover", f"{to} is to lead, and lacks entry {index}")

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
                if isinstance(effect.message, TimeoutNow):
                    self._hands_over(after, effect.to)
        if not isinstance(event, Received) or not isinstance(event.message, AppendEntries | InstallSnapshot):
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
