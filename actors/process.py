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
from functools import partial
from pathlib import Path
from typing import assert_never

from msgspec import msgpack

from actors.control import ControlChannel, PeerEnded, PeerReady
from actors.errors import ActorumError, PeerFailed
from actors.interpreter import Recorder
from actors.logs import set_log_level
from actors.machine import MachineHost
from actors.notes import Orphaned
from actors.replicated import Replicated, load_machine
from actors.runtimes import start_of
from actors.signals import SignalQueue
from actors.spec import PeerParts, PeerSpec, RunningPeer
from actors.storage.disk import Disk
from actors.storage.journal import JournalStorage
from actors.storage.port import Storage
from actors.storage.record import lineage_of, refuse_lost_log
from actors.storage.snapshots import SnapshotFiles
from actors.storage.sqlite import SqliteStorage
from actors.storage.trace import TraceWriter
from raft_core import Effect

SWITCH_INTERVAL = 0.001
"""Seconds a busy thread keeps the interpreter lock while consensus waits for it: a busy state machine must not delay
heartbeats (the default, 5 ms, shows in the latency of commits)."""


def open_disk(spec: PeerSpec, *, in_own_process: bool = False) -> Disk:
    """The log and the snapshots that `spec` asks for; `in_own_process`: nobody else is in this one."""
    if spec.directory is None:
        return Disk.in_memory()
    directory = Path(spec.directory)
    storage = _open_storage(spec, directory)
    try:
        snapshots = SnapshotFiles(
            directory / "snapshots",
            cluster_id=lineage_of(spec.cluster_id),
            server_id=spec.config.server_id,
            synchronous=spec.storage == "sqlite",
        )
    except BaseException:
        storage.close()
        raise
    return Disk(storage, snapshots, is_alone=in_own_process)


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
    recorder: Recorder | None = None,
) -> RunningPeer:
    """Start a peer in this process and let it listen to its control channel.

    `boundary`: see `Interpreter`.  `machine`: the class, if it is at hand; else it is imported as `spec` says.
    `recorder`: who keeps the turns, if the specification names no file for them."""
    replica = (machine or load_machine(spec.machine))()
    host = MachineHost(replica, allow_code=spec.allow_code, check_determinism=spec.check_determinism)
    trace = TraceWriter(Path(spec.trace)) if spec.trace is not None else None

    def ended(error: BaseException | None) -> None:
        if trace is not None:
            trace.close()
        stopped(error)

    try:
        peer = start_of(spec.runtime)(PeerParts(spec.config, disk, host, channel, ended, boundary, trace or recorder))
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
    live_as_peer(end, encoded_spec, partial(start_peer, boundary=boundary))


def live_as_peer(
    end: socket.socket,
    encoded_spec: bytes,
    start: Callable[[PeerSpec, Disk, ControlChannel, Callable[[BaseException | None], None]], object],
) -> None:
    """Be the peer that `start` starts, until it ends; then end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    channel = ControlChannel(end)
    ended: SignalQueue[BaseException | None] = SignalQueue()
    try:
        spec = msgpack.decode(encoded_spec, type=PeerSpec)
        if spec.log_level is not None:
            set_log_level(spec.log_level)
        start(spec, open_disk(spec, in_own_process=True), channel, ended.put)
        error = ended.get()
    except Exception as failure:
        error = failure
    report_end(channel, error)
    os._exit(0 if error is None else 1)
