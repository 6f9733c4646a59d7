"""The applier: owns the state machine and answers clients, in log order (structure advice: one activity delivers).

The consensus side hands over *work* in order and never waits for it, so a slow `apply` costs no leadership.  Because
committed entries come before the reads that depend on them, a read is simply answered when its turn comes (thesis 6.4,
step 4).

Work is data; who carries it (a Pykka actor, a thread, the simulator in line) is not this file's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol, TypeAlias, assert_never

from msgspec import Struct

from actors.errors import ActorumError, SnapshotFailed
from actors.giving_way import Doer, at_once
from actors.machine import MachineHost
from actors.protocol import Abandoned, Administered, Delivered, Digest, PeerMessage, QueryResult, Restored, Results
from actors.snapshot_taking import Outcome, ServiceOutside, SnapshotTaker, is_final
from raft_core import (
    ApplyCommitted,
    Configured,
    Entry,
    Leader,
    LogIndex,
    Server,
    ServerId,
    Settings,
    Snapshot,
    Term,
)

PIECE: Final = 2048
"""Entries that a server applies at a time while it catches up; fewer it applies as if it did not."""

ClientId: TypeAlias = int
"""Number of a client of this cluster; given by the supervisor, never used twice."""


class Expect(Struct, frozen=True, gc=False):
    """A client waits for the entries `first_index`..`last_index`, provided they are still of `term` when applied."""

    client_id: ClientId
    batch_id: int
    first_index: LogIndex
    last_index: LogIndex
    term: Term


class Apply(Struct, frozen=True):
    """Committed entries, the first at `first_index`."""

    first_index: LogIndex
    entries: tuple[Entry, ...]
    is_late: bool = False
    """They were committed before this server had them all: it catches up, and nobody waits for it."""

    @classmethod
    def committed(cls, effect: ApplyCommitted, server: Server) -> Apply:
        """What `effect` says; `server` is as it is now.  A follower that keeps up has entries that are not committed,
        while there is load, or else few that are."""
        is_late = not isinstance(server.role, Leader) and server.commit_index == server.log.last_index
        return cls(effect.first_index, effect.entries, is_late)


class Query(Struct, frozen=True, gc=False):
    """Read from the state machine as it is now and answer the client."""

    client_id: ClientId
    batch_id: int
    name: str
    arguments: bytes


class Fingerprint(Struct, frozen=True, gc=False):
    """Tell a client the digest of the state as it is now."""

    client_id: ClientId
    batch_id: int


class Follow(Struct, frozen=True):
    """Send a client what has been applied, and from now on whatever is."""

    client_id: ClientId
    so_far: Apply
    """As far as the log holds it."""
    last_included_term: Term = 0
    """Of the entry before it."""


class Restore(Struct, frozen=True):
    """The state machine takes its state from this snapshot."""

    snapshot: Snapshot


class TakeSnapshot(Struct, frozen=True, gc=False):
    """A client asks for a snapshot now."""

    client_id: ClientId
    batch_id: int


class Saved(Struct, frozen=True, gc=False):
    """A snapshot that was under way has come to its end."""

    outcome: Outcome


class UseSettings(Struct, frozen=True, gc=False):
    """From now on these say when a snapshot is due."""

    settings: Settings


class Keep(Struct, frozen=True):
    """A service outside hands over its state behind an entry."""

    client_id: ClientId
    batch_id: int
    last_included_index: LogIndex
    last_included_term: Term | None
    """None: the log does not have that entry any more, or it is not committed."""
    configured: Configured | None
    """The members at that entry."""
    state: bytes


class Abandon(Struct, frozen=True, gc=False):
    """This server leads no more: tell everybody who waits that the outcome is unknown here."""


Work: TypeAlias = (
    Expect | Apply | Restore | TakeSnapshot | Saved | Keep | Query | Fingerprint | Follow | UseSettings | Abandon
)


class Replies(Protocol):
    """Where answers go; a client that is gone is not an error."""

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Send `message` to a client, without waiting."""


class Applier:
    """The state machine of one peer and the clients who wait for it."""

    def __init__(
        self,
        server_id: ServerId,
        machine: MachineHost,
        replies: Replies,
        applied: Callable[[LogIndex], None],
        taker: SnapshotTaker,
        taken: Callable[[Snapshot], None],
        later: Callable[[Saved], None] | None = None,
        gently: Doer = at_once,
    ) -> None:
        """`applied` is told how far the machine is, `taken` which snapshot is on disk; `later`, in whatever thread,
        brings work back to here.  Without it everything must be saved at once.  `gently` does the work of catching
        up."""
        self._server_id = server_id
        self._machine = machine
        self._replies = replies
        self._applied = applied
        self._taker = taker
        self._taken = taken
        self._later = later
        self._gently = gently
        self._askers: list[tuple[TakeSnapshot, LogIndex]] = []
        """Who asked for a snapshot, and of what at least."""
        self._waiting: deque[Expect] = deque()
        self._followers: list[ClientId] = []
        self.applied_index: LogIndex = machine.last_applied
        """Index of the last entry applied (Figure 2, last_applied)."""

    def work(self, items: Iterable[Work]) -> None:
        """Do everything in `items`, in order."""
        before = self.applied_index
        for item in items:
            match item:
                case Apply():
                    self._apply_all(item)
                case Restore():
                    self._restore(item)
                case TakeSnapshot():
                    self._askers.append((item, self.applied_index))
                    self._take_snapshot()
                case Saved():
                    self._saved(item.outcome)
                case Keep():
                    self._keep(item)
                case Expect():
                    self._waiting.append(item)
                case Query(client_id=client_id, batch_id=batch_id):
                    reply = self._machine.query(item.name, item.arguments)
                    self._replies.reply(client_id, QueryResult(batch_id, reply, self.applied_index))
                case Fingerprint(client_id=client_id, batch_id=batch_id):
                    self._replies.reply(client_id, self._fingerprint(batch_id))
                case Follow():
                    self._follow(item)
                case UseSettings(settings=settings):
                    self._taker.settings = settings
                case Abandon():
                    self._abandon_all()
                case _:
                    assert_never(item)
        if self.applied_index != before:
            self._applied(self.applied_index)
            self._tell_of(self._taker.take_if_due(self._tell_later))

    def _apply_all(self, work: Apply) -> None:
        """A server that catches up does so a piece at a time, and gives way to others."""
        if not work.is_late or len(work.entries) <= PIECE:
            self._apply(work)
            return
        for first in range(0, len(work.entries), PIECE):
            piece = Apply(work.first_index + first, work.entries[first : first + PIECE])
            self._gently(partial(self._apply, piece))
            self._applied(self.applied_index)

    def _apply(self, work: Apply) -> None:
        replies = self._machine.apply_batch(work.first_index, work.entries)
        self.applied_index = work.first_index + len(work.entries) - 1
        self._taker.applied(work.first_index, work.entries)
        for client_id in self._followers:
            self._replies.reply(client_id, Delivered(work.first_index, work.entries))
        while self._waiting and self._waiting[0].first_index <= self.applied_index:
            self._answer(self._waiting[0], work, replies)
            if self._waiting[0].last_index > self.applied_index:
                return
            self._waiting.popleft()

    def _restore(self, work: Restore) -> None:
        """Whoever waits for entries that the snapshot covers does not learn here what became of them."""
        self._gently(partial(self._taker.restore, work.snapshot))
        self.applied_index = work.snapshot.last_included_index
        restored = self._beginning(self.applied_index, work.snapshot.last_included_term)
        for client_id in self._followers:
            self._replies.reply(client_id, restored)
        self._abandon_all()

    def _take_snapshot(self) -> None:
        """For those who asked; if one is under way, it may be of less than they want, and they wait for it."""
        if self._taker.is_under_way or not self._askers:
            return
        try:
            self._tell_of(self._taker.take(self._tell_later))
        except ActorumError as error:
            if is_final(error):
                raise
            self._answer_askers(error, self.applied_index)
            return
        if not self._taker.is_under_way:
            self._answer_askers(None, self.applied_index)

    def _answer_askers(self, error: ActorumError | None, index: LogIndex) -> None:
        """Everything up to `index` is in a snapshot, or cannot be."""
        for asked, wanted in self._askers:
            if wanted <= index and error is None:
                self._replies.reply(asked.client_id, Administered(asked.batch_id, "done", index))
            elif wanted <= index and error is not None:
                self._replies.reply(asked.client_id, Administered(asked.batch_id, "refused", reason=error.what))
        self._askers = [(asked, wanted) for asked, wanted in self._askers if wanted > index]

    def _tell_later(self, outcome: Outcome) -> None:
        """In whatever thread."""
        assert self._later is not None, "only those who can be told later have something saved behind them"
        self._later(Saved(outcome))

    def _saved(self, outcome: Outcome) -> None:
        self._taker.saved(outcome)
        if isinstance(outcome, Snapshot):
            self._tell_of(outcome)
            self._answer_askers(None, outcome.last_included_index)
        else:
            self._answer_askers(outcome, self.applied_index)
        self._take_snapshot()

    def _keep(self, work: Keep) -> None:
        try:
            snapshot = self._kept(work)
        except ActorumError as error:
            if is_final(error):
                raise
            self._replies.reply(work.client_id, Administered(work.batch_id, "refused", reason=error.what))
            return
        self._tell_of(snapshot)
        self._replies.reply(work.client_id, Administered(work.batch_id, "done", snapshot.last_included_index))

    def _kept(self, work: Keep) -> Snapshot:
        if work.last_included_term is None or work.configured is None:
            raise SnapshotFailed(f"entry {work.last_included_index} is not in the log, or not committed")
        return self._taker.keep(work.last_included_index, work.last_included_term, work.configured, work.state)

    def _tell_of(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._taken(snapshot)

    def _follow(self, work: Follow) -> None:
        first_index, entries = work.so_far.first_index, work.so_far.entries
        beginning = self._beginning(first_index - 1, work.last_included_term)
        if beginning.last_included_index:
            self._replies.reply(work.client_id, beginning)
        skipped = beginning.last_included_index + 1 - first_index
        self._replies.reply(work.client_id, Delivered(first_index + skipped, entries[skipped:]))
        self._followers.append(work.client_id)

    def _beginning(self, index: LogIndex, term: Term) -> Restored:
        """Behind what a client follows the log: what a service outside handed over, or else this entry."""
        machine = self._machine.machine
        if isinstance(machine, ServiceOutside) and machine.last_included_index:
            return Restored(machine.last_included_index, machine.last_included_term, machine.state)
        return Restored(index, term, b"")

    def forget(self, client_id: ClientId) -> None:
        """This client is gone."""
        self._followers = [follower for follower in self._followers if follower != client_id]

    def _answer(self, expected: Expect, work: Apply, replies: list[bytes | None]) -> None:
        """Answer the part of a batch that was just applied.  Another term at its place means another leader's entry:
        then from there on the batch never took effect here, and the client offers the rest again."""
        first = max(expected.first_index, work.first_index)
        last = min(expected.last_index, self.applied_index)
        begin, end = first - work.first_index, last - work.first_index + 1
        ours = _prefix_of_term(work.entries, begin, end, expected.term)
        if ours > begin:
            answers = tuple([reply or b"" for reply in replies[begin:ours]])
            offset, index = first - expected.first_index, work.first_index + ours - 1
            self._replies.reply(expected.client_id, Results(expected.batch_id, offset, answers, index))
        if ours < end:
            self._replies.reply(expected.client_id, Abandoned(expected.batch_id))

    def _abandon_all(self) -> None:
        for expected in self._waiting:
            self._replies.reply(expected.client_id, Abandoned(expected.batch_id))
        self._waiting.clear()

    def _fingerprint(self, batch_id: int) -> Digest:
        machine = self._machine
        return Digest(
            batch_id,
            self._server_id,
            self.applied_index,
            machine.state_digest(),
            machine.describe(),
            machine.versions,
        )


def _prefix_of_term(entries: tuple[Entry, ...], begin: int, end: int, term: Term) -> int:
    """Where in `begin`..`end` the entries of `term` at its beginning end.  Terms in a log never decrease, so equal ends
    mean equal terms between them."""
    if entries[begin].term == entries[end - 1].term:
        return end if entries[begin].term == term else begin
    return next((place for place in range(begin, end) if entries[place].term != term), end)
