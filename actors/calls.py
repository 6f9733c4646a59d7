"""`Call`: the answer to one command or query that may not have come yet.

A client makes one for every command, so it must cost next to nothing.  Measured (CPython 3.11, one core): make,
resolve and read 0.48 us, where `concurrent.futures.Future`, with the condition and lock each of them carries, takes
1.7 us.  So a call has no lock, no event and no list until somebody really waits for it, and its result is decoded by
whoever asks for it, not by the thread that reads the links.

Rules of the file, in place of a lock:

1. `_outcome` is assigned once, by the one thread that reads the client's links (or closes the client); a single
   assignment is atomic.  None means pending, bytes are a reply, an exception is a failure.
2. To resolve is: *set the outcome, then look for callbacks*.  To register is: *add the callback, then look at the
   outcome*.  Whichever comes second sees the other, so no callback is lost; both take the list away under a lock (one
   for the whole module, touched only where callbacks exist), so none runs twice.
3. Waiting is the client's business (`Waiter`): it may read its links in the very thread that waits.

Rejected: subclassing `concurrent.futures.Future` (the cost above); an `Event` for each call (1.6 us); asyncio futures
(bound to one loop; `__await__` makes one when awaited).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from threading import Event, Lock
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

from actors.codec import DOCS
from actors.errors import CallTimeout, OutcomeUnknown
from actors.freshness import check_freshness
from actors.machine import refuse_inside_apply
from actors.protocol import Consistency

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class SubmitOptions(Struct, frozen=True, gc=False):
    """What one call asks for beyond its arguments."""

    timeout: float | None = None
    """Seconds to wait for the answer; None: as long as the cluster was told to."""
    consistency: Consistency = "linearizable"
    """Of a query; a command is always linearizable."""
    max_staleness: float | None = None
    """Of a stale query: it sees at least what was acknowledged so many seconds before it was called."""

    def __post_init__(self) -> None:
        if self.consistency != "linearizable" or self.max_staleness is not None:
            check_freshness(self.consistency, self.max_staleness)

    def label(self, name: str) -> str:
        """What the call is named in errors."""
        return name if self.max_staleness is None else f"{name} (at most {self.max_staleness} s old)"


DEFAULT_OPTIONS: Final = SubmitOptions()


class Waiter(Protocol):
    """Who can make time pass until a call is answered: the client that sent it."""

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        """Return when `call` is done, or when `time.monotonic()` passes `deadline`."""

    def attend(self, call: Call[Any]) -> None:
        """Somebody will be told about `call` and does not wait: see to it that the links are read meanwhile."""


class EventWaiter:
    """Waits for a call that another thread resolves, without help: the simplest `Waiter`."""

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        """Sleep until the call is done or the deadline passed."""
        event = Event()
        call.add_done_callback(lambda _: event.set())
        event.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def attend(self, call: Call[Any]) -> None:
        """Nothing to do: another thread reads."""


_callbacks_lock: Final = Lock()


class Call(Generic[R]):
    """A command or query under way.  Ask with `result()`, be told with `add_done_callback`, or `await` it."""

    __slots__ = ("_callbacks", "_decode", "_outcome", "_timeout", "_waiter", "label", "safe_to_retry")

    def __init__(
        self,
        decode: Callable[[bytes], R],
        waiter: Waiter,
        timeout: float | None = None,
        label: str = "call",
        safe_to_retry: bool = False,
    ) -> None:
        self.label = label
        # Whoever made the call knows: True for a query, and for a command as long as it was not sent.
        self.safe_to_retry = safe_to_retry
        self._decode = decode
        self._waiter = waiter
        self._timeout = timeout
        self._outcome: bytes | BaseException | None = None
        self._callbacks: list[Callable[[Call[R]], object]] | None = None

    def done(self) -> bool:
        """Has it been answered (or given up)?"""
        return self._outcome is not None

    def result(self, timeout: float | None = None) -> R:
        """Wait for the answer, at most `timeout` seconds (by default the call's own), and return the result.

        If there is none by then, raises `OutcomeUnknown`, for a command may still take effect, or `CallTimeout` if the
        call is `safe_to_retry`; the call may be asked again.  Otherwise raises the typed error it ended with.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._awaited(timeout)
        if isinstance(outcome, bytes):
            return self._decode(outcome)
        raise outcome

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait like `result`; return the error instead of raising it, None if there is a result."""
        if self._outcome is None:
            self._awaited(timeout)
        try:
            self.result()
        except BaseException as error:
            return error
        return None

    def add_done_callback(self, callback: Callable[[Call[R]], object]) -> None:
        """Call `callback(self)` once it is done: in the thread that resolves it, or now if it is done already."""
        with _callbacks_lock:
            if self._callbacks is None:
                self._callbacks = [callback]
            else:
                self._callbacks.append(callback)
        if self._outcome is None:
            self._waiter.attend(self)
        if self._outcome is not None:
            self._run_callbacks()

    def __await__(self) -> Generator[Any, None, R]:
        return self._result_in_loop().__await__()

    def __repr__(self) -> str:
        return f"<Call {self.label}: {'done' if self.done() else 'pending'}>"

    # --- for the client that made it ----------------------------------------------------------------------------------

    def _resolve(self, reply: bytes) -> None:
        """The reply has come.  Ignored if there was an outcome before."""
        if self._outcome is None:
            self._outcome = reply
            if self._callbacks is not None:
                self._run_callbacks()

    def _fail(self, error: BaseException) -> None:
        """There will be no reply.  Ignored if there was an outcome before."""
        if self._outcome is None:
            self._outcome = error
            if self._callbacks is not None:
                self._run_callbacks()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _awaited(self, timeout: float | None) -> bytes | BaseException:
        refuse_inside_apply(f"result() of {self.label}")
        seconds = self._timeout if timeout is None else timeout
        self._waiter.wait(self, None if seconds is None else time.monotonic() + seconds)
        if self._outcome is None:
            raise self._timed_out(seconds)
        return self._outcome

    def _timed_out(self, seconds: float | None) -> CallTimeout | OutcomeUnknown:
        kind = CallTimeout if self.safe_to_retry else OutcomeUnknown
        nothing = "nothing was changed" if self.safe_to_retry else "the command may still take effect"
        return kind(
            f"{self.label} was not answered within {seconds} s",
            why=f"no leader could be reached, or it has no majority; {nothing}",
            fix="ask the same Call again with result(timeout=...): that submits nothing new",
            docs=DOCS,
        )

    def _run_callbacks(self) -> None:
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                # As an exception of a thread: reported, but the reader of the links lives on.
                sys.excepthook(*sys.exc_info())

    async def _result_in_loop(self) -> R:
        import asyncio  # 50 ms to import: only those who await pay for it

        if self._outcome is None:
            refuse_inside_apply(f"awaiting {self.label}")
            loop = asyncio.get_running_loop()
            answered: asyncio.Future[None] = loop.create_future()
            self.add_done_callback(lambda _: _wake(loop, answered))
            try:
                await asyncio.wait_for(answered, self._timeout)
            except TimeoutError:
                # The waiter withdraws what was never sent: else it could still be sent after a "nothing was changed".
                self._waiter.wait(self, time.monotonic())
                if self._outcome is None:
                    raise self._timed_out(self._timeout) from None
        return self.result()


def _wake(loop: Any, answered: Any) -> None:
    def wake() -> None:
        if not answered.done():  # it may have been cancelled
            answered.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(wake)
