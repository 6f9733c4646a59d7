"""One server, driven event by event, with a real disk: what it remembers after a fall is what is in the files.

Everything here is what a peer is made of: `open_disk`, `restored`, `step`.  Only the thread that takes turns is
missing, so that each event and each fall has its place.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import get_args

from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.process import open_disk
from actors.spec import PeerConfig, PeerSpec, StorageKind, restored
from actors.storage.disk import Arrival
from raft_core import (
    Effect,
    Event,
    Message,
    Received,
    Send,
    ServerId,
    Settings,
    SnapshotReceived,
    SnapshotSpoiled,
    step,
)
from raft_core.effects import PersistEffect

NAMES = ("n1", "n2", "n3")
SETTINGS = Settings(pre_vote=False, trailing_entries=0)


class ServerOnDisk:
    """Server n1 of three; its files are in `directory`."""

    def __init__(self, directory: Path, storage: StorageKind, settings: Settings = SETTINGS) -> None:
        config = PeerConfig(server_id="n1", voters=NAMES, settings=settings)
        self.directory = directory
        self._successor: ServerOnDisk | None = None
        self.spec = PeerSpec(config=config, cluster_id="c", machine="", directory=str(directory), storage=storage)
        self.disk = open_disk(self.spec)
        self.server, self.snapshots = restored(config, self.disk, MachineHost(Counter()), Random(1))

    def happens(self, event: Event) -> tuple[Effect, ...]:
        """The server takes `event`, and what it persists is in its files before this returns."""
        self.server, effects = step(self.server, event)
        changes = [effect for effect in effects if isinstance(effect, get_args(PersistEffect))]
        for arrival in self.disk.write(changes):
            effects += self._arrived(arrival)
        return effects

    def hears(self, sender: ServerId, message: Message) -> list[Message]:
        """What it says to `sender` when it gets `message`."""
        effects = self.happens(Received(sender, message))
        return [effect.message for effect in effects if isinstance(effect, Send) and effect.to == sender]

    def killed_and_started_again(self) -> ServerOnDisk:
        """What a new process finds after a SIGKILL at this moment: the files as they are, with nothing closed."""
        successor = self.directory.with_name(self.directory.name + "-again")
        shutil.copytree(self.directory, successor)
        self._successor = ServerOnDisk(successor, self.spec.storage, self.spec.config.settings)
        return self._successor

    def close(self) -> None:
        """Give the files back, those of the successor too."""
        self.disk.close()
        if self._successor is not None:
            self._successor.close()

    def _arrived(self, arrival: Arrival) -> tuple[Effect, ...]:
        kind = SnapshotReceived if arrival.is_sound else SnapshotSpoiled
        return self.happens(kind(arrival.snapshot))
