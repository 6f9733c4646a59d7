"""One incarnation of a simulated peer: the real interpreter and applier between simulated ways.

It does what `PeerActor` does, in the same order: what has arrived is taken as one turn, so batching is simulated, too;
deadlines are looked at when the turn comes.  A turn is planned a moment after something arrives, or for the next
deadline, whichever is earlier; of several planned turns only the earliest counts, it plans anew.
"""

from __future__ import annotations

from random import Random

from actors.applier import Applier, ClientId, Work
from actors.codec import decode_message
from actors.deadlines import NEVER, Deadlines
from actors.interpreter import NOTHING_WRITTEN, Interpreter, Written
from actors.metrics import Contacts
from actors.protocol import ClientMessage, DescribePeer, InspectPeer, Report, Status, decode_client_message
from actors.replicated_clock import stamps_of
from actors.sim.disk import SimDisk
from actors.sim.incarnation import DISK, Incarnation, PeerPlan, Surroundings, Voice
from actors.sim.timeline import Delay
from actors.spec import restored
from actors.storage.disk import Disk
from raft_core import Applied, Event, LogIndex, PeerRestarted, Received, ServerId, Snapshot, SnapshotTaken

TURN = Delay(0.000_01, 0.000_1)
"""From an arrival to the turn that takes it: what arrives meanwhile is taken with it."""
APPLY = Delay(0.000_05, 0.000_5)
"""From what is committed to what is applied."""


class SimPeer(Incarnation):
    """A peer whose turns are those of an actor."""

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        super().__init__(server_id, around)
        timeline = around.timeline
        self._events: list[Event] = []
        self._asked: list[tuple[ClientId, ClientMessage]] = []
        self._written = NOTHING_WRITTEN
        self._depth = 0
        self._contacts = Contacts()
        self._next_turn = NEVER
        self._consensus_voice = Voice(self, around.listeners)
        self._work = self.way(APPLY)
        self._machine = plan.host()
        self._disk = SimDisk(timeline, self.way(DISK), disk, self._confirmed)
        config = plan.config(server_id, timeline.random.getrandbits(64))
        randomness = Random(config.seed)
        self._deadlines = Deadlines(randomness)
        server, taker = restored(config, disk, self._machine, randomness)
        voice = Voice(self, around.listeners)
        self._applier = Applier(server_id, self._machine, voice, self._applied, taker, self._taken)
        self.interpreter = Interpreter(
            server,
            transport=self,
            disk=self._disk,
            snapshots=disk,
            applier=self._give_applier,
            replies=self._consensus_voice,
            deadlines=self._deadlines,
            boundary=self.note_effect,
            recorder=plan.recorder_of(server_id),
            stamps=stamps_of(self._machine, lambda: timeline.now),
        )
        self.recovered_index: LogIndex = self.interpreter.server.log.last_index
        self.interpreter.start(timeline.now)
        self._plan_turn(self._deadlines.next)

    def _give_applier(self, work: list[Work]) -> None:
        self._work.put(lambda: self._applier.work(work))

    # --- what arrives -------------------------------------------------------------------------------------------------

    def meet(self, server_id: ServerId) -> None:
        """A new incarnation of another peer can be reached."""
        self._arrived(PeerRestarted(server_id))

    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer arrived."""
        message = decode_message(frame)
        self._contacts.note(sender, self.timeline.now)
        self.timeline.note(self.server_id, f"{sender} says {type(message).__name__}", frame)
        self._arrived(Received(sender, message))

    def ask(self, client_id: ClientId, frame: bytes) -> None:
        """A frame from a client arrived."""
        message = decode_client_message(frame)
        self.timeline.note(self.server_id, f"client asks {type(message).__name__}", frame)
        self._asked.append((client_id, message))
        self._plan_turn(self.timeline.draw(TURN))

    def _confirmed(self, written: Written) -> None:
        self.timeline.note(self.server_id, f"disk confirms {written.count}")
        self._written += written
        self._plan_turn(self.timeline.draw(TURN))

    def _applied(self, index: LogIndex) -> None:
        self.timeline.note(self.server_id, f"applied {index}")
        self.interpreter.expires(self._machine.next_deadline, self.timeline.now)
        self._arrived(Applied(index))

    def _taken(self, snapshot: Snapshot) -> None:
        self.timeline.note(self.server_id, f"snapshot {snapshot.last_included_index}")
        self._arrived(SnapshotTaken(snapshot))

    def _arrived(self, event: Event) -> None:
        self._events.append(event)
        self._plan_turn(self.timeline.draw(TURN))

    # --- turns --------------------------------------------------------------------------------------------------------

    def _plan_turn(self, time: float) -> None:
        if time < self._next_turn:
            self._next_turn = time
            self.timeline.at(time, lambda: self._turn(time))

    def _turn(self, planned: float) -> None:
        if not self.is_up or planned != self._next_turn:
            return
        self._next_turn = NEVER
        events, asked, written = self._events, self._asked, self._written
        self._events, self._asked, self._written = [], [], NOTHING_WRITTEN
        self._depth = len(events) + len(asked) + written.count
        self.interpreter.serve(self.timeline.now, events, self._without_inspections(asked), written)
        self._plan_turn(self._deadlines.next)

    def _without_inspections(self, asked: list[tuple[ClientId, ClientMessage]]) -> list[tuple[ClientId, ClientMessage]]:
        """How it is, a peer says by itself; the rest is for the interpreter."""
        others: list[tuple[ClientId, ClientMessage]] = []
        for client_id, message in asked:
            if isinstance(message, InspectPeer) and not message.digest:
                self._consensus_voice.reply(client_id, self._status(message.batch_id))
            elif isinstance(message, DescribePeer):
                self._consensus_voice.reply(client_id, self._report(message.batch_id))
            else:
                others.append((client_id, message))
        return others

    def _report(self, batch_id: int) -> Report:
        metrics = {"mailbox_depth": self._depth, **self._disk.durations.summary("write")}
        return self.interpreter.report(self._status(batch_id), self._contacts.ages(self.timeline.now), metrics)

    def _status(self, batch_id: int) -> Status:
        return self.interpreter.status(
            batch_id,
            inbox_depth=self._depth,
            dropped_messages=0,
            fsync_p99=self._disk.durations.percentile(0.99),
            uptime=self.timeline.now - self.since,
            process_id=0,
        )
