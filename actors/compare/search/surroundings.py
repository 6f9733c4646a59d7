"""What the searched peers of both designs stand in: the timeline with its schedule, and a network that is watched."""

from __future__ import annotations

from actors.codec import decode_message
from actors.compare.search.schedule import Schedule
from actors.compare.search.waiting import Waiting
from actors.lock_based.lockset import LocksetChecker
from actors.network import Network
from actors.sim.incarnation import Incarnation, SimNetwork
from actors.sim.timeline import Timeline
from raft_core import AppendEntries, Message, ServerId, majority
from raft_core.verify.invariants import Oracle, Violation


class SearchTimeline(Timeline):
    """Virtual time under a schedule."""

    def __init__(self, schedule: Schedule, *, is_checked: bool) -> None:
        """`is_checked`: who shares what is watched; that takes its time."""
        super().__init__(schedule.seed)
        self.schedule = schedule
        self.is_checked = is_checked
        self.waiting = Waiting()
        self.checkers: list[LocksetChecker] = []


class SearchOracle(Oracle):
    """The rules of Figure 3, and one more: who leads has the votes of a majority, by what the voters said."""

    def sent(self, name: ServerId, to: ServerId, message: Message) -> None:
        """A message leaves."""
        super().sent(name, to, message)
        if isinstance(message, AppendEntries):
            votes = [voter for voter in self.disks if self._votes.get((voter, message.term)) == name]
            if len(votes) < majority(self.disks):
                raise Violation("Elected By A Majority", f"{name} leads in term {message.term} with votes of {votes}")


class WatchedNetwork(SimNetwork):
    """The oracle hears every message as it leaves."""

    def __init__(self, network: Network, timeline: Timeline, oracle: Oracle) -> None:
        super().__init__(network, timeline)
        self._oracle = oracle

    def send(self, sender: Incarnation, to: ServerId, frame: bytes) -> None:
        """Tell, then send."""
        if sender.is_up:
            self._oracle.sent(sender.server_id, to, decode_message(frame))
        super().send(sender, to, frame)
