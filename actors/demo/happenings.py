"""What a demonstration is asked to do, and what it reports.  Durations are seconds unless their name says otherwise.

Each happening is a tagged value: `-o jsonl` writes them as they are, and people get a sentence for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from actors.spec import RuntimeName
from raft_core import ServerId


class Plan(Struct, frozen=True, kw_only=True):
    """What to demonstrate."""

    data: Path
    """An empty directory for the logs."""
    increments: int = 20_000
    """Calls in the measured load; what goes on while peers are killed comes on top."""
    clients: int = 4
    nodes: int = 3
    engine: Literal["processes", "threads"] = "processes"
    runtime: RuntimeName = "actors"
    record: Path | None = None
    """Directory for a trace of each peer."""


class Starting(Struct, frozen=True, kw_only=True, tag_field="event", tag="starting"):
    """The peers are about to be started."""

    nodes: int
    engine: str
    runtime: str
    data: str


class Ready(Struct, frozen=True, kw_only=True, tag_field="event", tag="ready"):
    """A leader answers."""

    seconds: float
    leader: ServerId
    term: int


class Progress(Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    """The load goes on: so many calls have been answered."""

    done: int
    total: int


class Loaded(Struct, frozen=True, kw_only=True, tag_field="event", tag="loaded"):
    """All increments of the measured load were answered."""

    increments: int
    clients: int
    seconds: float
    commits_per_second: float
    p50_ms: float
    p99_ms: float


class Killing(Struct, frozen=True, kw_only=True, tag_field="event", tag="killing"):
    """These peers are killed now, under load; `leader` is one of them."""

    servers: tuple[ServerId, ...]
    leader: ServerId


class TookOver(Struct, frozen=True, kw_only=True, tag_field="event", tag="took_over"):
    """The leader's calls are answered by another one."""

    leader: ServerId
    term: int
    seconds: float
    """From the kill to the new leader's first answer."""
    waited: int
    """Calls that were under way when that answer came."""
    failed: int


class Restarting(Struct, frozen=True, kw_only=True, tag_field="event", tag="restarting"):
    """A killed peer is started again, under load."""

    server: ServerId


class CaughtUp(Struct, frozen=True, kw_only=True, tag_field="event", tag="caught_up"):
    """It has everything that was committed when it came back."""

    server: ServerId
    recovered: int
    """Entries that it found in its storage."""
    entries: int
    """Entries it had missed."""
    start_seconds: float
    seconds: float


class Recovered(Struct, frozen=True, kw_only=True, tag_field="event", tag="recovered"):
    """All peers were killed, and the cluster answers again, out of its storage alone."""

    recovered_term: int
    """The term in which the killed leader led; the new one's is higher, so it was not forgotten."""
    entries: int
    """Entries that a majority found in its storage; none that was committed is missing."""
    leader: ServerId
    term: int
    seconds: float
    """From the death of the last peer to the first answer."""
    waited: int
    failed: int


class Checking(Struct, frozen=True, kw_only=True, tag_field="event", tag="checking"):
    """The proof begins."""

    operations: int


class Proven(Struct, frozen=True, kw_only=True, tag_field="event", tag="proven"):
    """Everything held; had anything not, `SafetyViolation` were raised."""

    replicas: int
    value: int
    acknowledged: int
    unknown: int
    """Increments whose outcome no client knows; each may be in `value` or not."""
    lost: int
    doubled: int
    digest: str
    operations: int
    reads: int
    check_seconds: float
    linearizable: bool = True


Happening: TypeAlias = (
    Starting | Ready | Progress | Loaded | Killing | TookOver | Restarting | CaughtUp | Recovered | Checking | Proven
)
