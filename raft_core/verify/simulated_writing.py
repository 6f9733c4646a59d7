"""The third of a simulated server that writes: its disk, which takes its time, and may hang.

A disk that is full and one that hangs look alike from here: what was asked for is not done, and nothing behind it is.
A server whose disk is busy with one transaction for as long as an election timeout is told (`DiskStalled`), and told
again when that is written (`DiskRecovered`), as whoever carries out the effects has to.
"""

from __future__ import annotations

from collections.abc import Callable

from raft_core.effects import AppendToLog, PersistEffect, ReceiveSnapshotChunk, Send
from raft_core.events import DiskRecovered, DiskStalled, LogPersisted, SnapshotReceived, SnapshotSpoiled
from raft_core.verify.simulated_service import SimulatedService
from raft_core.verify.simulated_snapshots import Spoil, perhaps_spoiled, spoiled


class SimulatedWriting(SimulatedService):
    """What a server does with its disk."""

    def _reset(self) -> None:
        super()._reset()
        self._writing: list[PersistEffect] = []
        """What the disk is busy with; empty: it is idle."""
        self._hangs, self._hung = False, list[Callable[[], None]]()
        """What is done when the disk hangs no more."""
        self._is_overdue = False
        """The server was told that its disk has stalled."""

    def _write_on(self) -> None:
        """Let go what waits for no write; then give the disk its next transaction."""
        disk = self.disk
        if self._writing:
            return
        while disk.stream and isinstance(disk.stream[0], Send):
            item = disk.stream.popleft()
            assert isinstance(item, Send)
            self._leaves(item)
        if disk.stream:
            self._writing = disk.next_transaction()
            self._watch_disk(self._writing)
            self._to_disk(self.simulation.adversary.write_takes * self.slowness, self._written)

    def _to_disk(self, longest: float, action: Callable[[], None]) -> None:
        self._later(longest, lambda: self._hung.append(action) if self._hangs else action())

    def disk_hangs(self) -> None:
        """From now on nothing is written."""
        self._hangs = True

    def disk_goes_on(self) -> None:
        """It writes again, what waited first."""
        hung, self._hung, self._hangs = self._hung, [], False
        for action in hung:
            action()

    def _watch_disk(self, writing: list[PersistEffect]) -> None:
        """Where disks may be that slow: does this take as long as an election timeout?"""
        adversary = self.simulation.adversary
        if self.server is not None and (adversary.stalls or adversary.slow_spells):
            limit = self.server.settings.election_timeout * 1_000
            self.simulation.after(limit, lambda: self._overdue() if self._writing is writing else None)

    def _overdue(self) -> None:
        self._is_overdue = True
        self.post(DiskStalled())

    def _written(self) -> None:
        changes, self._writing = self._writing, []
        if self._is_overdue:
            self._is_overdue = False
            self.post(DiskRecovered())
        for change in changes:
            self.disk.stream.popleft()
            arrived = spoiled(change, self._spoil(change)) if isinstance(change, ReceiveSnapshotChunk) else change
            is_sound = self.disk.make_durable(arrived)
            self.simulation.oracle.written(self.name, change)
            if isinstance(change, AppendToLog):
                self.post(LogPersisted(change.prev_log_index + len(change.entries), change.current_term))
            elif isinstance(change, ReceiveSnapshotChunk) and change.is_last:
                self.post(SnapshotReceived(change.snapshot) if is_sound else SnapshotSpoiled(change.snapshot))
        self._write_on()

    def _spoil(self, part: ReceiveSnapshotChunk) -> Spoil | None:
        spoil = perhaps_spoiled(part, self.simulation.adversary.spoils, self.simulation.random)
        if spoil is not None:
            self.simulation.misfortunes.counts["spoiled part"] += 1
        return spoil
