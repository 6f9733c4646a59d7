"""Small measurements that a running peer keeps of itself.  Durations are seconds."""

from __future__ import annotations

from collections import deque

from raft_core import ServerId


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

    def summary(self, name: str) -> dict[str, float]:
        """Some percentiles, by names that begin with `name`."""
        return {f"{name}_p50": self.percentile(0.5), f"{name}_p99": self.percentile(0.99)}


class Contacts:
    """When each other peer was heard last.  Whoever reads its link notes it; any thread may read."""

    def __init__(self) -> None:
        self._heard: dict[ServerId, float] = {}

    def note(self, server_id: ServerId, now: float) -> None:
        """It was heard now."""
        self._heard[server_id] = now

    def ages(self, now: float) -> dict[ServerId, float]:
        """Seconds since then."""
        return {server_id: now - heard for server_id, heard in self._heard.copy().items()}
