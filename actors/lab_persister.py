"""What the lab's servers make durable, in memory (the lab's `persister.go`).

A persister outlives its servers and is theirs one after the other; it never leaves the process.
"""

from __future__ import annotations

from msgspec import msgpack

from actors.following import HandedOver, unpack
from actors.machine import MachineHost
from actors.outside import Outside
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots


class Persister:
    """What a server has made durable; it survives the server (the lab's Persister).

    Whoever is made from it gets a copy: a predecessor that is not quite dead may write what it likes, nobody reads it.
    """

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._snapshots = MemorySnapshots()

    def raft_state_size(self) -> int:
        """Bytes that term, vote and log take when they are encoded."""
        return len(msgpack.encode(self._storage.load()))

    def read_snapshot(self) -> bytes:
        """What the service gave to `Raft.snapshot` last, or its server was sent; empty if there is none."""
        return self.handed_over().state

    def snapshot_size(self) -> int:
        """Bytes of that."""
        return len(self.read_snapshot())

    def handed_over(self) -> HandedOver:
        """The same, with the index of the last command in it."""
        snapshots = self._snapshots.copy()  # a server at work forgets the older ones
        latest = snapshots.latest()
        if latest is None:
            return HandedOver(0, b"")
        outside = Outside()
        MachineHost(outside).restore(snapshots.load(latest))
        return unpack(outside.state)

    def copy(self) -> Persister:
        """What is stored now, for somebody else to write on."""
        other = Persister()
        other._storage, other._snapshots = self._storage.copy(), self._snapshots.copy()
        return other

    def hand_over(self) -> Disk:
        """The disk of a new incarnation: from now on, this is what is stored."""
        self._storage, self._snapshots = self._storage.copy(), self._snapshots.copy()
        return Disk(self._storage, self._snapshots)
