"""What a simulated server keeps to by itself: with a disk that stalls, with other settings, with somebody better.

The rules count by themselves, and look at nothing but states and events:

* Whoever knows that its disk has stalled leads no more, and runs for nothing.
* Settings change only to what somebody asked for, only to what makes sense, and never in what leases depend on; what
  makes sense is not refused.  Timers are those of the settings, at once; whoever hears from a leader has one that ends
  it.
* Nobody flaps: a leader hands over by itself to voters of higher priority alone, after ten election timeouts at the
  earliest, and after a failure not before twice as long, and twice as long again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from raft_core.events import DiskRecovered, DiskStalled, Event, HeartbeatTimeout, SettingsChanged
from raft_core.roles import Follower, Leader
from raft_core.state import Server
from raft_core.types import ServerId, Settings
from raft_core.verify.simulated_clock import CONTACT, ELECTION, HEARTBEAT
from raft_core.verify.violation import Violation

PATIENCE: Final = 10
"""Election timeouts before a leader hands over by itself."""
_MAY_BE_NOUGHT: Final = ("max_promotion_lag", "snapshot_entries", "trailing_entries")
_LEASES_DEPEND_ON: Final = ("election_timeout", "lease_reads", "check_quorum", "pre_vote")


class Conduct:
    """Of one server in one life."""

    def __init__(self, name: ServerId) -> None:
        self._name = name
        self._heartbeats = 0
        self._failures = 0
        self._wished: ServerId | None = None

    def turned(self, before: Server, after: Server, events: Sequence[Event]) -> bool:
        """The server took a turn.  Did it begin to hand over by itself?"""
        self._check_disk(before, after, events)
        if before.settings is not after.settings or any(isinstance(event, SettingsChanged) for event in events):
            self._check_settings(before.settings, after.settings, events)
        return self._hands_over(before, after, events)

    def _check_disk(self, before: Server, after: Server, events: Sequence[Event]) -> None:
        told = [type(event) for event in events if isinstance(event, DiskStalled | DiskRecovered)]
        is_stalled = told[-1] is DiskStalled if told else before.disk_is_stalled
        if is_stalled != after.disk_is_stalled:
            raise Violation("Stalled Disk", f"{self._name} was told {told}, and believes something else of its disk")
        if told == [DiskStalled] and isinstance(before.role, Leader) and isinstance(after.role, Leader):
            raise Violation("Stalled Disk", f"{self._name} leads on with a disk that has stalled")
        began = isinstance(before.role, Follower) and not isinstance(after.role, Follower)
        if before.disk_is_stalled and not told and (began or leads_anew(before, after)):
            raise Violation("Stalled Disk", f"{self._name} became {after.role_name} with a disk that has stalled")

    # --- settings -----------------------------------------------------------------------------------------------------

    def _check_settings(self, before: Settings, after: Settings, events: Sequence[Event]) -> None:
        asked = [event.settings for event in events if isinstance(event, SettingsChanged)]
        if after not in (before, *asked):
            raise Violation("Settings", f"{self._name} has settings that nobody asked for")
        if after != before and (problem := _problem(before, after)):
            raise Violation("Settings", f"{self._name} took settings that must not be: {problem}")
        if after == before and len(asked) == 1 and asked[0] != before and not _problem(before, asked[0]):
            raise Violation("Settings", f"{self._name} refused {asked[0]}")

    # --- preferred leaders --------------------------------------------------------------------------------------------

    def _hands_over(self, before: Server, after: Server, events: Sequence[Event]) -> bool:
        was, leader = before.role, after.role
        if not isinstance(leader, Leader) or not isinstance(was, Leader) or before.current_term != after.current_term:
            self._heartbeats, self._failures, self._wished = 0, 0, None
            return False
        self._heartbeats += sum(1 for event in events if isinstance(event, HeartbeatTimeout))
        wished = None if leader.preference is None else leader.preference.target
        if wished != self._wished:
            self._failures, self._wished = 0, wished
        transfer = leader.transfer
        if transfer is None or transfer.transfer_id is not None or was.transfer is not None:
            return False
        self._check_patience(min(_in_a_timeout(before.settings), _in_a_timeout(after.settings)))
        if not any(_is_better(server, transfer.target) for server in (before, after)):
            raise Violation("No Flapping", f"{self._name} hands over to {transfer.target}, which is no better leader")
        self._heartbeats, self._failures = 0, self._failures + 1
        return True

    def _check_patience(self, in_a_timeout: float) -> None:
        needed = int((PATIENCE << min(self._failures, 6)) * in_a_timeout)
        if self._heartbeats < needed:
            raise Violation("No Flapping", f"{self._name} hands over after {self._heartbeats} heartbeats, not {needed}")


def leads_anew(before: Server, after: Server) -> bool:
    """Has it become the leader?"""
    return isinstance(after.role, Leader) and not isinstance(before.role, Leader)


def check_timers(server: Server, lasting: Mapping[str, int]) -> None:
    """After all effects of a turn: the timers were last set to what state and settings say."""
    name, shortest = server.server_id, server.settings.election_timeout
    if not shortest <= server.election_timeout < 2 * shortest:
        raise Violation("Timers", f"{name} waits {server.election_timeout} ms, not from {shortest} to twice that")
    if lasting.get(ELECTION) != server.election_timeout:
        raise Violation("Timers", f"{name} set its election timer to {lasting.get(ELECTION)} ms")
    expected = server.settings.heartbeat_interval if isinstance(server.role, Leader) else 0
    if lasting.get(HEARTBEAT, 0) != expected:
        raise Violation("Timers", f"{name}, {server.role_name}, set its heartbeats to {lasting.get(HEARTBEAT)} ms")
    if isinstance(server.role, Follower) and server.role.leader_is_recent and lasting.get(CONTACT) != shortest:
        raise Violation("Timers", f"{name} never forgets the leader it heard, and refuses pre-votes for good")


def _in_a_timeout(settings: Settings) -> float:
    return settings.election_timeout / settings.heartbeat_interval


def _is_better(server: Server, name: ServerId) -> bool:
    members = server.configuration
    return name in members.voters and members.priority(name) > members.priority(server.server_id)


def _problem(before: Settings, after: Settings) -> str:
    """Why it must not be; "" if it may."""
    if before.lease_reads or after.lease_reads:
        for name in _LEASES_DEPEND_ON:
            if getattr(before, name) != getattr(after, name):
                return f"leases depend on {name}"
    if 2 * after.heartbeat_interval > after.election_timeout:
        return "heartbeats are too rare"
    for name in Settings.__struct_fields__:
        value = getattr(after, name)
        if not isinstance(value, bool) and value < (0 if name in _MAY_BE_NOUGHT else 1):
            return f"{name} is {value}"
    return ""
