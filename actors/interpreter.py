"""The interpreter: carries out what the core asks for.  Ring 2, shared literally by every runtime and engine.

`handle` takes a turn's events through `step_all` and carries out the effects by the order contract of
`raft_core.effects`: persist effects go to the disk as one write; what must not overtake them is held until the disk
confirms; AppendEntries and timers go at once.  A disk that answers at once and one that answers later are the same
here: the turn goes on with `LogPersisted` either way.

It knows neither threads nor actors nor clocks: whoever calls it gives the time, in seconds, and sees to it that only
one caller is inside at a time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Unpack, assert_never

from actors.applier import Abandon, Apply, ClientId, Replies, Restore, Work
from actors.deadlines import NEVER, Deadlines
from actors.leases import Leases
from actors.logs import log_level
from actors.ports import NOTHING_WRITTEN as NOTHING_WRITTEN
from actors.ports import Disk as Disk
from actors.ports import Held, SnapshotReader, Transport
from actors.ports import Recorder as Recorder
from actors.ports import Written as Written
from actors.protocol import ClientMessage, Report, Status
from actors.raft_logger import LOG, tell_ignored, tell_members, tell_refusals, tell_role
from actors.replicated_clock import Stamps
from actors.reports import details
from actors.requests import Requests
from actors.status import KnownToTheRuntime, status_of
from actors.storage.port import SnapshotGone
from raft_core import (
    AppendEntries,
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    ConfigurationAccepted,
    ConfigurationChanged,
    ConfigurationCommitted,
    ConfigurationRefused,
    DiskRecovered,
    DiskStalled,
    Effect,
    Event,
    Follower,
    Ignored,
    InstallSnapshot,
    Leader,
    LeaseExpired,
    LogPersisted,
    PersistEffect,
    PersistTermAndVote,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    ReceiveSnapshotChunk,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RestoreSnapshot,
    RoleChanged,
    RoundConfirmed,
    RoundSent,
    Send,
    SendSnapshotChunk,
    Server,
    ServerId,
    SnapshotReceived,
    SnapshotSpoiled,
    SnapshotUnreadable,
    StopHeartbeatTimer,
    TimeoutNow,
    TransferEnded,
    TransferRefused,
    step_all,
)

GATHERING_TIME = 0.005
"""Seconds after which a follower's committed entries go to its applier at the latest."""
GATHERED_ENTRIES = 64
"""Entries in one piece that go to it at once."""
HELD_SENDS = 1024
"""Messages that wait for one write at most."""
EXPIRY_PAUSE = 0.1
"""Seconds between two attempts to tell the machine that something of it has expired."""

# Each effect is compared with these, and a union that is written where it is used is made anew each time.
_WAITS_FOR_NO_DISK: Final = (AppendEntries, TimeoutNow)
_GOES_TO_DISK: Final = (AppendToLog, PersistTermAndVote, CompactLog, ReceiveSnapshotChunk)


class Interpreter:
    """One server and its ports."""

    def __init__(
        self,
        server: Server,
        *,
        transport: Transport,
        disk: Disk,
        snapshots: SnapshotReader,
        applier: Callable[[list[Work]], None],
        replies: Replies,
        deadlines: Deadlines,
        boundary: Callable[[Effect], None] | None = None,
        recorder: Recorder | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        """`boundary`, if given, is called before each effect is carried out: tests kill the peer there.  `recorder`, if
        given, learns of each turn before that.  `stamps` are those of a machine that knows the time."""
        self.server = server
        self.role_changes: deque[RoleChanged] = deque(maxlen=256)
        """The latest changes of role, term or leader, oldest first."""
        self.ignored = 0
        """Events that changed nothing."""
        self._transport = transport
        self._disk = disk
        self._snapshots = snapshots
        self._applier = applier
        self._deadlines = deadlines
        self._boundary = boundary
        self._recorder = recorder
        self._requests = Requests(replies, stamps)
        self._observer = self._requests.inspection.observer
        self._observer.deadlines = deadlines
        self._stamps = stamps
        self._held: deque[Held] = deque()
        self._leases = Leases(deadlines)
        self._work: list[Work] = []
        self._has_urgent_work = False

    def start(self, now: float) -> None:
        """Begin as a follower: wait for a leader or for the election timeout (paper 5.2)."""
        if self._recorder is not None:
            self._recorder.started(self.server)
        role = self.server.role
        contact = self.server.settings.election_timeout if isinstance(role, Follower) and role.leader_is_recent else 0
        self._deadlines.set(ResetElectionTimer(self.server.election_timeout, contact), now)

    def serve(
        self,
        now: float,
        events: list[Event],
        asked: Iterable[tuple[ClientId, ClientMessage]] = (),
        written: Written = NOTHING_WRITTEN,
    ) -> None:
        """One turn: the disk confirmed what is `written`, `events` happened, clients `asked`; then deadlines are looked
        at, after what has arrived: a message that waited while this process was held up still counts as heard."""
        self.take(now, events, asked, written)
        if now >= self._deadlines.next:
            self.handle(self._deadlines.due(now), now)

    def take(
        self,
        now: float,
        events: list[Event],
        asked: Iterable[tuple[ClientId, ClientMessage]] = (),
        written: Written = NOTHING_WRITTEN,
    ) -> None:
        """As `serve`, for who looks at deadlines elsewhere."""
        if written.count:
            events = self._confirmed(written) + events
        if self._held or self._deadlines.stall != NEVER or self.server.disk_is_stalled:
            events = self._look_at_disk(now) + events
        if now >= self._deadlines.lease:
            self._deadlines.lease = NEVER
            events = [LeaseExpired(), *events]
        if asked:
            more, work = self._requests.events(asked, self.server, now)
            events.extend(more)
            self._give(*work)
        if now >= self._deadlines.expiry:
            events.extend(self._expired(now))
        self.handle(events, now)

    def _look_at_disk(self, now: float) -> list[Event]:
        """A write that takes as long as an election timeout costs the leadership, and one that is done gives the right
        to it back."""
        limit = self._held[0].since + self.server.settings.election_timeout / 1000 if self._held else NEVER
        is_stalled = now >= limit
        self._deadlines.stall = NEVER if is_stalled else limit
        if is_stalled == self.server.disk_is_stalled:
            return []
        return [DiskStalled() if is_stalled else DiskRecovered()]

    def expires(self, clock: int | None, now: float) -> None:
        """The machine has something to let go when its clock shows `clock`, in milliseconds; None: nothing."""
        if self._stamps is not None:
            self._deadlines.expiry = NEVER if clock is None else now + self._stamps.seconds_until(clock)

    def _expired(self, now: float) -> list[Event]:
        """The leader tells the machine the time.  If that is lost, or another leads just now, it is tried again."""
        self._deadlines.expiry = now + EXPIRY_PAUSE
        return self._requests.stamp() if isinstance(self.server.role, Leader) else []

    def handle(self, events: list[Event], now: float) -> None:
        """Take `events` through the core and carry out what follows, until nothing more does."""
        while events:
            before = self.server
            self.server, effects = step_all(before, events)
            if LOG.isEnabledFor(logging.DEBUG):
                tell_refusals(self.server, events)
            if self._recorder is not None:
                self._recorder.turn(now, events, before, self.server, effects)
            if self._observer.is_on:
                self._observer.turn(now, events, before, self.server, effects)
            events = self._execute(effects, now)
        if self._has_urgent_work or now >= self._deadlines.delivery:
            work, self._work = self._work, []
            self._has_urgent_work = False
            self._deadlines.delivery = NEVER
            self._applier(work)

    def status(self, batch_id: int, **known: Unpack[KnownToTheRuntime]) -> Status:
        """The answer to `InspectPeer`."""
        return status_of(self.server, batch_id, **known)

    def report(self, status: Status, contacts: Mapping[ServerId, float], metrics: Mapping[str, float]) -> Report:
        """The answer to `DescribePeer`.  `contacts`: seconds since each other peer was heard."""
        described = details(
            self.server,
            contacts,
            unconfirmed_writes=len(self._held),
            ignored_events=self.ignored,
            watchers=self._observer.watchers,
            log_level=log_level(),
            metrics=dict(metrics),
        )
        return Report(status.batch_id, status, described)

    def forget(self, client_id: ClientId) -> None:
        """This client is gone: it need not be told anything any more."""
        self._observer.forget(client_id)

    def _execute(self, effects: Iterable[Effect], now: float) -> list[Event]:
        persists: list[PersistEffect] = []
        behind: list[Send] = []
        events: list[Event] = []
        for effect in effects:
            if self._boundary is not None:
                self._boundary(effect)
            if isinstance(effect, Send):
                if isinstance(effect.message, _WAITS_FOR_NO_DISK):
                    self._transport.send(effect.to, effect.message)
                elif persists:
                    behind.append(effect)
                elif self._held:
                    self._hold(effect)
                else:
                    self._transport.send(effect.to, effect.message)
            elif isinstance(effect, _GOES_TO_DISK):
                persists.append(effect)
            else:
                events.extend(self._carry_out(effect, now))
        return events + self._persist(persists, behind, now) if persists else events

    def _hold(self, send: Send) -> None:
        """Until the disk confirms.  Of what was to be said while it was full for hours, the oldest is dropped."""
        sends = self._held[-1].sends
        sends.append(send)
        if len(sends) > HELD_SENDS:
            del sends[0]

    def _carry_out(self, effect: Effect, now: float) -> Sequence[Event]:
        """What is done at once, and the events that follow from it."""
        match effect:
            case ApplyCommitted():
                self._apply(Apply.committed(effect, self.server), now)
            case ResetElectionTimer() | ResetHeartbeatTimer() | StopHeartbeatTimer():
                self._deadlines.set(effect, now)
            case ProposalAccepted():
                # Who waits for entries need not be known before they are applied: no need to wake the applier.
                self._work.extend(self._requests.accepted(effect, self.server))
            case ProposalRefused():
                self._requests.refused(effect, self.server)
            case ReadReady():
                self._give(*self._requests.ready(effect))
            case ReadRefused():
                self._requests.reads_refused(effect)
            case RoundSent(round=number):
                self._leases.sent_rounds.append((number, now))
            case RoundConfirmed(round=number):
                return self._leases.confirmed(number, now, self.server.settings.election_timeout)
            case SendSnapshotChunk():
                return self._send_chunk(effect)
            case RestoreSnapshot():
                self._give(Restore(effect.snapshot))
            case (
                ConfigurationAccepted()
                | ConfigurationRefused()
                | ConfigurationCommitted()
                | TransferRefused()
                | TransferEnded()
            ):
                self._administer(effect)
            case ConfigurationChanged() | RoleChanged() | Ignored():
                self._note(effect)
            case Send() | AppendToLog() | PersistTermAndVote() | CompactLog() | ReceiveSnapshotChunk():
                raise AssertionError("these are carried out by _execute")
            case _:
                assert_never(effect)
        return ()

    def _administer(
        self,
        effect: ConfigurationAccepted | ConfigurationRefused | ConfigurationCommitted | TransferRefused | TransferEnded,
    ) -> None:
        """Tell the administrator."""
        administration = self._requests.administration
        match effect:
            case ConfigurationAccepted():
                administration.accepted(effect, self.server)
            case ConfigurationCommitted():
                administration.committed(effect)
            case ConfigurationRefused() | TransferRefused():
                administration.refused(effect)
            case TransferEnded():
                administration.transferred(effect)
            case _:
                assert_never(effect)

    def _apply(self, work: Apply, now: float) -> None:
        """A leader's clients wait for it; nobody waits for a follower's.  So a follower gathers for some milliseconds:
        waking its applier for each entry would take processor time from those on whom the commit depends."""
        if isinstance(self.server.role, Leader) or len(work.entries) >= GATHERED_ENTRIES:
            self._give(work)
            return
        self._work.append(work)
        if self._deadlines.delivery == NEVER:
            self._deadlines.delivery = now + GATHERING_TIME

    def _give(self, *work: Work) -> None:
        """To the applier, with everything before it, at the end of the turn."""
        self._work.extend(work)
        self._has_urgent_work = self._has_urgent_work or bool(work)

    def _note(self, effect: ConfigurationChanged | RoleChanged | Ignored) -> None:
        """For those who watch."""
        match effect:
            case ConfigurationChanged():
                tell_members(self.server, effect)
            case RoleChanged():
                self._note_role(effect)
            case Ignored():
                self.ignored += 1
                tell_ignored(self.server, effect)
            case _:
                assert_never(effect)

    def _note_role(self, effect: RoleChanged) -> None:
        """Whoever leads no more cannot say what becomes of what it accepted (an unknown outcome is not a failure)."""
        was_leader = bool(self.role_changes) and self.role_changes[-1].role == "leader"
        self.role_changes.append(effect)
        tell_role(self.server, effect)
        if was_leader:
            self._give(Abandon())
            self._requests.administration.lost_leadership()

    def _persist(self, persists: list[PersistEffect], behind: list[Send], now: float) -> list[Event]:
        """One write for all persist effects of the turn; what stands behind them in the turn waits for it."""
        persisted = _persisted_by(persists)
        self._held.append(Held(persisted, behind, now))
        arrivals = self._disk.write(persists)
        return [] if arrivals is None else self._confirmed(Written(1, tuple(arrivals)))

    def _send_chunk(self, effect: SendSnapshotChunk) -> list[Event]:
        """Read a part of a snapshot and send it; a newer one may have taken its place."""
        try:
            data = self._snapshots.read(effect.snapshot, effect.offset, effect.length)
        except SnapshotGone:
            return [SnapshotUnreadable(effect.snapshot)]
        leader_id = self.server.server_id
        self._transport.send(effect.to, InstallSnapshot(effect.term, leader_id, effect.snapshot, effect.offset, data))
        return []

    def _confirmed(self, written: Written) -> list[Event]:
        """The oldest unconfirmed writes are durable: let go what waited for them."""
        events: list[Event] = []
        for _ in range(written.count):
            held = self._held.popleft()
            for send in held.sends:
                self._transport.send(send.to, send.message)
            if held.persisted is not None:
                events.append(held.persisted)
        for arrival in written.arrivals:
            events.append((SnapshotReceived if arrival.is_sound else SnapshotSpoiled)(arrival.snapshot))
        return events


def _persisted_by(changes: Sequence[PersistEffect]) -> LogPersisted | None:
    """What the core is to be told of the log once `changes` are durable: nothing, if they append nothing."""
    for change in reversed(changes):
        if isinstance(change, AppendToLog):
            return LogPersisted(change.prev_log_index + len(change.entries), change.current_term)
    return None
