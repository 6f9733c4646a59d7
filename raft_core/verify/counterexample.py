"""A violation that a simulation found, without all that it does not need.

The run of the seed is written down (`schedule`), and decisions are left out (`shrinking`) as long as what is left, when
it is carried out again (`rerun`), breaks *the same rule*.  A run of thousands of decisions becomes one of a few dozen
of which none can be spared: leave out any one, and the rule holds.  A rule of times ("sixty election timeouts after all
faults had ended there is no leader") is broken by what comes after the schedule, when the servers live on in peace.

    >>> counterexample(seed=1, servers=3, steps=300) is None
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from raft_core.types import Settings
from raft_core.verify.adversary import Adversary, drawn
from raft_core.verify.invariants import Violation
from raft_core.verify.recording import recorded
from raft_core.verify.rerun import Rerun
from raft_core.verify.schedule import Decision
from raft_core.verify.shrinking import shrink
from raft_core.verify.simulation import Turn, Watcher

_OF_TIMES = frozenset({"Progress", "Preferred Leader", "Stability"})
"""Rules that say what happens within some time after all faults have ended."""


class Counterexample(Struct, frozen=True, kw_only=True):
    """The fewest decisions that break the rule."""

    violation: Violation
    decisions: tuple[Decision, ...]
    turns: tuple[Turn, ...]
    """What the servers do meanwhile, and how their lives end and begin."""
    decided: int
    """Decisions of the whole run; if the rule is one of times, up to the end of all faults."""
    is_of_times: bool
    """No turn breaks the rule: when the schedule is over and all faults end, the cluster does not recover in time."""


def counterexample(
    seed: int,
    servers: int = 3,
    steps: int = 10_000,
    *,
    adversary: Adversary | None = None,
    most_work: int = 800_000,
) -> Counterexample | None:
    """The run of this seed, without all that its violation does not need; `None` if there is nothing to show.

    After so much work (decisions carried out, and steps of servers), what has been found by then is the result: the
    same on every machine.
    """
    report, decisions, before_peace = recorded(seed, servers, steps, adversary=adversary)
    if report.violation is None:
        return None
    settings = (adversary or drawn(Random(seed))).settings
    trial = _Trial(report.violation.rule, servers, settings, most_work)
    everything = before_peace if trial.is_of_times else decisions
    if trial.outcome(everything) is None:
        return None
    kept = shrink(everything, trial.breaks_the_rule) if trial.has_work_left else everything
    turns: list[Turn] = []
    violation = trial.outcome(kept, turns.append)
    assert violation is not None
    return Counterexample(
        violation=violation,
        decisions=kept,
        turns=tuple(turns),
        decided=len(everything),
        is_of_times=trial.is_of_times,
    )


class _Trial:
    """Whether decisions break the rule, as long as there is work left to do."""

    def __init__(self, rule: str, servers: int, settings: Settings, most_work: int) -> None:
        self.is_of_times = rule in _OF_TIMES
        self._rule = rule
        self._servers = servers
        self._settings = settings
        self._work_left = most_work

    @property
    def has_work_left(self) -> bool:
        """There is time for another question."""
        return self._work_left > 0

    def breaks_the_rule(self, decisions: Sequence[Decision]) -> bool:
        """No, if all work is done."""
        return self.has_work_left and self.outcome(decisions) is not None

    def outcome(self, decisions: Sequence[Decision], watcher: Watcher | None = None) -> Violation | None:
        """The violation, if it is one of the rule."""
        run = Rerun(self._servers, self._settings, watcher)
        found = run.outcome(decisions, ends_in_peace=self.is_of_times)
        self._work_left -= len(decisions) + run.steps
        return found if found is not None and found.rule == self._rule else None
