"""What must never be: the properties of the paper's Figure 3, and what follows from them, checked at every step.

An `Oracle` sees every write that reaches a disk, every message as it leaves, every turn of every server, every entry
that is applied, every crash.  It judges by what is *on disk at that moment*, never by what a server believes, and it
remembers the whole run: a server that forgets, crashes and comes back is held to what it said in its earlier lives.

Rules of the file
-----------------
1. Each check costs what has changed, not what there is: twenty thousand steps a second leave no time to compare logs.
   Log Matching is kept by induction: whenever an entry appears in any log, the pair (index, term) must stand for the
   same entry after an entry of the same term as ever before, in any log that ever was.  That is stronger than comparing
   the logs of one moment, and makes "has this very prefix" a question about one index.
2. A broken rule is a `Violation` with the rule's name, raised where it happens.
3. Nothing here corrects anything: a check that changes what it looks at could hide what it looks for.

The rules are those of Figure 3; of Figure 2 ("updated on stable storage before responding to RPCs", one vote per term);
of the invariants that are checked on formal specifications of Raft (what is committed is on a quorum's disks); and a
leader's book-keeping.

Rejected: "who is at least as up to date as another has all that the other knows to be committed".  It sounds like paper
5.4.1, and it is false; simulation found the counterexample.  The leader of term 6 was elected with entries up to 63 and
appended a 64th, which reached nobody.  The leader of term 7 committed up to 70; its entries 64 to 69 are of term 5.  A
follower that has received these up to 66 knows 66 to be committed, and its log ends with term 5: the leader of term 6
is more up to date, and lacks entry 66.  It cannot win an election, though: a majority has an entry of term 7.
"""

from __future__ import annotations

from collections.abc import Sequence

from raft_core.configuration import Configuration, Configured, Snapshot
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote, ReceiveSnapshotChunk
from raft_core.log import Log
from raft_core.roles import Candidate, Leader, Progress
from raft_core.state import Server
from raft_core.types import Entry, LogIndex, ServerId, Term
from raft_core.verify.member_rules import decides
from raft_core.verify.promises import Promises, Stored, Violation
from raft_core.verify.snapshot_rules import SnapshotRules

__all__ = ["Oracle", "Stored", "Violation"]


class Oracle(Promises):
    """The memory of everybody's promises.  `disks` are looked at, whenever a check wants to know what is durable."""

    def __init__(self, disks: dict[ServerId, Stored], founding: Configuration | None = None) -> None:
        super().__init__(disks, founding)
        self.snapshots = SnapshotRules()
        self._committed_in: list[Term] = []
        self._seen: dict[tuple[LogIndex, Term], tuple[Term, Entry]] = {}
        self._applied: dict[ServerId, LogIndex] = {}
        self._durable: dict[ServerId, tuple[Term, ServerId | None]] = {}
        self._decided_by = self.members.committed[0].configuration

    # --- disks --------------------------------------------------------------------------------------------------------

    def written(self, name: ServerId, change: PersistEffect) -> None:
        """`change` has just reached the disk of `name`."""
        disk = self.disks[name]
        if isinstance(change, PersistTermAndVote):
            term, vote = self._durable.get(name, (0, None))
            if disk.current_term < term:
                raise Violation("Monotonic Term", f"{name}: {term} on disk became {disk.current_term}")
            if disk.current_term == term and vote not in (None, disk.voted_for):
                raise Violation("One Vote Per Term", f"{name}: {vote} on disk became {disk.voted_for} in term {term}")
            self._durable[name] = (disk.current_term, disk.voted_for)
        elif isinstance(change, AppendToLog):
            if change.prev_log_index < len(self.committed):
                self.check_quorum_of(len(self.committed), self._decided_by)
        elif isinstance(change, ReceiveSnapshotChunk):
            self.snapshots.part(name, change)
        elif isinstance(change, CompactLog):
            self.snapshots.cut(name, change.last_included_index, disk.covered)
            self.check_quorum_of(len(self.committed), self._decided_by)

    def check_quorum_of(self, index: LogIndex, *deciding: Configuration) -> None:
        """The committed entry at `index` is on the disks of a majority; with Log Matching, so are all before it.
        Which configuration decided may be open, if there are several."""
        if index == 0:
            return
        entry = self.committed[index - 1]
        holders = {name for name, disk in self.disks.items() if disk.has(index, entry)}
        for members in deciding:
            if decides(members, holders):
                self._decided_by = members
                return
        raise Violation("Committed On A Quorum", f"entry {index} is on the disks of {sorted(holders)}, {deciding[-1]}")

    # --- servers ------------------------------------------------------------------------------------------------------

    def started(self, server: Server) -> None:
        """A server came up, with what is on its disk."""
        self.servers[server.server_id] = server
        self._applied[server.server_id] = 0 if server.snapshot is None else server.snapshot.last_included_index
        self._durable.setdefault(server.server_id, (server.current_term, server.voted_for))
        self._appeared(server.server_id, server.log, server.log.last_included_index + 1)
        self.members.started(server)

    def stopped(self, name: ServerId) -> None:
        """A server's memory is gone.  What it was in a term that had not reached its disk was known to nobody else."""
        server, term = self.servers.pop(name, None), self.disks[name].current_term
        if server is None or server.current_term <= term:
            return
        if self.leaders.get(server.current_term) == name:
            del self.leaders[server.current_term]
        for index, entry in enumerate(server.log, start=server.log.last_included_index + 1):
            if entry.term > term:
                self._seen.pop((index, entry.term), None)

    def moved(self, before: Server, after: Server) -> None:
        """A server took a turn."""
        name = after.server_id
        self.servers[name] = after
        if after.current_term < before.current_term:
            raise Violation("Monotonic Term", f"{name}: {before.current_term} became {after.current_term}")
        if after.current_term == before.current_term and before.voted_for not in (None, after.voted_for):
            raise Violation("One Vote Per Term", f"{name}: {before.voted_for} became {after.voted_for}")
        self._check_indices(before, after)
        if after.log is not before.log or after.commit_index != before.commit_index:
            self._check_entries(before, after)
        if isinstance(after.role, Candidate) and after.role is not before.role:
            self._stood[name, after.current_term] = self.members.in_force(name)
        if not (before.settings.pre_vote and after.settings.pre_vote):  # it may have stood, and given up, in one turn
            terms = range(before.current_term + 1, after.current_term + 1)
            self._asked_nobody.update((name, term) for term in terms)
        if isinstance(after.role, Leader):
            self._check_leader(before, after, after.role)

    def _check_indices(self, before: Server, after: Server) -> None:
        name, last_index = after.server_id, after.log.last_index
        if after.commit_index < before.commit_index or after.last_applied < before.last_applied:
            raise Violation("Monotonic Indices", f"{name}: commit index or last applied went back")
        if not after.last_applied <= after.commit_index <= last_index:
            raise Violation(
                "Index Order", f"{name}: applied {after.last_applied}, commit {after.commit_index}, last {last_index}"
            )
        if after.log.last_included_index > min(after.commit_index, self.disks[name].covered):
            raise Violation("Snapshot Before Cut", f"{name}: no snapshot of all up to {after.log.last_included_index}")
        persisted = after.persisted_index
        is_new = persisted != before.persisted_index or after.log is not before.log
        if is_new and persisted and not self._is_durable(after, persisted):
            raise Violation("Durable Before Counted", f"{name} believes entry {persisted} to be on its disk")

    def _is_durable(self, server: Server, index: LogIndex) -> bool:
        """Is its entry `index` on its disk?  A leader's snapshot may be there before the server hears of it (Figure 13,
        receiver 5 to 7): until then its log, here and on disk, may hold what that snapshot is going to replace."""
        disk, term = self.disks[server.server_id], server.log.term_at(index)
        return (term is not None and term == disk.term_at(index)) or self._is_same(server.log, disk, index)

    def _check_entries(self, before: Server, after: Server) -> None:
        first = after.log.last_index + 1
        if after.log is not before.log:
            first = self._check_log(before, after)
        earlier = self.members.changed(before, after, first)
        if after.commit_index != before.commit_index:
            self._commits(after, before.commit_index, earlier)
        self.members.moved(before, after, earlier, len(self.committed))

    def _check_log(self, before: Server, after: Server) -> LogIndex:
        """Returns the first index whose entry is new."""
        first = _first_difference(before.log, after.log)
        if first <= before.commit_index:
            raise Violation("Committed Immutable", f"{after.server_id}: entry {first} was replaced")
        leads = isinstance(before.role, Leader) and isinstance(after.role, Leader)
        if leads and before.current_term == after.current_term and first <= before.log.last_index:
            raise Violation("Leader Append-Only", f"{after.server_id} replaced its entry {first}")
        self._appeared(after.server_id, after.log, first)
        return first

    def _appeared(self, name: ServerId, log: Log, first: LogIndex) -> None:
        before = log.term_at(first - 1) or 0
        for index, entry in enumerate(log.entries(first, log.last_index), start=first):
            known = self._seen.setdefault((index, entry.term), (before, entry))
            if known != (before, entry):
                raise Violation("Log Matching", f"{name} has another entry {index} of term {entry.term} than was known")
            if entry.term < before:
                raise Violation("Log Matching", f"{name}: after term {before}, entry {index} is of term {entry.term}")
            before = entry.term

    # --- commitment ---------------------------------------------------------------------------------------------------

    def _commits(self, server: Server, before: LogIndex, earlier: list[Configured]) -> None:
        """State Machine Safety, at the earliest: nobody even *knows* another entry to be committed."""
        index = min(server.commit_index, len(self.committed))
        if index > before and not self._knows(server.log, index):
            raise Violation("State Machine Safety", f"{server.server_id} commits another entry {index} than others")
        if server.commit_index > len(self.committed):
            first = len(self.committed) + 1
            new = server.log.entries(first, server.commit_index)
            self.committed.extend(new)
            self._committed_in.extend([server.current_term] * len(new))
            for known in self.members.commits(new, first):
                self.check_quorum_of(known.index, known.configuration)
            self.check_quorum_of(server.commit_index, *self.members.deciding(server.server_id, earlier))

    def _knows(self, log: Log, index: LogIndex) -> bool:
        """Does it have the committed entry `index`, or stand behind it?"""
        return index < log.last_included_index or log.term_at(index) == self.committed[index - 1].term

    def applied(self, name: ServerId, first_index: LogIndex, entries: Sequence[Entry]) -> None:
        """Entries are handed to the state machine of `name`."""
        if first_index != self._applied[name] + 1:
            raise Violation("Applied In Order", f"{name} applied {self._applied[name]} and then {first_index}")
        self._applied[name] += len(entries)
        if tuple(self.committed[first_index - 1 : self._applied[name]]) != tuple(entries):
            raise Violation("State Machine Safety", f"{name} applies at {first_index} what is not committed there")

    def took_snapshot(self, name: ServerId, snapshot: Snapshot) -> None:
        """A snapshot is on the disk of `name`."""
        self.snapshots.taken(name, snapshot, self.committed, self.members.at(snapshot.last_included_index))

    def restored(self, name: ServerId, snapshot: Snapshot) -> None:
        """The state machine of `name` takes its state from this."""
        if snapshot.last_included_index <= self._applied[name]:
            raise Violation("Applied In Order", f"{name} applied {self._applied[name]}, then took {snapshot}")
        self.took_snapshot(name, snapshot)
        self._applied[name] = snapshot.last_included_index

    # --- leaders ------------------------------------------------------------------------------------------------------

    def _check_leader(self, before: Server, after: Server, leader: Leader) -> None:
        led = before.role if isinstance(before.role, Leader) and before.current_term == after.current_term else None
        if led is None:
            self._check_new_leader(after)
        if led is None or led.followers is not leader.followers:
            self._check_followers(after, leader, led)

    def _check_new_leader(self, server: Server) -> None:
        term = server.current_term
        self._leads(server.server_id, term)
        index = sum(1 for committed_in in self._committed_in if committed_in < term)
        if index and not self._knows(server.log, index):
            raise Violation("Leader Completeness", f"{server.server_id} leads in term {term} without entry {index}")
        self._check_elected(server)

    def _check_elected(self, server: Server) -> None:
        name, term = server.server_id, server.current_term
        members = self.members.in_force(name)
        voters = (*members.voters, *members.old_voters)
        granted = {name, *(voter for voter in voters if self._votes.get((voter, term)) == name)}
        if not decides(members, granted):
            raise Violation("Elected By A Quorum", f"{name} leads in term {term}, elected by {sorted(granted)}")

    def _check_followers(self, server: Server, leader: Leader, before: Leader | None) -> None:
        earlier = {} if before is None else {progress.server_id: progress for progress in before.followers}
        for progress in leader.followers:
            known = earlier.get(progress.server_id)
            if progress is not known:
                self._check_progress(server, progress, known)

    def _check_progress(self, server: Server, progress: Progress, before: Progress | None) -> None:
        match_index = progress.match_index
        if progress.next_index <= match_index or (before is not None and match_index < before.match_index):
            raise Violation("Leader Book-Keeping", f"{server.server_id} believes {progress}")
        told, round_ = self.answered(progress.server_id, server.server_id, server.current_term)
        if match_index > told or progress.acknowledged_round > round_:
            raise Violation(
                "Leader Book-Keeping", f"{server.server_id} believes {progress}, which it was not told in its term"
            )
        name, disk = progress.server_id, self.disks[progress.server_id]
        peer = self.servers.get(name)
        is_followed = peer is not None and peer.current_term == server.current_term
        if match_index and is_followed and not self._is_same(server.log, disk, match_index):
            raise Violation("Leader Book-Keeping", f"{server.server_id} believes {name} to have entry {match_index}")


def _first_difference(before: Log, after: Log) -> LogIndex:
    """The first index whose entry was replaced or added.  What a snapshot replaced is not looked at."""
    base = after.last_included_index
    if base == before.last_included_index:
        return before.last_common_index(after) + 1
    if before.term_at(base) != after.last_included_term:
        return base + 1
    old, new = before.entries(base + 1, before.last_index), after.entries(base + 1, after.last_index)
    same = min(len(old), len(new))
    return base + 1 + next((number for number in range(same) if old[number] != new[number]), same)
