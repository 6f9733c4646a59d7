"""What all benchmarks share: processor time and memory of processes, percentiles, medians over runs, tables, JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """One measurement.  Latencies are microseconds, processor time is microseconds per commit over all processes."""

    commits_per_second: float
    p50: float
    p99: float
    processor: float
    resident_mib: float


@dataclass
class Series:
    """The measurements of one configuration, one per run."""

    name: str
    in_flight: int
    runs: list[Figures] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """Median of one figure over the runs."""
        return median(getattr(run, figure) for run in self.runs)


def processor_seconds(process_ids: Iterable[int]) -> float:
    """Processor time used so far by these processes, user and system."""
    total = 0
    for process_id in process_ids:
        fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mib(process_ids: Iterable[int]) -> float:
    """Largest resident set among these processes."""
    sizes: list[float] = []
    for process_id in process_ids:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
        sizes.extend(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    return max(sizes)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def host() -> dict[str, str | int | None]:
    """What must be known to read the figures."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": platform.machine(),
        "system": platform.release(),
        "processors": os.cpu_count(),
    }


def write_json(path: str | None, results: dict[str, object]) -> None:
    """The raw figures, for whoever wants to compute with them."""
    text = json.dumps(results, indent=1, default=asdict)
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text + "\n")
    else:
        sys.stderr.write("no --json FILE given: raw figures not kept\n")


def print_table(series: Sequence[Series]) -> None:
    """Medians over the runs, one line per configuration."""
    print(
        f"{'configuration':44} {'in flight':>9} {'commits/s':>10} {'p50 us':>9} {'p99 us':>9} {'cpu us':>7} {'MiB':>5}"
    )
    for one in series:
        figures = [one.median(name) for name in ("commits_per_second", "p50", "p99", "processor", "resident_mib")]
        rate, p50, p99, processor, resident = figures
        start = f"{one.name:44} {one.in_flight:>9} {rate:>10,.0f}"
        print(f"{start} {p50:>9,.0f} {p99:>9,.0f} {processor:>7.1f} {resident:>5.0f}")
