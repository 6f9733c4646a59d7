"""A client without a session: says single messages to single peers, and hears everything they say.

The client for users (`client`, `session`) makes exactly one effect of each command, whoever leads.  This one is for
those who want to see Raft itself: it offers a command to *this* peer, learns that it does not lead, follows *that*
peer's log, and nothing is repeated behind its back.  The lab's face (`lab`) and the lab's scenarios stand on it.

One thread reads all links and tells a listener, in order.  Of each incarnation of a peer the listener hears `attached`,
then what it says, then `gone`; a message to a peer that is not there is dropped, as one to a dead machine would be.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Protocol

from actors.client import PeerEnds
from actors.errors import BadFrame
from actors.links import LinkClosed, LinkReader, LinkWriter, Poll
from actors.protocol import ClientMessage, PeerMessage, decode_peer_message, encode
from raft_core import ServerId

_FLUSH_INTERVAL = 0.005
"""Seconds after which a pipe that was full is tried again."""


class RawListener(Protocol):
    """Who is told, in the thread of the `RawClient`; it must not hold it up."""

    def attached(self, server_id: ServerId) -> None:
        """A new incarnation of a peer can be spoken to."""

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """A peer said something."""

    def gone(self, server_id: ServerId) -> None:
        """The incarnation that was attached will say nothing any more."""


class RawClient:
    """Links with all peers of a cluster (a `supervisor.LinkTaker`).  Any thread may use it."""

    def __init__(self, listener: RawListener) -> None:
        self._listener = listener
        self._peers: dict[ServerId, PeerEnds] = {}
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._poll: Poll[Callable[[], None]] = Poll()
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._poll.watch(self._wake_reader, self._carry_out)
        self._thread = threading.Thread(target=self._run, name="actorum-raw-client", daemon=True)
        self._thread.start()

    # --- for any thread -----------------------------------------------------------------------------------------------

    def attach(self, server_id: ServerId, ends: Mapping[str, Connection]) -> None:
        """Links with a new incarnation of a peer."""
        consensus, applier = LinkReader(ends["consensus"]), LinkReader(ends["applier"])
        arrival = PeerEnds(LinkWriter(ends["requests"]), consensus, applier)
        self.call(lambda: self._attach(server_id, arrival))

    def call(self, function: Callable[[], None]) -> None:
        """Call this in the client's thread, between two messages: there it may look at what the listener has."""
        self._asked.put(function)
        os.write(self._wake_writer, b"!")

    def send(self, server_id: ServerId, message: ClientMessage) -> None:
        """Say this to whichever incarnation is there."""
        self.call(partial(self.say, server_id, message))

    def close(self) -> None:
        """End it, once nobody attaches links any more."""
        self.call(self._close)
        self._thread.join()
        self._poll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # --- the client's thread ------------------------------------------------------------------------------------------

    def say(self, server_id: ServerId, message: ClientMessage) -> None:
        """Send it at once: for a listener, and for what is called here."""
        if server_id in self._peers:
            self._peers[server_id].writer.put(encode(message))

    def _run(self) -> None:
        while not self._is_closed:
            waiting = [ends.writer for ends in self._peers.values() if ends.writer.backlog]
            for ready in self._poll.wait(_FLUSH_INTERVAL if waiting else None):
                ready()
            for writer in waiting:
                writer.flush()

    def _carry_out(self) -> None:
        """Everything that was asked; one byte at least woke this thread for each, and more may follow."""
        os.read(self._wake_reader, 4096)
        try:
            while True:
                self._asked.get_nowait()()
        except Empty:
            pass

    def _attach(self, server_id: ServerId, arrival: PeerEnds) -> None:
        self._detach(server_id)
        self._peers[server_id] = arrival
        self._listener.attached(server_id)
        for reader in arrival.readers:
            self._poll.watch(reader, partial(self._read, server_id, arrival, reader))

    def _read(self, server_id: ServerId, ends: PeerEnds, reader: LinkReader) -> None:
        if self._peers.get(server_id) is not ends:  # its other link ended a moment ago
            return
        try:
            messages = [decode_peer_message(frame) for frame in reader.get_available()]
        except (LinkClosed, BadFrame):
            self._detach(server_id)
            return
        for message in messages:
            self._listener.heard(server_id, message)

    def _detach(self, server_id: ServerId) -> None:
        ends = self._peers.pop(server_id, None)
        if ends is not None:
            for reader in ends.readers:
                self._poll.forget(reader)
            ends.close()
            self._listener.gone(server_id)

    def _close(self) -> None:
        self._is_closed = True
        for server_id in list(self._peers):
            self._detach(server_id)
