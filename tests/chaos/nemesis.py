"""Misfortunes of a real cluster, drawn from a seeded generator: peers die, stand still, or cannot hear each other.

The first round is one of each kind, in any order; then they come as they are drawn, so that two of a kind follow each
other, too.  A peer that was killed is not waited for: the supervisor starts it, and the next misfortune may come
first.  What was cut, held up or disturbed is put right at the end of its misfortune, and `put_right` puts right
everything.  A misfortune counts when it has happened, not when it was drawn.

The kills and pauses are signals from outside, as by the kernel or a crash; peers are not asked.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from time import monotonic, sleep

from actors.cluster import Cluster
from actors.network import Faults
from raft_core import ServerId

SHORTEST, LONGEST = 0.2, 1.5
"""Seconds that a misfortune lasts: shorter and longer than it takes to elect a leader."""
PATIENCE = 60.0
"""Seconds in which a leader is elected, and a killed peer starts, at the latest."""

KINDS = ("kill", "kill leader", "pause", "cut", "one-way", "bridge", "noise")
KILL_ALL = "kill all"


class Nemesis:
    """Who brings misfortune to one cluster.  One thread uses it."""

    def __init__(self, cluster: Cluster, random: Random, *, kills_all: bool) -> None:
        """`kills_all`: the storage survives the death of everybody."""
        self._cluster = cluster
        self._random = random
        self.kinds = (*KINDS, KILL_ALL) if kills_all else KINDS
        self.happened: Counter[str] = Counter()
        self._due = list(self.kinds)
        self._random.shuffle(self._due)
        self._deeds: dict[str, Callable[[], None]] = {
            "kill": lambda: self._kill(self._any_peer()),
            "kill leader": lambda: self._kill(self._leader()),
            KILL_ALL: lambda: self._kill(*self._cluster.nodes),
            "pause": self._pause,
            "cut": self._cut,
            "one-way": self._one_way,
            "bridge": self._bridge,
            "noise": self._noise,
        }

    @property
    def has_done_all(self) -> bool:
        """Did each kind happen at least once?"""
        return not self._due

    def strike(self) -> None:
        """The next misfortune, from its beginning to its end, and a moment of quiet."""
        kind = self._due[-1] if self._due else self._random.choice(self.kinds)
        self._deeds[kind]()
        self.happened[kind] += 1
        if self._due:
            self._due.pop()
        sleep(self._random.uniform(0.0, SHORTEST))

    def put_right(self) -> None:
        """Let every message through again."""
        self._cluster.network.heal()

    # --- whom it befalls ----------------------------------------------------------------------------------------------

    def _process_ids(self) -> dict[ServerId, int]:
        """Of those that run."""
        members = self._cluster.supervisor.members()
        return {name: process_id for name, (_, _, process_id) in members.items() if process_id}

    def _any_peer(self) -> ServerId:
        return self._random.choice(self._cluster.nodes)

    def _leader(self) -> ServerId:
        return self._cluster.leader(PATIENCE)

    def _leader_or_any(self) -> ServerId:
        return self._leader() if self._random.random() < 0.5 else self._any_peer()

    def _while_it_lasts(self) -> None:
        sleep(self._random.uniform(SHORTEST, LONGEST))

    # --- deaths and pauses --------------------------------------------------------------------------------------------

    def _kill(self, *names: ServerId) -> None:
        process_ids = {self._process_id(name) for name in names}
        for process_id in process_ids:
            os.kill(process_id, signal.SIGKILL)
        self._until(lambda: not process_ids & set(self._process_ids().values()), f"the death of {names}")
        self._while_it_lasts()

    def _process_id(self, name: ServerId) -> int:
        """Once it runs: somebody who was killed before may not be back yet."""
        self._until(lambda: name in self._process_ids(), f"the return of {name}")
        return self._process_ids()[name]

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = monotonic() + PATIENCE
        while not condition():
            if monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE} s: {what} ({self._cluster.supervisor.health()})")
            sleep(0.005)

    def _pause(self) -> None:
        process_id = self._process_id(self._leader_or_any())
        os.kill(process_id, signal.SIGSTOP)
        try:
            # It stands still a moment after the signal was sent.  (It is our child.)
            os.waitid(os.P_PID, process_id, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            self._while_it_lasts()
        finally:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)

    # --- the network --------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """One side is a minority, with the leader or without."""
        first = self._leader_or_any()
        others = [name for name in self._cluster.nodes if name != first]
        self._random.shuffle(others)
        beside = self._random.randint(0, (len(self._cluster.nodes) - 1) // 2 - 1)
        self._cluster.network.partition([first, *others[:beside]], others[beside:])
        self._while_it_lasts()
        self.put_right()

    def _one_way(self) -> None:
        """Somebody hears nothing, or is heard by nobody."""
        name, network = self._leader_or_any(), self._cluster.network
        if self._random.random() < 0.5:
            network.cut(sender=name)
        else:
            network.cut(receiver=name)
        self._while_it_lasts()
        self.put_right()

    def _bridge(self) -> None:
        """Two sides that do not hear each other, and one server that hears both."""
        names = list(self._cluster.nodes)
        self._random.shuffle(names)
        middle = len(names) // 2
        for one in names[:middle]:
            for other in names[middle + 1 :]:
                self._cluster.network.cut(one, other)
                self._cluster.network.cut(other, one)
        self._while_it_lasts()
        self.put_right()

    def _noise(self) -> None:
        """Messages are lost, late, doubled, and overtake each other."""
        faults = Faults(drop=0.1, delay=(0.0, 0.03), duplicate=0.1, hold_back=0.05, hold_back_delay=(0.1, 0.6))
        self._cluster.network.set(requests=faults, results=faults)
        self._while_it_lasts()
        self.put_right()
