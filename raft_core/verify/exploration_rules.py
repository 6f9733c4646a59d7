"""What must hold in every situation of a search: Figure 3 of the paper, and what is read.

The history that this needs - who led in which term, what was committed and when - is a part of the situation: two that
differ in it are different.  Only what has changed is looked at.
"""

from __future__ import annotations

from raft_core.messages import AppendEntriesResult, RequestPreVoteResult, RequestVoteResult
from raft_core.quorum import majority
from raft_core.state import Candidate, Follower, Leader, Server
from raft_core.types import LogIndex
from raft_core.verify.invariants import Violation
from raft_core.verify.local_states import Atlas, LocalNumber, Outcome, PacketNumber
from raft_core.verify.situations import NOBODY, Committed, Situation


class Rules:
    """The rules, for the servers and situations of one atlas."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.names = atlas.names
        self._places = {name: place for place, name in enumerate(atlas.names)}
        self._majority = majority(atlas.names)
        self._matching: set[tuple[LocalNumber, LocalNumber]] = set()

    def check(self, situation: Situation, after: Situation, place: int, outcome: Outcome) -> None:
        """`after` came of what happened at `place`.  Raises `Violation`."""
        atlas = self.atlas
        old, new = atlas.locals[situation.locals[place]], atlas.locals[after.locals[place]]
        server = new.server
        for number, index in outcome.reads:
            if index < number:
                raise Violation("Read Index", f"{server.server_id} reads at {index} although {number} were committed")
        if isinstance(server.role, Leader):
            self._check_leader(situation, server, place)
        if server.log is not old.server.log:
            self._check_matching(after, place)
        if server.commit_index != old.server.commit_index or new.entries != old.entries:
            self._check_committed(situation, after, server)

    def _check_leader(self, situation: Situation, server: Server, place: int) -> None:
        term = server.current_term
        if situation.leaders[term] not in (NOBODY, place):
            other = self.names[situation.leaders[term]]
            raise Violation("Election Safety", f"{other} and {server.server_id} lead in term {term}")
        if situation.leaders[term] == NOBODY:
            index = sum(1 for committed_in, _ in situation.committed if committed_in < term)
            if index and server.log.term_at(index) != situation.committed[index - 1][1].term:
                raise Violation(
                    "Leader Completeness", f"{server.server_id} leads in term {term} without committed entry {index}"
                )

    def _check_matching(self, situation: Situation, place: int) -> None:
        mine = situation.locals[place]
        for other in situation.locals:
            if other != mine and (mine, other) not in self._matching:
                first, second = self.atlas.locals[mine].server, self.atlas.locals[other].server
                _check_log_matching(first, second)
                self._matching.add((mine, other))

    def _check_committed(self, situation: Situation, after: Situation, server: Server) -> None:
        known = situation.committed
        index = min(server.commit_index, len(known))
        if index and server.log.term_at(index) != known[index - 1][1].term:
            raise Violation("State Machine Safety", f"{server.server_id} commits another entry {index} than was known")
        last = max(len(known), server.commit_index)
        if last:
            entry = server.log.entries(last, last)[0] if server.commit_index > len(known) else known[last - 1][1]
            disks = [self.atlas.locals[number].entries for number in after.locals]
            holders = sum(1 for entries in disks if len(entries) >= last and entries[last - 1] == entry)
            if holders < self._majority:
                raise Violation("Committed On A Quorum", f"entry {last} is on {holders} of {len(disks)} disks")

    def committed(self, after: Situation, place: int) -> Committed:
        """What is known to be committed now."""
        server, known = self.atlas.locals[after.locals[place]].server, after.committed
        if server.commit_index <= len(known):
            return known
        new = server.log.entries(len(known) + 1, server.commit_index)
        return (*known, *((server.current_term, entry) for entry in new))

    def leaders(self, after: Situation, place: int) -> tuple[int, ...]:
        """Who has led in each term, up to now."""
        server = self.atlas.locals[after.locals[place]].server
        if not isinstance(server.role, Leader) or after.leaders[server.current_term] == place:
            return after.leaders
        term = server.current_term
        return (*after.leaders[:term], place, *after.leaders[term + 1 :])

    def still_matter(
        self, locals_: tuple[LocalNumber, ...], packets: frozenset[PacketNumber]
    ) -> frozenset[PacketNumber]:
        """The packets without answers that can change nothing any more."""
        atlas = self.atlas
        gone = []
        for packet in packets:
            _, to, message = atlas.packets[packet]
            if isinstance(message, AppendEntriesResult | RequestVoteResult | RequestPreVoteResult):
                server = atlas.locals[locals_[self._places[to]]].server
                if never_matters(server, message):
                    gone.append(packet)
        return packets.difference(gone) if gone else packets


def _check_log_matching(first: Server, second: Server) -> None:
    index: LogIndex = min(first.log.last_index, second.log.last_index)
    while index and first.log.term_at(index) != second.log.term_at(index):
        index -= 1
    if first.log.entries(1, index) != second.log.entries(1, index):
        raise Violation("Log Matching", f"{first.server_id} and {second.server_id} differ before entry {index}")


def never_matters(server: Server, result: AppendEntriesResult | RequestVoteResult | RequestPreVoteResult) -> bool:
    """Can this answer, whenever it arrives at `server`, change nothing any more?  Terms never go back (paper 5.1), and
    nobody takes up a role again in the term in which it was given up."""
    term = server.current_term
    if isinstance(result, RequestPreVoteResult):
        return result.requested_term <= term and result.term <= term
    if result.term != term:
        return result.term < term
    if isinstance(result, RequestVoteResult):
        return isinstance(server.role, Leader | Follower)
    return not isinstance(server.role, Leader | Candidate)
