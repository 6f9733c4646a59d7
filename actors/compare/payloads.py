"""The machine of the experiment: takes bytes, counts, and can be slow.

The bytes of some commands begin with `MARK` and a number: these are followed on their way (`probe`).  So the timestamps
of an operation travel with its own command, and nothing of the protocol has to change for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct
from time import perf_counter

from actors.replicated import Replicated, command

MARK = b"\xf4\xb1mark"
_SAMPLES = re.compile(re.escape(MARK) + b"(..)", re.DOTALL)
_NUMBER = Struct(">H")
"""Of a sample; with `MARK` it takes 8 bytes, which fit in the smallest payload."""
MOST_SAMPLES = 1 << 16


def marked(number: int, size: int) -> bytes:
    """The argument of a command that is followed as the sample `number`."""
    return (MARK + _NUMBER.pack(number)).ljust(size, b"\0")


def unmarked(size: int) -> bytes:
    """The argument of any other."""
    return bytes(size)


def number_in(data: bytes, end: int = 128) -> int | None:
    """The sample that begins within the first `end` bytes of a command or an argument; None: it is not followed."""
    place = data.find(MARK, 0, end)
    return None if place < 0 else int(_NUMBER.unpack_from(data, place + len(MARK))[0])


def numbers_in(frame: bytes) -> list[int]:
    """The samples in a frame of many commands."""
    return [int(_NUMBER.unpack(found)[0]) for found in _SAMPLES.findall(frame)]


class Payloads(Replicated):
    """Counts what it was given, as a counter does that is incremented by one."""

    count: int = 0

    @command
    def put(self, data: bytes) -> int:
        """Take `data`; the number of puts so far."""
        self._taken(data)
        self.count += 1
        return self.count

    def _taken(self, data: bytes) -> None:
        """A replica that is measured does more: see `measured_payloads`."""


def measured_payloads(seconds: float, applied: Callable[[int], None]) -> type[Payloads]:
    """The machine of one replica, which keeps a processor busy for so many seconds with each command, and tells
    `applied` of each sample."""

    class MeasuredPayloads(Payloads, name="payloads"):
        def _taken(self, data: bytes) -> None:
            if seconds:
                end = perf_counter() + seconds
                while perf_counter() < end:
                    pass
            if (number := number_in(data, len(MARK))) is not None:
                applied(number)

    return MeasuredPayloads
