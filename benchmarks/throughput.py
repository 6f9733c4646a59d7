"""Commits per second, latency, processor time and memory of 16-byte increments on three processes, beside PySyncObj.

    python benchmarks/throughput.py [--runs 5] [--seconds 2] [--json FILE]

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
from pathlib import Path
from statistics import median

from measuring import Figures, Series, host, percentile, print_table, processor_seconds, resident_mib, write_json
from pysyncobj_cluster import PySyncObjCluster

from actors.machines.counter import Counter

IN_FLIGHT = (1, 64, 1024)
SAMPLED = 16
"""One of this many latencies is taken when many calls are under way."""


def actorum(storage: str, in_flight: int, seconds: float) -> Figures:
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
        calls = deque()
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--failovers", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    measured: dict[tuple[str, int], tuple[Series, Callable[[], Figures]]] = {}

    def add(name: str, in_flight: int, measure: Callable[[], Figures]) -> None:
        measured[name, in_flight] = (Series(name, in_flight), measure)

    seconds = options.seconds
    for flight in IN_FLIGHT:
        add("actorum, memory", flight, lambda n=flight: actorum("memory", n, seconds))
        add("actorum, sqlite with fsync", flight, lambda n=flight: actorum("sqlite", n, seconds))
        add("PySyncObj, memory, batching on, 10 ms", flight, lambda n=flight: pysyncobj(True, 0.01, n, seconds))
        add("PySyncObj, memory, batching off, 10 ms", flight, lambda n=flight: pysyncobj(False, 0.01, n, seconds))
    add("PySyncObj, journal without fsync, 10 ms", 1024, lambda: pysyncobj(True, 0.01, 1024, seconds, journal=True))
    for run in range(options.runs):
        for series, measure in measured.values():
            series.runs.append(measure())
            print(f"run {run + 1}/{options.runs} {series.name} x {series.in_flight}: "
                  f"{series.runs[-1].commits_per_second:,.0f}/s", file=sys.stderr, flush=True)
    table = [series for series, _ in measured.values()]
    failovers, starts = failover(options.failovers), cold_start(options.runs)
    print_table(sorted(table, key=lambda series: (series.in_flight, series.name)))
    bars = _bars({key: series for key, (series, _) in measured.items()})
    for line in bars:
        print(line)
    print(f"failover after kill -9 of the leader: median {median(failovers) * 1e3:.0f} ms, "
          f"longest {max(failovers) * 1e3:.0f} ms of {len(failovers)}; command line cold start {median(starts) * 1e3:.0f} ms")
    write_json(options.json, {"host": host(), "series": table, "bars": bars, "failovers": failovers, "starts": starts})


def _bars(series: dict[tuple[str, int], Series]) -> list[str]:
    """The ratios that this project holds itself to."""

    def rate(name: str, in_flight: int) -> float:
        return series[name, in_flight].median("commits_per_second")

    def best(in_flight: int) -> float:
        return max(rate(name, n) for name, n in series if name.startswith("PySyncObj, memory") and n == in_flight)

    memory, durable = "actorum, memory", "actorum, sqlite with fsync"
    lines = [
        ("with fsync at 1024 in flight / PySyncObj's best in memory", rate(durable, 1024) / best(1024), ">= 1.0"),
        ("in memory at 1024 in flight / PySyncObj's best", rate(memory, 1024) / best(1024), ">= 1.5"),
        ("in memory at 64 in flight / PySyncObj's best", rate(memory, 64) / best(64), ">= 4"),
        ("with fsync at 64 in flight / PySyncObj's best in memory", rate(durable, 64) / best(64), ""),
        ("one at a time in memory, p50 in ms", series[memory, 1].median("p50") / 1e3, "< 0.3"),
        ("one at a time with fsync, p50 in ms", series[durable, 1].median("p50") / 1e3, "< 1"),
    ]
    return [f"{what}: {value:.2f} {bar and '(bar: ' + bar + ')'}".rstrip() for what, value, bar in lines]


if __name__ == "__main__":
    main()
