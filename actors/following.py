"""Following the log of one peer: how far it is, and which place among the commands each entry has.

MIT's lab counts commands, from 1; a log has no-ops between them, with which leaders open their terms.  A *position* is
the lab's index.  It can be told as long as one has followed from the beginning, or from a snapshot that says how many
commands it stands for; so a service that hands over its state (`outside`) hands over that number with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from msgspec import Struct, msgpack

from actors.protocol import Delivered, Offered, Restored
from raft_core import EntryKind, LogIndex


class HandedOver(Struct, frozen=True, array_like=True):
    """What a service hands over to its peer."""

    position: int
    """How many commands `state` stands for."""
    state: bytes


pack = msgpack.Encoder().encode
"""`HandedOver` as the state that a peer keeps."""
unpack = msgpack.Decoder(HandedOver).decode
"""And back."""


class _Other(Struct, frozen=True):
    """An entry that is no command."""

    index: LogIndex
    position: int
    """Of the command before it."""


def _index(other: _Other) -> LogIndex:
    return other.index


def _position(other: _Other) -> int:
    return other.position


class Following:
    """What was heard of the log of one incarnation of a peer.  One caller at a time."""

    def __init__(self) -> None:
        self.last_index: LogIndex = 0
        """Of the last entry that was delivered, or is in the snapshot behind which the peer goes on."""
        self.last_position = 0
        """How many commands there are up to it."""
        self._base: tuple[LogIndex, int] = (0, 0)
        self._others: list[_Other] = []
        """Behind the base."""

    def delivered(self, message: Delivered) -> None:
        """The peer applied these entries."""
        for index, entry in enumerate(message.entries, message.first_index):
            if entry.kind is EntryKind.COMMAND:
                self.last_position += 1
            else:
                self._others.append(_Other(index, self.last_position))
            self.last_index = index

    def restored(self, message: Restored) -> HandedOver:
        """The peer goes on behind a snapshot, which a service handed over."""
        handed_over = unpack(message.state)
        self._base = message.last_included_index, handed_over.position
        self.last_index, self.last_position = self._base
        self._others = []
        return handed_over

    def index_of(self, position: int) -> LogIndex | None:
        """Which entry has the command of this position; None if it was not delivered behind the latest snapshot."""
        base_index, base_position = self._base
        if not base_position < position <= self.last_position:
            return None
        return base_index + position - base_position + bisect_left(self._others, position, key=_position)

    def position_of(self, offered: Offered) -> int | None:
        """Where an offered command was appended, 0 if it was not; None: what must be known for that is on its way."""
        if not offered.position:
            return 0
        base_index, base_position = self._base
        if not base_index <= offered.behind <= self.last_index:
            return None
        others = bisect_right(self._others, offered.behind, key=_index)
        return base_position + offered.behind - base_index - others + offered.position
