"""A peer of a cluster, across its incarnations: what is known of it, and what becomes of it when one ends.

A peer that dies unasked is started again, after a pause that doubles with every death in a row.  A peer that was killed
on request stays down until it is started on request; a peer that cannot use its storage, or whose program is too old
for what the log says, stays down with its reason.

These are decisions: nothing is started or ended here.  That is for the supervisor, in the one thread that owns all
members.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from actors.errors import ActorumError, WrongVersion
from actors.hosts import Hosted, start_error
from actors.spec import PeerSpec
from actors.storage.port import CorruptStorage, StorageInUse, UnknownFormat, WrongCluster

FIRST_PAUSE = 0.1
"""Seconds before a peer that died is started again; doubled with each death in a row."""
LONGEST_PAUSE = 5.0
HEALTHY_AFTER = 10.0
"""Seconds of life after which a death counts as the first again."""
_FINAL = (CorruptStorage, WrongCluster, StorageInUse, UnknownFormat, WrongVersion)


class PeerState(StrEnum):
    """What the supervisor knows of a peer."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    FAILED = "failed"


@dataclass
class Member:
    """A peer, across its incarnations."""

    spec: PeerSpec
    state: PeerState = PeerState.DOWN
    since: float = field(default_factory=monotonic)
    hosted: Hosted | None = None
    process_id: int = 0
    wanted: bool = True
    recovered_index: int = 0
    """Last index of its log when it was last ready: what its storage gave back."""
    has_been_up: bool = False
    """It was ready at least once, so its storage and its program are sound as far as anybody knows."""
    deaths_in_a_row: int = 0
    restart_at: float | None = None
    error: ActorumError | None = None
    last_error: ActorumError | None = None
    """As `error`, but kept when the peer is started again."""

    def set_state(self, state: PeerState) -> None:
        """From now on."""
        self.state, self.since = state, monotonic()

    def starting(self) -> None:
        """It is wanted, and what ended its last incarnation counts no more."""
        self.restart_at, self.error, self.wanted = None, None, True
        self.set_state(PeerState.STARTING)

    def ready(self, process_id: int, last_index: int) -> None:
        """It has recovered."""
        self.process_id, self.has_been_up, self.recovered_index = process_id, True, last_index
        self.set_state(PeerState.UP)

    def unwanted(self) -> None:
        """Somebody asked for its end: it is not started again unless somebody asks for that."""
        self.wanted, self.restart_at = False, None

    def ended(self, exit_code: int | None) -> None:
        """Its incarnation is gone: it failed, is down, or is to be started again at `restart_at`."""
        self.process_id = 0
        if self.state is PeerState.STARTING and self.wanted and not self.has_been_up:
            # The very first start: what ended it will end the next one too, and somebody waits for the answer.
            self.error = self.error or start_error(self.spec.config.server_id, exit_code)
            self.wanted = False
        if not self.wanted or isinstance(self.error, _FINAL):
            self.set_state(PeerState.FAILED if self.error else PeerState.DOWN)
            return
        lived = monotonic() - self.since
        self.deaths_in_a_row = 1 if lived > HEALTHY_AFTER else self.deaths_in_a_row + 1
        self.set_state(PeerState.DOWN)
        pause = min(FIRST_PAUSE * 2 ** (self.deaths_in_a_row - 1), LONGEST_PAUSE)
        self.restart_at = monotonic() + pause
