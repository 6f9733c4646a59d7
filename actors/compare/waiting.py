"""Little's law at the place where callers take turns: the mailbox, or the lock.

Of everything that came in a stretch of time, three figures are found in three ways: how many were there on average (the
time-average of a number that goes up with each arrival and down with each end), how many came in a second, and how long
each stayed.  Little: the first is the product of the others, whatever the order of service and the distribution of
arrivals.  What was there already at the beginning, or still at the end, is in the first and not in the others; beyond
that, a difference means that the measurement lost something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from actors.compare.records import Waiting


def waiting(
    kind: Literal["mailbox", "lock"],
    arrived: Sequence[float],
    began: Sequence[float],
    done: Sequence[float],
    since: float,
    until: float,
) -> Waiting | None:
    """The figures for the time from `since` to `until`; None if nothing came.  Times are seconds of one clock, one of
    each sequence for each visit."""
    arrival, begin, end = (np.asarray(times, dtype=np.float64) for times in (arrived, began, done))
    inside = (arrival >= since) & (arrival <= until)
    if not inside.any():
        return None
    waits, services = (begin - arrival)[inside], (end - begin)[inside]
    return Waiting(
        kind=kind,
        depth=float((np.clip(end, since, until) - np.clip(arrival, since, until)).sum() / (until - since)),
        rate=float(inside.sum() / (until - since)),
        residence=float((end - arrival)[inside].mean()),
        wait_p50=float(np.quantile(waits, 0.5)),
        wait_p99=float(np.quantile(waits, 0.99)),
        service_p50=float(np.quantile(services, 0.5)),
        service_p99=float(np.quantile(services, 0.99)),
    )
