"""What a peer tells those who watch it: `happenings`, and what only a clock can tell.

Each watcher names the kinds it wants; a turn is looked at while there is one, and costs one comparison while there is
none.  What is told goes over the watcher's own link, in order, numbered: a watcher that does not read loses something
and sees by the numbers how much.  Nobody waits for a watcher.

Round-trip times are those of messages without entries.  An answer that could be to either of two is not timed (Karn and
Partridge, 1987): after a lost heartbeat it would be too long, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.applier import ClientId, Replies
from actors.deadlines import Deadlines
from actors.happenings import (
    KINDS,
    ElectionThreshold,
    Happening,
    HeartbeatAnswered,
    PeerReachable,
    PeerUnreachable,
    changes,
)
from actors.protocol import Happenings, WatchPeer
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Effect,
    Event,
    InstallSnapshotResult,
    Leader,
    Received,
    Send,
    Server,
    ServerId,
)


class _Watcher:
    def __init__(self, message: WatchPeer) -> None:
        self.batch_id = message.batch_id
        self.kinds = frozenset(KINDS[name] for name in message.kinds if name in KINDS)
        self.next_number = 1


class Observer:
    """Who watches one peer, and what they are told.  The peer's turns call it, one at a time."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._watchers: dict[ClientId, _Watcher] = {}
        self.is_on = False
        """Somebody watches."""
        self._kinds: frozenset[type[Happening]] = frozenset()
        self._conversation = _Conversation()
        self._server: Server | None = None
        self._is_announced = False
        self.deadlines: Deadlines | None = None
        """Where it is known when the election timer has nearly run out."""

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def watch(self, client_id: ClientId, message: WatchPeer, server: Server) -> None:
        """Tell this client of these kinds from now on, and of no others; of none, if it names none."""
        watcher = _Watcher(message)
        if watcher.kinds:
            self._watchers[client_id] = watcher
        else:
            self._watchers.pop(client_id, None)
        self._server = server
        self._count()
        self._replies.reply(client_id, Happenings(message.batch_id, watcher.next_number, ()))

    def forget(self, client_id: ClientId) -> None:
        """This client is gone."""
        self._watchers.pop(client_id, None)
        self._count()

    def _count(self) -> None:
        self._kinds = frozenset().union(*(watcher.kinds for watcher in self._watchers.values()))
        self.is_on = bool(self._watchers)
        if not self.is_on:
            self._conversation = _Conversation()
        is_announced = ElectionThreshold in self._kinds
        if self.deadlines is not None and is_announced is not self._is_announced:
            self.deadlines.announce(self._nearly_run_out if is_announced else None)
            self._is_announced = is_announced

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """A turn took the server from `before` to `after`."""
        self._server = after
        found = changes(now, before, after, effects)
        if isinstance(after.role, Leader):
            found.extend(self._conversation.turn(now, events, after, after.role, effects))
        elif isinstance(before.role, Leader):
            self._conversation = _Conversation()
        if found:
            self._tell(found)

    def _nearly_run_out(self, now: float, elapsed: float, timeout: float) -> None:
        """A leader's election timer is about its quorum, and nobody's threat."""
        server = self._server
        if server is not None and not isinstance(server.role, Leader):
            self._tell([ElectionThreshold(source=server.server_id, at=now, value=elapsed, timeout=timeout)])

    def _tell(self, found: Iterable[Happening]) -> None:
        for client_id, watcher in self._watchers.items():
            wanted = tuple([happening for happening in found if type(happening) in watcher.kinds])
            if wanted:
                self._replies.reply(client_id, Happenings(watcher.batch_id, watcher.next_number, wanted))
                watcher.next_number += len(wanted)


class _Conversation:
    """A leader's, with its followers: who answers, and how fast."""

    def __init__(self) -> None:
        self._heard: dict[ServerId, float] = {}
        self._silent: set[ServerId] = set()
        self._asked: dict[ServerId, list[tuple[tuple[int, int], float]]] = {}
        """Heartbeats without an answer: how the answer will be known, and when they were sent."""
        self._round_trips: dict[ServerId, float] = {}

    def turn(
        self, now: float, events: Sequence[Event], server: Server, leader: Leader, effects: Sequence[Effect]
    ) -> list[Happening]:
        """What this turn shows of it."""
        found: list[Happening] = []
        for event in events:
            if isinstance(event, Received) and isinstance(event.message, AppendEntriesResult | InstallSnapshotResult):
                found.extend(self._answered(now, server.server_id, event.sender, event.message))
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, AppendEntries) and not effect.message.entries:
                key = effect.message.prev_log_index, effect.message.round
                self._asked.setdefault(effect.to, []).append((key, now))
        found.extend(self._silence(now, server, leader))
        return found

    def _answered(
        self, now: float, source: ServerId, sender: ServerId, answer: AppendEntriesResult | InstallSnapshotResult
    ) -> list[Happening]:
        found: list[Happening] = []
        silence = now - self._heard.get(sender, now)
        self._heard[sender] = now
        if sender in self._silent:
            self._silent.discard(sender)
            found.append(PeerReachable(source=source, at=now, member=sender, value=silence))
        seconds = self._round_trip(now, sender, answer) if isinstance(answer, AppendEntriesResult) else None
        if seconds is not None:
            previous = self._round_trips.get(sender)
            self._round_trips[sender] = seconds
            found.append(HeartbeatAnswered(source=source, at=now, member=sender, previous=previous, value=seconds))
        return found

    def _round_trip(self, now: float, sender: ServerId, answer: AppendEntriesResult) -> float | None:
        asked = self._asked.get(sender, [])
        key = answer.prev_log_index, answer.round
        sent = [time for known, time in asked if known == key]
        if not sent:
            return None
        self._asked[sender] = []
        return now - sent[0] if len(sent) == 1 else None

    def _silence(self, now: float, server: Server, leader: Leader) -> list[Happening]:
        limit = server.settings.election_timeout / 1000
        found: list[Happening] = []
        followers = [progress.server_id for progress in leader.followers]
        for member in followers:
            silence = now - self._heard.setdefault(member, now)
            if silence >= limit and member not in self._silent:
                self._silent.add(member)
                found.append(PeerUnreachable(source=server.server_id, at=now, member=member, value=silence))
        self._heard = {member: self._heard[member] for member in followers}
        self._silent.intersection_update(followers)
        return found
