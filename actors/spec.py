"""What makes a peer: the part that every runtime needs to know, as data that can go to a new process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from actors.control import ControlChannel
from actors.errors import ActorumError
from actors.interpreter import Recorder
from actors.machine import MachineHost
from actors.snapshot_saving import saver_of
from actors.snapshot_taking import SnapshotTaker
from actors.storage.disk import Disk
from raft_core import Effect, LogIndex, Server, ServerId, Settings, restore

RuntimeName: TypeAlias = Literal["actors", "locks"]
"""Who takes turns: one mailbox for each peer, or threads around one lock for each peer."""


StorageKind: TypeAlias = Literal["sqlite", "unsynced sqlite", "journal"]
"""What keeps a peer's log in its directory: a database that survives loss of power; the same that survives only the
death of the process; a journal that survives as much and is thrown away with the program (see `storage.journal`)."""


class PeerConfig(Struct, frozen=True, kw_only=True):
    """What makes a peer, apart from its storage and its machine."""

    server_id: ServerId
    voters: tuple[ServerId, ...]
    settings: Settings
    seed: int | None = None
    """Seed of the election time-outs' randomness; None: the operating system's."""


class PeerSpec(Struct, frozen=True, kw_only=True):
    """Everything a new process must know to become a peer."""

    config: PeerConfig
    cluster_id: str
    machine: str
    """Where the machine's class can be imported: "module:Class"."""
    directory: str | None
    """Where the log is kept; None: in memory (threads only)."""
    storage: StorageKind = "sqlite"
    """What keeps it there."""
    allow_code: bool = False
    check_determinism: bool = False
    runtime: RuntimeName = "actors"
    log_level: str | None = None
    """Level of the loggers "actorum.*" of its process; None: as the program has it."""
    trace: str | None = None
    """File to which everything that happens to its server is recorded, to be replayed; None: nothing is recorded."""


def spec_of_another(spec: PeerSpec, server_id: ServerId, number: int) -> PeerSpec:
    """That of another peer of the same cluster; `number` is its own among them.

    It begins with the members that the cluster began with, as everybody did: the log says how it went on."""
    seed = None if spec.config.seed is None else spec.config.seed // 1000 * 1000 + number
    return replace(
        spec,
        config=replace(spec.config, server_id=server_id, seed=seed),
        directory=None if spec.directory is None else str(Path(spec.directory).with_name(server_id)),
        trace=None if spec.trace is None else str(Path(spec.trace).with_name(f"{server_id}.trace")),
    )


class PeerParts(NamedTuple):
    """What a runtime makes a running peer of."""

    config: PeerConfig
    disk: Disk
    machine: MachineHost
    channel: ControlChannel
    """The peer's end: links come over it, and its end is the peer's."""
    stopped: Callable[[BaseException | None], None]
    """Told once, when the peer has ended: with its error or None."""
    boundary: Callable[[Effect], None] | None = None
    """See `Interpreter`; as `recorder`."""
    recorder: Recorder | None = None


class RunningPeer(Protocol):
    """One incarnation of a peer, whatever its runtime."""

    recovered_index: LogIndex
    """Last index of the log that its storage gave back."""

    @property
    def bad_frames(self) -> list[ActorumError]:
        """Why frames, or whole links, were refused; the latest few."""

    def fail(self, error: BaseException) -> None:
        """End it from another thread as if its next turn had raised `error`; nothing happens if it has ended."""


StartPeer: TypeAlias = Callable[[PeerParts], RunningPeer]


def restored(config: PeerConfig, disk: Disk, machine: MachineHost, randomness: Random) -> tuple[Server, SnapshotTaker]:
    """The server that `disk` remembers, `machine` with the state of its latest snapshot, and who takes the next one."""
    stored, snapshot = disk.load()
    server = restore(
        config.server_id,
        config.voters,
        config.settings,
        randomness=randomness.getrandbits(32),
        current_term=stored.current_term,
        voted_for=stored.voted_for,
        entries=stored.entries,
        snapshot=snapshot,
        last_included=(stored.last_included_index, stored.last_included_term),
    )
    if snapshot is not None:
        machine.restore(disk.snapshots.load(snapshot))
    base, keeper = server.configurations[0], disk.keeper
    saver = saver_of(machine, disk.snapshots, behind=disk.is_alone)
    return server, SnapshotTaker(
        machine, disk.snapshots, config.settings, snapshot, base, keeper.stands_behind, saver, config.server_id
    )
