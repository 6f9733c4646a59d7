"""The client of a simulated cluster: the real `Session`, driven by the timeline.

It does what `Client` does, without its threads: whoever waits lets things happen until the answer is there.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from actors.applier import ClientId
from actors.calls import Call, SubmitOptions
from actors.client import MAX_PENDING
from actors.codec import MAX_COMMAND_BYTES
from actors.deadlines import NEVER
from actors.errors import CallTimeout, ClusterClosed, NoQuorum, OutcomeUnknown, Overloaded, WrongArguments
from actors.machine import refuse_inside_apply
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
from actors.session import Answer, Question, Session
from actors.sim.incarnation import LINK, Incarnation
from actors.sim.timeline import Timeline, Way
from raft_core import ServerId

R = TypeVar("R")


class SimCall(Call[R]):
    """A `Call` whose time-out is virtual, and which is awaited by letting the simulation go on."""

    __slots__ = ("_client",)

    def __init__(self, decode: Callable[[bytes], R], client: SimClient, timeout: float, label: str) -> None:
        super().__init__(decode, client, timeout, label, safe_to_retry=True)
        self._client = client

    def _awaited(self, timeout: float | None) -> bytes | BaseException:
        refuse_inside_apply(f"result() of {self.label}")
        seconds = self._timeout if timeout is None else timeout
        self._client.wait(self, self._client.deadline(seconds))
        return self._outcome_or_timed_out(seconds)

    async def _result_in_loop(self) -> R:
        import asyncio  # 50 ms to import: only those who await pay for it

        if self._outcome is None:
            refuse_inside_apply(f"awaiting {self.label}")
        deadline = self._client.deadline(self._timeout)
        # One event at a time: the other tasks of the loop take their turns in between, always the same ones.
        while self._client.pump(self, deadline):
            await asyncio.sleep(0)
        self._outcome_or_timed_out(self._timeout)
        return self.result()

    def _outcome_or_timed_out(self, seconds: float | None) -> bytes | BaseException:
        if self._outcome is None:
            raise self._timed_out(seconds)
        return self._outcome


class SimClient:
    """A client in the thread of the simulation (a `cluster_ports.ClusterClient`)."""

    def __init__(self, timeline: Timeline, *, timeout: float, health: Callable[[], str]) -> None:
        """`timeout`: virtual seconds a call waits unless it says otherwise.  `health`: who is down, for errors."""
        self._timeline = timeline
        self._timeout = timeout
        self._health = health
        self._session = Session()
        self.client_id: ClientId = 0
        """Its number, once it is known."""
        self._peers: dict[ServerId, tuple[Incarnation, Way]] = {}
        self._answers: deque[Answer] = deque()
        self._next_tick = NEVER
        self._is_closed = False

    # --- what users call (through a bound machine) --------------------------------------------------------------------

    def submit_command(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a command; it is applied exactly once, however often it has to be sent."""
        if len(name) + len(arguments) + 64 > MAX_COMMAND_BYTES:
            size = len(name) + len(arguments)
            raise WrongArguments(f"{name} with its arguments takes {size} bytes; {MAX_COMMAND_BYTES} are the limit")
        self._refuse_if_closed()
        if self._session.pending_commands >= MAX_PENDING:
            raise Overloaded(
                f"{MAX_PENDING} commands of this client wait for their answers",
                why="commands are submitted faster than the cluster commits them",
                fix="wait for some results before submitting more",
            )
        call = SimCall(decoder, self, self._seconds(options), name)
        self._session.submit(name, arguments, call)
        self._send_if_due()
        return call

    def submit_query(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a query."""
        self._refuse_if_closed()
        call = SimCall(decoder, self, self._seconds(options), options.label(name))
        self._session.query(name, arguments, options.consistency, call, options.max_staleness)
        self._send_if_due()
        return call

    def _seconds(self, options: SubmitOptions) -> float:
        return self._timeout if options.timeout is None else options.timeout

    def inspect(self, server_id: ServerId, *, digest: bool, timeout: float) -> Status | Digest | None:
        """How one peer is, or what state it has; None if it does not answer within `timeout` virtual seconds."""
        answer = self.ask(server_id, lambda number: InspectPeer(number, digest), timeout=timeout)
        return answer if isinstance(answer, Status | Digest) else None

    def administer(
        self, server_id: ServerId, request: Callable[[int], Administering], *, timeout: float
    ) -> Administered | None:
        """Ask one peer, once; None if there was no answer within `timeout` virtual seconds: the outcome is unknown."""
        answer = self.ask(server_id, request, timeout=timeout)
        return answer if isinstance(answer, Administered) else None

    def ask(self, server_id: ServerId, question: Question, *, timeout: float) -> PeerAnswer | None:
        """Ask one peer, once, anything that it answers once; None if it did not within `timeout` virtual seconds."""
        self._refuse_if_closed()
        call: SimCall[None] = SimCall(lambda _: None, self, timeout, f"ask {server_id}")
        answers: list[PeerAnswer | None] = []

        def told(answer: PeerAnswer | None) -> None:
            answers.append(answer)
            call._resolve(b"answered")

        number = self._session.ask(server_id, question, told, self._timeline.now)
        self._send_if_due()
        with contextlib.suppress(CallTimeout):
            call.result()
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

    def deadline(self, seconds: float | None) -> float:
        """The virtual time that is `seconds` from now."""
        return NEVER if seconds is None else self._timeline.now + seconds

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        """Let things happen until `call` is done, or the virtual time passes `deadline`."""
        while self.pump(call, NEVER if deadline is None else deadline):
            pass

    def pump(self, call: Call[Any], deadline: float) -> bool:
        """Let one thing happen; False if there is no more reason to: `call` is done or it was given up."""
        if call.done():
            return False
        if self._answers:  # a callback waits, and what it waits for may have arrived before it was called
            self._hand_out()
            return True
        self._send()
        if self._timeline.advance(deadline):
            return True
        self._give_up(call)
        return False

    def attend(self, call: Call[Any]) -> None:
        """Time stands still while nobody waits; whoever waits for anything gets this call on as well."""

    def _give_up(self, call: Call[Any]) -> None:
        problem = self._health()
        if self._session.give_up(call):
            kind, why = (NoQuorum, problem) if problem else (CallTimeout, "no leader answered in time")
            call._fail(kind(f"{call.label} was not accepted in time", why=why, fix="safe to retry: nothing changed"))
        elif problem and not call.safe_to_retry:
            raise OutcomeUnknown(
                f"{call.label} was sent and not answered in time",
                why=f"{problem}; the command may have taken effect, or still may",
                fix="query the machine when the peers are back; a Call of `submit` may be asked again by result()",
            )

    # --- links --------------------------------------------------------------------------------------------------------

    def attach(self, peer: Incarnation) -> None:
        """A new incarnation of a peer can be reached."""
        self._peers[peer.server_id] = peer, Way(self._timeline, LINK, lambda: peer.is_up)
        self._session.attached(peer.server_id)
        self._send()

    def detach(self, server_id: ServerId) -> None:
        """A peer is gone: what it was asked is offered to another."""
        self._session.detached(server_id)
        self._send()

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        """A frame arrived from a peer."""
        message = decode_peer_message(frame)
        self._timeline.note("client", f"{server_id} answers {type(message).__name__}", frame)
        self._answers.extend(self._session.received(server_id, message, self._timeline.now))
        self._send()
        self._hand_out()

    def _hand_out(self) -> None:
        while self._answers:
            call, reply = self._answers.popleft()
            call._resolve(reply)

    def _send_if_due(self) -> None:
        if self._session.is_due:
            self._send()
        self._plan_tick()

    def _send(self) -> None:
        """Everything the session wants to say now."""
        if self._is_closed:
            return
        if self._session.has_unsent:
            for server_id, message in self._session.outgoing(self._timeline.now):
                self._put(server_id, encode(message))
        self._plan_tick()

    def _put(self, server_id: ServerId, frame: bytes) -> None:
        peer, way = self._peers[server_id]
        way.put(lambda: peer.ask(self.client_id, frame))

    def _plan_tick(self) -> None:
        """While there is work, the session is asked again even if nothing arrives."""
        time = self._session.next_tick(self._timeline.now)
        if self._session.has_work and time < self._next_tick:
            self._next_tick = time
            self._timeline.at(time, lambda: self._tick(time))

    def _tick(self, planned: float) -> None:
        if self._is_closed or planned != self._next_tick:
            return
        self._next_tick = NEVER
        self._session.look_for_silence(self._timeline.now)
        self._send()

    def close(self) -> None:
        """End it: calls under way fail with `ClusterClosed`."""
        self._is_closed = True
        for call in self._session.close():
            call._fail(ClusterClosed(f"the cluster was closed before {call.label} was answered"))
