"""A peer's own process, and the part of it that a peer in a thread shares: from a specification to a running peer.

The process ignores Ctrl-C (the supervisor decides), ends when its control channel does (the supervisor was killed), and
ends when its peer does.  It never continues with a peer's memory after a failure.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import assert_never

from msgspec import msgpack

from actors.control import ControlChannel, PeerEnded, PeerReady
from actors.errors import ActorumError, PeerFailed
from actors.logs import set_log_level
from actors.machine import MachineHost
from actors.notes import Orphaned
from actors.replicated import Replicated, load_machine
from actors.runtimes import start_of
from actors.spec import PeerParts, PeerSpec, RunningPeer
from actors.storage.disk import Disk
from actors.storage.journal import JournalStorage
from actors.storage.port import Storage
from actors.storage.record import refuse_lost_log
from actors.storage.snapshots import SnapshotFiles
from actors.storage.sqlite import SqliteStorage
from actors.storage.trace import TraceWriter
from raft_core import Effect

SWITCH_INTERVAL = 0.001
"""Seconds a busy thread keeps the interpreter lock while consensus waits for it: a busy state machine must not delay
heartbeats (the default, 5 ms, shows in the latency of commits)."""


def open_disk(spec: PeerSpec) -> Disk:
    """The log and the snapshots that `spec` asks for."""
    if spec.directory is None:
        return Disk.in_memory()
    directory = Path(spec.directory)
    storage = _open_storage(spec, directory)
    try:
        owner = (spec.cluster_id, spec.config.server_id)
        snapshots = SnapshotFiles(
            directory / "snapshots", cluster_id=owner[0], server_id=owner[1], synchronous=spec.storage == "sqlite"
        )
    except BaseException:
        storage.close()
        raise
    return Disk(storage, snapshots)


def _open_storage(spec: PeerSpec, directory: Path) -> Storage:
    path = directory / ("raft.journal" if spec.storage == "journal" else "raft.sqlite3")
    refuse_lost_log(path)
    cluster_id, server_id = spec.cluster_id, spec.config.server_id
    match spec.storage:
        case "journal":
            return JournalStorage(path, cluster_id=cluster_id, server_id=server_id)
        case "sqlite":
            return SqliteStorage(path, cluster_id=cluster_id, server_id=server_id)
        case "unsynced sqlite":
            return SqliteStorage(path, cluster_id=cluster_id, server_id=server_id, synchronous="off")
        case _:
            assert_never(spec.storage)


def start_peer(
    spec: PeerSpec,
    disk: Disk,
    channel: ControlChannel,
    stopped: Callable[[BaseException | None], None],
    boundary: Callable[[Effect], None] | None = None,
    machine: type[Replicated] | None = None,
) -> RunningPeer:
    """Start a peer in this process and let it listen to its control channel.

    `boundary`: see `Interpreter`.  `machine`: the class, if it is at hand; else it is imported as `spec` says."""
    replica = (machine or load_machine(spec.machine))()
    host = MachineHost(replica, allow_code=spec.allow_code, check_determinism=spec.check_determinism)
    trace = TraceWriter(Path(spec.trace)) if spec.trace is not None else None

    def ended(error: BaseException | None) -> None:
        if trace is not None:
            trace.close()
        stopped(error)

    try:
        peer = start_of(spec.runtime)(PeerParts(spec.config, disk, host, channel, ended, boundary, trace))
    except BaseException:
        if trace is not None:
            trace.close()  # nobody else will, and it has one writer at a time
        raise
    channel.send(PeerReady(os.getpid(), peer.recovered_index))
    return peer


def report_end(channel: ControlChannel, error: BaseException | None) -> None:
    """Tell the supervisor why a peer ended, and close the channel."""
    if isinstance(error, ActorumError):
        channel.send(PeerEnded(error.as_json()))
    elif error is None:
        channel.send(PeerEnded({}))
    elif not isinstance(error, Orphaned):
        failure = PeerFailed(f"the peer stopped: {type(error).__name__}: {error}", why="an exception in a transition")
        channel.send(PeerEnded(failure.as_json()))
    channel.close()


def peer_main(end: socket.socket, encoded_spec: bytes, boundary: Callable[[Effect], None] | None = None) -> None:
    """Entry point of a peer's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    channel = ControlChannel(end)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    try:
        spec = msgpack.decode(encoded_spec, type=PeerSpec)
        if spec.log_level is not None:
            set_log_level(spec.log_level)
        start_peer(spec, open_disk(spec), channel, ended.put, boundary)
        error = ended.get()
    except Exception as failure:
        error = failure
    report_end(channel, error)
    os._exit(0 if error is None else 1)
