"""What of a long failing input is needed to fail: delta debugging (Zeller and Hildebrandt, ddmin, 2002).

Whole stretches are left out first, then shorter ones, at last single items, round after round until none can be spared.
So the result is *one-minimal*: leave out any one item, and it fails no more.  (To leave out two at once may still work;
to look for that would take tries without end.)  The row is gone through from its end: what comes late in a schedule
hangs on what came before, so effects go before their causes.

Nothing is drawn at random: the same input shrinks to the same result.  Alternatives rejected: a search by halves as in
`explanation` (it needs a failure that more items never cure; in a schedule they often do), and the shrinking of a
property-testing library (it shrinks what it has drawn itself, and would have to draw the run).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


def shrink(
    items: Sequence[T], still_fails: Callable[[Sequence[T]], bool], *, most_tries: int = 100_000
) -> tuple[T, ...]:
    """A subsequence of `items` that still fails, and none of which can be left out.

    `items` must fail: otherwise `ValueError`.  After `most_tries` calls of `still_fails` the shortest found so far is
    the result, one-minimal or not; so it is if `still_fails` says no to everything from some time on.

    >>> shrink(range(1_000), lambda some: 17 in some and 400 in some)
    (17, 400)
    """
    shrinking = _Shrinking(items, still_fails, most_tries)
    if not shrinking.accepts(tuple(items)):
        raise ValueError("what is to be shrunk does not fail")
    size = len(shrinking.kept)
    while size > 1:
        shrinking.leave_out_stretches(size)
        size = min(size // 2, len(shrinking.kept))
    shrinking.leave_out_single_items()
    return shrinking.kept


class _Shrinking(Generic[T]):
    """What is kept of the items, and how often that was asked about."""

    def __init__(self, items: Sequence[T], still_fails: Callable[[Sequence[T]], bool], most_tries: int) -> None:
        self.kept = tuple(items)
        self._still_fails = still_fails
        self._tries_left = max(1, most_tries)

    def accepts(self, candidate: tuple[T, ...]) -> bool:
        """Keep no more than the candidate, if it fails."""
        if not self._tries_left:
            return False
        self._tries_left -= 1
        if not self._still_fails(candidate):
            return False
        self.kept = candidate
        return True

    def leave_out_stretches(self, size: int) -> None:
        """Go through the row once."""
        end = len(self.kept)
        while end > 0 and self._tries_left:
            start = max(0, end - size)
            self.accepts(self.kept[:start] + self.kept[end:])
            end = start

    def leave_out_single_items(self) -> None:
        """Go round until every item was found to be needed, with nothing left out meanwhile."""
        needed, place = 0, len(self.kept)
        while needed < len(self.kept) and self._tries_left:
            place = (place or len(self.kept)) - 1
            needed = 0 if self.accepts(self.kept[:place] + self.kept[place + 1 :]) else needed + 1
