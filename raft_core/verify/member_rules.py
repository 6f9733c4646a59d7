"""What must never be, about members (paper 6; thesis 4): a part of the oracle (see `invariants`).

The rules count by themselves.  Which members are in force is followed through the entries of each log as they appear
and disappear, not taken from what a server says; and a majority is counted here, not in `raft_core.quorum`.

* In force is the latest configuration in the log, committed or not.
* Of all configurations in a log, at most one is not committed.  None is proposed before its leader has committed an
  entry of its own term (Ongaro, raft-dev, July 2015).
* Neighbouring configurations differ by one voter at most, or a joint one stands between them.
* A joint phase that is committed is ended by whoever leads, with the next entry that it commits in its own term.
* A configuration is committed by a majority of itself, and of the old voters too if it is joint.
* Who leads was elected by a majority of the members in its log: learners and those who left do not count.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from raft_core.configuration import Configuration, Configured, decode_configuration
from raft_core.effects import ConfigurationCommitted
from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import Entry, EntryKind, LogIndex, ServerId
from raft_core.verify.violation import Violation


def decides(members: Configuration, servers: Set[ServerId]) -> bool:
    """Are these a majority, of both voters if the configuration is joint?"""
    sides = (members.voters, members.old_voters) if members.old_voters else (members.voters,)
    return all(2 * len(servers & set(side)) > len(side) for side in sides)


class MemberRules:
    """Which configurations there are in every log, and which are committed."""

    def __init__(self, founding: Configuration) -> None:
        self.committed = [Configured(0, founding)]
        self._known: dict[ServerId, list[Configured]] = {}
        self._last_seen: dict[ServerId, Configured] = {}

    def in_force(self, name: ServerId) -> Configuration:
        """The latest in the log of `name`."""
        return self._known[name][-1].configuration

    def started(self, server: Server) -> None:
        """A server came up.  What the cluster began with, or its snapshot says, stands before its log."""
        first = server.log.last_included_index + 1
        found = _configured(server.log.entries(first, server.log.last_index), first)
        base = server.configurations[0] if server.snapshot is None else server.snapshot.configured
        self._known[server.server_id] = [base, *(known for known in found if known.index > base.index)]
        self._check_in_force(server)

    def changed(self, before: Server, after: Server, first: LogIndex) -> list[Configured]:
        """The log of a server is another one, from `first` on.  Returns what it had before."""
        name = after.server_id
        earlier = known = self._known[name]
        snapshot = after.snapshot
        if after.log.last_included_index != before.log.last_included_index and snapshot is not before.snapshot:
            assert snapshot is not None
            known = [snapshot.configured, *(one for one in known if one.index > snapshot.last_included_index)]
        kept = [one for one in known[1:] if one.index < first]
        new = _configured(after.log.entries(first, after.log.last_index), first)
        self._known[name] = [known[0], *kept, *new]
        return earlier

    def moved(self, before: Server, after: Server, earlier: list[Configured], known_committed: LogIndex) -> None:
        """After a turn in which the log changed, or the commit index."""
        name, known = after.server_id, self._known[after.server_id]
        self._check_in_force(after)
        if len(known) > 1 and sum(1 for one in known if one.index > known_committed) > 1:
            raise Violation("One Change At A Time", f"{name} has {known}, up to {known_committed} are committed")
        leads = isinstance(after.role, Leader) and before.current_term == after.current_term
        if leads and isinstance(before.role, Leader) and known[-1].index > before.log.last_index:
            self._check_proposed(after, known)
        if isinstance(after.role, Leader) and known[-1].configuration.is_joint:
            self._check_joint(after, known[-1].index)
        while len(known) > 1 and known[1].index <= after.commit_index:
            known.pop(0)

    def _check_joint(self, leader: Server, index: LogIndex) -> None:
        """The joint phase is committed, and so is an entry of its own term: the leader ends it, whoever began it."""
        commit_index = leader.commit_index
        if index <= commit_index and leader.log.term_at(commit_index) == leader.current_term:
            raise Violation("Joint Phase Ends", f"{leader.server_id} leaves the joint members of {index} as they are")

    def _check_in_force(self, server: Server) -> None:
        if server.configurations[-1] != self._known[server.server_id][-1]:
            there = self._known[server.server_id][-1]
            raise Violation(
                "Latest Members In Force", f"{server.server_id} has {there}, and goes by {server.configurations[-1]}"
            )

    def _check_proposed(self, leader: Server, known: list[Configured]) -> None:
        """A leader appended a configuration."""
        name, before, new = leader.server_id, known[-2].configuration, known[-1].configuration
        if before.is_joint:
            if new != before.after_joint():
                raise Violation("One Voter Or Joint", f"{name}: {new} follows {before}")
            return
        if leader.log.term_at(leader.commit_index) != leader.current_term:
            raise Violation("Own Term First", f"{name} appended {new}, no entry of its term is committed")
        if new.is_joint and new.old_voters == before.voters:
            return
        if new.is_joint or len(set(new.voters).symmetric_difference(before.voters)) > 1:
            raise Violation("One Voter Or Joint", f"{name}: {new} follows {before}")

    # --- commitment ---------------------------------------------------------------------------------------------------

    def commits(self, entries: Sequence[Entry], first: LogIndex) -> list[Configured]:
        """These are known to be committed now.  Returns the configurations among them."""
        new = _configured(entries, first)
        self.committed.extend(new)
        return new

    def deciding(self, name: ServerId, earlier: list[Configured]) -> list[Configuration]:
        """The configurations by which `name` may have decided in this turn: what was in force, what was appended."""
        last = earlier[-1].index
        return [earlier[-1].configuration, *(one.configuration for one in self._known[name] if one.index > last)]

    def says_committed(self, name: ServerId, effect: ConfigurationCommitted) -> None:
        """A server announces that these members will never be rolled back."""
        if Configured(effect.index, effect.configuration) not in self.committed:
            raise Violation("Committed Members", f"{name} believes {effect.configuration} to be committed")

    def at(self, index: LogIndex) -> Configured:
        """The latest that was committed at `index`."""
        return next(known for known in reversed(self.committed) if known.index <= index)


def _configured(entries: Sequence[Entry], first: LogIndex) -> list[Configured]:
    found = []
    for index, entry in enumerate(entries, start=first):
        if entry.kind is EntryKind.CONFIGURATION:
            members = decode_configuration(entry.command)
            assert members is not None
            found.append(Configured(index, members))
    return found
