"""`PeerActor`: one Raft server as a Pykka actor.

Its mailbox serializes inbound RPCs, deadlines, client requests, the disk's and the applier's confirmations, so the pure
core needs no lock.  One turn is one complete transition: no message to self finishes what another began, and nothing
waits inside a turn.  An exception ends the peer (fail-stop); whoever watches it starts a new one from storage, never
with this one's memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from random import Random
from time import monotonic, time
from typing import Any

from pykka import ActorDeadError, ActorRef, ActorRegistry, ThreadingActor, Timeout

from actors.applier import ClientId, Work
from actors.codec import decode_message, encode_message
from actors.deadlines import Deadlines
from actors.disks import InlineDisk
from actors.errors import ActorumError, BadFrame
from actors.giving_way import doer_of
from actors.interpreter import NOTHING_WRITTEN, Disk, Interpreter, Recorder, Written
from actors.links import LinkWriter
from actors.machine import MachineHost
from actors.mailbox import Mailbox, ReplyLink, Turn
from actors.metrics import Contacts, Durations
from actors.notes import (
    AppliedUpTo,
    ClientGone,
    ClientLinks,
    EndedFromOutside,
    Failed,
    Note,
    PeerLinks,
    Shutdown,
    Taken,
    note_from,
)
from actors.protocol import ClientMessage, DescribePeer, InspectPeer, Report, Status, decode_client_message
from actors.replicated_clock import stamps_of
from actors.reply_links import ReplyLinks
from actors.spec import PeerConfig, PeerParts, restored
from actors.storage.disk import Disk as StableDisk
from actors.workers import ApplierActor, DiskBehindActor, StorageActor
from raft_core import Applied, Effect, Event, Message, PeerRestarted, Received, ServerId, SnapshotTaken

DISK_PATIENCE = 5.0
"""Seconds that a peer which ends waits for its last write."""


def _is_worth_a_report(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], EndedFromOutside))


# Pykka logs every exception that ends an actor; unconfigured, logging prints that to the user's terminal.
logging.getLogger("pykka").addFilter(_is_worth_a_report)


class PeerTransport:
    """The links to the other peers, used by the peer's own thread."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._writers: dict[ServerId, LinkWriter] = {}
        self._last: tuple[Message | None, bytes] = (None, b"")
        self._dropped_before = 0

    def attach(self, server_id: ServerId, writer: LinkWriter) -> None:
        """From now on, `server_id` is reached over `writer`."""
        earlier = self._writers.pop(server_id, None)
        if earlier is not None:
            self._dropped_before += earlier.dropped
            self._mailbox.discard(earlier)
        self._writers[server_id] = writer

    def send(self, to: ServerId, message: Message) -> None:
        """Send, or drop: Raft asks again.  A message to several peers is encoded once."""
        writer = self._writers.get(to)
        if writer is None:
            return
        if self._last[0] is not message:
            self._last = (message, encode_message(message))
        writer.put(self._last[1])
        if writer.is_closed:  # now, before its number is that of another link
            self._mailbox.discard(writer)
        elif writer.backlog:
            self._mailbox.flush(writer)

    @property
    def dropped(self) -> int:
        """Messages that were dropped because a link was full or its reader gone."""
        return self._dropped_before + sum(writer.dropped for writer in self._writers.values())

    def close(self) -> None:
        """Close all links."""
        for writer in self._writers.values():
            self._mailbox.discard(writer)


class PeerActor(ThreadingActor):
    """A Raft server.  `stopped` is told once, in the actor's thread, when it ends: with its error or None."""

    use_daemon_thread = True

    def __init__(
        self,
        config: PeerConfig,
        disk: StableDisk,
        machine: MachineHost,
        stopped: Callable[[BaseException | None], None],
        boundary: Callable[[Effect], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        randomness = Random(config.seed)
        deadlines = Deadlines(randomness)
        self.mailbox = Mailbox(deadlines)
        super().__init__()
        self._started = monotonic()
        self._stopped = stopped
        self._stable = disk
        self._writes = Durations()
        self._contacts = Contacts()
        self._transport = PeerTransport(self.mailbox)
        self._refusals = ReplyLinks()
        server, taker = restored(config, disk, machine, randomness)
        gently = doer_of(alone=disk.is_alone)
        self._applier = ApplierActor.start(self._tell_self, config.server_id, machine, taker, gently)
        self._disk_actor: ActorRef[StorageActor] | None = None
        self._inline_disk: InlineDisk | None = None
        self.interpreter = Interpreter(
            server,
            transport=self._transport,
            disk=self._disk(disk, deadlines),
            snapshots=disk,
            applier=self._tell_applier,
            replies=self._refusals,
            deadlines=deadlines,
            boundary=boundary,
            recorder=recorder,
            stamps=stamps_of(machine, time),
        )

    def launch(self) -> ActorRef[PeerActor]:
        """Start the actor's loop, after what the caller had to do between making and starting it."""
        ActorRegistry.register(self.actor_ref)
        self._start_actor_loop()
        return self.actor_ref

    def _create_actor_inbox(self) -> Mailbox:  # type: ignore[override]
        return self.mailbox

    def _disk(self, disk: StableDisk, deadlines: Deadlines) -> Disk:
        if not disk.blocking:
            self._inline_disk = InlineDisk(disk, self._writes, deadlines)
            return self._inline_disk
        self._disk_actor = StorageActor.start(self._tell_self, disk, self._writes)
        return DiskBehindActor(self._disk_actor)

    def _tell_self(self, note: Note) -> None:
        with contextlib.suppress(ActorDeadError):
            self.actor_ref.tell(note)

    def _tell_applier(self, work: list[Work] | ReplyLink) -> None:
        with contextlib.suppress(ActorDeadError):
            self._applier.tell(work)

    # --- turns --------------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """The first election timer starts with the actor."""
        self.interpreter.start(monotonic())

    def on_receive(self, message: Any) -> None:
        """One `Turn`: everything that happened since the last one."""
        assert isinstance(message, Turn)
        events: list[Event] = []
        written = NOTHING_WRITTEN
        for note in message.notes:
            match note:
                case Written():
                    written += note
                case Taken(snapshot=snapshot):
                    events.append(SnapshotTaken(snapshot))
                case AppliedUpTo(index=index, expiry=expiry):
                    events.append(Applied(index))
                    self.interpreter.expires(expiry, message.now)
                case Failed(error=error):
                    raise error
                case Shutdown():
                    self.stop()
                case PeerLinks():
                    events.append(self._attach_peer(note))
                case ClientLinks():
                    self._attach_client(note)
                case ClientGone(client_id=client_id):
                    self._refusals.detach(client_id)
                    self.interpreter.forget(client_id)
                    self._tell_applier(ReplyLink(client_id, None))
        events.extend(self._received(message))
        if self._inline_disk is not None:
            written += self._inline_disk.retry(message.now)
        self.interpreter.serve(message.now, events, self._asked(message), written)

    def _received(self, turn: Turn) -> list[Event]:
        events: list[Event] = []
        for sender, frame in turn.from_peers:
            self._contacts.note(sender, turn.now)
            try:
                events.append(Received(sender, decode_message(frame)))
            except BadFrame as error:
                self.mailbox.refuse(error)
        return events

    def _asked(self, turn: Turn) -> list[tuple[ClientId, ClientMessage]]:
        asked: list[tuple[ClientId, ClientMessage]] = []
        for client_id, frame in turn.from_clients:
            try:
                message = decode_client_message(frame)
            except BadFrame as error:
                self.mailbox.refuse(error)
                continue
            if isinstance(message, InspectPeer) and not message.digest:
                self._refusals.reply(client_id, self._status(message.batch_id))
            elif isinstance(message, DescribePeer):
                self._refusals.reply(client_id, self._report(message.batch_id, turn.now))
            else:
                asked.append((client_id, message))
        return asked

    def _attach_peer(self, links: PeerLinks) -> Event:
        self._transport.attach(links.server_id, links.writer)
        self.mailbox.read_peer(links.server_id, links.reader)
        return PeerRestarted(links.server_id)

    def _attach_client(self, links: ClientLinks) -> None:
        self._refusals.attach(links.client_id, links.consensus_writer)
        self._tell_applier(ReplyLink(links.client_id, links.applier_writer))
        self.mailbox.read_client(links.client_id, links.reader)

    def _status(self, batch_id: int) -> Status:
        return self.interpreter.status(
            batch_id,
            inbox_depth=self.mailbox.depth,
            dropped_messages=self._transport.dropped,
            fsync_p99=self._writes.percentile(0.99),
            uptime=monotonic() - self._started,
            process_id=os.getpid(),
        )

    def _report(self, batch_id: int, now: float) -> Report:
        metrics = {"mailbox_depth": self.mailbox.depth, "refused_frames": len(self.mailbox.bad_frames)}
        measured = {**metrics, **self._writes.summary("write")}
        return self.interpreter.report(self._status(batch_id), self._contacts.ages(now), measured)

    # --- the end ------------------------------------------------------------------------------------------------------

    def on_stop(self) -> None:
        """Stopped in good order."""
        self._end(None)

    def on_failure(self, exception_type: Any, exception_value: BaseException | None, traceback: Any) -> None:
        """Fail-stop: whatever was in memory is gone; the storage is what remains."""
        self._end(exception_value)

    def _end(self, error: BaseException | None) -> None:
        self._applier.stop(block=error is None)
        self._transport.close()
        self._refusals.close()
        self.mailbox.close()
        if self._disk_has_stopped():
            with contextlib.suppress(ActorumError):
                self._stable.close()
        self._stopped(error)

    def _disk_has_stopped(self) -> bool:
        """Wait for the write that may be under way: SQLite crashes the process if another thread closes its connection.
        A disk that hangs keeps its connection; what ended this peer must not wait for it for ever."""
        if self._disk_actor is None:
            return True
        try:
            self._disk_actor.stop(timeout=DISK_PATIENCE)
        except Timeout:
            return False
        return True


class RunningActor:
    """A peer whose turns are an actor's (a `RunningPeer`)."""

    def __init__(self, actor: PeerActor) -> None:
        self.recovered_index = actor.interpreter.server.log.last_index
        self.mailbox = actor.mailbox
        self.reference = actor.launch()

    @property
    def bad_frames(self) -> list[ActorumError]:
        """Why frames, or whole links, were refused; the latest few."""
        return self.mailbox.bad_frames

    def fail(self, error: BaseException) -> None:
        """Its next turn raises `error`."""
        with contextlib.suppress(ActorDeadError):
            self.reference.tell(Failed(error))


def start(parts: PeerParts) -> RunningActor:
    """Start an actor that listens to its control channel."""
    actor = PeerActor(parts.config, parts.disk, parts.machine, parts.stopped, parts.boundary, parts.recorder)
    actor.mailbox.watch(parts.channel, lambda: [note_from(parts.channel)])
    return RunningActor(actor)
