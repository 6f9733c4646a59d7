"""What administrators asked of this peer and the core has not finished: other members, another leader.

A change of members is done when the wished members are committed, alone: with a joint phase that is a second entry
(paper 6).  If this peer stops leading before, the next leader may finish it or not: the outcome is unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from actors.applier import ClientId, Replies
from actors.protocol import Administered, ChangeMembers, TransferLeadership
from raft_core import (
    ConfigurationAccepted,
    ConfigurationCommitted,
    ConfigurationProposed,
    ConfigurationRefused,
    Event,
    LogIndex,
    Server,
    TransferEnded,
    TransferRefused,
    TransferRequested,
)


class _Asked(NamedTuple):
    client_id: ClientId
    batch_id: int


class Administration:
    """Who waits for what."""

    def __init__(self, replies: Replies, numbers: Iterator[int]) -> None:
        """`numbers` never repeat."""
        self._replies = replies
        self._numbers = numbers
        self._asked: dict[int, _Asked] = {}
        self._changing: list[tuple[LogIndex, _Asked]] = []
        """Changes that were begun, and by which entry."""

    def change(self, client_id: ClientId, message: ChangeMembers) -> Event:
        """The event for the core."""
        number = self._number(client_id, message.batch_id)
        return ConfigurationProposed(
            number, message.voters, message.learners, message.expected_index, message.priorities
        )

    def transfer(self, client_id: ClientId, message: TransferLeadership) -> Event:
        """The event for the core."""
        return TransferRequested(self._number(client_id, message.batch_id), message.target)

    def _number(self, client_id: ClientId, batch_id: int) -> int:
        number = next(self._numbers)
        self._asked[number] = _Asked(client_id, batch_id)
        return number

    def accepted(self, effect: ConfigurationAccepted, server: Server) -> None:
        """It is under way; or done, if these are the members already.  `server` is as it is now."""
        asked = self._asked.pop(effect.proposal_id)
        if effect.index <= server.commit_index:
            self._done(asked, effect.index)
        else:
            self._changing.append((effect.index, asked))

    def committed(self, effect: ConfigurationCommitted) -> None:
        """These members are committed; a joint phase goes on."""
        if effect.configuration.is_joint:
            return
        for index, asked in self._changing:
            if index <= effect.index:
                self._done(asked, effect.index)
        self._changing = [change for change in self._changing if change[0] > effect.index]

    def refused(self, effect: ConfigurationRefused | TransferRefused) -> None:
        """Nothing was begun, or the leader goes on."""
        number = effect.proposal_id if isinstance(effect, ConfigurationRefused) else effect.transfer_id
        asked = self._asked.pop(number)
        answer = Administered(asked.batch_id, "refused", reason=effect.reason.value, leader_id=effect.leader_id)
        self._replies.reply(asked.client_id, answer)

    def transferred(self, effect: TransferEnded) -> None:
        """This peer leads no more, as was wished."""
        self._done(self._asked.pop(effect.transfer_id), 0)

    def lost_leadership(self) -> None:
        """Somebody else may finish what was begun."""
        for _, asked in self._changing:
            self._replies.reply(asked.client_id, Administered(asked.batch_id, "unknown"))
        self._changing = []

    def _done(self, asked: _Asked, index: LogIndex) -> None:
        self._replies.reply(asked.client_id, Administered(asked.batch_id, "done", index))
