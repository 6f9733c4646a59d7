"""Commits per second, latency, processor time and memory of 16-byte increments on three processes, beside PySyncObj.

    python -m benchmarks.throughput [--runs 5] [--seconds 2] [--json FILE]

Every run measures every configuration once, in turn, so that a machine whose speed drifts is unfair to nobody; the
medians over the runs are printed, and what matters are the ratios.  A commit is counted when its result has reached the
client.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from actors.calls import Call
from actors.machines.counter import Counter
from benchmarks.measuring import (
    Figures,
    Series,
    host,
    percentile,
    print_table,
    processor_seconds,
    resident_mib,
    write_json,
)

if TYPE_CHECKING:
    from benchmarks.pysyncobj_cluster import PySyncObjCluster

MEMORY, DURABLE, OTHER = "actorum, memory", "actorum, sqlite with fsync", "PySyncObj, memory"
IN_FLIGHT = (1, 64, 1024)
SAMPLED = 16
"""One of this many latencies is taken when many calls are under way."""


def actorum(storage: Literal["sqlite", "memory"], in_flight: int, seconds: float) -> Figures:
    """Our cluster: the client in this process, three peers in theirs."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        data = directory if storage == "sqlite" else None
        with Counter.cluster(nodes=3, data=data, storage=storage) as counter:
            peers = [process_id for _, _, process_id in counter.cluster.supervisor.members().values()]
            run = _one_at_a_time(counter) if in_flight == 1 else _pipelined(counter, in_flight)
            run(min(0.5, seconds / 4))
            before, used = time.perf_counter(), processor_seconds([*peers, os.getpid()])
            latencies, count = run(seconds)
            elapsed = time.perf_counter() - before
            used = processor_seconds([*peers, os.getpid()]) - used
            return _figures(latencies, count, elapsed, used, resident_mib(peers))


def _figures(latencies: Sequence[float], count: int, elapsed: float, used: float, resident: float) -> Figures:
    return Figures(
        commits_per_second=count / elapsed,
        p50=percentile(latencies, 0.5) * 1e6,
        p99=percentile(latencies, 0.99) * 1e6,
        processor=used / count * 1e6,
        resident_mib=resident,
    )


def _one_at_a_time(counter: Counter) -> Callable[[float], tuple[list[float], int]]:
    def run(seconds: float) -> tuple[list[float], int]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            counter.incr(1)
            latencies.append(time.perf_counter() - began)
        return latencies, len(latencies)

    return run


def _pipelined(counter: Counter, in_flight: int) -> Callable[[float], tuple[list[float], int]]:
    def run(seconds: float) -> tuple[list[float], int]:
        latencies: list[float] = []
        calls: deque[Call[int]] = deque()
        submit, count = counter.incr.submit, 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(SAMPLED):
                if len(calls) >= in_flight:
                    calls.popleft().result()
                calls.append(submit(1))
            count += SAMPLED
            calls[-1].add_done_callback(_noting(latencies, time.perf_counter()))
        for call in calls:
            call.result()
        return latencies, count

    return run


def _noting(latencies: list[float], began: float) -> Callable[[object], None]:
    return lambda _: latencies.append(time.perf_counter() - began)


def pysyncobj(batch: bool, period: float, in_flight: int, seconds: float, journal: bool = False) -> Figures:
    """The yardstick: the client is in the leader's process."""
    # Not at the top: the peers of our cluster import this module, and must not carry another library with them.
    from benchmarks.pysyncobj_cluster import PySyncObjCluster

    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        cluster = PySyncObjCluster(Path(directory), batch=batch, period=period, journal=journal)
        try:
            processes = [*cluster.process_ids, os.getpid()]
            _drive_pysyncobj(cluster, in_flight, min(0.5, seconds / 4))
            before, used = time.perf_counter(), processor_seconds(processes)
            latencies, count = _drive_pysyncobj(cluster, in_flight, seconds)
            elapsed = time.perf_counter() - before
            used = processor_seconds(processes) - used
            return _figures(latencies, count, elapsed, used, resident_mib(processes))
        finally:
            cluster.close()


def _drive_pysyncobj(cluster: PySyncObjCluster, in_flight: int, seconds: float) -> tuple[list[float], int]:
    latencies: list[float] = []
    room = threading.Semaphore(in_flight)
    end = time.perf_counter() + seconds

    def submit() -> None:
        began = time.perf_counter()

        def done(result: object, error: object) -> None:
            latencies.append(time.perf_counter() - began)
            room.release()

        cluster.submit(done)

    while time.perf_counter() < end:
        room.acquire()
        submit()
    for _ in range(in_flight):
        room.acquire()
    return latencies, len(latencies)


def failover(trials: int) -> list[float]:
    """Seconds from kill -9 of the leader to the next answered increment."""
    times = []
    with Counter.cluster(nodes=3) as counter:
        for _ in range(trials):
            counter.incr()
            leader = counter.cluster.leader()
            counter.cluster.kill(leader)
            began = time.perf_counter()
            counter.incr()
            times.append(time.perf_counter() - began)
            counter.cluster.restart(leader)
            counter.cluster.wait_until_equal()
    return times


def cold_start(runs: int) -> list[float]:
    """Seconds that `python -m actors --version` takes, from outside."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "actors", "--version"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return times


@dataclass(frozen=True)
class Configuration:
    """What is measured: a name, how many calls are under way, and how."""

    series: Series
    measure: Callable[[], Figures]


def configurations(seconds: float) -> list[Configuration]:
    """The whole grid.  PySyncObj's rounds are 100 ms apart by default; 10 ms and 3 ms are what one would tune it to."""
    grid: list[Configuration] = []
    for n in IN_FLIGHT:
        grid += [
            Configuration(Series(MEMORY, n), partial(actorum, "memory", n, seconds)),
            Configuration(Series(DURABLE, n), partial(actorum, "sqlite", n, seconds)),
            Configuration(Series(f"{OTHER}, batching on, 10 ms", n), partial(pysyncobj, True, 0.01, n, seconds)),
            Configuration(Series(f"{OTHER}, batching on, 3 ms", n), partial(pysyncobj, True, 0.003, n, seconds)),
            Configuration(Series(f"{OTHER}, batching off, 10 ms", n), partial(pysyncobj, False, 0.01, n, seconds)),
        ]
    journal = partial(pysyncobj, True, 0.01, 1024, seconds, journal=True)
    grid.append(Configuration(Series("PySyncObj, journal without fsync, 10 ms", 1024), journal))
    return grid


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Commits per second on this machine, beside PySyncObj.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--failovers", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    grid = configurations(options.seconds)
    for run in range(options.runs):
        for one in grid:
            one.series.runs.append(one.measure())
            rate = one.series.runs[-1].commits_per_second
            print(
                f"run {run + 1}/{options.runs} {one.series.name} x {one.series.in_flight}: {rate:,.0f}/s",
                file=sys.stderr,
            )
    failovers, starts = failover(options.failovers), cold_start(max(options.runs, 5))
    table = sorted((one.series for one in grid), key=lambda series: (series.in_flight, series.name))
    print_table(table)
    bars = _bars({(series.name, series.in_flight): series for series in table})
    bars.append(
        f"failover after kill -9 of the leader: median {median(failovers) * 1e3:.0f} ms, longest "
        f"{max(failovers) * 1e3:.0f} ms of {len(failovers)} (bar: median < 1200)"
    )
    bars.append(f"command line cold start: median {median(starts) * 1e3:.0f} ms (bar: < 150)")
    print("\n".join(bars))
    write_json(options.json, {"host": host(), "series": table, "bars": bars, "failovers": failovers, "starts": starts})


def _bars(series: dict[tuple[str, int], Series]) -> list[str]:
    """The ratios that this project holds itself to."""

    def rate(name: str, in_flight: int) -> float:
        return series[name, in_flight].median("commits_per_second")

    def best(in_flight: int, rounds: str) -> float:
        return max(rate(name, n) for name, n in series if name.startswith(OTHER) and rounds in name and n == in_flight)

    lines = [("one at a time in memory, p50 in ms", series[MEMORY, 1].median("p50") / 1e3, "< 0.3")]
    lines.append(("one at a time with fsync, p50 in ms", series[DURABLE, 1].median("p50") / 1e3, "< 1"))
    for rounds in ("10 ms", "3 ms"):
        yardstick = f"PySyncObj's best in memory with rounds of {rounds}"
        lines += [
            (f"with fsync at 1024 in flight / {yardstick}", rate(DURABLE, 1024) / best(1024, rounds), ">= 1.0"),
            (f"in memory at 1024 in flight / {yardstick}", rate(MEMORY, 1024) / best(1024, rounds), ">= 1.5"),
            (f"in memory at 64 in flight / {yardstick}", rate(MEMORY, 64) / best(64, rounds), ">= 4"),
            (f"with fsync at 64 in flight / {yardstick}", rate(DURABLE, 64) / best(64, rounds), ">= 4"),
        ]
    return [f"{what}: {value:.2f} (bar: {bar})" for what, value, bar in lines]


if __name__ == "__main__":
    main()
