"""A failure, made small and shown: the fewest steps that still break the same rule, what the cluster did meanwhile.

The steps of the test are done again in a new simulation of the same seed, with parts left out.  A machine that depends
on something outside of it may fail the one time and not the other; then the shrinking ends early, with what did fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from msgspec import Struct

from actors.testing.chaos import ChaosCluster, chaos_cluster
from actors.testing.elsewhere import Elsewhere
from actors.testing.steps import Step, Wait, words
from actors.testing.table import Row, Watch, table, what_changed
from actors.testing.verdict import EVERYWHERE_ALIKE, Violation
from raft_core import ServerId
from raft_core.verify.schedule_picture import schedule_page
from raft_core.verify.shrinking import shrink
from raft_core.verify.simulation import Turn

MOST_TRIES = 250
"""Simulations, of a few ten milliseconds each."""


class Failure(Struct, frozen=True):
    """The shortest run that was found."""

    violation: Violation
    rows: tuple[Row, ...]
    turns: tuple[Turn, ...]
    """What the servers did."""
    names: tuple[ServerId, ...]
    steps: int
    """What is left of them."""
    was: int
    """Steps of the run as the test made it."""

    def text(self) -> str:
        """As a space-time table."""
        return table(self.rows, self.names)

    def page(self, title: str) -> str:
        """As a figure: one page of HTML that needs nothing else."""
        turns = what_changed(self.turns)
        return schedule_page(turns, self.names, title=title, violation=str(self.violation), is_last_to_blame=False)


def failure_of(cluster: ChaosCluster[Any]) -> Failure | None:
    """The failure of `check`, made small; None if it does not happen again."""
    assert cluster.violation is not None
    steps = [step for _, step in cluster.steps]
    with closing(Elsewhere(cluster.kind)) as elsewhere:
        run = _Again(cluster, elsewhere)
        if not run.fails(steps):
            return None
        kept = shrink(steps, run.fails, most_tries=MOST_TRIES)
        return run.shown(kept) or run.shown(steps)


class _Again:
    """A run of the same machine and seed."""

    def __init__(self, cluster: ChaosCluster[Any], elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere
        self._kind = cluster.kind
        self._names = cluster.cluster.nodes
        self._seed = cluster.seed
        self._was = len(cluster.steps)
        self._rule = cluster.violation.rule if cluster.violation else ""

    def fails(self, steps: Sequence[Step]) -> bool:
        """By the same rule?"""
        return self.violation(steps, Watch()) is not None

    def violation(self, steps: Sequence[Step], watch: Watch) -> Violation | None:
        """What a run ends with, if it is the same rule."""
        with chaos_cluster(
            self._kind,
            nodes=len(self._names),
            seed=self._seed,
            recorder_of=watch.recorder_of,
            elsewhere=self._elsewhere,
        ) as cluster:
            watch.clock = lambda: cluster.cluster.now
            try:
                cluster.perform(steps, watch.step)
                watch.end_of_trouble()
                cluster.check(processes=self._rule == EVERYWHERE_ALIKE)
            except Violation as violation:
                return violation if violation.rule == self._rule else None
        return None

    def shown(self, steps: Sequence[Step]) -> Failure | None:
        """The run, watched."""
        watch = Watch(is_on=True)
        violation = self.violation(steps, watch)
        return None if violation is None else watched(violation, watch, self._names, len(steps), self._was)


def watched(violation: Violation, watch: Watch, names: tuple[ServerId, ...], steps: int, was: int) -> Failure:
    """What somebody saw who looked on."""
    return Failure(violation, tuple(watch.rows), tuple(watch.turns), names, steps, was)


def latest_steps(cluster: ChaosCluster[Any], most: int = 12) -> str:
    """What was done last, as a table."""
    steps = [(at, step) for at, step in cluster.steps if not isinstance(step, Wait)]
    return table([Row(at, *words(step)) for at, step in steps[-most:]], cluster.cluster.nodes)
