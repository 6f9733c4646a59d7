"""A simulated disk: an ordered stream of writes and of answers that wait for them (see `raft_core.effects`).

Writes become durable one transaction at a time, in order.  Whatever is not durable when its server falls is gone, or,
if the disk tears, there in part: some of the writes under way, and of the last of these some of its entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

from raft_core.effects import AppendToLog, PersistEffect, PersistTermAndVote, Send
from raft_core.types import Entry, ServerId, Term


class SimulatedDisk:
    """What is durable, and what waits to become so."""

    def __init__(self) -> None:
        self.current_term: Term = 0
        self.voted_for: ServerId | None = None
        self.entries: list[Entry] = []
        self.stream: deque[PersistEffect | Send] = deque()
        """Not yet durable, and answers that must not overtake it."""

    def next_transaction(self) -> list[PersistEffect]:
        """The writes at the head of the stream: one transaction may hold several."""
        writes: list[PersistEffect] = []
        for item in self.stream:
            if isinstance(item, Send):
                break
            writes.append(item)
        return writes

    def make_durable(self, change: PersistEffect) -> None:
        """Carry `change` out."""
        if isinstance(change, PersistTermAndVote):
            self.current_term, self.voted_for = change.current_term, change.voted_for
        elif isinstance(change, AppendToLog):
            self.entries[change.prev_log_index :] = change.entries
        else:
            raise AssertionError("nobody takes snapshots in this simulation")

    def lose(self, random: Random, *, tears: bool) -> Sequence[PersistEffect]:
        """The server fell.  Returns what reached the disk all the same."""
        writes = [item for item in self.stream if not isinstance(item, Send)]
        self.stream.clear()
        if not tears or not writes:
            return ()
        there = writes[: random.randint(0, len(writes))]
        if there and isinstance(last := there[-1], AppendToLog):
            kept = last.entries[: random.randint(0, len(last.entries))]
            there[-1] = AppendToLog(last.prev_log_index, kept, last.current_term)
        for change in there:
            self.make_durable(change)
        return there
