"""A simulated peer of the twin whose threads a schedule drives."""

from __future__ import annotations

from actors.compare.search.surroundings import SearchTimeline
from actors.compare.search.threads import SearchedThreads
from actors.lock_based.lockset import CheckedThreads, LocksetChecker
from actors.lock_based.threads import Threads
from actors.sim.green import GreenThreads
from actors.sim.locked import SimLockedPeer
from raft_core import AppendToLog, Effect, PersistTermAndVote, ServerId


class SearchedLocked(SimLockedPeer):
    """The real `LockedPeer`."""

    timeline: SearchTimeline

    def _new_threads(self) -> tuple[GreenThreads, Threads]:
        timeline = self.timeline
        green = SearchedThreads(timeline, self.server_id, timeline.schedule, timeline.waiting)
        if not timeline.is_checked:
            return green, green
        timeline.checkers.append(LocksetChecker(green.current))
        return green, CheckedThreads(green, timeline.checkers[-1])

    def note_effect(self, effect: Effect) -> None:
        """Before anything is carried out: a write may be the last."""
        super().note_effect(effect)
        if isinstance(effect, AppendToLog | PersistTermAndVote):
            self.timeline.schedule.write(self.server_id)

    def send_frame(self, to: ServerId, frame: bytes) -> None:
        """A thread may stand still before it sends."""
        if isinstance(self._green, SearchedThreads):
            self._green.point(f"sends to {to}")
        super().send_frame(to, frame)
