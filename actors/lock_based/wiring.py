"""The world of a locked peer that runs for real: threads of the operating system, links that are pipes.

The links are those of `actors.links`, each of whose ends is made for one thread.  Here several threads write to the
same peer or client, so each writing end has a lock; a reading end belongs to the one thread that waits for it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from actors.applier import ClientId
from actors.control import ControlChannel
from actors.errors import BadFrame
from actors.links import LinkClosed, LinkReader, LinkWriter, Poll
from actors.lock_based.threads import OsThreads, Threads
from actors.lock_based.world import Arrived, Inlet, Outlet, PeerCame
from actors.notes import ClientGone, ClientLinks, Failed, PeerLinks, Shutdown, note_from
from actors.protocol import PeerMessage
from actors.reply_links import ReplyLinks
from raft_core import ServerId


class LinkOutlet:
    """The way to another peer, whichever link leads there now."""

    def __init__(self, threads: Threads) -> None:
        self._lock = threads.lock()
        self._writer: LinkWriter | None = None
        self._dropped_before = 0

    def attach(self, writer: LinkWriter) -> None:
        """From now on, this link leads there."""
        with self._lock:
            self._close_locked()
            self._writer = writer

    def send(self, frame: bytes) -> None:
        """Send, or drop what a full link does not take."""
        with self._lock:
            if self._writer is not None:
                self._writer.put(frame)

    def flush(self) -> None:
        """Send what a full pipe kept back, as far as it takes it now."""
        with self._lock:
            if self._writer is not None and self._writer.backlog:
                self._writer.flush()

    @property
    def dropped(self) -> int:
        """Frames that were dropped."""
        with self._lock:
            return self._dropped_before + (self._writer.dropped if self._writer is not None else 0)

    def _close_locked(self) -> None:
        if self._writer is not None:
            self._dropped_before += self._writer.dropped
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """Nobody is reached any more."""
        with self._lock:
            self._close_locked()


class LinkInlet:
    """The frames of one incarnation of another peer."""

    def __init__(self, reader: LinkReader, wake: int) -> None:
        """`wake`: a descriptor that is readable once the peer ends."""
        self._reader = reader
        self._wake = wake
        self._poll = select.poll()
        self._poll.register(reader, select.POLLIN)
        self._poll.register(wake, select.POLLIN)

    def get(self) -> list[bytes] | None:
        """Wait for frames; None when the link has ended, or the peer ends.  Raises `BadFrame`, which ends the link."""
        while all(descriptor != self._wake for descriptor, _ in self._poll.poll()):
            try:
                frames = self._reader.get_available()
            except LinkClosed:
                break
            except BadFrame:
                self._reader.close()
                raise
            if frames:
                return frames
        self._reader.close()
        return None


class SharedVoice:
    """The links on which clients are answered, for any thread (a `Replies`)."""

    def __init__(self, threads: Threads) -> None:
        self._lock = threads.lock()
        self._links = ReplyLinks()

    def attach(self, client_id: ClientId, writer: LinkWriter) -> None:
        """Answer this client here, from now on."""
        with self._lock:
            self._links.attach(client_id, writer)

    def detach(self, client_id: ClientId) -> None:
        """This client is gone."""
        with self._lock:
            self._links.detach(client_id)

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Send, or drop what a client that is gone or does not read would not get; clients ask again."""
        with self._lock:
            self._links.reply(client_id, message)

    def flush(self) -> None:
        """Send what full pipes kept back, as far as they take it now."""
        with self._lock:
            for writer in self._links.with_backlog():
                writer.flush()

    def close(self) -> None:
        """Answer nobody any more."""
        with self._lock:
            self._links.close()


class LinkWorld:
    """A `World` of pipes, which come over the control channel."""

    def __init__(self, channel: ControlChannel) -> None:
        self.threads = OsThreads()
        self.consensus_voice = SharedVoice(self.threads)
        self.applier_voice = SharedVoice(self.threads)
        self._channel = channel
        self._lock = self.threads.lock()
        self._outlets: dict[ServerId, LinkOutlet] = {}
        self._wake_reader, self._wake_writer = os.pipe()
        self._clients: set[LinkReader] = set()
        self._poll: Poll[Callable[[Arrived], None]] = Poll()
        self._poll.watch(channel, self._hear_supervisor)
        self._poll.watch(self._wake_reader, lambda arrived: None)

    def outlet(self, server_id: ServerId) -> Outlet:
        """The way to another peer."""
        return self._outlet(server_id)

    def _outlet(self, server_id: ServerId) -> LinkOutlet:
        with self._lock:
            return self._outlets.setdefault(server_id, LinkOutlet(self.threads))

    def _all_outlets(self) -> list[LinkOutlet]:
        with self._lock:
            return list(self._outlets.values())

    # --- for the acceptor ---------------------------------------------------------------------------------------------

    def accept(self) -> Arrived:
        """Wait until the supervisor or clients say something, or `wake` is called."""
        arrived = Arrived([], [], [])
        for hear in self._poll.wait(None):
            hear(arrived)
        return arrived

    def _hear_supervisor(self, arrived: Arrived) -> None:
        note = note_from(self._channel)
        match note:
            case PeerLinks():
                self._outlet(note.server_id).attach(note.writer)
                inlet: Inlet = LinkInlet(note.reader, self._wake_reader)
                arrived.notes.append(PeerCame(note.server_id, inlet))
            case ClientLinks():
                self._attach_client(note)
            case Shutdown() | Failed():
                self._poll.forget(self._channel)
                arrived.notes.append(note)

    def _attach_client(self, links: ClientLinks) -> None:
        self.consensus_voice.attach(links.client_id, links.consensus_writer)
        self.applier_voice.attach(links.client_id, links.applier_writer)
        self._clients.add(links.reader)
        self._poll.watch(links.reader, lambda arrived: self._hear_client(links, arrived))

    def _hear_client(self, links: ClientLinks, arrived: Arrived) -> None:
        try:
            arrived.asked.extend([(links.client_id, frame) for frame in links.reader.get_available()])
        except (LinkClosed, BadFrame) as error:
            self._poll.forget(links.reader)
            self._clients.discard(links.reader)
            links.reader.close()
            self.consensus_voice.detach(links.client_id)
            self.applier_voice.detach(links.client_id)
            arrived.notes.append(ClientGone(links.client_id))
            if isinstance(error, BadFrame):
                arrived.refused.append(error)

    # --- for any thread -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what full links kept back."""
        for outlet in self._all_outlets():
            outlet.flush()
        self.consensus_voice.flush()
        self.applier_voice.flush()

    @property
    def dropped(self) -> int:
        """Messages to peers that were dropped because a link was full or its reader gone."""
        return sum(outlet.dropped for outlet in self._all_outlets())

    def wake(self) -> None:
        """The peer ends: nobody shall wait for a link any more."""
        os.write(self._wake_writer, b"!")  # never read: it stays readable for all who wait

    def close(self) -> None:
        """Give the links back."""
        for outlet in self._all_outlets():
            outlet.close()
        self.consensus_voice.close()
        self.applier_voice.close()
        for reader in self._clients:
            reader.close()
        self._poll.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
