"""What the API needs of a running cluster, whether this program runs it or `actorum up` does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from actors.cluster import Cluster
from actors.cluster_ports import ClusterClient
from actors.errors import WrongArguments
from actors.http.exactly_once import ClientSessions
from actors.raw_client import RawClient
from actors.remote import connect
from actors.service_protocol import (
    KEY_NAME,
    SOCKET_NAME,
    Attach,
    ClusterReport,
    Connection,
    Links,
    NodeReport,
    prove_to_server,
    short_path,
)
from actors.supervisor import Supervisor


class Attached(NamedTuple):
    """A running cluster, as the API sees it."""

    client: ClusterClient
    """For commands that nobody numbered, and for queries."""
    sessions: ClientSessions
    """For commands that their senders numbered."""
    report: Callable[[], ClusterReport]
    """How the peers are; may take a second."""


@contextlib.contextmanager
def attached_to(cluster: Cluster, machine: str) -> Iterator[Attached]:
    """To a cluster of this program.  `machine` is what it is called: "counter@1"."""
    supervisor = cluster.supervisor
    if not isinstance(supervisor, Supervisor):
        raise WrongArguments(
            "a simulated cluster cannot be served over HTTP",
            why="its time passes only while the program asks it",
            fix='engine="processes" or engine="threads"',
        )
    sessions = ClientSessions()
    number = supervisor.add_client(sessions.raw)
    try:
        yield Attached(cluster.client, sessions, lambda: _report(cluster, machine))
    finally:
        supervisor.remove_client(number)
        sessions.raw.close()


@contextlib.contextmanager
def attached_at(data: Path, timeout: float = 10.0) -> Iterator[Attached]:
    """To the cluster that another program runs on the directory `data`.  Raises `ClusterNotRunning`."""
    with connect(data, timeout=timeout) as cluster, _sessions_at(data) as sessions:
        yield Attached(cluster.client(), sessions, cluster.status)


@contextlib.contextmanager
def _sessions_at(data: Path) -> Iterator[ClientSessions]:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with short_path(data, SOCKET_NAME) as address:
        end.connect(address)
    prove_to_server(end, (data / KEY_NAME).read_bytes())
    links = Connection(end)
    links.send(Attach())
    sessions = ClientSessions()
    ready: SimpleQueue[None] = SimpleQueue()
    reader = threading.Thread(target=_take_links, args=(links, sessions.raw, ready), name="actorum-links", daemon=True)
    reader.start()
    try:
        ready.get()
        yield sessions
    finally:
        links.close()
        reader.join()
        sessions.raw.close()


def _take_links(links: Connection, client: RawClient, ready: SimpleQueue[None]) -> None:
    while (received := links.receive_answer()) is not None:
        answer, descriptors = received
        if isinstance(answer, Links):
            requests, consensus, applier = descriptors
            ends = {
                "requests": PipeEnd(requests, readable=False),
                "consensus": PipeEnd(consensus, writable=False),
                "applier": PipeEnd(applier, writable=False),
            }
            client.attach(answer.server_id, ends)
        else:
            ready.put(None)
    ready.put(None)


def _report(cluster: Cluster, machine: str) -> ClusterReport:
    statuses = cluster.status()
    errors = cluster.supervisor.last_errors()
    nodes = [
        NodeReport(
            server_id=name,
            state=state.value,
            seconds=seconds,
            process_id=process_id,
            status=statuses.get(name),
            error=errors[name].as_json() if name in errors else {},
        )
        for name, (state, seconds, process_id) in cluster.supervisor.members().items()
    ]
    return ClusterReport(cluster.data.name if cluster.data else "", machine, tuple(nodes))
