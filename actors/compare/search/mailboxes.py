"""A simulated peer of the actors whose mailboxes a schedule serves.

Here nobody can lose its turn within a turn; what a schedule holds up is whole turns of the peer, and messages of those
who work for it: the applier and the disk.  What arrives meanwhile is taken with the turn, when that comes at last, or
waits behind.
"""

from __future__ import annotations

from actors.compare.search.surroundings import SearchTimeline
from actors.deadlines import NEVER
from actors.lock_based.lockset import LocksetChecker
from actors.sim.incarnation import DISK, PeerPlan, Surroundings
from actors.sim.peer import APPLY, SimPeer
from actors.sim.timeline import Delay, Happening, Way
from actors.storage.disk import Disk
from raft_core import AppendToLog, Applied, Effect, LogIndex, PersistTermAndVote, ServerId

_WORKERS = {APPLY: "applier", DISK: "disk"}
_READS = frozenset({"status"})


class SearchedActor(SimPeer):
    """The real interpreter and applier between mailboxes."""

    timeline: SearchTimeline

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        self._held_until = 0.0
        self.activity = "mailbox"
        """Who is at work now."""
        super().__init__(server_id, plan, disk, around)
        if self.timeline.is_checked:
            checker = LocksetChecker(lambda: f"{server_id} {self.activity}")
            self.timeline.checkers.append(checker)
            self.interpreter = checker.watch(self.interpreter, f"{server_id} interpreter", _READS)

    def way(self, delay: Delay) -> Way:
        """A way to the mailbox of a worker, or to a client."""
        worker = _WORKERS.get(delay)
        return super().way(delay) if worker is None else WorkerWay(self, worker, delay)

    def note_effect(self, effect: Effect) -> None:
        """Before anything is carried out: a write may be the last."""
        super().note_effect(effect)
        if isinstance(effect, AppendToLog | PersistTermAndVote):
            self.timeline.schedule.write(self.server_id)

    def _applied(self, index: LogIndex) -> None:
        """By a message; the machines of a search know no time."""
        self.timeline.note(self.server_id, f"applied {index}")
        self._arrived(Applied(index))

    def _plan_turn(self, time: float) -> None:
        super()._plan_turn(max(time, self._held_until))

    def _turn(self, planned: float) -> None:
        if not self.is_up or planned != self._next_turn:
            return
        seconds = self.timeline.schedule.point(self.server_id, f"{self.server_id} mailbox", "takes a turn")
        if seconds:
            self._next_turn, self._held_until = NEVER, self.timeline.now + seconds
            self._plan_turn(self._held_until)
            return
        super()._turn(planned)


class WorkerWay(Way):
    """Messages to a worker, who takes one after the other."""

    def __init__(self, peer: SearchedActor, worker: str, delay: Delay) -> None:
        super().__init__(peer.timeline, delay, lambda: peer.is_up)
        self._peer = peer
        self._worker = worker

    def put(self, happening: Happening, later: float = 0.0) -> None:
        """Let this happen in its turn."""
        peer = self._peer
        seconds = peer.timeline.schedule.point(peer.server_id, f"{peer.server_id} {self._worker}", "takes a message")
        self._latest = max(self._latest, peer.timeline.now + seconds)
        super().put(lambda: self._work(happening), later)

    def _work(self, happening: Happening) -> None:
        before, self._peer.activity = self._peer.activity, self._worker
        try:
            happening()
        finally:
            self._peer.activity = before
