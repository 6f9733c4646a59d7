"""One schedule of the naive design: three servers that call each other, two clients that count.

It has no disk and no messages, so nobody dies and nothing is lost; what is looked for is a circle of waiting, clients
that are never told, and a value that two were told.
"""

from __future__ import annotations

from random import Random

from actors.compare.naive.client import NaiveClient
from actors.compare.naive.peer import NaivePeer
from actors.compare.search.schedule import BOUND, Schedule
from actors.compare.search.threads import SearchedThreads
from actors.compare.search.trial import Finding, Outcome
from actors.compare.search.waiting import Waiting, in_words
from actors.sim.timeline import Timeline

SECONDS = 3.0
"""Virtual time within which all must be done."""
LENGTH = 850
"""Points of an ordinary run: what preemptions are drawn from."""


class NaiveTrial:
    """One run."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._random = Random(f"naive {schedule.seed}")
        self.timeline = Timeline(schedule.seed)
        self.waiting = Waiting()
        self._threads: list[SearchedThreads] = []
        self.peers = [NaivePeer(name, self._new_threads(name), self._random) for name in ("n1", "n2", "n3")]
        for peer in self.peers:
            peer.others = [other for other in self.peers if other is not peer]
        self.clients = [NaiveClient(name, self._new_threads(name), self.peers) for name in ("c1", "c2")]

    def _new_threads(self, owner: str) -> SearchedThreads:
        self._threads.append(SearchedThreads(self.timeline, owner, self._schedule, self.waiting))
        return self._threads[-1]

    def run(self) -> Finding | None:
        """Until the clients are done, or something is wrong."""
        for peer in self.peers:
            peer.launch()
        for client in self.clients:
            client.launch()
        while not all(client.is_done for client in self.clients):
            is_over = not self.timeline.advance(SECONDS)
            if self.waiting.cycle:
                return Finding("Deadlock", in_words(self.waiting.cycle), in_words(self.waiting.cycle))
            if is_over:
                return Finding("Progress", "clients wait for answers although all is well")
        told = [value for client in self.clients for value in client.values]
        return Finding("Linearizability", f"values told: {told}") if len(told) != len(set(told)) else None

    def close(self) -> None:
        """The end of all threads."""
        for threads in self._threads:
            threads.kill()


def attempt_naive(seed: int, bound: int = BOUND) -> Outcome:
    """Try one schedule."""
    schedule = Schedule(seed, LENGTH, bound)
    trial = NaiveTrial(schedule)
    try:
        finding = trial.run()
    finally:
        trial.close()
    answered = sum(len(client.values) for client in trial.clients)
    return Outcome(finding, schedule.operations, schedule.digest[:16], tuple(schedule.preemptions), answered)
