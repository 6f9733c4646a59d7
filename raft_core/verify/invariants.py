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

from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote
from raft_core.log import Log
from raft_core.state import Leader, Server
from raft_core.types import Entry, LogIndex, ServerId, Term
from raft_core.verify.promises import Promises, Stored, Violation

__all__ = ["Oracle", "Stored", "Violation"]


class Oracle(Promises):
    """The memory of everybody's promises.  `disks` are looked at, whenever a check wants to know what is durable."""

    def __init__(self, disks: dict[ServerId, Stored]) -> None:
        super().__init__(disks)
        self.committed: list[Entry] = []
        """The longest log that anybody knows to be committed."""
        self._committed_in: list[Term] = []
        self._seen: dict[tuple[LogIndex, Term], tuple[Term, Entry]] = {}
        self._applied: dict[ServerId, LogIndex] = {}
        self._durable: dict[ServerId, tuple[Term, ServerId | None]] = {}

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
        elif isinstance(change, AppendToLog) and change.prev_log_index < len(self.committed):
            self.check_quorum_of(len(self.committed))

    def check_quorum_of(self, index: LogIndex) -> None:
        """The committed entry at `index` is on the disks of a majority; with Log Matching, so are all before it."""
        if index == 0:
            return
        entry = self.committed[index - 1]
        holders = sum(
            1 for disk in self.disks.values() if len(disk.entries) >= index and disk.entries[index - 1] == entry
        )
        if holders < self._majority:
            raise Violation("Committed On A Quorum", f"entry {index} is on {holders} of {len(self.disks)} disks")

    # --- servers ------------------------------------------------------------------------------------------------------

    def started(self, server: Server) -> None:
        """A server came up, with what is on its disk."""
        self.servers[server.server_id] = server
        self._applied[server.server_id] = 0
        self._durable.setdefault(server.server_id, (server.current_term, server.voted_for))
        self._appeared(server.server_id, server.log, 1)

    def stopped(self, name: ServerId) -> None:
        """A server's memory is gone."""
        self.servers.pop(name, None)

    def moved(self, before: Server, after: Server) -> None:
        """A server took a turn."""
        name = after.server_id
        self.servers[name] = after
        if after.current_term < before.current_term:
            raise Violation("Monotonic Term", f"{name}: {before.current_term} became {after.current_term}")
        if after.current_term == before.current_term and before.voted_for not in (None, after.voted_for):
            raise Violation("One Vote Per Term", f"{name}: {before.voted_for} became {after.voted_for}")
        self._check_indices(before, after)
        if after.log is not before.log:
            self._check_log(before, after)
        if after.commit_index != before.commit_index:
            self._commits(after, before.commit_index)
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
        persisted = after.persisted_index
        if persisted != before.persisted_index or after.log is not before.log:
            entries = self.disks[name].entries
            on_disk = entries[persisted - 1].term if 0 < persisted <= len(entries) else None
            if persisted and on_disk != after.log.term_at(persisted):
                raise Violation("Durable Before Counted", f"{name} believes entry {persisted} to be on its disk")

    def _check_log(self, before: Server, after: Server) -> None:
        first = before.log.last_common_index(after.log) + 1
        if first <= before.commit_index:
            raise Violation("Committed Immutable", f"{after.server_id}: entry {first} was replaced")
        leads = isinstance(before.role, Leader) and isinstance(after.role, Leader)
        if leads and before.current_term == after.current_term and first <= before.log.last_index:
            raise Violation("Leader Append-Only", f"{after.server_id} replaced its entry {first}")
        self._appeared(after.server_id, after.log, first)

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

    def _commits(self, server: Server, before: LogIndex) -> None:
        """State Machine Safety, at the earliest: nobody even *knows* another entry to be committed."""
        index = min(server.commit_index, len(self.committed))
        if index > before and server.log.term_at(index) != self.committed[index - 1].term:
            raise Violation("State Machine Safety", f"{server.server_id} commits another entry {index} than others")
        if server.commit_index > len(self.committed):
            first = len(self.committed) + 1
            new = server.log.entries(first, server.commit_index)
            self.committed.extend(new)
            self._committed_in.extend([server.current_term] * len(new))
            self.check_quorum_of(first)
            self.check_quorum_of(server.commit_index)

    def applied(self, name: ServerId, first_index: LogIndex, entries: Sequence[Entry]) -> None:
        """Entries are handed to the state machine of `name`."""
        if first_index != self._applied[name] + 1:
            raise Violation("Applied In Order", f"{name} applied {self._applied[name]} and then {first_index}")
        self._applied[name] += len(entries)
        if tuple(self.committed[first_index - 1 : self._applied[name]]) != tuple(entries):
            raise Violation("State Machine Safety", f"{name} applies at {first_index} what is not committed there")

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
        if index and server.log.term_at(index) != self.committed[index - 1].term:
            raise Violation("Leader Completeness", f"{server.server_id} leads in term {term} without entry {index}")

    def _check_followers(self, server: Server, leader: Leader, before: Leader | None) -> None:
        for number, progress in enumerate(leader.followers):
            earlier = before.followers[number] if before is not None else None
            if progress is earlier:
                continue
            match_index = progress.match_index
            if progress.next_index <= match_index or (earlier is not None and match_index < earlier.match_index):
                raise Violation("Leader Book-Keeping", f"{server.server_id} believes {progress}")
            told, round_ = self.answered(progress.server_id, server.server_id, server.current_term)
            if match_index > told or progress.acknowledged_round > round_:
                raise Violation(
                    "Leader Book-Keeping", f"{server.server_id} believes {progress}, which it was not told in its term"
                )
            entries = self.disks[progress.server_id].entries
            peer = self.servers.get(progress.server_id)
            if match_index and peer is not None and peer.current_term == server.current_term:
                on_disk = entries[match_index - 1].term if match_index <= len(entries) else None
                if on_disk != server.log.term_at(match_index):
                    raise Violation(
                        "Leader Book-Keeping",
                        f"{server.server_id} believes {progress.server_id} to have entry {match_index}",
                    )
