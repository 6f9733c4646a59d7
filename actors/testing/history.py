"""What a program asked of a cluster, and what it was answered: every call of a bound machine passes here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from actors.calls import Call, SubmitOptions
from actors.cluster import Cluster, ClusterHandle

R = TypeVar("R")


class Asked:
    """One command, and its answer once somebody looked at it."""

    def __init__(self, name: str, arguments: bytes) -> None:
        self.name = name
        self.arguments = arguments
        self.reply: bytes | None = None
        self.call: Call[Any]

    def acknowledged(self, timeout: float) -> bool:
        """Wait for the answer; False if there is none."""
        self.call.exception(timeout)  # a reply is decoded, and kept on the way, when it is asked for
        return self.reply is not None


class RecordingHandle(ClusterHandle):
    """A handle that keeps the commands in the order in which they were submitted."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.client, cluster)
        self.commands: list[Asked] = []
        self._submit = cluster.client.submit_command
        self.submit_command = self._recorded

    def _recorded(self, name: str, arguments: bytes, decoder: Callable[[bytes], R], options: SubmitOptions) -> Call[R]:
        asked = Asked(name, arguments)

        def keep(reply: bytes) -> R:
            asked.reply = reply
            return decoder(reply)

        call = self._submit(name, arguments, keep, options)
        asked.call = call
        self.commands.append(asked)
        return call
