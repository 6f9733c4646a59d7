"""Turns that a trace has lost where a server was started again.

Within an incarnation turns are numbered, and `replay` counts them.  Between two incarnations nothing is counted: the
writer of the first was killed.  But what it made durable it had recorded before (a turn is in the trace before its
effects are carried out), so a server that comes back with *more* than its trace explains has turns that are not there:
the end of the trace was lost with the power, while the storage, which is fsynced, was not; or somebody cut it.

With *less* it may come back: what was decided and not yet durable when it was killed is gone, and rightly (Figure 2).

An entry is known by its index and term, as in the Log Matching property (paper 5.3).  It is enough to remember how far
each term's entries reached: the entries of one term stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from raft_core.effects import AppendToLog
from raft_core.types import Entry, LogIndex, ServerId, Term
from raft_core.verify.replay import Record, Started, Turn


class Gaps:
    """Takes the records of a trace one by one, and keeps where turns are missing."""

    def __init__(self) -> None:
        self.found: list[int] = []
        """Incarnations, counted from 1, that begin with more than what stands before them explains."""
        self._incarnation = 0
        self._current_term: Term = 0
        self._voted_for: ServerId | None = None
        self._reach: dict[Term, LogIndex] = {}
        """For each term, the last index of an entry of it that was written."""

    def take(self, record: Record) -> None:
        """The next record."""
        match record:
            case Started():
                self._incarnation += 1
                if self._incarnation > 1 and self._is_more(record):
                    self.found.append(self._incarnation)
                self._write(record.last_included_index + 1, record.entries)
                self._current_term, self._voted_for = record.current_term, record.voted_for
            case Turn():
                for effect in record.effects:
                    if isinstance(effect, AppendToLog):
                        self._write(effect.prev_log_index + 1, effect.entries)
                self._current_term, self._voted_for = record.after.current_term, record.after.voted_for
            case _:
                assert_never(record)

    def _write(self, first_index: LogIndex, entries: Sequence[Entry]) -> None:
        for index, entry in enumerate(entries, start=first_index):
            self._reach[entry.term] = max(index, self._reach.get(entry.term, 0))

    def _is_more(self, record: Started) -> bool:
        if record.current_term > self._current_term:
            return True
        if record.current_term == self._current_term and record.voted_for not in (None, self._voted_for):
            return True
        first_index = record.last_included_index + 1
        return any(index > self._reach.get(entry.term, 0) for index, entry in enumerate(record.entries, first_index))
