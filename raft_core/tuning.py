"""Other settings for a server that runs: which make sense, which may follow which, and what changes with them.

Timers and bounds are nobody's promise: Raft is safe whatever they are (paper 5.6), so each server may get new ones at
any time, one after the other, and nothing need be agreed on or kept on disk.  There is one exception.  A lease is a
promise about time (thesis 6.4.1): a leader reads by itself because it knows how long the others will wait.  What that
depends on stays as it is for as long as leases are in use.

Rejected: settings as an entry of the log (a cluster whose timers let nobody lead could never be healed); refusing
nothing here and hoping that callers check (a lease broken by a careless caller is a wrong read).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from raft_core.effects import Effect, Ignored, ResetElectionTimer, ResetHeartbeatTimer
from raft_core.events import SettingsChanged
from raft_core.roles import Leader
from raft_core.state import Server, Transition, election_timeout
from raft_core.types import Settings

_AT_LEAST: Final = {
    "max_in_flight": 1,
    "max_entries_per_message": 1,
    "max_bytes_per_message": 1,
    "max_uncommitted_entries": 1,
    "max_uncommitted_bytes": 1,
    "max_unapplied_entries": 1,
    "max_promotion_lag": 0,
    "snapshot_entries": 0,
    "snapshot_bytes": 1,
    "snapshot_chunk_bytes": 1,
    "trailing_entries": 0,
}
"""The smallest value of each bound with which anything still goes on."""
_LEASES_DEPEND_ON: Final = ("election_timeout", "lease_reads", "check_quorum", "pre_vote")


def timers_problem(settings: Settings) -> str:
    """Why no leader could stay one with these timers (paper 5.6: broadcast time << election timeout); else ""."""
    if settings.heartbeat_interval >= 1 and settings.heartbeat_interval * 2 <= settings.election_timeout:
        return ""
    return f"heartbeats every {settings.heartbeat_interval} ms, elections after {settings.election_timeout} ms"


def bounds_problem(settings: Settings) -> str:
    """Which bound lets nothing through; else ""."""
    low = [name for name, least in _AT_LEAST.items() if getattr(settings, name) < least]
    return ", ".join([f"{name} is {getattr(settings, name)}, and must be at least {_AT_LEAST[name]}" for name in low])


def change_problem(before: Settings, after: Settings) -> str:
    """Why a running server must not go from `before` to `after`; "" if it may."""
    if before.lease_reads or after.lease_reads:
        changed = [name for name in _LEASES_DEPEND_ON if getattr(before, name) != getattr(after, name)]
        if changed:
            return f"leases depend on {', '.join(changed)}, in all servers alike"
    return timers_problem(after) or bounds_problem(after)


def on_settings_changed(server: Server, event: SettingsChanged) -> Transition:
    """From now on these are the settings; timers that changed begin anew."""
    before, settings = server.settings, event.settings
    if settings == before:
        return Transition(server, (Ignored("these are the settings already"),))
    if problem := change_problem(before, settings):
        return Transition(server, (Ignored(f"settings that must not be: {problem}"),))
    after = replace(server, settings=settings)
    effects: list[Effect] = []
    if settings.election_timeout != before.election_timeout:
        after = replace(after, election_timeout=election_timeout(settings, event.randomness))
        effects.append(ResetElectionTimer(after.election_timeout, after.contact_timeout))
    if isinstance(server.role, Leader) and settings.heartbeat_interval != before.heartbeat_interval:
        effects.append(ResetHeartbeatTimer(settings.heartbeat_interval))
    return Transition(after, tuple(effects))
