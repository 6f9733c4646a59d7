"""Medians, their intervals and differences, over runs.

The unit is the run, never the operation: the operations of one run share its processes, its place in memory and the
machine's mood, so a thousand of them are not a thousand observations of a design.  Intervals are bootstrapped over
runs; a difference is tested by permutation of the runs' labels, and many of them by Holm's correction.  What is
permuted are ranks: one run that a busy machine spoiled weighs no more than any other, and the medians of four runs a
side have too few values for any of them to be rare.

A difference is called one only if three agree: its interval leaves out zero, the permutation test does not explain it
by chance, and it is larger than what runs of the same cell differ by.  Otherwise the headline is "no difference
detected", which is a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values: TypeAlias = NDArray[np.float64]
Verdict: TypeAlias = Literal["higher", "lower", "no difference detected", "too few runs"]

CONFIDENCE = 0.95
RESAMPLES = 4999
FEWEST = 4
"""Runs of each side below which nothing is said: the permutations of fewer cannot reach the level."""


class Summary(NamedTuple):
    """A quantity over the runs of one cell."""

    median: float
    low: float
    high: float
    """The 95 % interval of the median; both are the median if there is one run only."""
    spread: float
    """Distance of the quartiles: what runs of the same cell differ by."""
    runs: int


class Difference(NamedTuple):
    """The median of one cell less that of another."""

    estimate: float
    low: float
    high: float
    """The 95 % interval."""
    p: float
    """Of the permutation test, two-sided: how often relabelled runs differ by as much."""
    spread: float
    """The larger of the two cells' own."""
    runs: tuple[int, int]

    @property
    def verdict(self) -> Verdict:
        """What may be said of the first against the second."""
        if min(self.runs) < FEWEST:
            return "too few runs"
        excludes_zero = self.low > 0 or self.high < 0
        if not excludes_zero or self.p >= 1 - CONFIDENCE or abs(self.estimate) <= self.spread:
            return "no difference detected"
        return "higher" if self.estimate > 0 else "lower"


def summary(values: Sequence[float], seed: int = 0) -> Summary:
    """Median of `values`, one of each run, with its interval.  Raises `ValueError` if there are none."""
    data = _of(values)
    median = float(np.median(data))
    low = high = median
    if len(data) > 1 and np.ptp(data) > 0:
        result = stats.bootstrap(
            (data,),
            np.median,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
        low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    return Summary(median, low, high, _spread(data), len(data))


def difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """Median of `first` less that of `second`.  Raises `ValueError` if either is empty."""
    ours, theirs = _of(first), _of(second)
    estimate = float(_between(ours, theirs))
    spread = max(_spread(ours), _spread(theirs))
    counts = (len(ours), len(theirs))
    if min(counts) < 2 or np.ptp(np.concatenate([ours, theirs])) == 0:
        return Difference(estimate, estimate, estimate, 1.0, spread, counts)
    interval = stats.bootstrap(
        (ours, theirs),
        _between,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ranks = stats.rankdata(np.concatenate([ours, theirs]))
    p = stats.permutation_test(
        (ranks[: len(ours)], ranks[len(ours) :]),
        _between_means,
        permutation_type="independent",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).pvalue
    return Difference(estimate, float(interval.low), float(interval.high), float(p), spread, counts)


def holm(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """The same with p corrected for how many there are (Holm 1979): of many, some differ by chance."""
    corrected = [0.0] * len(differences)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(differences)), key=lambda place: differences[place].p)):
        largest = max(largest, min(1.0, differences[place].p * (len(differences) - rank)))
        corrected[place] = largest
    return tuple(each._replace(p=p) for each, p in zip(differences, corrected, strict=True))


def percentiles(latencies: Sequence[float]) -> tuple[float, float, float, float]:
    """p50, p90, p99 and p99.9 of one run's operations; zeros if there are none."""
    if not len(latencies):
        return (0.0, 0.0, 0.0, 0.0)
    p50, p90, p99, p999 = np.quantile(np.asarray(latencies), (0.5, 0.9, 0.99, 0.999), method="inverted_cdf")
    return (float(p50), float(p90), float(p99), float(p999))


def _of(values: Sequence[float]) -> Values:
    if not len(values):
        raise ValueError("a median of no runs")
    return np.asarray(values, dtype=np.float64)


def _between(first: Values, second: Values, axis: int = -1) -> Values:
    between: Values = np.median(first, axis=axis) - np.median(second, axis=axis)
    return between


def _between_means(first: Values, second: Values, axis: int = -1) -> Values:
    between: Values = np.mean(first, axis=axis) - np.mean(second, axis=axis)
    return between


def _spread(data: Values) -> float:
    low, high = np.quantile(data, (0.25, 0.75))
    return float(high - low)
