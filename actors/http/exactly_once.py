"""Retries that are safe across programs: a command carries the session and number its sender gave it (thesis 6.3).

`client` numbers commands itself, so it makes exactly one effect of each call as long as its program lives.  An HTTP
client that asks again may reach another server, or the same one after a restart; so the number must be its own.  Here
an encoded command is offered to whoever leads, again and again until somebody answers: the replicas know its session
and carry it out once.

Rules of the file: no answer is never a failure, only a reason to ask again; a refusal is final for that attempt, and
names whom to ask.  What is waited for belongs to the event loop; the thread that hears peers only wakes it.

Rejected: remembering keys in this server (a retry after its end would be a new command, as would one that reaches
another server).
"""

from __future__ import annotations

import asyncio
from itertools import count
from time import monotonic
from typing import NamedTuple

from msgspec import msgpack

from actors.codec import encode_command
from actors.errors import ActorumError, NoQuorum, OutcomeUnknown, Overloaded
from actors.machine import OPEN_SESSION_COMMAND
from actors.protocol import PeerMessage, QueryResult, Refused, Results, SubmitCommands
from actors.raw_client import RawClient
from actors.replies import decode_reply
from raft_core import ServerId

PAUSE = 0.02
"""Seconds before somebody is asked again after a refusal that named nobody else."""
RESEND = 2.0
"""Seconds without an answer after which a command is offered to the next peer."""


class Numbered(NamedTuple):
    """How a client numbered a command."""

    session: int
    sequence: int
    lowest_pending: int
    """It has the answers to all its commands below."""


class _Asked(NamedTuple):
    server_id: ServerId
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[PeerMessage | None]


class ClientSessions:
    """Carries numbered commands to the cluster (a `raw_client.RawListener`)."""

    def __init__(self) -> None:
        self.raw = RawClient(self)
        """To be attached to the peers, and closed after it was detached from them."""
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._present: dict[ServerId, None] = {}
        self._leader: ServerId | None = None
        self._turn = 0

    async def open_session(self, seconds: float) -> int:
        """Open a session; its number.  One that was opened and never heard of is forgotten by the cluster in time."""
        reply = await self._deliver("opening a session", OPEN_SESSION_COMMAND, seconds)
        return decode_reply(reply, "opening a session", msgpack.Decoder(int).decode)

    async def submit(self, number: Numbered, name: str, arguments: bytes, seconds: float) -> bytes:
        """The reply to a command, which is applied once however often this is called with the same number.

        Raises `OutcomeUnknown` if nobody answered in time, `NoQuorum` if nobody even took it.
        """
        return await self._deliver(name, encode_command(*number, name, arguments), seconds)

    async def _deliver(self, label: str, command: bytes, seconds: float) -> bytes:
        deadline = monotonic() + seconds
        error: ActorumError = _not_accepted(label, seconds)
        while (remaining := deadline - monotonic()) > 0:
            target = self._target()
            if target is None:
                await asyncio.sleep(PAUSE)
                continue
            answer = await self._offer(target, command, min(remaining, RESEND))
            if isinstance(answer, Results):
                return answer.replies[0]
            if isinstance(answer, Refused):
                if answer.overloaded and not isinstance(error, OutcomeUnknown):
                    error = Overloaded(
                        f"{label} was not accepted within {seconds} s", why="the leader has too much work"
                    )
                await self._redirect(target, answer)
            else:
                error = _unanswered(label, seconds)
                self._forget(target)
        raise error

    def _target(self) -> ServerId | None:
        if self._leader in self._present:
            return self._leader
        present = list(self._present)
        return present[self._turn % len(present)] if present else None

    async def _offer(self, server_id: ServerId, command: bytes, seconds: float) -> PeerMessage | None:
        """What this peer answers; None if it is gone, leads no more, or says nothing for so long."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[PeerMessage | None] = loop.create_future()
        number = next(self._numbers)
        self._asked[number] = _Asked(server_id, loop, answer)
        self.raw.send(server_id, SubmitCommands(number, (command,)))
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    async def _redirect(self, server_id: ServerId, refusal: Refused) -> None:
        """It took nothing: ask the leader it names, or somebody else after a pause."""
        if not refusal.overloaded and refusal.leader_id not in (None, server_id):
            self._leader = refusal.leader_id
            if self._leader in self._present:
                return
        elif not refusal.overloaded:
            self._forget(server_id)
        await asyncio.sleep(PAUSE)

    def _forget(self, server_id: ServerId) -> None:
        self._turn += 1
        if self._leader == server_id:
            self._leader = None

    # --- in the thread of the raw client ------------------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """A peer can be spoken to."""
        self._present[server_id] = None

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """A peer answers, or says that it will not (`Abandoned`)."""
        number = getattr(message, "batch_id", 0)
        self._settle(number, message if isinstance(message, Results | Refused | QueryResult) else None)

    def gone(self, server_id: ServerId) -> None:
        """A peer will answer nothing that it was asked."""
        self._present.pop(server_id, None)
        for number, asked in list(self._asked.items()):
            if asked.server_id == server_id:
                self._settle(number, None)

    def _settle(self, number: int, message: PeerMessage | None) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.loop.is_closed():
            asked.loop.call_soon_threadsafe(_set, asked.answer, message)


def _set(answer: asyncio.Future[PeerMessage | None], message: PeerMessage | None) -> None:
    if not answer.done():
        answer.set_result(message)


def _not_accepted(label: str, seconds: float) -> NoQuorum:
    return NoQuorum(
        f"{label} was not accepted within {seconds} s",
        why="no leader was found",
        fix="safe to retry: nothing changed",
    )


def _unanswered(label: str, seconds: float) -> OutcomeUnknown:
    """From the moment it was sent to somebody who said nothing, and for good."""
    return OutcomeUnknown(
        f"{label} was sent and not answered within {seconds} s",
        why="the peer that took it is gone or has no majority; the command may have taken effect, or still may",
        fix="send it again with the same session and sequence: it is applied once",
    )
