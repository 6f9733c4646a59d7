"""The links on which a peer answers its clients."""

from __future__ import annotations

import select
from collections.abc import Sequence

from actors.applier import ClientId
from actors.links import LinkWriter
from actors.protocol import PeerMessage, encode


class ReplyLinks:
    """The links on which one thread answers clients (a `Replies`)."""

    def __init__(self) -> None:
        self._writers: dict[ClientId, LinkWriter] = {}

    def attach(self, client_id: ClientId, writer: LinkWriter) -> None:
        """Answer this client here, from now on."""
        self._writers[client_id] = writer

    def detach(self, client_id: ClientId) -> None:
        """This client is gone."""
        writer = self._writers.pop(client_id, None)
        if writer is not None:
            writer.close()

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """Send, or drop what a client that is gone or does not read would not get; clients ask again."""
        writer = self._writers.get(client_id)
        if writer is not None:
            writer.put(encode(message))

    def with_backlog(self) -> list[LinkWriter]:
        """The links whose pipe is full."""
        return [writer for writer in self._writers.values() if writer.backlog]

    def close(self) -> None:
        """Close all."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def wait_until_writable(writers: Sequence[LinkWriter], timeout: float) -> None:
    """Wait until one of `writers` takes more, at most `timeout` seconds."""
    select.select([], writers, [], timeout)
