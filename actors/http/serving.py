"""Serving an application: one socket, one event loop in a thread, with limits, and a good end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from actors.cluster import Cluster
from actors.errors import WrongArguments
from actors.http.api import make_app
from actors.http.attached import Attached, attached_at, attached_to
from actors.http.binding import check_binding
from actors.replicated import Replicated

GRACE: Final = 5
"""Seconds that requests under way get when the server ends."""
IDLE: Final = 15
"""Seconds that a connection is kept open for the next request."""
MAX_HEADERS: Final = 32 << 10
"""Bytes of the headers of a request."""
_BACKLOG: Final = 128


class _Server(uvicorn.Server):
    """Says when it has started, or that it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up: SimpleQueue[bool] = SimpleQueue()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.put(True)

    def serve_on(self, listener: socket.socket) -> None:
        """Until `should_exit`."""
        try:
            self.run(sockets=[listener])
        finally:
            self.is_up.put(False)


@contextlib.contextmanager
def serve_app(app: ASGIApp, host: str = "127.0.0.1", port: int = 0, *, token: str | None = None) -> Iterator[str]:
    """Serve `app` for the length of the `with` block, which gets its URL; port 0 takes a free one.

    Raises `ListeningUnprotected` if others could reach it and there is no `token`; checking tokens is the app's part.
    """
    address, port = check_binding(host, port, token)
    with _listener(address, port) as listener:
        config = uvicorn.Config(
            app,
            http="h11",  # the one that bounds the headers
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=MAX_HEADERS,
        )
        server = _Server(config)
        thread = threading.Thread(target=server.serve_on, args=(listener,), name="actorum-http", daemon=True)
        thread.start()
        try:
            server.is_up.get()
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named so that asyncio knows it and sends at once: else every answer waits 40 ms (Nagle).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        return listener
    except OSError as error:
        listener.close()
        raise WrongArguments(
            f"cannot listen on {address}:{port}: {error.strerror or error}", fix="another port; 0 takes a free one"
        ) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def serve_http(
    machine: Replicated, host: str = "127.0.0.1", port: int = 0, *, token: str | None = None, timeout: float = 10.0
) -> Iterator[str]:
    """Serve the API of a cluster that this program runs: `machine` is what `Counter.cluster()` gave.

    The `with` block gets the URL.  Raises `ListeningUnprotected` beyond loopback without a `token`.
    """
    check_binding(host, port, token)
    kind = _class_of(machine)
    with (
        attached_to(machine.cluster, f"{kind._machine_name}@{kind.version}") as cluster,
        serve_app(make_app(kind, cluster, token=token, timeout=timeout), host, port, token=token) as url,
    ):
        yield url


def _class_of(machine: Replicated) -> type[Replicated]:
    """The user's class: a bound instance is of a hidden subclass of it."""
    cluster: object = machine.cluster  # raises ClusterClosed for a plain object
    if not isinstance(cluster, Cluster):
        raise WrongArguments("only the program that runs a cluster serves it like this", fix="actorum serve-http")
    return next(kind for kind in type(machine).__mro__ if issubclass(kind, Replicated) and not kind._stateless)


@contextlib.contextmanager
def serve_http_at(
    data: Path, machine: type[Replicated], host: str, port: int, *, token: str | None, timeout: float = 10.0
) -> Iterator[str]:
    """Serve the API of the cluster that `actorum up` runs on the directory `data`."""
    check_binding(host, port, token)
    with attached_at(data, timeout) as cluster:
        _refuse_another(machine, cluster, data)
        with serve_app(make_app(machine, cluster, token=token, timeout=timeout), host, port, token=token) as url:
            yield url


def _refuse_another(machine: type[Replicated], cluster: Attached, data: Path) -> None:
    ours, theirs = f"{machine._machine_name}@{machine.version}", cluster.report().machine
    if ours != theirs:
        raise WrongArguments(
            f"the cluster on {data} runs {theirs}, not {ours}",
            why="commands of another machine would be refused one by one",
            fix=f"actorum serve-http {theirs.partition('@')[0]} --data {data}",
        )
