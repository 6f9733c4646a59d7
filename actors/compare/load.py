"""The two loads, and what each operation met.

*Closed*: so many commands are always under way; the next is sent when one returns.  It finds the throughput, and it
forgives: a system that stands still for a second gets no commands in that second.

*Open*: commands are due at fixed times, whether or not the earlier ones returned, and latency counts from when a
command *was due*.  A system that stands still pays for every command that came meanwhile (no coordinated omission).

One thread asks, and reads the answers while it waits: a second one that read them could take an answer, lose its turn
for the interpreter, and make the command look slow.  One in `SAMPLED` commands carries a mark (see `payloads`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from time import monotonic, monotonic_ns
from typing import Any

from msgspec import msgpack

from actors.calls import Call, SubmitOptions
from actors.client import Client
from actors.compare.payloads import MOST_SAMPLES, marked, numbers_in, unmarked
from actors.errors import ActorumError, OutcomeUnknown
from actors.replies import decode_reply
from raft_core import ServerId
from raft_core.verify.history import Operation

SAMPLED = 17
"""No multiple of how many commands travel together: else each sample would be the first, or the last, of its frame."""
PATIENCE = 15.0
"""Seconds that a command may take: longer than any fault of the experiment lasts."""
_OPTIONS = SubmitOptions(timeout=PATIENCE)
_encode = msgpack.Encoder().encode


class Loader:
    """Sends commands and notes what became of them."""

    def __init__(self, client: StampingClient, payload: int, before: int = 0) -> None:
        """`payload`: bytes of each command's argument; `before`: how many the machine has counted already."""
        self.before = before
        self._client = client
        self._payload = payload
        self._plain = _arguments(unmarked(payload))
        self._count = 0
        self.began_ns = 0
        self.invoked = array("q")
        """When each command was submitted, in nanoseconds of the monotonic clock; as `returned`."""
        self.intended = array("q")
        """When it was due."""
        self.returned = array("q")
        """0: it has not, and whether it took effect is unknown; -1: it was refused, and had no effect."""
        self.results = array("q")
        self.samples: dict[int, int] = {}
        """Number of a sample, and of its command."""
        self._under_way = 0

    # --- the loads ----------------------------------------------------------------------------------------------------

    def closed(self, clients: int, seconds: float) -> None:
        """Keep `clients` commands under way for `seconds`; then wait for those that are."""
        self.began_ns = monotonic_ns()
        end = self.began_ns + int(seconds * 1e9)
        calls: list[Call[int]] = []
        oldest = 0
        while (now := monotonic_ns()) < end:
            if self._under_way < clients or oldest == len(calls):  # one may never be answered
                calls.append(self._submit(now))
                continue
            _wait(calls[oldest])
            oldest += 1
            if oldest > 4096:
                del calls[:oldest]
                oldest = 0
        self._wait_for_all(calls[oldest:])

    def open(self, rate: float, seconds: float) -> None:
        """Send `rate` commands a second for `seconds`, each when it is due or as soon as possible after."""
        self.began_ns = monotonic_ns()
        calls: list[Call[int]] = []
        for number in range(int(rate * seconds)):
            due = self.began_ns + int(number / rate * 1e9)
            if (early := due - monotonic_ns()) > 0:
                self._client.read(early / 1e9)
            calls.append(self._submit(due))
        self._wait_for_all(calls)

    def _wait_for_all(self, calls: list[Call[int]]) -> None:
        """Until each has its outcome, or has had the time for it."""
        for call in calls:
            _wait(call)

    def _submit(self, due: int) -> Call[int]:
        number = self._count
        self._count += 1
        self._under_way += 1
        arguments = self._plain
        if number % SAMPLED == 0 and (sample := number // SAMPLED) < MOST_SAMPLES:
            arguments = _arguments(marked(sample, self._payload))
            self.samples[sample] = number
        self.invoked.append(monotonic_ns())
        self.intended.append(due)
        self.returned.append(0)
        self.results.append(0)
        call = self._client.submit_command("put", arguments, _decode, _OPTIONS)
        call.add_done_callback(self._noting(number))
        return call

    def _noting(self, number: int) -> Callable[[Call[int]], None]:
        def done(call: Call[int]) -> None:
            now = monotonic_ns()
            self._under_way -= 1
            try:
                self.results[number] = call.result(0)
                self.returned[number] = now
            except OutcomeUnknown:
                pass
            except ActorumError:
                self.returned[number] = -1

        return done

    # --- what came of it ----------------------------------------------------------------------------------------------

    @property
    def completed(self) -> list[int]:
        """The commands with a result, in order of when they were due."""
        return [number for number, returned in enumerate(self.returned) if returned > 0]

    @property
    def unknown(self) -> int:
        """How many may or may not have taken effect."""
        return sum(1 for returned in self.returned if returned == 0)

    @property
    def refused(self) -> int:
        """How many had no effect."""
        return sum(1 for returned in self.returned if returned < 0)

    def history(self) -> list[Operation]:
        """As increments of a counter by one, which is what they are; those that were refused are left out."""
        return [
            Operation("client", "incr", (), result if returned else None, invoked, returned or None)
            for invoked, returned, result in zip(self.invoked, self.returned, self.results, strict=True)
            if returned >= 0
        ]


def _wait(call: Call[Any]) -> None:
    try:
        call.result()
    except ActorumError:
        return  # noted where all outcomes are


def _arguments(data: bytes) -> bytes:
    return _encode([data])


def _decode(reply: bytes) -> int:
    return int(decode_reply(reply, "put", msgpack.decode))


class StampingClient(Client):
    """A client that notes when frames are written to a link, and whose links are read by whoever uses it, alone."""

    def __init__(self, *, timeout: float, health: Callable[[], str]) -> None:
        super().__init__(timeout=timeout, health=health)
        self.written: dict[int, float] = {}
        """When each sample was written first, in seconds of the monotonic clock."""
        self.frames: dict[ServerId, array[float]] = {}
        """When each frame was written, whatever it was."""

    def attend(self, call: Call[Any]) -> None:
        """See `Client.attend`: who wants to be told waits, or calls `read`."""

    def read(self, seconds: float) -> None:
        """Take what comes within so many seconds."""
        deadline = monotonic() + seconds
        nothing: Call[None] = Call(lambda _: None, self)
        while (left := deadline - monotonic()) > 0:
            if self._become_reader(nothing, left):
                try:
                    self._read(left)
                finally:
                    self._step_back()

    def attach(self, server_id: ServerId, ends: Mapping[str, Connection]) -> None:
        """See `Client.attach`."""
        super().attach(server_id, ends)
        writer = self._peers[server_id].writer
        put = writer.put
        frames = self.frames[server_id] = array("d")

        def noting(frame: bytes) -> bool:
            now = monotonic()
            frames.append(now)
            for number in numbers_in(frame):
                self.written.setdefault(number, now)
            return put(frame)

        writer.put = noting  # type: ignore[method-assign]
