"""Client requests on their way into the core and back: who asked what.

A turn's commands, of whatever clients, become one `Proposed` (one log write and one message per peer, thesis 10.2), a
turn's reads one `ReadRequested`.  The core answers with numbers; here they become names again.

If the machine knows the time, a stamp (`replicated_clock`) goes in front of a turn's commands when one is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple, assert_never

from actors.administration import Administration
from actors.applier import Apply, ClientId, Expect, Fingerprint, Follow, Keep, Query, Replies, TakeSnapshot, Work
from actors.freshness import Freshness, mode_of
from actors.inspection import Inspection
from actors.protocol import (
    ChangeMembers,
    ClientMessage,
    FollowLog,
    InspectPeer,
    KeepSnapshot,
    OfferCommand,
    Offered,
    Refused,
    SnapshotPeer,
    SubmitCommands,
    SubmitQuery,
    TransferLeadership,
)
from actors.replicated_clock import Stamps
from raft_core import (
    Event,
    LogIndex,
    ProposalAccepted,
    ProposalRefused,
    Proposed,
    ReadMode,
    ReadReady,
    ReadRefused,
    ReadRequested,
    RefusalReason,
    Server,
    ServerId,
)

MAX_COMMANDS_PER_PROPOSAL = 4096


class _Read(NamedTuple):
    """The core was asked for it."""

    query: Query
    mode: ReadMode
    asked_at: float


class Requests:
    """What clients asked of this peer and the core has not answered yet."""

    def __init__(self, replies: Replies, stamps: Stamps | None = None) -> None:
        """`stamps`: those of a machine that knows the time."""
        self._replies = replies
        self._stamps = stamps
        self._numbers = count(1)
        self._proposals: dict[int, list[tuple[ClientId, SubmitCommands]]] = {}
        self._offers: dict[int, tuple[ClientId, int]] = {}
        self._reads: dict[int, _Read] = {}
        self._freshness = Freshness()
        self._stamp_numbers: set[int] = set()
        self.administration = Administration(replies, self._numbers)
        self.inspection = Inspection(replies)

    def events(
        self, asked: Iterable[tuple[ClientId, ClientMessage]], server: Server, now: float = 0.0
    ) -> tuple[list[Event], list[Work]]:
        """The events for the core, and the work that needs no consensus (stale reads, fingerprints, the applied log).

        `server` is as it was when all that is committed in it had been given to the applier; `now`, which only
        reads with a bound look at, is not before any of this was `asked`.
        """
        submissions: list[tuple[ClientId, SubmitCommands]] = []
        offers: list[Event] = []
        reads: dict[ReadMode, list[int]] = {}
        work: list[Work] = []
        for client_id, message in asked:
            match message:
                case SubmitCommands():
                    if message.commands:
                        submissions.append((client_id, message))
                case SubmitQuery():
                    query = Query(client_id, message.batch_id, message.name, message.arguments)
                    if self._freshness.suffices(message, server.commit_index, now):
                        work.append(query)
                    else:
                        number, mode = next(self._numbers), mode_of(message)
                        self._reads[number] = _Read(query, mode, now)
                        reads.setdefault(mode, []).append(number)
                case InspectPeer():
                    if message.digest:
                        work.append(Fingerprint(client_id, message.batch_id))
                case OfferCommand():
                    offers.append(self._offer(client_id, message))
                case FollowLog() | SnapshotPeer() | KeepSnapshot():
                    work.append(_for_applier(client_id, message, server))
                case ChangeMembers():
                    offers.append(self.administration.change(client_id, message))
                case TransferLeadership():
                    offers.append(self.administration.transfer(client_id, message))
                case _:
                    further = self.inspection.asked(client_id, message, server)
                    offers.extend(further[0])
                    work.extend(further[1])
        events: list[Event] = [*self._proposed(submissions), *offers]
        if submissions and self._stamps is not None and self._stamps.are_due(server):
            events[:0] = self.stamp()
        events.extend(ReadRequested(tuple(numbers), mode) for mode, numbers in reads.items())
        return events, work

    def _offer(self, client_id: ClientId, message: OfferCommand) -> Proposed:
        number = next(self._numbers)
        self._offers[number] = client_id, message.batch_id
        return Proposed(number, (message.command,))

    def stamp(self) -> list[Event]:
        """Propose to set the machine's clock to now; nothing if it knows no time."""
        if self._stamps is None:
            return []
        number = next(self._numbers)
        self._stamp_numbers.add(number)
        return [Proposed(number, (self._stamps.propose(),))]

    def _proposed(self, submissions: list[tuple[ClientId, SubmitCommands]]) -> Iterator[Proposed]:
        parts: list[tuple[ClientId, SubmitCommands]] = []
        commands: list[bytes] = []
        for part in submissions:
            if parts and len(commands) + len(part[1].commands) > MAX_COMMANDS_PER_PROPOSAL:
                yield self._proposal(parts, commands)
                parts, commands = [], []
            parts.append(part)
            commands.extend(part[1].commands)
        if parts:
            yield self._proposal(parts, commands)

    def _proposal(self, parts: list[tuple[ClientId, SubmitCommands]], commands: list[bytes]) -> Proposed:
        number = next(self._numbers)
        self._proposals[number] = parts
        return Proposed(number, tuple(commands))

    def accepted(self, effect: ProposalAccepted, server: Server) -> Iterator[Work]:
        """Who waits for which entries; who offered a command is told its place.  `server` is as it is now."""
        first_index = effect.first_index
        if effect.proposal_id in self._offers:
            client_id, batch_id = self._offers.pop(effect.proposal_id)
            still_there = server.log.term_at(first_index) == effect.term
            behind, position = _place(server, first_index) if still_there else (0, 0)
            self._replies.reply(client_id, Offered(batch_id, first_index, position, effect.term, True, behind))
            return
        if self._stamps is not None and effect.proposal_id in self._stamp_numbers:
            self._stamp_numbers.discard(effect.proposal_id)
            self._stamps.accepted(effect.term)
            return
        for client_id, message in self._proposals.pop(effect.proposal_id):
            last_index = first_index + len(message.commands) - 1
            yield Expect(client_id, message.batch_id, first_index, last_index, effect.term)
            first_index = last_index + 1

    def refused(self, effect: ProposalRefused, server: Server) -> None:
        """Tell the clients of a proposal that nothing of it was appended.  `server` is as it is now."""
        overloaded = effect.reason is RefusalReason.OVERLOADED
        # Who hands over names nobody: the next leader will be known in a moment.
        leader_id = None if effect.reason is RefusalReason.TRANSFERRING else effect.leader_id
        if effect.proposal_id in self._offers:
            client_id, batch_id = self._offers.pop(effect.proposal_id)
            self._replies.reply(client_id, Offered(batch_id, 0, 0, server.current_term, overloaded))
            return
        if effect.proposal_id in self._stamp_numbers:
            self._stamp_numbers.discard(effect.proposal_id)
            return
        for client_id, message in self._proposals.pop(effect.proposal_id):
            self._replies.reply(client_id, Refused(message.batch_id, overloaded, leader_id))

    def ready(self, effect: ReadReady) -> list[Work]:
        """The queries that may be answered once what is committed has been applied."""
        reads = [self._reads.pop(number) for number in effect.read_ids]
        for read in reads:
            self._freshness.confirmed(read.mode, read.asked_at)
        return [read.query for read in reads]

    def reads_refused(self, effect: ReadRefused) -> None:
        """Tell the readers whom to ask instead."""
        for number in effect.read_ids:
            self._refuse_query(self._reads.pop(number).query, effect.leader_id)

    def _refuse_query(self, query: Query, leader_id: ServerId | None) -> None:
        self._replies.reply(query.client_id, Refused(query.batch_id, False, leader_id))


def _place(server: Server, index: LogIndex) -> tuple[LogIndex, int]:
    """The last entry of the latest snapshot, and the place of entry `index` among the commands behind it.

    The first entry of each term is its leader's no-op, and there is no other."""
    behind = 0 if server.snapshot is None else server.snapshot.last_included_index
    no_ops = server.log.terms_begun(index) - server.log.terms_begun(behind)
    return behind, index - behind - no_ops


def _for_applier(client_id: ClientId, message: FollowLog | SnapshotPeer | KeepSnapshot, server: Server) -> Work:
    match message:
        case FollowLog():
            first_index = server.log.last_included_index + 1
            applied = Apply(first_index, server.log.entries(first_index, server.commit_index))
            return Follow(client_id, applied, server.log.last_included_term)
        case SnapshotPeer():
            return TakeSnapshot(client_id, message.batch_id)
        case KeepSnapshot():
            index = message.last_included_index
            term = server.log.term_at(index) if index <= server.commit_index else None
            members = [known for known in server.configurations if known.index <= index]
            return Keep(client_id, message.batch_id, index, term, members[-1] if members else None, message.state)
        case _:
            assert_never(message)
