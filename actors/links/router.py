"""The router: on clusters that may be treated badly, every link between two peers goes through here.

One thread, in the program that runs the cluster, reads whole frames from the sender's half of a link, asks the
`Network` what becomes of each, and writes it to the receiver's half when its time has come.  So faults need nothing in
the peers, whatever their runtime, and cost nothing where there is no router.

A link still belongs to one incarnation of both its ends: when either end is gone the other half is closed, and what was
held back is lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from random import Random
from time import monotonic

from actors.codec import message_kind
from actors.errors import BadFrame
from actors.links.pipes import LinkClosed, LinkReader, LinkWriter, link_pair
from actors.links.polling import Poll
from actors.network import Network
from raft_core import ServerId

FLUSH_INTERVAL = 0.005
"""Seconds after which a pipe that was full is tried again."""
UNKNOWN = "unknown"
"""What is no message is counted as."""


class _Route:
    def __init__(self, sender: ServerId, receiver: ServerId, reader: LinkReader, writer: LinkWriter) -> None:
        self.sender = sender
        self.receiver = receiver
        self.reader = reader
        self.writer = writer


class Router:
    """Carries messages between the peers of one cluster until `close`."""

    def __init__(self, network: Network, random: Random) -> None:
        self._network = network
        self._random = random
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._poll: Poll[Callable[[], None]] = Poll()
        self._routes: set[_Route] = set()
        self._late: list[tuple[float, int, _Route, bytes]] = []
        self._numbers = count()
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._poll.watch(self._wake_reader, lambda: None)
        self._thread = threading.Thread(target=self._run, name="actorum-router", daemon=True)
        self._thread.start()

    # --- for any thread -----------------------------------------------------------------------------------------------

    def link_pair(self, sender: ServerId, receiver: ServerId) -> tuple[Connection, Connection]:
        """As `links.link_pair`, (reading, writing), with the network in between."""
        self._network.admit(sender, receiver)
        from_sender, writing = link_pair()
        reading, to_receiver = link_pair()
        route = _Route(sender, receiver, LinkReader(from_sender), LinkWriter(to_receiver))
        self._asked.put(lambda: self._begin(route))
        os.write(self._wake_writer, b"!")
        return reading, writing

    def close(self) -> None:
        """End all routes and the thread."""
        self._asked.put(self._end)
        os.write(self._wake_writer, b"!")
        self._thread.join()
        self._poll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # --- the router's thread ------------------------------------------------------------------------------------------

    def _begin(self, route: _Route) -> None:
        self._routes.add(route)
        self._poll.watch(route.reader, lambda: self._read(route))
        self._poll.watch_end(route.writer, lambda: self._close(route))

    def _end(self) -> None:
        self._is_closed = True
        for route in list(self._routes):
            self._close(route)

    def _close(self, route: _Route) -> None:
        if route in self._routes:
            self._routes.discard(route)
            self._poll.forget(route.reader)
            self._poll.forget(route.writer)
            route.reader.close()
            route.writer.close()

    def _run(self) -> None:
        while not self._is_closed:
            for ready in self._poll.wait(self._until_next()):
                ready()
            self._take_asked()
            now = monotonic()
            while self._late and self._late[0][0] <= now:
                _, _, route, frame = heappop(self._late)
                self._put(route, frame)
            for route in [route for route in self._routes if route.writer.backlog]:
                route.writer.flush()

    def _until_next(self) -> float | None:
        times = [self._late[0][0] - monotonic()] if self._late else []
        if any(route.writer.backlog for route in self._routes):
            times.append(FLUSH_INTERVAL)
        return max(0.0, min(times)) if times else None

    def _take_asked(self) -> None:
        try:
            while True:
                self._asked.get_nowait()()
                os.read(self._wake_reader, 1)
        except Empty:
            pass

    def _read(self, route: _Route) -> None:
        if route not in self._routes:  # its other end was found to be gone a moment ago
            return
        try:
            frames = route.reader.get_available()
        except (LinkClosed, BadFrame):
            self._close(route)
            return
        for frame in frames:
            fates = self._network.fates(route.sender, route.receiver, _kind(frame), len(frame), self._random)
            for delay in fates:
                if delay:
                    heappush(self._late, (monotonic() + delay, next(self._numbers), route, frame))
                else:
                    self._put(route, frame)

    def _put(self, route: _Route, frame: bytes) -> None:
        if route in self._routes:
            route.writer.put(frame)
            if route.writer.is_closed:
                self._close(route)


def _kind(frame: bytes) -> str:
    """What a frame says it is.  One that is no message is carried all the same: refusing it is the receiver's part."""
    try:
        return message_kind(frame)
    except (IndexError, UnicodeDecodeError):
        return UNKNOWN
