"""Links between the peers of one program's cluster that lead over HTTP, as `links.router`'s lead over a network.

    with HttpLinks(names) as links:
        supervisor = Supervisor(specs, ThreadHost(Counter), links.link_pair)

Every server, also one that comes later, gets an HTTP server of its own on a free port of this machine, and a
transporter that knows the others by their URLs.  So whole peers, in threads or processes, talk over HTTP and nothing
in them knows it.  This is for tests and measurements: within one machine pipes cost less, and need no port.

One thread owns the pipes, so that none is written while it is replaced; a link still belongs to one incarnation of both
its ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from starlette.applications import Starlette

from actors.codec import decode_message, encode_message
from actors.errors import BadFrame
from actors.http.serving import serve_app
from actors.http.transporter import HttpTransporter
from actors.links import LinkClosed, LinkReader, LinkWriter, Poll, link_pair
from raft_core import Message, ServerId

FLUSH_INTERVAL = 0.005
"""Seconds after which a pipe that was full is tried again."""


class _Way:
    """From one incarnation of a server to one of another."""

    def __init__(self, sender: ServerId, receiver: ServerId, reader: LinkReader, writer: LinkWriter) -> None:
        self.sender = sender
        self.receiver = receiver
        self.reader = reader
        self.writer = writer


class _Inbox:
    """What is posted to one server's HTTP server (a `transporter.Receiver`)."""

    def __init__(self, links: HttpLinks, server_id: ServerId) -> None:
        self._links = links
        self._server_id = server_id

    def receive(self, sender: ServerId, message: Message) -> bool:
        """Pass it on to the server, if it is there."""
        return self._links.deliver(sender, self._server_id, encode_message(message))


class HttpLinks:
    """HTTP servers and transporters for all servers of a cluster, until the end of the `with` block."""

    def __init__(self, names: Iterable[ServerId], *, token: str | None = None, keep_alive: bool = True) -> None:
        self.urls: dict[ServerId, str] = {}
        """Where each server listens."""
        self.transporters: dict[ServerId, HttpTransporter] = {}
        """By the server that sends."""
        self._ways: dict[tuple[ServerId, ServerId], _Way] = {}
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._poll: Poll[Callable[[], None]] = Poll()
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._poll.watch(self._wake_reader, self._take_asked)
        self._at_end = ExitStack()
        self._token = token
        self._keep_alive = keep_alive
        self._admitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="actorum-http-links", daemon=True)
        self._thread.start()
        for name in names:
            self._admit(name)

    # --- for any thread -----------------------------------------------------------------------------------------------

    def link_pair(self, sender: ServerId, receiver: ServerId) -> tuple[Connection, Connection]:
        """As `links.link_pair`, (reading, writing), with HTTP in between."""
        self._admit(sender)
        self._admit(receiver)
        from_sender, writing = link_pair()
        reading, to_receiver = link_pair()
        way = _Way(sender, receiver, LinkReader(from_sender), LinkWriter(to_receiver))
        self._ask(lambda: self._begin(way))
        return reading, writing

    def deliver(self, sender: ServerId, receiver: ServerId, frame: bytes) -> bool:
        """Put into the receiver's pipe what has come for it; False if nobody is there."""
        way = self._ways.get((sender, receiver))
        if way is None:
            return False
        self._ask(lambda: self._put(way, frame))
        return True

    def close(self) -> None:
        """End the HTTP servers, the transporters and all links."""
        self._at_end.close()
        self._ask(self._end)
        self._thread.join()
        self._poll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _admit(self, name: ServerId) -> None:
        """Give a server that is new what every server has, and let the others know where it is."""
        with self._admitting:
            if name in self.transporters:
                return
            app = Starlette()
            url = self._at_end.enter_context(serve_app(app, token=self._token))
            transporter = HttpTransporter(name, self.urls, token=self._token, keep_alive=self._keep_alive)
            self._at_end.callback(transporter.close)
            transporter.install(_Inbox(self, name), app)
            for other in self.transporters.values():
                other.meet(name, url)
            self.urls[name] = url
            self.transporters[name] = transporter

    def _ask(self, function: Callable[[], None]) -> None:
        self._asked.put(function)
        os.write(self._wake_writer, b"!")

    # --- in the thread of the links -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closed:
            full = [way.writer for way in self._ways.values() if way.writer.backlog]
            for ready in self._poll.wait(FLUSH_INTERVAL if full else None):
                ready()
            for writer in full:
                writer.flush()

    def _take_asked(self) -> None:
        os.read(self._wake_reader, 4096)
        with contextlib.suppress(Empty):
            while True:
                self._asked.get_nowait()()

    def _begin(self, way: _Way) -> None:
        earlier = self._ways.pop((way.sender, way.receiver), None)
        if earlier is not None:
            self._close_ends(earlier)
        self._ways[way.sender, way.receiver] = way
        self._poll.watch(way.reader, lambda: self._read(way))
        self._poll.watch_end(way.writer, lambda: self._close(way))

    def _read(self, way: _Way) -> None:
        if not self._is_current(way):  # its other end was found to be gone a moment ago
            return
        try:
            messages = [decode_message(frame) for frame in way.reader.get_available()]
        except (LinkClosed, BadFrame):
            self._close(way)
            return
        for message in messages:
            self.transporters[way.sender].send(way.receiver, message)

    def _put(self, way: _Way, frame: bytes) -> None:
        if self._is_current(way):
            way.writer.put(frame)
            if way.writer.is_closed:
                self._close(way)

    def _is_current(self, way: _Way) -> bool:
        return self._ways.get((way.sender, way.receiver)) is way

    def _close(self, way: _Way) -> None:
        if self._is_current(way):
            del self._ways[way.sender, way.receiver]
            self._close_ends(way)

    def _close_ends(self, way: _Way) -> None:
        self._poll.forget(way.reader)
        self._poll.forget(way.writer)
        way.reader.close()
        way.writer.close()

    def _end(self) -> None:
        self._is_closed = True
        for way in list(self._ways.values()):
            self._close(way)
