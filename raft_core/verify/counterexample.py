"""A violation that a simulation found, without all that it does not need.

The run of the seed is written down (`schedule`), and decisions are left out (`shrinking`) as long as what is left, when
it is carried out again (`rerun`), breaks *the same rule*.  A run of thousands of decisions becomes one of a few dozen
of which none can be spared: leave out any one, and the rule holds.

    >>> counterexample(seed=1, servers=3, steps=300) is None
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from raft_core.verify.adversary import Adversary, drawn
from raft_core.verify.invariants import Violation
from raft_core.verify.rerun import rerun
from raft_core.verify.schedule import Decision, recorded
from raft_core.verify.shrinking import shrink
from raft_core.verify.simulation import Turn

OF_TIMES = frozenset({"Progress", "Stability"})
"""Rules that a schedule cannot break: they say what happens within some time."""


class Counterexample(Struct, frozen=True, kw_only=True):
    """The fewest decisions that break the rule."""

    violation: Violation
    decisions: tuple[Decision, ...]
    turns: tuple[Turn, ...]
    """What the servers do meanwhile, and how their lives end and begin."""
    decided: int
    """Decisions of the whole run."""


def counterexample(
    seed: int,
    servers: int = 3,
    steps: int = 10_000,
    *,
    adversary: Adversary | None = None,
    most_work: int = 3_000_000,
) -> Counterexample | None:
    """The run of this seed, without all that its violation does not need.

    `None` if there is no violation, or none that a schedule can show (`OF_TIMES`).  After `most_work` decisions were
    carried out in all, what has been found by then is the result: the same on every machine.
    """
    report, decisions = recorded(seed, servers, steps, adversary=adversary)
    broken = report.violation
    if broken is None or broken.rule in OF_TIMES:
        return None
    settings = (adversary or drawn(Random(seed))).settings
    work = 0

    def breaks_it(some: Sequence[Decision]) -> bool:
        nonlocal work
        if work > most_work:
            return False
        work += len(some)
        violation = rerun(some, servers, settings)
        return violation is not None and violation.rule == broken.rule

    kept = shrink(decisions, breaks_it)
    turns: list[Turn] = []
    violation = rerun(kept, servers, settings, watcher=turns.append)
    assert violation is not None
    return Counterexample(violation=violation, decisions=kept, turns=tuple(turns), decided=len(decisions))
