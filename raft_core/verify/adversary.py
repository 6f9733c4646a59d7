"""The adversary of a simulation: which misfortunes there are, and how often.

Each seed draws an adversary of its own, and leaves most kinds of misfortune out of it ("swarm testing", Groce and
others 2012): a run in which everything happens at once spends its time in chaos, and hardly ever gets into the states
in which one thing goes wrong after another.  Even-numbered clusters, batched turns and slow disks are drawn in the same
way, for a fault that needs two of them would otherwise be met by luck alone.
"""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from raft_core.types import Settings

LEASE_DRIFT = 0.05
"""Where reads by lease are allowed, clocks drift no more than this and never jump: two of them differ by a tenth at
most, which is what leases are safe with (thesis 6.4.1)."""


class Adversary(Struct, frozen=True, kw_only=True):
    """Durations are milliseconds of simulated time, chances are for each message or each event.

    The default is a kind world: messages take a moment, nothing is lost and nobody falls.
    """

    settings: Settings = Settings()
    """What the servers are set to; the same for all."""
    loss: float = 0.0
    """Chance that a message is lost."""
    repetition: float = 0.0
    """Chance that a message arrives twice."""
    latest: float = 0.0
    """The longest that the second of the two takes, if that is more: terms later, it is an answer to an older self."""
    slowest: float = 5.0
    """The longest that a message takes; those sent later may arrive earlier."""
    write_takes: float = 2.0
    """The longest that a write to a disk takes."""
    apply_takes: float = 1.0
    """The longest that applying one piece of work takes."""
    turn_takes: float = 1.0
    """The longest that events wait for their server's turn."""
    think_takes: float = 40.0
    """The longest that a client waits between an answer and its next request.  With idle clients more of a run is
    elections."""
    misfortune_every: float = 0.0
    """Mean time between misfortunes; 0: none ever."""
    crashes: bool = False
    tears: bool = False
    """What was being written when a server fell may be there in part."""
    short_reigns: bool = False
    """Most leaders fall or are cut off soon after they were elected."""
    cuts: bool = False
    pauses: bool = False
    slow_spells: bool = False
    """A disk or a state machine takes a long time for everything, for a while."""
    stalls: bool = False
    """A disk is full, or hangs: nothing is written for a while."""
    clock_jumps: bool = False
    clock_drift: float = 0.0
    """Clocks run between 1 - drift and 1 + drift times as fast as they should."""
    batched: bool = False
    """A server takes everything that waits in one turn (`step_all`)."""
    snapshot_every: int = 0
    """Applied entries after which a server takes a snapshot; 0: never."""
    spoils: float = 0.0
    """Chance that a part of a snapshot is not what was sent."""
    change_every: float = 0.0
    """Mean time between wishes for other members; 0: none ever."""
    transfer_every: float = 0.0
    """Mean time between wishes for another leader; 0: none ever."""
    prefers: bool = False
    """Wishes for other members also say who shall lead rather than others."""
    settings_every: float = 0.0
    """Mean time between wishes for other settings of one server; 0: none ever."""

    def at_peace(self) -> Adversary:
        """The same world when all faults have ended."""
        kind = replace(self, loss=0.0, repetition=0.0, slowest=min(self.slowest, 20.0), misfortune_every=0.0)
        return replace(kind, spoils=0.0, change_every=0.0, transfer_every=0.0, settings_every=0.0)


def drawn(random: Random) -> Adversary:
    """An adversary as a seed draws it."""
    often = random.choice((0.0, 150.0, 400.0, 400.0, 1_000.0, 2_500.0))
    settings, loss = _settings(random), random.choice((0.0, 0.0, 0.02, 0.1, 0.3))
    repetition = random.choice((0.0, 0.0, 0.05, 0.3))
    return Adversary(
        settings=settings,
        loss=loss,
        repetition=repetition,
        latest=3_000.0 if repetition > 0.1 else 0.0,
        slowest=random.choice((2.0, 10.0, 30.0, 150.0, 500.0)),
        write_takes=random.choice((0.1, 2.0, 10.0, 60.0)),
        apply_takes=random.choice((0.1, 2.0, 20.0)),
        turn_takes=random.choice((0.1, 1.0, 10.0)),
        think_takes=random.choice((5.0, 40.0, 300.0, 2_000.0)),
        misfortune_every=often,
        crashes=random.random() < 0.7,
        tears=random.random() < 0.5,
        short_reigns=random.random() < 0.4,
        cuts=random.random() < 0.7,
        pauses=random.random() < 0.4,
        slow_spells=random.random() < 0.4,
        clock_jumps=random.random() < 0.2 and not settings.lease_reads,
        clock_drift=random.choice((0.0, 0.0, 0.1, 0.4) if not settings.lease_reads else (0.0, 0.03, LEASE_DRIFT)),
        batched=random.random() < 0.4,
        snapshot_every=random.choice((0, 0, 1, 5, 20, 60)),
        spoils=random.choice((0.0, 0.0, 0.02, 0.2)),
        change_every=random.choice((0.0, 0.0, 50.0, 300.0, 1_500.0)),
        transfer_every=random.choice((0.0, 0.0, 0.0, 100.0, 1_000.0)),
        stalls=random.random() < 0.4,
        prefers=random.random() < 0.5,
        settings_every=random.choice((0.0, 0.0, 100.0, 600.0)),
    )


def other_settings(random: Random, now: Settings) -> Settings:
    """What somebody may want instead of `now`: bounds and timers as drawn, and now and then what must be refused."""
    other, kind = _settings(random), random.random()
    if kind < 0.7 and now.lease_reads:
        keeps = {"election_timeout": now.election_timeout, "pre_vote": now.pre_vote, "check_quorum": now.check_quorum}
        return replace(other, lease_reads=True, **keeps)
    if kind < 0.85:
        return replace(other, lease_reads=now.lease_reads)
    if kind < 0.95:
        return other
    return replace(other, **random.choice(_SENSELESS))


_SENSELESS: Final[tuple[dict[str, int], ...]] = (
    {"heartbeat_interval": 0},
    {"heartbeat_interval": 140},
    {"max_in_flight": 0},
    {"max_entries_per_message": 0},
    {"snapshot_chunk_bytes": 0},
    {"trailing_entries": -1},
)
"""With any of these nothing goes on, or nobody can stay leader."""


def _settings(random: Random) -> Settings:
    return Settings(
        election_timeout=random.choice((150, 300)),
        heartbeat_interval=random.choice((20, 50)),
        max_in_flight=random.choice((1, 2, 4, 64)),
        max_entries_per_message=random.choice((1, 2, 5, 100)),
        max_bytes_per_message=random.choice((1, 50, 10_000)),
        max_uncommitted_entries=random.choice((3, 20, 1_000)),
        max_uncommitted_bytes=random.choice((100, 100_000)),
        max_unapplied_entries=random.choice((5, 1_000)),
        max_promotion_lag=random.choice((0, 5, 1_000)),
        snapshot_chunk_bytes=random.choice((16, 60, 10_000)),
        trailing_entries=random.choice((0, 0, 3, 30)),
        pre_vote=random.random() < 0.7,
        check_quorum=random.random() < 0.7,
        lease_reads=random.random() < 0.4,
    )
