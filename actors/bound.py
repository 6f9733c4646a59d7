"""The operations of one instance: `counter.incr`, which may be called, submitted, or given options first.

Where it is carried out is a strategy with two faces.  `Local` runs the method on an instance with state; `Remote` makes
bytes of the arguments and hands them to a `Handle`, the client of a running cluster.

Measured (CPython 3.11): `counter.incr.submit(5)` with its envelope and its `Call` 1.1 us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar

from actors.calls import DEFAULT_OPTIONS, Call, EventWaiter, SubmitOptions
from actors.machine import refuse_inside_apply
from actors.protocol import Consistency
from actors.signatures import Operation

if TYPE_CHECKING:
    from actors.cluster import Cluster

P = ParamSpec("P")
R = TypeVar("R")


class Handle(Protocol):
    """The running cluster, as a bound instance sees it: the client implements it."""

    def submit_command(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a command.  `decoder` turns the reply bytes of the state machine into the result, or raises."""

    def submit_query(
        self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions
    ) -> Call[R]:
        """Send a query."""

    def attend(self, call: Call[Any]) -> None:
        """Nobody waits for `call` just now: see to it that it gets on all the same."""

    @property
    def cluster(self) -> Cluster:
        """The cluster behind it."""


class Target(Protocol):
    def call(self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def submit(
        self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[R]: ...


class Local:
    """An instance with state: the method runs, here and now."""

    __slots__ = ("_machine",)

    def __init__(self, machine: object) -> None:
        self._machine = machine

    def call(self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return operation.run(self._machine, *args, **kwargs)

    def submit(
        self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[R]:
        try:
            result = operation.run(self._machine, *args, **kwargs)
        except Exception as error:
            failed: Call[R] = Call(_never, EventWaiter(), label=operation.label)
            failed._fail(error)
            return failed
        call = Call(lambda _: result, EventWaiter(), label=operation.label)
        call._resolve(b"")
        return call


def _never(reply: bytes) -> NoReturn:
    raise AssertionError("a failed call has no reply to decode")


class Remote:
    """A bound instance: the operation travels as a name and bytes."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def call(self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._send(operation, options, args, kwargs).result()

    def submit(
        self, operation: Operation[P, R], options: SubmitOptions, /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[R]:
        call = self._send(operation, options, args, kwargs)
        self._handle.attend(call)
        return call

    def _send(
        self,
        operation: Operation[..., R],
        options: SubmitOptions,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> Call[R]:
        refuse_inside_apply(operation.label)
        signature = operation.signature
        arguments = signature.encode(args, kwargs)
        if operation.kind == "command":
            return self._handle.submit_command(operation.name, arguments, signature.decode_reply, options)
        return self._handle.submit_query(operation.name, arguments, signature.decode_reply, options)


class BoundCommand(Generic[P, R]):
    """A command of one instance: call it, `submit` it, or choose options first with `using`."""

    __slots__ = ("_operation", "_options", "_target")

    def __init__(self, operation: Operation[P, R], target: Target, options: SubmitOptions = DEFAULT_OPTIONS) -> None:
        self._operation = operation
        self._target = target
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry it out and return the result.  Raises `WrongArguments` at once, else what the command ended with."""
        return self._target.call(self._operation, self._options, *args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Send it and return at once; ask the `Call` for the result, or await it."""
        return self._target.submit(self._operation, self._options, *args, **kwargs)

    def using(self, *, timeout: float | None = None) -> BoundCommand[P, R]:
        """The same command with another time-out, in seconds."""
        return BoundCommand(self._operation, self._target, SubmitOptions(timeout))


class BoundQuery(BoundCommand[P, R]):
    """A query of one instance."""

    __slots__ = ()

    def using(
        self,
        *,
        timeout: float | None = None,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
    ) -> BoundQuery[P, R]:
        """The same query with another time-out, in seconds, or another freshness.  With `max_staleness` a stale query
        sees at least what was acknowledged so many seconds before it was called."""
        return BoundQuery(self._operation, self._target, SubmitOptions(timeout, consistency, max_staleness))
