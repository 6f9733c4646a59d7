"""The client: carries a `Session` over links, for any number of threads of one process.

Whoever waits for an answer reads the links itself; a background thread does where nobody waits (`readers_place`).

A lock guards the session and the sending ends; it is held for moments, never while waiting and never while user code
(callbacks) runs.  A callback runs in the reading thread; if it waits for another call, it reads on from there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, TypeVar

from actors.calls import Call, SubmitOptions
from actors.codec import MAX_COMMAND_BYTES
from actors.errors import BadFrame, CallTimeout, ClusterClosed, NoQuorum, OutcomeUnknown, Overloaded, WrongArguments
from actors.links import LinkClosed, LinkReader, LinkWriter, Poll
from actors.protocol import (
    Administered,
    Administering,
    Digest,
    InspectPeer,
    PeerAnswer,
    Status,
    decode_peer_message,
    encode,
)
from actors.readers_place import ReadersPlace
from actors.session import REFUSED_PAUSE, Answer, Question, Session
from raft_core import ServerId

R = TypeVar("R")

MAX_PENDING = 65_536
"""Commands without an answer that one client may have; more are refused (`Overloaded`)."""
_IDLE = 0.05
_LOOK_EVERY = 0.25


class PeerEnds:
    """A client's ends of its links with one incarnation of a peer."""

    def __init__(self, writer: LinkWriter, consensus: LinkReader, applier: LinkReader) -> None:
        self.writer = writer
        self.readers = (consensus, applier)

    def close(self) -> None:
        """Close all three."""
        self.writer.close()
        for reader in self.readers:
            reader.close()


class Client:
    """A client of a running cluster.  Any thread may use it."""

    def __init__(self, *, timeout: float, health: Callable[[], str]) -> None:
        """`timeout`: seconds a call waits unless it says otherwise.  `health`: who is down, in words, for errors."""
        self._timeout = timeout
        self._health = health
        self._session = Session()
        self._place = ReadersPlace()
        self._lock = self._place.lock
        self._answers: deque[Answer] = deque()
        self._look_at = 0.0
        self._peers: dict[ServerId, PeerEnds] = {}
        self._discarded: list[LinkReader] = []
        self._poll: Poll[tuple[ServerId, LinkReader] | None] = Poll()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._poll.watch(self._wake_reader, None)
        self._attendant: threading.Thread | None = None
        self._attends = False
        self._is_closed = False

    # --- what users call (through a bound machine) --------------------------------------------------------------------

    def submit_command(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a command; it is applied exactly once, however often it has to be sent."""
        if len(name) + len(arguments) + 64 > MAX_COMMAND_BYTES:
            size = len(name) + len(arguments)
            raise WrongArguments(f"{name} with its arguments takes {size} bytes; {MAX_COMMAND_BYTES} are the limit")
        call: Call[R] = Call(decoder, self, self._seconds(options), name, safe_to_retry=True)
        with self._lock:
            self._refuse_if_closed()
            if self._session.pending_commands >= MAX_PENDING:
                raise Overloaded(
                    f"{MAX_PENDING} commands of this client wait for their answers",
                    why="commands are submitted faster than the cluster commits them",
                    fix="wait for some results before submitting more",
                )
            self._session.submit(name, arguments, call)
            self._send_if_due()
        return call

    def submit_query(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a query."""
        call: Call[R] = Call(decoder, self, self._seconds(options), options.label(name), safe_to_retry=True)
        with self._lock:
            self._refuse_if_closed()
            self._session.query(name, arguments, options.consistency, call, options.max_staleness)
            self._send_if_due()
        return call

    def _seconds(self, options: SubmitOptions) -> float:
        return self._timeout if options.timeout is None else options.timeout

    def inspect(self, server_id: ServerId, *, digest: bool, timeout: float) -> Status | Digest | None:
        """How one peer is, or what state it has; None if it does not answer within `timeout` seconds."""
        answer = self.ask(server_id, lambda number: InspectPeer(number, digest), timeout=timeout)
        return answer if isinstance(answer, Status | Digest) else None

    def administer(
        self, server_id: ServerId, request: Callable[[int], Administering], *, timeout: float
    ) -> Administered | None:
        """Ask one peer, once, for what `request` makes of the number it is given; None if it did not answer within
        `timeout` seconds or went away: then the outcome is unknown."""
        answer = self.ask(server_id, request, timeout=timeout)
        return answer if isinstance(answer, Administered) else None

    def ask(self, server_id: ServerId, question: Question, *, timeout: float) -> PeerAnswer | None:
        """Ask one peer, once, anything that it answers once; None if it did not within `timeout` seconds."""
        call: Call[Any] = Call(lambda _: None, self, timeout, f"ask {server_id}", safe_to_retry=True)
        answers: list[PeerAnswer | None] = []

        def told(answer: PeerAnswer | None) -> None:
            answers.append(answer)
            call._resolve(b"answered")

        with self._lock:
            self._refuse_if_closed()
            number = self._session.ask(server_id, question, told, monotonic())
            self._send_if_due()
        with contextlib.suppress(CallTimeout):
            call.result()
        with self._lock:
            self._session.forget_inspection(number)
        return answers[0] if answers else None

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ClusterClosed(
                "the cluster is closed",
                why="its `with` block has ended, or close() was called",
                fix="make the call inside the `with` block",
            )

    # --- waiting (the `Waiter` of its calls) --------------------------------------------------------------------------

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        """Return when `call` is done or `deadline` has passed; meanwhile read the links, if nobody else does."""
        while not call.done():
            now = monotonic()
            if deadline is not None and now >= deadline:
                self._give_up(call)
                return
            remaining = _IDLE * 20 if deadline is None else deadline - now
            if self._become_reader(call, remaining):
                try:
                    self._read(remaining)
                finally:
                    self._step_back()

    def attend(self, call: Call[Any]) -> None:
        """Nobody waits for `call`: let the background thread read until everything is answered."""
        if self._attends:  # and `call` is in the session already, so it goes on
            return
        with self._lock:
            self._attends = True
            if self._attendant is None and not self._is_closed:
                self._attendant = threading.Thread(target=self._attend_calls, name="actorum-client", daemon=True)
                self._attendant.start()
            else:
                self._place.call_attendant()

    def _attend_calls(self) -> None:
        while True:
            with self._lock:
                while not self._is_closed and not self._has_to_attend():
                    self._place.stand_by(is_needed=self._attends)
                if self._is_closed:
                    return
                self._send()
                self._place.take()
            try:
                self._read(_IDLE)
            finally:
                self._step_back()

    def _has_to_attend(self) -> bool:
        self._attends = self._attends and self._session.has_work
        return self._attends and self._place.is_for_attendant()

    def _become_reader(self, call: Call[Any], seconds: float) -> bool:
        with self._lock:
            if call.done():
                return False
            self._send()
            if not self._place.is_mine:
                self._place.sleep(seconds)
                return False
            self._place.take()
            return True

    def _step_back(self) -> None:
        with self._lock:
            self._place.leave()
            if self._place.is_free:
                self._close_discarded()

    def _give_up(self, call: Call[Any]) -> None:
        with self._lock:
            withdrawn = not call.done() and self._session.give_up(call)
        problem = "" if call.done() else self._health()
        if withdrawn:
            kind, why = (NoQuorum, problem) if problem else (CallTimeout, "no leader answered in time")
            call._fail(kind(f"{call.label} was not accepted in time", why=why, fix="safe to retry: nothing changed"))
        elif problem and not call.safe_to_retry:
            raise OutcomeUnknown(
                f"{call.label} was sent and not answered in time",
                why=f"{problem}; the command may have taken effect, or still may",
                fix="query the machine when the peers are back; a Call of `submit` may be asked again by result()",
            )

    # --- links --------------------------------------------------------------------------------------------------------

    def attach(self, server_id: ServerId, ends: Mapping[str, Connection]) -> None:
        """Links with a new incarnation of a peer: its `requests`, `consensus` and `applier` ends."""
        reader, applier = LinkReader(ends["consensus"]), LinkReader(ends["applier"])
        arrival = PeerEnds(LinkWriter(ends["requests"]), reader, applier)
        with self._lock:
            if self._is_closed:  # a peer may come back while the cluster is being closed
                arrival.close()
                return
            self._detach(server_id)
            self._peers[server_id] = arrival
            self._session.attached(server_id)
            for end in arrival.readers:
                self._poll.watch(end, (server_id, end))
            self._send()
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_writer, b"!")

    def _detach(self, server_id: ServerId) -> None:
        ends = self._peers.pop(server_id, None)
        if ends is None:
            return
        for reader in ends.readers:
            self._poll.forget(reader)
        ends.writer.close()
        self._discarded.extend(ends.readers)
        if self._place.is_free:
            self._close_discarded()
        self._session.detached(server_id)

    def _close_discarded(self) -> None:
        """Not while a thread may be about to read them: it would find another file under the old number."""
        while self._discarded:
            self._discarded.pop().close()

    def _read(self, seconds: float) -> None:
        """Wait for something to arrive, at most `seconds`, and deal with all of it.  One thread at a time is here."""
        if self._answers:  # a callback waits, and what it waits for may have been read before it was called
            self._hand_out()
            return
        now = monotonic()
        ready = self._poll.wait(max(0.0, min(seconds, self._session.next_tick(now) - now)))
        arrived: list[tuple[ServerId, LinkReader, list[bytes] | None]] = []
        for source in ready:
            if source is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
                continue
            server_id, reader = source
            arrived.append((server_id, reader, _available(reader)))
        with self._lock:
            for server_id, reader, frames in arrived:
                self._answers.extend(self._take(server_id, reader, frames))
            self._flush()
            if not ready or now >= self._look_at:  # others may be talking while one is silent
                self._look_at = now + _LOOK_EVERY
                self._session.look_for_silence(monotonic())
            self._send()
        self._hand_out()

    def _hand_out(self) -> None:
        while self._answers:
            call, reply = self._answers.popleft()
            call._resolve(reply)

    def _take(self, server_id: ServerId, reader: LinkReader, frames: list[bytes] | None) -> list[Answer]:
        ends = self._peers.get(server_id)
        if ends is None or reader not in ends.readers:
            return []
        answers: list[Answer] = []
        now = monotonic()
        for frame in frames or ():
            try:
                message = decode_peer_message(frame)
            except BadFrame:
                frames = None
                break
            answers.extend(self._session.received(server_id, message, now))
        if frames is None:
            self._detach(server_id)
        return answers

    def _send_if_due(self) -> None:
        if self._session.is_due:
            self._send()

    def _send(self) -> None:
        """Everything the session wants to say now.  A peer that cannot be reached loses its place at once."""
        if self._is_closed or not self._session.has_unsent:
            return
        now = monotonic()
        for server_id, message in self._session.outgoing(now):
            ends = self._peers.get(server_id)
            if ends is None or ends.writer.put(encode(message)):
                continue
            self._session.not_sent(message.batch_id, pause_until=0.0 if ends.writer.is_closed else now + REFUSED_PAUSE)
            if ends.writer.is_closed:
                self._detach(server_id)

    def _flush(self) -> None:
        """Requests that a full pipe did not take yet."""
        for ends in list(self._peers.values()):
            if ends.writer.backlog:
                ends.writer.flush()

    def close(self) -> None:
        """End it: calls under way fail with `ClusterClosed`; sent commands may still take effect."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            calls = self._session.close()
            self._place.wake_all()
            self._place.call_attendant()
        self._wake()
        for call in calls:
            call._fail(ClusterClosed(f"the cluster was closed before {call.label} was answered"))
        if self._attendant is not None and self._attendant is not threading.current_thread():
            self._attendant.join()
        with self._lock:
            while not self._place.is_mine:
                self._place.sleep(None)
            for server_id in list(self._peers):
                self._detach(server_id)
            self._close_discarded()
            self._poll.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)


def _available(reader: LinkReader) -> list[bytes] | None:
    """What has arrived; None if the link is of no use any more."""
    try:
        return reader.get_available()
    except (LinkClosed, BadFrame):
        return None
