"""A small program of threads under a schedule: for examples, and to see that the search finds what is planted.

A program gets `Threads` and starts some.  The run ends when nothing can happen any more: then either all threads have
ended, or they wait in a circle, or for a wake-up that will never come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from actors.compare.search.schedule import BOUND, Schedule
from actors.compare.search.threads import SearchedThreads
from actors.compare.search.trial import Finding, Outcome
from actors.compare.search.waiting import Waiting, in_words
from actors.lock_based.threads import Threads
from actors.sim.timeline import Timeline

Program: TypeAlias = Callable[[Threads], None]

LONGEST = 60.0
"""Virtual seconds of a program."""


def try_program(program: Program, seed: int, *, length: int = 20, bound: int = BOUND) -> Outcome:
    """Run it under one schedule; preemptions are drawn from its first `length` points."""
    schedule, waiting, timeline = Schedule(seed, length, bound), Waiting(), Timeline(seed)
    threads = SearchedThreads(timeline, "program", schedule, waiting)
    program(threads)
    try:
        timeline.run_until(LONGEST)
        finding = _finding(threads, waiting)
    finally:
        threads.kill()
    return Outcome(finding, schedule.operations, schedule.digest, tuple(schedule.preemptions), 0)


def _finding(threads: SearchedThreads, waiting: Waiting) -> Finding | None:
    if waiting.cycle:
        return Finding("Deadlock", in_words(waiting.cycle), in_words(waiting.cycle))
    if threads.running:
        return Finding("Lost Wake-Up", f"{', '.join(sorted(threads.running))} wait, and nothing is due")
    return None
