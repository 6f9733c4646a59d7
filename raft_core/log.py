"""The log of Figure 2 as an immutable view with cheap appends.

A `Log` is `(buffer, length)` plus what stands before it (`last_included_index`, `last_included_term`).  The buffer is
an append-only list shared by all views that grew from one another:

* the newest view appends in place and returns a longer view: O(entries appended), whatever the length;
* an older view that appends (a branch) copies its prefix once, so the newer view stays as it was;
* truncation is a shorter view;
* a view never reads behind its own length, so every view ever made stays valid.

Copying a tuple on every append was rejected: at 100,000 entries one append costs about a thousand times as much.

Index 0 has term 0: the log before the first entry (Figure 2).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from raft_core.types import Entry, LogIndex, Term


def _term_of(entry: Entry) -> Term:
    return entry.term


class Log:
    """An immutable sequence of entries, indexed from 1 as in the paper.  Compare and hash by content."""

    __slots__ = ("_buffer", "_length", "last_included_index", "last_included_term")

    last_included_index: LogIndex
    """Index of the last entry that is no longer here; 0 as long as nothing was compacted (paper 7)."""
    last_included_term: Term
    """Term of that entry; 0 for the empty beginning."""

    def __init__(
        self, entries: Iterable[Entry] = (), *, last_included_index: LogIndex = 0, last_included_term: Term = 0
    ) -> None:
        self._buffer: list[Entry] = list(entries)
        self._length = len(self._buffer)
        self.last_included_index = last_included_index
        self.last_included_term = last_included_term

    def _view(self, buffer: list[Entry], length: int) -> Log:
        view = Log.__new__(Log)
        view._buffer = buffer
        view._length = length
        view.last_included_index = self.last_included_index
        view.last_included_term = self.last_included_term
        return view

    @property
    def last_index(self) -> LogIndex:
        """Index of the last entry, 0 if there never was one."""
        return self.last_included_index + self._length

    @property
    def last_term(self) -> Term:
        """Term of the last entry, 0 if there never was one (paper 5.4.1)."""
        return self._buffer[self._length - 1].term if self._length else self.last_included_term

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._buffer[: self._length])

    def term_at(self, index: LogIndex) -> Term | None:
        """Term of the entry at `index`; None where this log has no entry to answer for (compacted, or not there)."""
        position = index - self.last_included_index - 1
        if 0 <= position < self._length:
            return self._buffer[position].term
        return self.last_included_term if position == -1 else None

    def entries(self, first: LogIndex, last: LogIndex) -> tuple[Entry, ...]:
        """The entries with `first` <= index <= `last`, as far as this log holds them."""
        start = max(first - self.last_included_index - 1, 0)
        return tuple(self._buffer[start : max(min(last - self.last_included_index, self._length), start)])

    def append(self, entries: Sequence[Entry]) -> Log:
        """This log with `entries` behind its end.  Amortised O(len(entries)) on the newest view."""
        buffer = self._buffer
        if len(buffer) != self._length:
            buffer = buffer[: self._length]
        buffer.extend(entries)
        return self._view(buffer, self._length + len(entries))

    def truncate(self, last_index: LogIndex) -> Log:
        """This log without what stands behind `last_index`; the whole log if it ends earlier."""
        return self._view(self._buffer, max(min(last_index - self.last_included_index, self._length), 0))

    def compact(self, last_included_index: LogIndex) -> Log:
        """This log without what stands up to `last_included_index`, which is here (paper 7).  O(entries kept)."""
        term = self.term_at(last_included_index)
        assert term is not None
        kept = self._buffer[last_included_index - self.last_included_index : self._length]
        return Log(kept, last_included_index=last_included_index, last_included_term=term)

    def first_index_of_run(self, index: LogIndex) -> LogIndex:
        """First index whose entry has the same term as the entry at `index` (terms never decrease along a log)."""
        position = index - self.last_included_index - 1
        term = self._buffer[position].term
        return self.last_included_index + 1 + bisect_left(self._buffer, term, 0, position + 1, key=_term_of)

    def last_index_of_term(self, term: Term) -> LogIndex | None:
        """Last index whose entry has `term`, or None if no entry here has it."""
        position = bisect_right(self._buffer, term, 0, self._length, key=_term_of) - 1
        if position >= 0 and self._buffer[position].term == term:
            return self.last_included_index + 1 + position
        return None

    def last_common_index(self, other: Log) -> LogIndex:
        """Index up to which the two hold the same entries.  O(1) if one grew from the other; they begin alike."""
        shorter = min(self._length, other._length)
        if self._buffer is not other._buffer:
            pairs = zip(self._buffer[:shorter], other._buffer, strict=False)
            shorter = next((position for position, (mine, theirs) in enumerate(pairs) if mine != theirs), shorter)
        return self.last_included_index + shorter

    def terms_begun(self, index: LogIndex) -> int:
        """How many terms begin among the entries here, up to and including `index`; O(terms * log(length)).

        The term of the last entry that is no longer here began with it or before, so it is none of them."""
        if index <= self.last_included_index:
            return 0
        count = -1 if self._buffer[0].term == self.last_included_term else 0
        while index > self.last_included_index:
            index = self.first_index_of_run(index) - 1
            count += 1
        return count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Log):
            return NotImplemented
        if self._length != other._length or self.last_included_index != other.last_included_index:
            return False
        if self.last_included_term != other.last_included_term:
            return False
        if self._buffer is other._buffer:
            return True
        return self._buffer[: self._length] == other._buffer[: self._length]

    def __hash__(self) -> int:
        return hash((self.last_included_index, self.last_index, self.last_term))

    def __repr__(self) -> str:
        start = f"after {self.last_included_index}/{self.last_included_term}: " if self.last_included_index else ""
        shown = [f"{entry.term}" for entry in self._buffer[: self._length][-12:]]
        dots = "... " if self._length > len(shown) else ""
        return f"Log({start}{self._length} entries, terms {dots}{' '.join(shown)})"
