"""What `benchmarks.million` measured, and the table of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

SHARES = 20
"""Samples on the way."""


@dataclass
class Sample:
    """One moment of the run; memory and disk by peer, in MiB."""

    commands: int
    seconds: float
    resident: dict[str, float]
    disk: dict[str, float]


class Window(NamedTuple):
    """Some time under load."""

    commands: int
    seconds: float
    processor: float
    """Seconds of processor time, of all processes."""
    elections: int


@dataclass
class Figures:
    """One run."""

    machine: str
    storage: str
    in_flight: int
    commands: int = 0
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    snapshot_mib: float = 0.0
    longest_gap: float = 0.0
    """Seconds without an answer while snapshots were taken or sent."""
    windows: dict[str, list[Window]] = field(default_factory=dict)
    """Of each kind: quiet, taking, at once; together, returning; before, sending, after."""
    restart_of_one: float = 0.0
    restart_of_all: float = 0.0


def table(runs: list[Figures]) -> list[str]:
    """For people, in Markdown: one column for each run."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("commands", lambda one: f"{one.commands:,}"),
        ("in flight", lambda one: f"{one.in_flight:,}"),
        ("commands/s", lambda one: f"{one.commands / one.seconds:,.0f}"),
        ("snapshot, MiB", lambda one: f"{one.snapshot_mib:.1f}"),
        ("largest peer, MiB: a tenth, half, all of the way", lambda one: _along(one, "resident")),
        ("largest directory, MiB: the same, and its peak", lambda one: _along(one, "disk")),
        ("snapshots of three peers, in turn, last, s", lambda one: f"{_lasts(one, 'taking'):.2f}"),
        ("throughput meanwhile / before: by time, by processor time", lambda one: _ratios(one, "taking", "quiet")),
        ("at once, s", lambda one: f"{_lasts(one, 'at once'):.2f}"),
        ("throughput meanwhile / before: the same", lambda one: _ratios(one, "at once", "quiet")),
        ("a follower that fell behind catches up in, s", lambda one: f"{_lasts(one, 'returning'):.2f}"),
        ("throughput meanwhile / before: the same", lambda one: _ratios(one, "returning", "together")),
        ("a fresh peer catches up in, s", lambda one: f"{_lasts(one, 'sending'):.2f}"),
        ("throughput meanwhile / before: the same", lambda one: _ratios(one, "sending", "before")),
        ("throughput afterwards, with it / before: the same", lambda one: _ratios(one, "after", "before")),
        ("longest time without an answer, s", lambda one: f"{one.longest_gap:.3f}"),
        ("elections", _elections),
        ("restart of a peer, s", lambda one: f"{one.restart_of_one:.2f}"),
        ("restart of all, s", lambda one: f"{one.restart_of_all:.2f}"),
    ]
    lines = ["| | " + " | ".join(f"{one.machine}, {one.storage}" for one in runs) + " |"]
    lines.append("|---|" + "---:|" * len(runs))
    lines += [f"| {title} | " + " | ".join(show(one) for one in runs) + " |" for title, show in rows]
    return lines


def _lasts(one: Figures, kind: str) -> float:
    return median(window.seconds for window in one.windows[kind])


def _ratios(one: Figures, kind: str, other: str) -> str:
    def rates(kind: str) -> tuple[float, float]:
        windows = one.windows[kind]
        by_time = median(window.commands / window.seconds for window in windows)
        return by_time, sum(window.commands for window in windows) / sum(window.processor for window in windows)

    return ", ".join(f"{mine / others:.2f}" for mine, others in zip(rates(kind), rates(other), strict=True))


def _elections(one: Figures) -> str:
    return ", ".join(f"{sum(w.elections for w in windows)} {kind}" for kind, windows in one.windows.items())


def _along(one: Figures, what: str) -> str:
    sizes = [max(getattr(sample, what).values()) for sample in one.samples]
    places = [sizes[SHARES // 10 - 1], sizes[SHARES // 2 - 1], sizes[-1]]
    return ", ".join(f"{size:.0f}" for size in (places if what == "resident" else [*places, max(sizes)]))
