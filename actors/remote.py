"""Using a cluster that another program runs (`actorum up`) on this machine.

    with connect("./demo") as cluster:
        counter = cluster.bind(Counter)
        counter.incr()

Commands go from this program straight to the peers, over links of its own; the service only hands them out.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from actors.client import Client
from actors.cluster import ClusterHandle
from actors.cluster_ports import ClusterClient
from actors.errors import ActorumError, ClusterNotRunning, NoSuchNode, error_from_json
from actors.inspector import Inspector
from actors.links.handing import LinkTaker
from actors.network import NetworkState
from actors.protocol import Asking, PeerAnswer
from actors.raw_client import RawClient
from actors.remote_administration import Operation, Outcome, RemoteAdministrator
from actors.remote_network import Change, RemoteNetwork
from actors.service_protocol import (
    KEY_NAME,
    SOCKET_NAME,
    Administer,
    Answer,
    AskNetwork,
    AskStatus,
    Attach,
    ChangeNetwork,
    ClusterReport,
    Connection,
    Done,
    KillPeer,
    Links,
    NetworkReport,
    Operated,
    Refusal,
    Request,
    RestartPeer,
    StopCluster,
    prove_to_server,
    short_path,
)
from actors.watching import Watch
from raft_core import ServerId

if TYPE_CHECKING:
    from actors.replicated import Replicated

M = TypeVar("M", bound="Replicated")
_LOOK_EVERY = 0.02
"""Seconds between two questions to the service while something is waited for."""


class RemoteCluster(RemoteAdministrator, Inspector):
    """A running cluster, from outside the program that runs it."""

    def __init__(self, data: Path, timeout: float) -> None:
        super().__init__(self._operate, timeout)
        self._data = data
        self._timeout = timeout
        self._connection = _open(data)
        self._client: Client | None = None
        self._at_end = contextlib.ExitStack()

    def status(self) -> ClusterReport:
        """How the cluster's peers are."""
        answer = self._ask(AskStatus())
        assert isinstance(answer, ClusterReport)
        return answer

    def kill(self, server_id: ServerId | None = None) -> ServerId:
        """SIGKILL a peer (None: the leader) and leave it down; its name."""
        answer = self._ask(KillPeer(server_id))
        assert isinstance(answer, Done)
        assert answer.server_id is not None
        return answer.server_id

    def restart(self, server_id: ServerId) -> None:
        """Start a peer again from its storage."""
        self._ask(RestartPeer(server_id))

    def _operate(self, operation: Operation) -> Outcome:
        answer = self._ask(Administer(operation))
        assert isinstance(answer, Operated)
        return answer.outcome

    def down(self) -> None:
        """Stop the whole cluster; returns when the service has ended."""
        if not self._connection.send(StopCluster()):
            raise _not_running(self._data, "the service has ended")
        # It may end before it has answered: what counts is the end.
        while self._connection.receive_answer() is not None:
            pass

    @property
    def network(self) -> RemoteNetwork:
        """What may happen to messages between the peers; using it raises `WrongArguments` unless the cluster was
        started with `--chaos`."""
        return RemoteNetwork(self._network_state, self._change_network)

    def _network_state(self) -> NetworkState:
        answer = self._ask(AskNetwork())
        assert isinstance(answer, NetworkReport)
        return answer.state

    def _change_network(self, change: Change) -> None:
        self._ask(ChangeNetwork(change))

    def client(self) -> Client:
        """This program's client, with links to the peers."""
        if self._client is None:
            self._client = Client(timeout=self._timeout, health=self._health)
            self._attach(self._client, self._client.close, lambda: None)
        return self._client

    def _attach(self, taker: LinkTaker, close: Callable[[], None], ended: Callable[[], None]) -> None:
        """Get links for `taker`, now and whenever a peer starts; `close` it when there will be no more.  `ended` is
        told when the service has ended."""
        links = _open(self._data)
        links.send(Attach())
        ready: SimpleQueue[None] = SimpleQueue()
        reader = threading.Thread(
            target=self._take_links, args=(links, taker, ready, ended), name="actorum-links", daemon=True
        )
        reader.start()
        self._at_end.callback(close)
        self._at_end.callback(reader.join)
        self._at_end.callback(links.close)
        with contextlib.suppress(Empty):
            ready.get(timeout=self._timeout)

    def _ask_peer(self, server_id: ServerId, question: Callable[[int], Asking], timeout: float) -> PeerAnswer | None:
        names = [node.server_id for node in self.status().nodes]
        if server_id not in names:
            raise NoSuchNode(f"there is no node {server_id}", why=f"the nodes are {', '.join(names)}")
        return self.client().ask(server_id, question, timeout=timeout)

    def _running(self) -> tuple[ServerId, ...]:
        return tuple(node.server_id for node in self.status().nodes if node.state == "up")

    def _poll(self, look: Callable[[], bool], timeout: float) -> bool:
        deadline = monotonic() + timeout
        while not look():
            if monotonic() > deadline:
                return False
            sleep(_LOOK_EVERY)
        return True

    def _new_watch(self) -> Watch:
        watch = Watch()
        raw = RawClient(watch)
        watch.connect(raw)
        self._attach(raw, raw.close, watch.close)
        self._at_end.callback(watch.close)
        return watch

    def bind(self, machine: type[M]) -> M:
        """An instance of `machine` whose commands and queries go to the cluster."""
        return machine._bound(_RemoteHandle(self.client(), self))

    def _take_links(
        self, links: Connection, taker: LinkTaker, ready: SimpleQueue[None], ended: Callable[[], None]
    ) -> None:
        while (received := links.receive_answer()) is not None:
            answer, descriptors = received
            if isinstance(answer, Links):
                taker.attach(answer.server_id, _ends(descriptors))
            else:
                ready.put(None)
        ready.put(None)
        ended()

    def _health(self) -> str:
        try:
            down = [node for node in self.status().nodes if node.status is None]
        except ActorumError as error:
            return error.what
        return ", ".join(f"{node.server_id} is {node.state} since {node.seconds:.1f} s" for node in down)

    def _ask(self, request: Request) -> Answer:
        self._connection.send(request)
        received = self._connection.receive_answer()
        if received is None:
            raise _not_running(self._data, "the service ended while it was asked")
        if isinstance(received[0], Refusal):
            raise error_from_json(received[0].error)
        return received[0]

    def close(self) -> None:
        """End the connection; the cluster goes on."""
        self._at_end.close()
        self._connection.close()


class _RemoteHandle(ClusterHandle):
    """As that of a program which runs the cluster itself, but `cluster` is what can be done from outside."""

    def __init__(self, client: ClusterClient, cluster: RemoteCluster) -> None:
        self.submit_command = client.submit_command
        self.submit_query = client.submit_query
        self.attend = client.attend
        self.cluster = cluster  # type: ignore[assignment]


@contextlib.contextmanager
def connect(data: str | Path, *, timeout: float = 10.0) -> Iterator[RemoteCluster]:
    """Connect to the cluster that `actorum up` runs on the data directory `data`.

    `timeout`: seconds that calls wait unless they say otherwise.  Raises `ClusterNotRunning` if nobody serves there,
    `AuthenticationFailed` if the keys differ.
    """
    cluster = RemoteCluster(Path(data), timeout)
    try:
        yield cluster
    finally:
        cluster.close()


def _open(data: Path) -> Connection:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        key = (data / KEY_NAME).read_bytes()
        with short_path(data, SOCKET_NAME) as address:
            end.connect(address)
        prove_to_server(end, key)
    except OSError as error:
        end.close()
        raise _not_running(data, error.strerror or str(error)) from None
    except ActorumError:
        end.close()
        raise
    return Connection(end)


def _ends(descriptors: list[int]) -> dict[str, PipeEnd]:
    requests, consensus, applier = descriptors
    return {
        "requests": PipeEnd(requests, readable=False),
        "consensus": PipeEnd(consensus, writable=False),
        "applier": PipeEnd(applier, writable=False),
    }


def _not_running(data: Path, why: str) -> ClusterNotRunning:
    return ClusterNotRunning(
        f"no cluster is running on {data}",
        why=why,
        fix=f"actorum up counter --data {data}",
    )
