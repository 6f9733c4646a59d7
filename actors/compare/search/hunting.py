"""How many schedules it takes until a mistake is found; and whether anything is found where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from actors.compare.mistakes.actors import ACTOR_ONLY
from actors.compare.mistakes.locks import LOCK_ONLY
from actors.compare.mistakes.mistake import Mistake
from actors.compare.mistakes.patching import applied
from actors.compare.mistakes.shared import SHARED
from actors.compare.search.trial import PEERS, Design, Outcome, attempt

NO_MISTAKE = ""
"""The name under which the correct designs are searched."""
LENGTHS: dict[Design, int] = {"actors": 1_310, "locks": 11_107}
"""Points of a run with five peers, measured once: what preemptions are drawn from.  In a shorter run some never happen.
A constant, so that a mistake that makes runs longer does not change the schedules, too."""
Kind: TypeAlias = Literal["actors", "locks", "naive"]
Attempt: TypeAlias = Callable[[int], Outcome]
"""Try the schedule of a seed."""


class Row(Struct, frozen=True):
    """What became of one mistake in one design; a row of `search.json`."""

    mistake: str
    """Empty: the design as it is."""
    design: Kind
    schedules: int
    """Tried at most."""
    found_after: int | None
    """By the how manieth schedule; None: by none."""
    how: str
    """The rule that was seen broken; empty: none."""
    cycle: str | None
    """Who waits for whom, if that was what was found."""
    seed: int | None
    """Of the schedule that found it."""
    rule: str = ""
    """What the mistake breaks, in words."""
    detail: str = ""
    """What was seen, in words."""
    harmless: str = ""
    """Why this design can live with the mistake, if it can."""


class Hunt(NamedTuple):
    """A design, maybe with a mistake in it."""

    mistake: Mistake
    design: Design


CORRECT = Mistake(NO_MISTAKE, "none: the design as it is")


def hunts() -> Iterator[Hunt]:
    """Everything that is searched but the naive design: the correct designs first."""
    for design in PEERS:
        yield Hunt(CORRECT, design)
    for mistake in SHARED:
        for design in PEERS:
            yield Hunt(mistake, design)
    yield from (Hunt(mistake, "locks") for mistake in LOCK_ONLY)
    yield from (Hunt(mistake, "actors") for mistake in ACTOR_ONLY)


def attempts(hunt: Hunt) -> Attempt:
    """How to try a schedule on this design; the mistake must be in the program."""
    peer = hunt.mistake.actor or PEERS[hunt.design]
    length = LENGTHS[hunt.design]
    return lambda seed: attempt(peer, seed, length)


def hunted(hunt: Hunt, schedules: int, seed: int) -> Row:
    """Try schedules until one finds something."""
    with applied(hunt.mistake.patches):
        return search(attempts(hunt), hunt.mistake, hunt.design, schedules, seed)


def search(attempt: Attempt, mistake: Mistake, design: Kind, schedules: int, seed: int) -> Row:
    """The seeds `seed`, `seed` + 1 and so on, until one finds something."""
    for number in range(schedules):
        finding = attempt(seed + number).finding
        if finding is not None:
            return Row(
                mistake.name,
                design,
                schedules,
                number + 1,
                finding.how,
                finding.cycle,
                seed + number,
                mistake.rule,
                finding.detail,
            )
    harmless = mistake.harmless if design == "locks" else ""
    return Row(mistake.name, design, schedules, None, "", None, None, mistake.rule, "", harmless)
