"""The service above the servers in part D, as `applierSnap` is in the lab: it remembers every command that a server
delivers, and after each ten it hands what it remembers over to that server as a snapshot.

As each service does, it counts on being given back what it handed over; `witness` compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from msgspec import msgpack

from actors.following import HandedOver, pack
from actors.protocol import Administered, KeepSnapshot
from raft_core import LogIndex
from tests.lab.witness import ServerRecord

SNAPSHOT_INTERVAL = 10
"""Applied commands after which a server is given a snapshot."""


class Service:
    """What is above all of the servers."""

    def __init__(self, numbers: count[int]) -> None:
        """`numbers`: of questions."""
        self._numbers = numbers
        self._handed_over: dict[int, LogIndex] = {}
        """Snapshots that servers have been given and did not answer for yet."""

    def snapshots(self, server: ServerRecord, before: int) -> Iterator[KeepSnapshot]:
        """One for each ten commands that the server delivered behind position `before`."""
        for position in range(before + 1, len(server.applied) + 1):
            if position % SNAPSHOT_INTERVAL == 0:
                index = server.following.index_of(position)
                assert index is not None, "it has just been delivered"
                number = next(self._numbers)
                self._handed_over[number] = index
                commands = msgpack.encode(server.applied[:position])
                yield KeepSnapshot(number, index, pack(HandedOver(position, commands)))

    def kept(self, server: ServerRecord, answer: Administered) -> None:
        """A server may refuse a snapshot only if it was sent a later one meanwhile."""
        index = self._handed_over.pop(answer.batch_id)
        if answer.outcome == "done":
            server.kept_index = max(server.kept_index, index)
        else:
            assert server.kept_index > index, f"{server.name} does not keep a snapshot of {index}: {answer.reason}"
