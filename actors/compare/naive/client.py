"""A client of the naive design: a thread that counts, and a condition on which it waits to be called back."""

from __future__ import annotations

from collections.abc import Sequence

from actors.compare.naive.peer import NaivePeer
from actors.lock_based.threads import Threads

COUNTS = 4
"""Increments of one client."""
PAUSE = 0.01
"""Seconds until it asks the next server."""
PATIENCE = 0.2
"""Seconds until it takes an increment for lost."""


class NaiveClient:
    """One client."""

    def __init__(self, name: str, threads: Threads, peers: Sequence[NaivePeer]) -> None:
        self.name = name
        self.values: list[int] = []
        """What it was told."""
        self.asked = 0
        """Increments that a server took."""
        self.is_done = False
        self._threads = threads
        self._peers = peers
        self._told_of = 0
        self.condition = threads.condition()

    def launch(self) -> None:
        """Start its thread."""
        self._threads.start(f"{self.name} caller", self._count)

    def _count(self) -> None:
        number = 0
        while self.asked < COUNTS:
            self._ask(self._peers[number % len(self._peers)])
            self._threads.sleep(PAUSE)
            number += 1
        self.is_done = True

    def _ask(self, peer: NaivePeer) -> None:
        """With its lock held from asking to waiting, so that it cannot be told in between."""
        with self.condition:
            if not peer.increment(self._told):
                return
            self.asked += 1
            end = self._threads.now() + PATIENCE
            while self._told_of < self.asked and self._threads.now() < end:
                self.condition.wait(PATIENCE)
            self._told_of = self.asked

    def _told(self, value: int) -> None:
        with self.condition:
            self.values.append(value)
            self._told_of += 1
            self.condition.notify_all()
