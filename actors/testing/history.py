"""What a program asked of a cluster, and what it was answered: every call of a bound machine passes here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import astuple

from actors.calls import Call, SubmitOptions
from actors.cluster import Cluster, ClusterHandle
from actors.replicated import Replicated

R = TypeVar("R")


class Asked:
    """One command, and its answer once somebody looked at it."""

    def __init__(self, name: str, arguments: bytes, call: Call[Any]) -> None:
        self.name = name
        self.arguments = arguments
        self.call = call
        self.reply: bytes | None = None

    def acknowledged(self, timeout: float) -> bool:
        """Wait for the answer; False if there is none."""
        self.call.exception(timeout)  # a reply is decoded, and kept on the way, when it is asked for
        return self.reply is not None


def arguments_of(kind: type[Replicated], name: str, arguments: bytes) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments of a call again, by position and by keyword."""
    operation = kind._operations[name]
    values = astuple(operation.signature.decode(arguments))
    named = [parameter.name for parameter in operation.parameters if parameter.kind is parameter.KEYWORD_ONLY]
    first = len(values) - len(named)
    return values[:first], dict(zip(named, values[first:], strict=True))


class RecordingHandle(ClusterHandle):
    """A handle that keeps the commands in the order in which they were submitted."""

    def __init__(self, cluster: Cluster, told: Callable[[str, bytes], None] = lambda name, arguments: None) -> None:
        """`told` hears of each command and query before anything comes of it."""
        super().__init__(cluster.client, cluster)
        self.commands: list[Asked] = []
        self._told = told
        self._commands, self._queries = cluster.client.submit_command, cluster.client.submit_query
        self.submit_command, self.submit_query = self._command, self._query

    def _command(self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions) -> Call[R]:
        def keep(reply: bytes) -> R:
            asked.reply = reply
            return decoder(reply)

        call = self._commands(name, arguments, keep, options)
        asked = Asked(name, arguments, call)
        self.commands.append(asked)
        self._told(name, arguments)
        return call

    def _query(self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions) -> Call[R]:
        call = self._queries(name, arguments, decoder, options)
        self._told(name, arguments)
        return call
