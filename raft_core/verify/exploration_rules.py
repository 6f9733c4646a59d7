"""What must hold in every situation of a search: Figure 3 of the paper, and what is read.

The history that this needs - who led in which term, what was committed and when - is a part of the situation: two that
differ in it are different.  Only what has changed is looked at.
"""

from __future__ import annotations

from raft_core.configuration import configured, decode_configuration
from raft_core.messages import AppendEntriesResult, RequestPreVoteResult, RequestVoteResult
from raft_core.roles import Candidate, Follower, Leader
from raft_core.state import Server
from raft_core.types import EntryKind, LogIndex
from raft_core.verify.invariants import Violation
from raft_core.verify.local_states import Atlas, LocalNumber, LocalState, Outcome, PacketNumber
from raft_core.verify.member_rules import decides
from raft_core.verify.situations import NOBODY, Committed, Situation


class Rules:
    """The rules, for the servers and situations of one atlas."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.names = atlas.names
        self._places = {name: place for place, name in enumerate(atlas.names)}
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
        if server.commit_index != old.server.commit_index:
            self._check_committed(situation, after, server, old.server)
        if new.entries != old.entries or new.snapshot != old.snapshot:
            _check_kept(situation, old, new)

    def _check_leader(self, situation: Situation, server: Server, place: int) -> None:
        term = server.current_term
        if situation.leaders[term] not in (NOBODY, place):
            other = self.names[situation.leaders[term]]
            raise Violation("Election Safety", f"{other} and {server.server_id} lead in term {term}")
        if situation.leaders[term] == NOBODY:
            index = sum(1 for committed_in, _ in situation.committed if committed_in < term)
            is_here = index < server.log.last_included_index
            if index and not is_here and server.log.term_at(index) != situation.committed[index - 1][1].term:
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

    def _check_committed(self, situation: Situation, after: Situation, server: Server, before: Server) -> None:
        known = situation.committed
        index = min(server.commit_index, len(known))
        if index and server.log.term_at(index) != known[index - 1][1].term:
            raise Violation("State Machine Safety", f"{server.server_id} commits another entry {index} than was known")
        disks = [self.atlas.locals[number] for number in after.locals]
        new = configured(server.log.entries(before.log.last_index + 1, server.log.last_index), 1) or ()
        in_force = [before.configuration, *(one.configuration for one in new)]
        for number, entry in enumerate(server.log.entries(len(known) + 1, server.commit_index), len(known) + 1):
            own = decode_configuration(entry.command) if entry.kind is EntryKind.CONFIGURATION else None
            if own is None and number < server.commit_index:
                continue
            holders = {disk.server.server_id for disk in disks if disk.has(number, entry)}
            if not any(decides(members, holders) for members in (in_force if own is None else [own])):
                raise Violation("Committed On A Quorum", f"entry {number} is on the disks of {sorted(holders)}")

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


def _check_kept(situation: Situation, old: LocalState, new: LocalState) -> None:
    """What is committed never leaves a disk (so it stays on those of the majority that decided)."""
    index = len(situation.committed)
    if index:
        entry = situation.committed[-1][1]
        if old.has(index, entry) and not new.has(index, entry):
            raise Violation("Committed On A Quorum", f"entry {index} left the disk of {new.server.server_id}")


def _check_log_matching(first: Server, second: Server) -> None:
    base = max(first.log.last_included_index, second.log.last_included_index)
    index: LogIndex = min(first.log.last_index, second.log.last_index)
    while index > base and first.log.term_at(index) != second.log.term_at(index):
        index -= 1
    if first.log.entries(base + 1, index) != second.log.entries(base + 1, index):
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
