"""A peer's own process, and the part of it that a peer in a thread shares: from a specification to a running actor.

The process ignores Ctrl-C (the supervisor decides), ends when its control channel does (the supervisor was killed), and
ends when its actor does.  It never continues with a peer's memory after a failure.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from msgspec import Struct, msgpack
from pykka import ActorRef

from actors.control import AttachClient, AttachPeer, ControlChannel, PeerEnded, PeerReady, StopPeer
from actors.errors import ActorumError, BadFrame, PeerFailed
from actors.links import reader_of, writer_of
from actors.machine import MachineHost
from actors.mailbox import ClientLinks, Failed, Note, PeerLinks, Shutdown
from actors.peer import PeerActor, PeerConfig
from actors.replicated import Replicated, load_machine
from actors.storage.memory import MemoryStorage
from actors.storage.port import Storage
from actors.storage.record import refuse_lost_log
from actors.storage.sqlite import SqliteStorage
from raft_core import Effect

SWITCH_INTERVAL = 0.001
"""Seconds a busy thread keeps the interpreter lock while consensus waits for it: a busy state machine must not delay
heartbeats (the default, 5 ms, shows in the latency of commits)."""


class PeerSpec(Struct, frozen=True, kw_only=True):
    """Everything a new process must know to become a peer."""

    config: PeerConfig
    cluster_id: str
    machine: str
    """Where the machine's class can be imported: "module:Class"."""
    directory: str | None
    """Where the log is kept; None: in memory (threads only)."""
    synchronous: Literal["full", "off"] = "full"
    """Survive power loss, or only the death of the process."""
    allow_code: bool = False
    check_determinism: bool = False


class EndedFromOutside(Exception):
    """A peer is ended by somebody else; there is nothing to report of it."""


class Orphaned(EndedFromOutside):
    """The supervisor is gone."""


def _is_worth_a_report(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], EndedFromOutside))


# Pykka logs every exception that ends an actor; unconfigured, logging prints that to the user's terminal.
logging.getLogger("pykka").addFilter(_is_worth_a_report)


def open_storage(spec: PeerSpec) -> Storage:
    """The storage that `spec` asks for."""
    if spec.directory is None:
        return MemoryStorage()
    database = Path(spec.directory) / "raft.sqlite3"
    refuse_lost_log(database)
    return SqliteStorage(
        database, cluster_id=spec.cluster_id, server_id=spec.config.server_id, synchronous=spec.synchronous
    )


def start_peer(
    spec: PeerSpec,
    storage: Storage,
    channel: ControlChannel,
    stopped: Callable[[BaseException | None], None],
    boundary: Callable[[Effect], None] | None = None,
    machine: type[Replicated] | None = None,
) -> ActorRef[PeerActor]:
    """Start the actor of a peer in this process and let it listen to its control channel.

    `boundary`: see `Interpreter`.  `machine`: the class, if it is at hand; else it is imported as `spec` says."""
    replica = (machine or load_machine(spec.machine))()
    host = MachineHost(replica, allow_code=spec.allow_code, check_determinism=spec.check_determinism)
    actor = PeerActor(spec.config, storage, host, stopped, boundary)
    actor.mailbox.watch(channel, lambda: _notes_from(channel))
    reference = actor.launch()
    channel.send(PeerReady(os.getpid(), actor.interpreter.server.log.last_index))
    return reference


def _notes_from(channel: ControlChannel) -> list[Note]:
    try:
        received = channel.receive()
    except BadFrame as error:
        return [Failed(error)]
    if received is None:
        return [Failed(Orphaned())]
    packet, descriptors = received
    match packet:
        case AttachPeer(server_id=server_id):
            return [PeerLinks(server_id, reader_of(descriptors[0]), writer_of(descriptors[1]))]
        case AttachClient(client_id=client_id):
            reader, consensus, applier = descriptors
            return [ClientLinks(client_id, reader_of(reader), writer_of(consensus), writer_of(applier))]
        case StopPeer():
            return [Shutdown()]
        case _:
            return [Failed(BadFrame(f"a peer does not understand {type(packet).__name__}"))]


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
        start_peer(spec, open_storage(spec), channel, ended.put, boundary)
        error = ended.get()
    except Exception as failure:
        error = failure
    report_end(channel, error)
    os._exit(0 if error is None else 1)
