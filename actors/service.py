"""The local service: lets other programs on this machine use and steer a running cluster (`actorum up`).

Each connection has a small thread: requests such as "restart n2" take their time, and nobody else should wait for them.
All of them end with the service.  A connection that sends what is no request is closed; the service goes on.

A program that attaches gets links to the peers as descriptors and from then on talks to them directly: the service is
not on the way of any command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path

from actors.cluster import Cluster
from actors.errors import ActorumError, BadFrame
from actors.protocol import Status
from actors.remote_administration import carry_out as administer
from actors.remote_network import carry_out
from actors.service_protocol import (
    KEY_NAME,
    SOCKET_NAME,
    Administer,
    Answer,
    AskNetwork,
    AskStatus,
    Attach,
    Attached,
    ChangeNetwork,
    ClusterReport,
    Connection,
    Done,
    KillPeer,
    Links,
    NetworkReport,
    NodeReport,
    Operated,
    Refusal,
    Request,
    RestartPeer,
    StopCluster,
    prove_to_client,
    short_path,
)
from actors.storage.files import read_or_make_secret, remove_if_there
from actors.storage.port import StorageInUse
from actors.storage.record import read_record
from actors.supervisor import Supervisor
from raft_core import ServerId

_BACKLOG = 64


class Service:
    """Serves one cluster on the socket in its data directory, until `close`."""

    def __init__(
        self,
        cluster: Cluster,
        supervisor: Supervisor,
        data: Path,
        *,
        name: str,
        machine: str,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_stop` is called when somebody asks for the end, in a thread of this service."""
        self._cluster = cluster
        self._supervisor = supervisor
        self._data = data
        self._name = name
        self._machine = machine
        self._key = read_or_make_secret(data / KEY_NAME)
        self._listener = _listen(data)
        self._connections: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._on_stop = on_stop
        self._acceptor = threading.Thread(target=self._accept, name="actorum-service", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Serve nobody any more; the socket file is removed."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        for thread in self._threads:
            thread.join()
        remove_if_there(self._data / SOCKET_NAME)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            connection = Connection(end)
            self._connections.add(connection)  # here, so that `close` knows all of them
            args = (end, connection)
            thread = threading.Thread(target=self._serve, args=args, name="actorum-connection", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, end: socket.socket, connection: Connection) -> None:
        attached: list[int] = []
        try:
            if not prove_to_client(end, self._key):
                return
            while (request := connection.receive_request()) is not None:
                if not connection.send(self._answer(request, connection, attached)):
                    return
        except BadFrame:
            return
        finally:
            for client_id in attached:
                with contextlib.suppress(ActorumError):
                    self._supervisor.remove_client(client_id)
            self._connections.discard(connection)
            connection.close()

    def _answer(self, request: Request, connection: Connection, attached: list[int]) -> Answer:
        try:
            match request:
                case AskStatus():
                    return self._report()
                case KillPeer(server_id=server_id):
                    victim = server_id or self._cluster.leader()
                    self._supervisor.kill(victim)
                    return Done(victim)
                case RestartPeer(server_id=server_id):
                    self._supervisor.restart(server_id)
                    return Done(server_id)
                case StopCluster():
                    self._on_stop()
                    return Done(None)
                case Attach():
                    attached.append(self._supervisor.add_client(_Passer(connection)))
                    return Attached()
                case AskNetwork():
                    return NetworkReport(self._cluster.network.state())
                case ChangeNetwork(change=change):
                    carry_out(change, self._cluster.network)
                    return Done(None)
                case Administer(operation=operation):
                    return Operated(administer(operation, self._cluster))
        except ActorumError as error:
            return Refusal(error.as_json())

    def _report(self) -> ClusterReport:
        statuses: dict[ServerId, Status | None] = self._cluster.status()
        errors = self._supervisor.last_errors()
        nodes = [
            NodeReport(
                server_id=name,
                state=state.value,
                seconds=since,
                process_id=process_id,
                status=statuses.get(name),
                error=errors[name].as_json() if name in errors else {},
            )
            for name, (state, since, process_id) in self._supervisor.members().items()
        ]
        record = read_record(self._data)
        recoveries = tuple(map(str, record.recoveries)) if record is not None else ()
        return ClusterReport(self._name, self._machine, tuple(nodes), recoveries)


class _Passer:
    """Takes a remote client's links by passing them on (see `supervisor.LinkTaker`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def attach(self, server_id: ServerId, ends: Mapping[str, PipeEnd]) -> None:
        """Send the descriptors; our copies are closed, whether somebody took them or not."""
        ordered = [ends[name] for name in ("requests", "consensus", "applier")]
        self._connection.send(Links(server_id), tuple(end.fileno() for end in ordered))
        for end in ordered:
            end.close()


def refuse_if_served(data: Path) -> None:
    """Raise `StorageInUse` if a service answers in this directory already."""
    if not (data / SOCKET_NAME).exists():
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with probe, short_path(data, SOCKET_NAME) as address, contextlib.suppress(ConnectionRefusedError):
        probe.connect(address)
        raise StorageInUse(
            f"a cluster is running on {data} already",
            why="two sets of peers on the same logs would destroy them",
            fix=f"actorum down --data {data}",
        )


def _listen(data: Path) -> socket.socket:
    refuse_if_served(data)
    remove_if_there(data / SOCKET_NAME)  # of a service that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with short_path(data, SOCKET_NAME) as address:
        listener.bind(address)
    os.chmod(data / SOCKET_NAME, 0o600)
    listener.listen(_BACKLOG)
    return listener
