"""What shall happen in a storm, drawn beforehand from a seed: kinds of operations, how long their harm lasts, who.

Operations come in rounds, each with one of every kind in any order; so adding and removing keep pace, and a short storm
has everything.  Whom an operation befalls is drawn as a share of those whom it may befall when its turn comes, for that
depends on what real time has made of the cluster: the same seed means the same plan, not the same run.

The first half of the kinds is the administrator's, one after the other; the second half is harm, which goes on while
the next operations have begun already.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

Administrative: TypeAlias = Literal["add", "remove", "promote", "transfer", "snapshot"]
Harmful: TypeAlias = Literal["kill", "pause", "partition"]
Kind: TypeAlias = Administrative | Harmful

ADMINISTRATIVE: Final[tuple[Administrative, ...]] = get_args(Administrative)
HARMFUL: Final[tuple[Harmful, ...]] = get_args(Harmful)
KINDS: Final[tuple[Kind, ...]] = (*ADMINISTRATIVE, *HARMFUL)
LONGEST: Final = 3
"""Operations during which harm lasts at most."""
MOMENT: Final = 0.4
"""Longest pause behind an operation, in seconds: about what an election takes."""


class Step(NamedTuple):
    """One operation, as it is planned."""

    kind: Kind
    who: float
    """Share of those whom it may befall, 0 to 1."""
    leader: bool
    """It shall be the leader, if it may be."""
    lasts: int
    """So many further operations begin before harm ends; 0: it ends before the next one."""
    to_the_edge: bool
    """Of harm: as many as a quorum can miss.  Of an administrator's: it is not waited for before harm is done."""
    pause: float
    """Seconds behind it."""

    def __str__(self) -> str:
        words: list[str] = [self.kind]
        words += ["leader"] if self.leader else []
        words += ["!"] if self.to_the_edge else []
        words += [f"for {self.lasts}"] if self.kind in HARMFUL and self.lasts else []
        return " ".join(words)


def planned(seed: int, operations: int) -> list[Step]:
    """The whole plan."""
    random = Random(f"{seed} storm")
    steps: list[Step] = []
    while len(steps) < operations:
        steps += [_drawn(random, kind) for kind in random.sample(KINDS, len(KINDS))]
    return steps[:operations]


def _drawn(random: Random, kind: Kind) -> Step:
    return Step(
        kind,
        who=random.random(),
        leader=random.random() < 0.4,
        lasts=random.randint(0, LONGEST),
        to_the_edge=random.random() < 0.5,
        pause=random.uniform(0.0, MOMENT),
    )
