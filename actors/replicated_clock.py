"""The replicated clock: how time gets into the log, and only through it.

Replicas must not look at clocks, each would see another time.  So the leader writes the time down as an entry of its
own, a *stamp*, in front of the commands that it proposes, and every replica's clock is the latest stamp it has applied.
A stamp never moves the clock back, whatever the next leader's clock says.

Rules of the file:

1. Only machines with an operation that takes a `Context` have stamps.  Others pay nothing.
2. A stamp is good for `TICK`: so much, at most, is a command's clock behind its leader's.
3. Time passes also when nobody sends a command, but only if it matters: the machine says when something of it expires
   (`next_deadline`), and then the leader proposes a stamp.  What has expired has expired from that entry on, for all
   who read, whichever server they ask; queries need no clock, and cost no entry.

What follows for who uses it: nothing expires too early by the leaders' clocks, and too late by at most the differences
between these, `TICK` and one commit - or an election, if there is no leader.  A clock that is an hour ahead makes time
stand still for an hour once another leads, so the servers' clocks should be kept together (NTP).

Rejected: a stamp in every entry (9 bytes and a decoder for machines that know no time); entries at regular intervals
(an idle cluster would fill its disk); the leader's clock for queries (after a change of leader time could go back
before the eyes of a client); a stamp for each query (a read would wait for the disk).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import msgpack

from actors.codec import GARBAGE, encode_command
from raft_core import Server, Term

if TYPE_CHECKING:
    from actors.machine import MachineHost

STAMP: Final = "$clock"
"""Command of no session that sets the clock; its argument is the time, in milliseconds since 1970."""
TICK: Final = 10
"""Milliseconds for which a stamp is good."""

_encode: Final = msgpack.Encoder().encode
_decode: Final = msgpack.Decoder(int).decode


def encode_stamp(clock: int) -> bytes:
    """The log entry that sets the clock."""
    return encode_command(0, 0, 0, STAMP, _encode(clock))


def decode_stamp(arguments: bytes) -> int:
    """The time in a stamp; the start of time for garbage, which so changes nothing."""
    try:
        return _decode(arguments)
    except GARBAGE:
        return 0


class Stamps:
    """What a server knows of the time and of its latest stamp."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds since 1970, now."""
        self._clock = clock
        self._proposed = 0
        self._latest = 0
        self._term: Term = -1

    def are_due(self, server: Server) -> bool:
        """Must the next command have a new one in front?  The latest one counts while its term lasts: in that term it
        is in the log, before whatever is proposed."""
        return self._term != server.current_term or self._now() >= self._latest + TICK

    def propose(self) -> bytes:
        """A stamp of now."""
        self._proposed = self._now()
        return encode_stamp(self._proposed)

    def accepted(self, term: Term) -> None:
        """The stamp proposed last was appended to the log in `term`."""
        self._latest, self._term = self._proposed, term

    def seconds_until(self, clock: int) -> float:
        """From now until a stamp will show `clock`, or later."""
        return max(0, clock - self._now()) / 1000

    def _now(self) -> int:
        return int(self._clock() * 1000)


def stamps_of(machine: MachineHost, clock: Callable[[], float]) -> Stamps | None:
    """The stamps of this machine; None if it knows no time."""
    return Stamps(clock) if machine.is_timed else None
