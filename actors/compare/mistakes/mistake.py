"""What a mistake is."""

from __future__ import annotations

from typing import NamedTuple

from actors.compare.mistakes.patching import Patch
from actors.compare.search.mailboxes import SearchedActor


class Mistake(NamedTuple):
    """Something that people do, and the rule it breaks."""

    name: str
    rule: str
    """Where the rule stands, or who broke it."""
    patches: tuple[Patch, ...] = ()
    harmless: str = ""
    """Why the twin can live with it, if it can."""
    actor: type[SearchedActor] | None = None
    """An actor with the mistake in it, if it is one of how actors are written."""
