"""`LockedPeer`: one Raft server whose state is shared by threads and guarded by one lock.

The twin of `PeerActor`: the same core, interpreter, storage, links and codec; only the question "who takes turns?" is
answered in the other way, as the structure advice of the Raft lab has it.  Its threads:

* a *receiver* for each link from another peer;
* the *election ticker*: sleeps a small constant, then compares the time with what the last contact left (paper 5.2);
* a *replicator* for each follower, for as long as one term of leadership lasts (`actors.lock_based.replication`): sends
  entries when there are some and heartbeats when there are none;
* the *applier*, which waits on a condition and holds no lock while the state machine works;
* the *acceptor* of clients and of the supervisor.

The rules of the file:

1. One lock guards everything of `Shared`.  Functions that need it are named `..._locked` and refuse to go on without.
2. Inside the lock: `step`, and making durable what it decided.  The lock is never given up between deciding and making
   durable: in that gap another thread could answer from memory what a crash would take back (a vote, say), which is
   the *volatile vote leak*.  Only for a full disk nobody waits: what depends on the write is held back until the
   ticker's next attempt to make it succeeds.
3. Never wait for anybody while holding it.  Sending, applying and starting threads come after.
4. Other locks are leaves: whoever holds one takes no other.
5. Waking up proves nothing: what a thread waited for is looked at again, under the lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import assert_never

from actors.applier import Applier, ClientId, Work
from actors.codec import decode_message, encode_message
from actors.deadlines import Deadlines
from actors.disks import InlineDisk
from actors.errors import ActorumError, BadFrame
from actors.giving_way import doer_of
from actors.interpreter import Interpreter, Recorder
from actors.lock_based.crew import Crew
from actors.lock_based.description import Description
from actors.lock_based.locks import InstrumentedLock
from actors.lock_based.mail import Mail
from actors.lock_based.replication import Replicators
from actors.lock_based.shared import Life, Shared
from actors.lock_based.wiring import LinkWorld
from actors.lock_based.world import Inlet, Note, PeerCame, World
from actors.machine import MachineHost
from actors.metrics import Contacts, Durations
from actors.notes import ClientGone, Failed, Shutdown
from actors.protocol import ClientMessage, DescribePeer, InspectPeer, PeerMessage, decode_client_message
from actors.replicated_clock import stamps_of
from actors.spec import PeerConfig, PeerParts, restored
from actors.storage.disk import Disk
from raft_core import (
    AppendEntries,
    Applied,
    Effect,
    Event,
    Leader,
    LogIndex,
    Message,
    PeerRestarted,
    Received,
    Server,
    ServerId,
    Snapshot,
    SnapshotTaken,
    Term,
)

TICK = 0.01
"""Seconds between two looks of the election ticker."""
PATIENCE = 5.0
"""Seconds that a peer which ends waits for its threads."""

READS = frozenset({"status", "report"})
"""Methods of the interpreter that change nothing."""


class LockedPeer:
    """A Raft server.  `stopped` is told once, in a thread of its own, when it has ended."""

    def __init__(
        self,
        config: PeerConfig,
        disk: Disk,
        machine: MachineHost,
        world: World,
        stopped: Callable[[BaseException | None], None],
        boundary: Callable[[Effect], None] | None = None,
        recorder: Recorder | None = None,
        process_id: int = 0,
    ) -> None:
        self._disk = disk
        self._stopped = stopped
        self._world = world
        self._threads = world.threads
        started = self._threads.now()
        writes = Durations()
        self._contacts = Contacts()
        self._work: Mail[list[Work] | ClientGone] = Mail(self._threads)
        self._machine = machine
        self._life = Life(self._threads.lock())
        self._crew = Crew(config.server_id, self._threads, self._life, self.fail)
        self.lock = InstrumentedLock(self._threads.lock, clock=self._threads.clock, current=self._threads.current)
        randomness = Random(config.seed)
        deadlines = Deadlines(randomness)
        server, taker = restored(config, disk, machine, randomness)
        self._applier = Applier(
            config.server_id,
            machine,
            world.applier_voice,
            self._note_applied,
            taker,
            self._note_snapshot,
            lambda saved: self._work.put([[saved]]),
            doer_of(alone=disk.is_alone),
        )
        self._shared = self._share(
            server, deadlines, InlineDisk(disk, writes, deadlines, self._threads.clock), boundary, recorder
        )
        self._description = Description(self._shared, self.lock, world, writes, self._contacts, started, process_id)
        self._replicators = Replicators(
            self._shared, self.lock, world, self._crew, self._begin_heartbeats, config.settings
        )
        self.recovered_index: LogIndex = server.log.last_index

    def _share(
        self,
        server: Server,
        deadlines: Deadlines,
        disk: InlineDisk,
        boundary: Callable[[Effect], None] | None,
        recorder: Recorder | None,
    ) -> Shared:
        """What the lock guards, and whoever looks sees to it that it does."""
        interpreter = Interpreter(
            server,
            transport=self,
            disk=disk,
            snapshots=self._disk,
            applier=lambda work: self._work.put([work]),
            replies=self,
            deadlines=deadlines,
            boundary=boundary,
            recorder=recorder,
            stamps=stamps_of(self._machine, self._threads.wall),
        )
        watch = self._threads.watch
        shared = Shared(watch(interpreter, "interpreter", READS), disk, watch(deadlines, "deadlines"))
        return watch(shared, "shared state")

    def launch(self) -> None:
        """Start its threads."""
        with self.lock:
            self._shared.interpreter.start(self._threads.now())
        self._crew.start("ticker", self._watch_elections)
        self._applier_thread = self._threads.start(self._crew.name("applier"), self._crew.guarded(self._apply))
        self._threads.start(self._crew.name("acceptor"), self._accept)

    def fail(self, error: BaseException) -> None:
        """Fail-stop, from any thread: no turn begins any more, and what was in memory is not used again."""
        if self._life.end(error):
            self._world.wake()

    @property
    def error(self) -> BaseException | None:
        """What ended it; None if nothing did, or it was stopped in good order."""
        return self._life.error

    @property
    def bad_frames(self) -> list[ActorumError]:
        """Why frames, or whole links, were refused; the latest few."""
        with self.lock:
            return self._shared.bad_frames

    # --- a turn: the one way into the state ---------------------------------------------------------------------------

    def _turn(self, events: Iterable[Event] = (), asked: Sequence[tuple[ClientId, ClientMessage]] = ()) -> None:
        """`events` happened and clients `asked`; decide and make durable inside the lock, do the rest outside."""
        with self.lock:
            to_do = self._serve_locked(list(events), asked)
        for action in to_do:
            action()

    def _serve_locked(
        self, events: list[Event], asked: Sequence[tuple[ClientId, ClientMessage]] = ()
    ) -> list[Callable[[], None]]:
        self.lock.assert_owned()
        shared = self._shared
        if self._life.is_over:
            return []
        shared.events_in_last_turn = len(events) + len(asked)
        if shared.applied_index > shared.interpreter.server.last_applied:
            events.append(Applied(shared.applied_index))
            shared.interpreter.expires(shared.expiry, self._threads.now())
        written = shared.disk.retry(self._threads.now())
        shared.interpreter.take(self._threads.now(), events, asked, written)
        if asked:
            self._replicators.follow_settings_locked()
        self._replicators.follow_members_locked()
        to_do, shared.to_do = shared.to_do, []
        return to_do

    def send(self, to: ServerId, message: Message) -> None:
        """The interpreter's `Transport`, inside the lock.  What a replicator sends it may send at once, even while we
        wait for our own disk (thesis 10.2.1); everything else goes when the lock has been given up."""
        self.lock.assert_owned()
        shared = self._shared
        if shared.last_frame[0] is not message:
            shared.last_frame = (message, encode_message(message))
        frame = shared.last_frame[1]
        if isinstance(message, AppendEntries) and self._replicators.serve_locked(to, message.term):
            self._replicators.outbox_locked(to, message.term).put([frame])
        else:
            shared.to_do.append(partial(self._world.outlet(to).send, frame))

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Consensus answers a client (the interpreter's `Replies`, inside the lock)."""
        self._shared.to_do.append(partial(self._world.consensus_voice.reply, client_id, message))

    # --- receivers ----------------------------------------------------------------------------------------------------

    def _receive(self, sender: ServerId, inlet: Inlet) -> None:
        """Take what another peer says, until its link ends."""
        try:
            while (frames := inlet.get()) is not None:
                self._contacts.note(sender, self._threads.now())
                self._turn(self._events(sender, frames))
        except BadFrame as error:
            self._refuse(error)

    def _events(self, sender: ServerId, frames: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            try:
                events.append(Received(sender, decode_message(frame)))
            except BadFrame as error:
                self._refuse(error)
        return events

    def _refuse(self, error: ActorumError) -> None:
        with self.lock:
            self._shared.bad_frames = [*self._shared.bad_frames[-15:], error]

    # --- the election ticker ------------------------------------------------------------------------------------------

    def _watch_elections(self) -> None:
        """No timer is ever cancelled here: the time of the last contact is compared with now, again and again."""
        while not self._life.is_over:
            self._threads.sleep(TICK)
            with self.lock:
                to_do = self._look_at_time_locked()
            for action in to_do:
                action()
            self._world.flush()

    def _look_at_time_locked(self) -> list[Callable[[], None]]:
        self.lock.assert_owned()
        shared = self._shared
        return self._serve_locked(shared.deadlines.due_for_election(self._threads.now()))

    # --- heartbeats: a replicator's own turns -------------------------------------------------------------------------

    def _begin_heartbeats(self, term: Term) -> bool:
        """The heartbeats of all followers, if they are due; False: this server leads in `term` no more."""
        with self.lock:
            shared = self._shared
            server = shared.interpreter.server
            if server.current_term != term or not isinstance(server.role, Leader) or self._life.is_over:
                return False
            to_do = self._serve_locked(shared.deadlines.due_for_heartbeat(self._threads.now()))
        for action in to_do:
            action()
        return True

    # --- the applier --------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Give the state machine what is committed; it may take its time, nobody waits for it but clients."""
        while (pieces := self._work.take()) is not None:
            work: list[Work] = []
            for piece in pieces:
                if isinstance(piece, ClientGone):
                    self._applier.forget(piece.client_id)
                else:
                    work.extend(piece)
            self._applier.work(work)

    def _note_applied(self, index: LogIndex) -> None:
        """Wakes nobody: the next turn tells the core."""
        expiry = self._machine.next_deadline
        with self.lock:
            self._shared.applied_index = index
            self._shared.expiry = expiry

    def _note_snapshot(self, snapshot: Snapshot) -> None:
        """The core cuts the log."""
        self._turn([SnapshotTaken(snapshot)])

    # --- the acceptor -------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Serve clients and the supervisor until the end; then see to it that everything ends."""
        try:
            while not self._life.is_over:
                arrived = self._world.accept()
                for note in arrived.notes:
                    self._take_note(note)
                for error in arrived.refused:
                    self._refuse(error)
                self._serve_clients(arrived.asked)
        except Exception as error:
            self.fail(error)
        self._end()

    def _take_note(self, note: Note) -> None:
        match note:
            case PeerCame(server_id=server_id, inlet=inlet):
                self._turn([PeerRestarted(server_id)])
                self._crew.start(f"receiver {server_id}", partial(self._receive, server_id, inlet))
            case ClientGone(client_id=client_id):
                self._work.put([note])
                with self.lock:
                    self._shared.interpreter.forget(client_id)
            case Shutdown():
                if self._life.end(None):
                    self._world.wake()
            case Failed(error=error):
                self.fail(error)
            case _:
                assert_never(note)

    def _serve_clients(self, frames: list[tuple[ClientId, bytes]]) -> None:
        asked: list[tuple[ClientId, ClientMessage]] = []
        for client_id, frame in frames:
            try:
                message = decode_client_message(frame)
            except BadFrame as error:
                self._refuse(error)
                continue
            if isinstance(message, InspectPeer) and not message.digest:
                self._describe(client_id, message.batch_id)
            elif isinstance(message, DescribePeer):
                self._world.consensus_voice.reply(client_id, self._description.report(message.batch_id))
            else:
                asked.append((client_id, message))
        if asked:
            self._turn(asked=asked)

    def _describe(self, client_id: ClientId, batch_id: int) -> None:
        self._world.consensus_voice.reply(client_id, self._description.status(batch_id))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Wait for all threads, give everything back, tell the end.  An applier that hangs is not waited for if the
        peer has failed: what ended it must not wait for a state machine for ever."""
        self._work.close()
        error = self._life.error
        deadline = self._threads.now() + PATIENCE
        if error is None:
            self._applier_thread.join(PATIENCE)
        threads = self._crew.wait(deadline)
        self._world.close()
        if not any(thread.is_alive() for thread in threads):  # a disk that hangs keeps its connection
            with contextlib.suppress(ActorumError):
                self._disk.close()
        self._stopped(error)


def start(parts: PeerParts) -> LockedPeer:
    """Start a peer that listens to its control channel."""
    world = LinkWorld(parts.channel)
    peer = LockedPeer(
        parts.config,
        parts.disk,
        parts.machine,
        world,
        parts.stopped,
        parts.boundary,
        parts.recorder,
        os.getpid(),
    )
    peer.launch()
    return peer
