"""A queue whose jobs are not lost with the worker that took them.

`take` gives a job on *lease*: who does not `ack` it in time has lost it, and it comes again, before all that were put
after it.  So every job is done at least once.  Each taking of a job has a number, the attempt; an `ack` of an attempt
that is over is refused, so a worker that was held up cannot report what another is doing now.  Who can do without,
takes with `pop`: at most once.

    >>> from actors.context import at
    >>> queue = Queue()
    >>> queue.put("a"), queue.put("b")
    (1, 2)
    >>> with at(clock=0):
    ...     job = queue.take(lease=10.0)
    >>> with at(clock=10_000):
    ...     again = queue.take(lease=10.0)
    ...     job, again, queue.ack(job.number, job.attempt), queue.ack(again.number, again.attempt)
    (Job(number=1, value='a', attempt=1), Job(number=1, value='a', attempt=2), False, True)
    >>> queue.pop(), queue.pop() is None
    (Job(number=2, value='b', attempt=1), True)

Rejected: a lost job at the end of the queue (a slow one would wait again and again); waiting inside `take` (a command
cannot wait; ask again).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from msgspec import Struct

from actors.context import HERE, Context
from actors.replicated import Replicated, command, query


class Job(Struct, frozen=True):
    """Something to be done."""

    number: int
    """Its place in the order of all that was ever put."""
    value: Any
    attempt: int = 0
    """How many times it has been taken."""


class Queue(Replicated):
    """A queue of values, first in, first out, with leases."""

    jobs: dict[int, Job] = {}  # noqa: RUF012  # each instance gets its own copy
    """All that are not done, by number."""
    waiting: list[int] = []  # noqa: RUF012
    """A heap: numbers of those that nobody has."""
    leases: dict[int, int] = {}  # noqa: RUF012
    """When the lease of a job that somebody has is over, by its number."""
    deadlines: list[tuple[int, int]] = []  # noqa: RUF012
    """A heap of such times and numbers, with some that hold no more."""
    numbers: int = 0

    @command
    def put(self, value: Any) -> int:
        """Put a value at the end; its number."""
        self.numbers += 1
        self.jobs[self.numbers] = Job(self.numbers, value)
        heappush(self.waiting, self.numbers)
        return self.numbers

    @command
    def pop(self, *, context: Context = HERE) -> Job | None:
        """Take the first job for good; None if there is none."""
        job = self._first(context)
        if job is not None:
            del self.jobs[job.number]
        return job

    @command
    def take(self, lease: float, *, context: Context = HERE) -> Job | None:
        """Take the first job for `lease` seconds; None if there is none."""
        deadline = context.after(lease)
        job = self._first(context)
        if job is not None:
            self.jobs[job.number] = job
            self._lease(job.number, deadline)
        return job

    @command
    def ack(self, number: int, attempt: int, *, context: Context = HERE) -> bool:
        """The job is done; False if its lease was over."""
        if not self._is_held(context, number, attempt):
            return False
        del self.jobs[number], self.leases[number]
        return True

    @command
    def extend(self, number: int, attempt: int, lease: float, *, context: Context = HERE) -> bool:
        """Keep the job for `lease` seconds from now; False if its lease was over."""
        deadline = context.after(lease)
        if not self._is_held(context, number, attempt):
            return False
        self._lease(number, deadline)
        return True

    @command
    def give_back(self, number: int, attempt: int, *, context: Context = HERE) -> bool:
        """Let another have the job, now; False if its lease was over."""
        if not self._is_held(context, number, attempt):
            return False
        self._free(number)
        return True

    @query
    def size(self) -> int:
        """How many jobs are not done, whoever has them."""
        return len(self.jobs)

    @query
    def peek(self) -> Job | None:
        """The first job that nobody has."""
        return self.jobs[self.waiting[0]] if self.waiting else None

    def on_clock(self, context: Context) -> None:
        """Jobs whose lease is over wait again."""
        while self.deadlines and self.deadlines[0][0] <= context.clock:
            deadline, number = heappop(self.deadlines)
            if self.leases.get(number) == deadline:
                self._free(number)

    def next_deadline(self) -> int | None:
        """When the next lease is over."""
        return self.deadlines[0][0] if self.deadlines else None

    def _first(self, context: Context) -> Job | None:
        self.on_clock(context)
        if not self.waiting:
            return None
        job = self.jobs[heappop(self.waiting)]
        return Job(job.number, job.value, job.attempt + 1)

    def _is_held(self, context: Context, number: int, attempt: int) -> bool:
        self.on_clock(context)
        return number in self.leases and self.jobs[number].attempt == attempt

    def _lease(self, number: int, deadline: int) -> None:
        self.leases[number] = deadline
        heappush(self.deadlines, (deadline, number))

    def _free(self, number: int) -> None:
        del self.leases[number]
        heappush(self.waiting, number)
