"""A client's session with the cluster, as a machine without threads, links or clock (thesis 6.3, 6.4).

What the user submits goes in, what peers answer goes in, the time goes in; frames for peers and answers for calls come
out.  The rules of the file:

* Commands are numbered once and keep their number however often they are sent, so the cluster can tell a retry from a
  new command: exactly once, across leader changes.
* A lost answer is *unknown*, never failed: the command is offered again, to whoever leads now.
* While answers are under way, new commands gather into the next batch.  With nothing under way they go at once, unless
  many were answered just now: then as many are likely to follow, and they go together, or when the client waits.
* Nobody is flooded: who refuses is asked again after a pause; the silent are asked how they are, then asked again.

All times are seconds of one monotonic clock that the caller reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.msgpack import Decoder

from actors.calls import Call
from actors.codec import encode_command
from actors.machine import OPEN_SESSION_COMMAND
from actors.protocol import (
    Abandoned,
    Administered,
    Consistency,
    Delivered,
    Digest,
    Happenings,
    InspectPeer,
    LogPage,
    Offered,
    PeerMessage,
    QueryResult,
    Refused,
    Report,
    Restored,
    Results,
    Status,
    SubmitCommands,
    SubmitQuery,
)
from actors.questions import Questions
from actors.replies import SUCCESS, RefusalKind, decode_refusal, decode_reply
from actors.routing import Routing
from actors.under_way import Answer as Answer
from actors.under_way import Batch, Command, Outgoing, Query, Told
from actors.under_way import Question as Question
from raft_core import LogIndex, ServerId

MAX_BATCH = 1024
"""Commands in one batch at most."""
MAX_BATCH_BYTES = 1 << 20
GATHER = 32
"""This many gathered commands go even while answers are under way, provided they are a `SHARE` of all that wait: so two
to four batches are under way, and their number does not grow with that of the commands."""
SHARE = 4
REFUSED_PAUSE = 0.02
"""Seconds before somebody is asked again after a refusal that named no leader."""
SILENCE = 0.5
"""Seconds without an answer after which all peers are asked how they are."""
RESEND = 5.0
"""Seconds after which an unanswered batch is sent again even to a leader that seems well."""


class Session:
    """One client's conversation with the cluster."""

    def __init__(self) -> None:
        self.session_id = 0
        """Number of the session in the cluster; 0 as long as it is not open."""
        self.routing = Routing()
        """Whom it asks."""
        self._commands: dict[int, Command] = {}
        self._unsent: deque[int] = deque()
        self._queries: deque[Query] = deque()
        self._batches: dict[int, Batch] = {}
        self._questions = Questions()
        self._next_sequence = 1
        self._next_batch_id = 1
        self._is_opening = False
        self._pause_until = 0.0
        self._asked_around_at = 0.0
        self._seen_index: LogIndex = 0  # the latest entry whose effect some answer may have shown
        self._likely = 0  # commands that the last answer invites

    # --- what the user asks -------------------------------------------------------------------------------------------

    def submit(self, name: str, arguments: bytes, call: Call[Any]) -> None:
        """A command, to be applied exactly once."""
        sequence = self._next_sequence
        self._next_sequence += 1
        self._commands[sequence] = Command(name, arguments, call)
        self._unsent.append(sequence)

    def query(
        self,
        name: str,
        arguments: bytes,
        consistency: Consistency,
        call: Call[Any],
        max_staleness: float | None = None,
    ) -> None:
        """A query; it changes nothing and may be asked any number of times."""
        self._queries.append(Query(name, arguments, consistency, call, max_staleness))

    def inspect(self, server_id: ServerId, digest: bool, told: Told, now: float) -> int:
        """Ask one peer how it is; see `ask`."""
        return self.ask(server_id, lambda number: InspectPeer(number, digest), told, now)

    def ask(self, server_id: ServerId, question: Question, told: Told, now: float) -> int:
        """Ask one peer, once; `told` gets None if it goes away before it answers: then nobody knows what became of it.
        Returns the number by which `forget_inspection` knows it."""
        batch_id = self._new_batch_id()
        if server_id in self.routing.attached:
            self._questions.ask(batch_id, server_id, question, told, now)
        else:
            told(None)
        return batch_id

    def forget_inspection(self, batch_id: int) -> None:
        """Nobody waits for this answer any more."""
        self._questions.forget(batch_id)

    def give_up(self, call: Call[Any]) -> bool:
        """Withdraw a call that changed nothing and never will.  False if it was sent and may still take effect (that
        stays so, whatever comes), or if it has been answered just now."""
        for sequence, command in self._commands.items():
            if command.call is call:
                if not call.safe_to_retry:
                    command.is_exposed = True
                    return False
                del self._commands[sequence]
                self._unsent.remove(sequence)
                return True
        return self._give_up_query(call)

    def _give_up_query(self, call: Call[Any]) -> bool:
        asked = [batch_id for batch_id, batch in self._batches.items() if batch.query and batch.query.call is call]
        for batch_id in asked:
            del self._batches[batch_id]
        waiting = deque(query for query in self._queries if query.call is not call)
        found = bool(asked) or len(waiting) < len(self._queries)
        self._queries = waiting
        return found

    def close(self) -> list[Call[Any]]:
        """No more answers will be taken: the calls that have none."""
        calls = [command.call for command in self._commands.values()]
        calls += [query.call for query in self._queries]
        calls += [batch.query.call for batch in self._batches.values() if batch.query]
        for waiting in (self._commands, self._unsent, self._queries, self._batches):
            waiting.clear()
        self._questions.close()
        return calls

    @property
    def in_flight(self) -> int:
        """Commands and queries without an answer."""
        return len(self._commands) + len(self._queries) + sum(1 for b in self._batches.values() if b.query)

    @property
    def pending_commands(self) -> int:
        """Commands without an answer."""
        return len(self._commands)

    @property
    def is_due(self) -> bool:
        """Should `outgoing` be asked now, rather than when somebody waits for an answer?"""
        if self._queries or self._questions.unsent:
            return True
        gathered = len(self._unsent)
        if not self._batches:
            return gathered >= self._likely
        return gathered >= GATHER and (gathered >= len(self._commands) // SHARE or gathered >= MAX_BATCH)

    @property
    def has_unsent(self) -> bool:
        """Is anything waiting to be sent?"""
        return bool(self._unsent or self._queries or self._questions.unsent)

    @property
    def has_work(self) -> bool:
        """Is anything waiting to be sent or answered?"""
        return bool(self._commands or self._batches or self._queries or self._questions.asked)

    # --- what happens -------------------------------------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """Links to a peer are there."""
        if server_id in self.routing.attached:
            self.detached(server_id)
        self.routing.attached.append(server_id)

    def detached(self, server_id: ServerId) -> None:
        """The links to a peer are gone: what it was asked is offered to another."""
        if server_id in self.routing.attached:
            self.routing.attached.remove(server_id)
        self.routing.forget_leader(server_id)
        self._take_back([batch_id for batch_id, batch in self._batches.items() if batch.server_id == server_id])
        self._questions.lost(server_id)

    def not_sent(self, batch_id: int, *, pause_until: float) -> None:
        """The link did not take this batch, so nobody has seen it: as if it had been refused."""
        if batch_id in self._batches:
            self._take_back([batch_id], refused=True)
            self._pause_until = max(self._pause_until, pause_until)

    def received(self, server_id: ServerId, message: PeerMessage, now: float) -> list[Answer]:
        """A peer said something; the calls that are answered by it."""
        match message:
            case Status() | Digest() | Administered() | Report() | LogPage():  # a `PeerAnswer`
                if self._questions.answered(message) and isinstance(message, Status):
                    self._heard_of(message)
                return []
            case Offered() | Delivered() | Restored() | Happenings():  # what a session never asks for
                return []
        batch = self._batches.get(message.batch_id)
        if batch is None:
            return []
        match message:
            case Results():
                return self._results(batch, message)
            case QueryResult(reply=reply):
                self._seen_index = max(self._seen_index, message.index)
                del self._batches[message.batch_id]
                return [(batch.query.call, reply)] if batch.query else []
            case Refused():
                self._refused(server_id, message, now)
            case Abandoned():
                self.routing.forget_leader(server_id)
                self._take_back([message.batch_id])
        return []

    def _results(self, batch: Batch, message: Results) -> list[Answer]:
        self.routing.leader_id = batch.server_id
        self._seen_index = max(self._seen_index, message.index)
        batch.answered += len(message.replies)
        if batch.opens_session:
            del self._batches[message.batch_id]
            self._is_opening = False
            self.session_id = decode_reply(message.replies[0], "open a session", _decode_int)
            return []
        answers: list[Answer] = []
        for sequence, reply in zip(batch.sequences[message.offset :], message.replies, strict=False):
            command = self._commands.pop(sequence, None)
            if command is not None:
                answers.append((command.call, reply))
                if not reply.startswith(SUCCESS):
                    answers.extend(self._expired(reply))
        if batch.answered >= len(batch.sequences):
            del self._batches[message.batch_id]
        self._likely = min(len(answers), GATHER)
        return answers

    def _expired(self, reply: bytes) -> list[Answer]:
        """If the cluster forgot this session: nothing that was ever sent may be sent again under another one, for it
        may have been applied; it all ends with this reply.  What was never sent gets a new session."""
        refusal = decode_refusal(reply)
        if refusal is None or refusal.kind is not RefusalKind.SESSION_EXPIRED:
            return []
        self.session_id = 0
        unsent = set(self._unsent)
        ended = [s for s, command in self._commands.items() if command.is_exposed or s not in unsent]
        answers = [(self._commands.pop(sequence).call, reply) for sequence in ended]
        self._unsent = deque(sequence for sequence in self._unsent if sequence in self._commands)
        return answers

    def _refused(self, server_id: ServerId, message: Refused, now: float) -> None:
        self._take_back([message.batch_id], refused=True)
        if message.overloaded:
            self._pause_until = now + REFUSED_PAUSE
        elif not self.routing.redirect(server_id, message.leader_id):
            self.routing.forget_leader(server_id)
            self._pause_until = now + REFUSED_PAUSE

    def _heard_of(self, status: Status) -> None:
        """Another leader than the one we wait for: the old one's answers will not come."""
        if status.role == "leader" and status.server_id != self.routing.leader_id:
            self.routing.leader_id = status.server_id
            self._take_back([i for i, batch in self._batches.items() if batch.server_id != status.server_id])

    def _take_back(self, batch_ids: Iterable[int], *, refused: bool = False) -> None:
        """What these batches asked has to be asked again; the order of commands is kept.  Unless they were `refused`,
        their outcome is unknown from now on until an answer comes."""
        again: list[int] = []
        self._likely = 0
        for batch_id in batch_ids:
            batch = self._batches.pop(batch_id)
            again.extend(self._unanswered(batch, refused))
            if batch.query is not None:
                batch.query.was_asked = True
                self._queries.append(batch.query)
            if batch.opens_session:
                self._is_opening = False
        if again:
            self._unsent = deque(sorted({*again, *self._unsent}))

    def _unanswered(self, batch: Batch, refused: bool) -> Iterator[int]:
        for sequence in batch.sequences:
            command = self._commands.get(sequence)
            if command is not None:
                command.is_exposed = command.is_exposed or not refused
                command.call.safe_to_retry = not command.is_exposed
                yield sequence

    # --- what is to be said -------------------------------------------------------------------------------------------

    def next_tick(self, now: float) -> float:
        """Time at which `outgoing` should be asked again even if nothing happens."""
        if self._pause_until > now and (self._unsent or self._queries):
            return self._pause_until
        return now + SILENCE / 2

    def outgoing(self, now: float) -> list[Outgoing]:
        """Everything that should be sent now."""
        messages, self._questions.unsent = self._questions.unsent, []
        target = self.routing.target
        if target is None or now < self._pause_until:
            return messages
        if self._unsent:
            if self.session_id:
                messages.extend(self._batches_for(target, now))
            elif not self._is_opening:
                self._is_opening = True
                batch_id = self._register(Batch(target, now, opens_session=True))
                messages.append(Outgoing(target, SubmitCommands(batch_id, (OPEN_SESSION_COMMAND,))))
        while self._queries:
            query = self._queries.popleft()
            reader = self.routing.reader(query, target)
            batch_id = self._register(Batch(reader, now, query=query))
            seen_index = self._seen_index if query.consistency == "session" else 0
            message = SubmitQuery(
                batch_id, query.name, query.arguments, query.consistency, query.max_staleness, seen_index
            )
            messages.append(Outgoing(reader, message))
        return messages

    def _batches_for(self, target: ServerId, now: float) -> list[Outgoing]:
        lowest_pending = next(iter(self._commands))
        messages: list[Outgoing] = []
        while self._unsent:
            sequences: list[int] = []
            commands: list[bytes] = []
            size = 0
            while self._unsent and len(commands) < MAX_BATCH:
                sequence = self._unsent[0]
                command = self._commands[sequence]
                encoded = encode_command(self.session_id, sequence, lowest_pending, command.name, command.arguments)
                size += len(encoded)
                if commands and size > MAX_BATCH_BYTES:
                    break
                self._unsent.popleft()
                command.call.safe_to_retry = False
                sequences.append(sequence)
                commands.append(encoded)
            batch_id = self._register(Batch(target, now, sequences))
            messages.append(Outgoing(target, SubmitCommands(batch_id, tuple(commands))))
        return messages

    def _register(self, batch: Batch) -> int:
        batch_id = self._new_batch_id()
        self._batches[batch_id] = batch
        return batch_id

    def _new_batch_id(self) -> int:
        self._next_batch_id += 1
        return self._next_batch_id - 1

    def look_for_silence(self, now: float) -> None:
        """No answer for long: ask all how they are; for very long: send again (the cluster tells repeats apart)."""
        oldest = next(iter(self._batches.values()), None)
        if oldest is None or now - oldest.sent_at < SILENCE or now - self._asked_around_at < SILENCE:
            return
        self._asked_around_at = now
        late = [batch_id for batch_id, batch in self._batches.items() if now - batch.sent_at > RESEND]
        if late:
            self.routing.forget_leader(oldest.server_id)
            self._take_back(late)
        self._questions.ask_around(
            self.routing.attached, lambda number: InspectPeer(number, False), self._new_batch_id, now, RESEND
        )


_decode_int = Decoder(int).decode
