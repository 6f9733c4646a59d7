"""What a server owes its clients and an administrator, and whether it keeps it: one answer to each request.

Reads and wishes get one answer each, unless the server falls.  What is not answered is remembered: by a leader, or by a
follower who asked its leader about it; who is neither keeps nobody waiting.  Who leads from one election timeout to the
next has heard from a majority meanwhile (check-quorum, thesis 6.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raft_core.events import ConfigurationProposed, ElectionTimeout, Event, ReadRequested, Received, TransferRequested
from raft_core.roles import Follower, Leader
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.member_rules import decides
from raft_core.verify.violation import Violation


class Duties:
    """Of one server in one life."""

    def __init__(self, name: ServerId) -> None:
        self._name = name
        self._reads: set[int] = set()
        self._wishes: set[int] = set()
        self._heard: set[ServerId] | None = None

    def asked(self, events: Sequence[Event]) -> None:
        """These events are about to be dealt with."""
        for event in events:
            match event:
                case ReadRequested(read_ids=numbers):
                    self._reads.update(numbers)
                case ConfigurationProposed(proposal_id=number) | TransferRequested(transfer_id=number):
                    self._wishes.add(number)
                case _:
                    pass

    def answered_reads(self, numbers: Iterable[int]) -> None:
        """These reads were answered, or refused."""
        self._reads.difference_update(numbers)

    def answered_wish(self, number: int) -> None:
        """An administrator was told."""
        if number not in self._wishes:
            raise Violation("One Answer", f"{self._name} answers wish {number} twice")
        self._wishes.remove(number)

    def check(self, server: Server) -> None:
        """After all effects of a turn."""
        forgotten = self._reads - _waiting(server) if self._reads else self._reads
        if not isinstance(server.role, Leader):
            forgotten = forgotten | self._wishes
        if forgotten:
            raise Violation("One Answer", f"{self._name}, {server.role_name}, does not answer {sorted(forgotten)}")

    def count_heads(self, before: Server, after: Server, events: Sequence[Event]) -> None:
        """Whom a leader has heard, from one election timeout to the next.  Members that are new are given time."""
        leads_on = isinstance(before.role, Leader) and before.current_term == after.current_term
        if not leads_on or before.configurations is not after.configurations:
            self._heard = None
            return
        for event in events:
            if isinstance(event, Received) and self._heard is not None:
                self._heard.add(event.sender)
            elif isinstance(event, ElectionTimeout):
                heard, self._heard = self._heard, set()
                if heard is None or not after.settings.check_quorum or not isinstance(after.role, Leader):
                    continue
                if not decides(after.configuration, heard | {self._name}):
                    raise Violation("Check Quorum", f"{self._name} leads on, and heard from {sorted(heard)} only")


def _waiting(server: Server) -> set[int]:
    """The reads that this server will still answer."""
    match server.role:
        case Leader(early_reads=early, pending_reads=pending):
            return {number for read in (*early, *pending) if read.asker is None for number in read.read_ids}
        case Follower(asked_reads=asked, pending_reads=pending):
            return {*asked, *(number for read in pending for number in read.read_ids)}
        case _:
            return set()
