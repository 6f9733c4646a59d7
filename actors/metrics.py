"""Small measurements that a running peer keeps of itself.  Durations are seconds."""

from __future__ import annotations

from collections import deque


class Durations:
    """The latest durations of something, for percentiles.  One thread adds; any may read."""

    def __init__(self, size: int = 1024) -> None:
        self._latest: deque[float] = deque(maxlen=size)

    def add(self, seconds: float) -> None:
        """Note one more."""
        self._latest.append(seconds)

    def percentile(self, share: float) -> float:
        """The value that `share` (0 to 1) of the noted durations do not exceed; 0.0 if none was noted."""
        ordered = sorted(self._latest.copy())
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
