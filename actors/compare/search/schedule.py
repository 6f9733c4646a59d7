"""A schedule: who loses its turn, where, for how long, and who dies - all of it drawn from one number.

At every seam a design asks `point`: a thread before it takes a lock, waits, wakes others, sends, starts a thread or
sleeps; a mailbox before a turn; a worker before a message.  Nearly always the answer is to go on.  At no more than
`BOUND` points of a schedule it is to stand still, while everybody else goes on: that is a preemption.  (Who waits on a
condition is woken for nothing instead.)  Two are enough for most bugs of concurrency (Musuvathi and Qadeer, "Iterative
Context Bounding", 2007); where they are is drawn evenly from the length of a run (Burckhardt and others, "A Randomized
Scheduler with Probabilistic Guarantees", 2010).  Who goes on when somebody waits costs no preemption and is drawn as
well, by the delays of `actors.sim`.

At most one peer dies: at a drawn write to disk - before it is durable, or just after - or at a drawn point.

The same seed and length give the same schedule: nothing else is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

BOUND = 2
"""Preemptions of one schedule at most."""
STANDS = (0.000_5, 0.003, 0.02, 0.08, 0.3)
"""Virtual seconds that a preemption lasts, more or less: shorter than a write, as long as one, an election, several."""
WRITES = 24
"""Of so many first writes, one may be the last of its peer."""
AFTER = 0.004
"""Virtual seconds within which a peer dies after the drawn point: a write may be done by then, or not."""


class Preemption(NamedTuple):
    """Somebody lost its turn."""

    operation: int
    """Number of the point."""
    who: str
    what: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.who} stands still for {self.seconds * 1000:.1f} ms before it {self.what}"


class Schedule:
    """What happens in one run that need not happen.  `dies` is told who shall, and after how many seconds."""

    def __init__(self, seed: int, length: int, bound: int = BOUND) -> None:
        """`length`: how many points a run is expected to have."""
        self.seed = seed
        random = Random(f"schedule {seed}")
        self._lasting = {
            random.randint(1, length): random.choice(STANDS) * (0.5 + random.random()) for _ in range(bound)
        }
        self._last_write = random.randint(1, WRITES) if random.random() < 0.6 else 0
        self._last_point = random.randint(1, length) if not self._last_write and random.random() < 0.4 else 0
        self._after = random.random() * AFTER
        self.dies: Callable[[str, float], None] = lambda peer, after: None
        self.operations = 0
        self.writes = 0
        self.preemptions: list[Preemption] = []
        self._digest = hashlib.sha256()

    def point(self, peer: str, who: str, what: str) -> float:
        """`who`, a part of `peer`, is about to do something.  For how many seconds it stands still before."""
        self.operations += 1
        self._digest.update(f"{who} {what}\n".encode())
        if self.operations == self._last_point:
            self.dies(peer, self._after)
        seconds = self._lasting.get(self.operations, 0.0)
        if seconds:
            self.preemptions.append(Preemption(self.operations, who, what, seconds))
        return seconds

    def write(self, peer: str) -> None:
        """A write to disk begins."""
        self.writes += 1
        self._digest.update(f"{peer} writes\n".encode())
        if self.writes == self._last_write:
            self.dies(peer, self._after)

    @property
    def digest(self) -> str:
        """Equal if and only if two runs passed the same points in the same order."""
        return self._digest.hexdigest()
