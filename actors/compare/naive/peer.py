"""A Raft server as a first attempt with threads looks like.  DO NOT COPY: its faults are why it is here.

There is a lock for the term and the role, one for the log, one for the clients, each added where two threads met.  A
handler of an RPC is a method, and whoever sends the RPC calls it on the other server and waits for what it returns:

1. A candidate holds its own state lock while it waits for another's: two candidates wait for each other.
2. The ticker goes from state to clients, a client's call from clients to state: two orders of the same locks.
3. Clients are called back under the clients' lock, and take locks of their own there.
4. Who is to be called back is found by the index of an entry, whoever's entry is there by then.

The protocol itself is sound, if small: the leader sends its whole log each time, and nothing is kept on a disk.  Taking
the shared core instead would not have changed the first three faults: they are in who holds what while waiting for
whom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from actors.lock_based.threads import Threads

TICK = 0.01
"""Seconds between two looks of the ticker."""
TIMEOUT = (0.1, 0.3)
"""Seconds without a leader after which a server stands for election."""
LATENCY = 0.000_5
"""Seconds that a call of another server takes at most."""


class NaivePeer:
    """One server.  `others` is set before `launch`."""

    def __init__(self, name: str, threads: Threads, random: Random) -> None:
        self.name = name
        self.others: Sequence[NaivePeer] = ()
        self._threads = threads
        self._random = random
        self.state_lock = threads.lock()
        self.log_lock = threads.lock()
        self.client_lock = threads.lock()
        self.term = 0
        self.voted_for = ""
        self.is_leader = False
        self.log: list[int] = []
        """Terms of the increments."""
        self.applied = 0
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._deadline = self._next_deadline()

    def launch(self) -> None:
        """Start its one thread."""
        self._threads.start(f"{self.name} ticker", self._tick)

    def _next_deadline(self) -> float:
        return self._threads.now() + self._random.uniform(*TIMEOUT)

    def _tick(self) -> None:
        while True:
            self._threads.sleep(TICK)
            with self.state_lock:
                if self.is_leader:
                    self._replicate()
                elif self._threads.now() >= self._deadline:
                    self._campaign()

    def _travel(self) -> None:
        self._threads.sleep(self._random.random() * LATENCY)

    # --- elections, with the state lock held --------------------------------------------------------------------------

    def _campaign(self) -> None:
        self.term, self.voted_for = self.term + 1, self.name
        self._deadline = self._next_deadline()
        with self.log_lock:
            last = (self.log[-1] if self.log else 0), len(self.log)
        votes = 1
        for other in self.others:
            self._travel()
            votes += other.request_vote(self.term, self.name, last)
        self.is_leader = votes > (len(self.others) + 1) // 2

    def request_vote(self, term: int, candidate: str, last: tuple[int, int]) -> bool:
        """Another server wants to lead."""
        with self.state_lock:
            self._adopt(term)
            with self.log_lock:
                ours = (self.log[-1] if self.log else 0), len(self.log)
            if term < self.term or self.voted_for not in ("", candidate) or ours > last:
                return False
            self.voted_for, self._deadline = candidate, self._next_deadline()
            return True

    def _adopt(self, term: int) -> None:
        if term > self.term:
            self.term, self.voted_for, self.is_leader = term, "", False

    # --- replication --------------------------------------------------------------------------------------------------

    def _replicate(self) -> None:
        """With the state lock held."""
        with self.log_lock:
            log, applied = list(self.log), self.applied
        copies = 1
        for other in self.others:
            self._travel()
            copies += other.append_entries(self.term, log, applied)
        if copies > (len(self.others) + 1) // 2 and log and log[-1] == self.term:
            self._apply(len(log))

    def append_entries(self, term: int, log: list[int], applied: int) -> bool:
        """Another server leads."""
        with self.state_lock:
            if term < self.term:
                return False
            self._adopt(term)
            self._deadline = self._next_deadline()
            with self.log_lock:
                self.log = list(log)
            self._apply(applied)
            return True

    def _apply(self, index: int) -> None:
        with self.log_lock:
            first, self.applied = self.applied + 1, max(self.applied, index)
        with self.client_lock:
            for number in range(first, index + 1):
                told = self._callbacks.pop(number, None)
                if told is not None:
                    told(number)

    # --- clients ------------------------------------------------------------------------------------------------------

    def increment(self, told: Callable[[int], None]) -> bool:
        """Add one and tell the new value, later; False if another server leads."""
        with self.client_lock:
            with self.state_lock:
                if not self.is_leader:
                    return False
                with self.log_lock:
                    self.log.append(self.term)
                    self._callbacks[len(self.log)] = told
            return True
