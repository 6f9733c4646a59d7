"""What there is to see of a simulated run: its turns while it lasts, and a report at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from raft_core.effects import Effect
from raft_core.events import Event
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.invariants import Violation


class Turn(NamedTuple):
    """What one server did in one go."""

    at: int
    server_id: ServerId
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    after: Server
    happening: str = ""
    """"falls" or "starts" if it is no turn, but the end or the beginning of a life; `simulate` does not show those."""


Watcher: TypeAlias = Callable[[Turn], object]
"""Somebody who sees every turn."""


class Report(Struct, frozen=True, kw_only=True):
    """What became of one seed."""

    seed: int
    servers: int
    steps: int
    """Calls of `step`."""
    milliseconds: float
    """Simulated time."""
    digest: str
    """Hash of every event of every server, in order."""
    violation: Violation | None
    operations: int
    """What clients asked for and was answered."""
    committed: int
    leaders: int
    """Terms that had a leader."""
    misfortunes: dict[str, int]
    cells: dict[tuple[str, str], int]
    """How often each kind of event met each role."""
    is_decided: bool
    """The question whether the history is linearizable was decided; false: the search was given up."""
