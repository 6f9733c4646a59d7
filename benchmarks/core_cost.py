"""What the pure core costs: one append and one step, at logs of 1,000, 100,000 and 1,000,000 entries.

    python benchmarks/core_cost.py [--runs 7] [--json FILE]

The claim to be checked is that nothing on the hot path depends on the length of the log.  So each figure is taken at
three lengths, beside the two ways that do depend on it: appending to an older view (a branch, which copies its prefix
once) and a tuple that is copied on every append.  Figures are medians over the runs, in nanoseconds for one operation;
lowest and highest stand beside them.  Garbage collection is off while the clock runs.

Every run starts at the stated length and adds at most 1,001 entries.  Starting again from the same value is a branch,
so the first operation of a run copies the prefix; it is done before the clock starts.

The steps are those of one command of a leader of three, and of a follower; no disk, no codec, no link is in them.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Applied,
    ElectionTimeout,
    Entry,
    Event,
    HeartbeatTimeout,
    Leader,
    Log,
    LogPersisted,
    Proposed,
    RequestVoteResult,
    Server,
    Settings,
    follower,
    received,
    step,
)

SIZES = (1_000, 100_000, 1_000_000)
COMMAND = b"x" * 64
ENTRY = Entry(1, COMMAND)
PEERS = ("n1", "n2", "n3")
ADDED = 1_000
"""Entries that one run adds to the log."""


class Figure(TypedDict):
    """One line of the table: nanoseconds for one operation."""

    operation: str
    log_entries: int
    median_ns: float
    lowest_ns: float
    highest_ns: float
    runs: int


Measurement = Callable[[], tuple[int, int]]
"""One run: (nanoseconds, operations)."""


def timed(operation: Callable[[], object], count: int) -> tuple[int, int]:
    """Time of `count` operations in a row, without garbage collection."""
    gc.collect()
    gc.disable()
    started = time.perf_counter_ns()
    for _ in range(count):
        operation()
    elapsed = time.perf_counter_ns() - started
    gc.enable()
    return elapsed, count


def log_measurements(size: int) -> Iterator[tuple[str, Measurement]]:
    """Appending to the newest view, to an older one, and to a tuple."""
    base = Log([ENTRY] * size)
    older = Log([ENTRY] * size)
    older.append((ENTRY,))
    as_tuple = (ENTRY,) * size
    copies = max(5, 2_000_000 // size // 10)

    def append_in_a_row() -> tuple[int, int]:
        view = base.append((ENTRY,))

        def append() -> None:
            nonlocal view
            view = view.append((ENTRY,))

        return timed(append, ADDED)

    yield "Log.append, newest view", append_in_a_row
    yield "Log.append, older view (copies once)", lambda: timed(lambda: older.append((ENTRY,)), copies)
    yield "tuple + (entry,), for comparison", lambda: timed(lambda: (*as_tuple, ENTRY), copies)


def a_leader(size: int) -> Server:
    """n1 of three, in term 2, everything committed, applied and acknowledged."""
    server = follower("n1", PEERS, current_term=1, terms=[1] * size, settings=Settings(pre_vote=False))
    server = step(server, ElectionTimeout(0)).server
    server = step(server, received("n2", RequestVoteResult(2, vote_granted=True))).server
    assert isinstance(server.role, Leader)
    for event in acknowledgements(size + 1):
        server = step(server, event).server
    assert server.last_applied == size + 1
    return server


def acknowledgements(index: int) -> tuple[Event, ...]:
    """What follows a proposal: the own disk, both followers, the state machine."""
    answer = AppendEntriesResult(2, True, index - 1, index)
    return LogPersisted(index, 2), received("n2", answer), received("n3", answer), Applied(index)


def leader_measurement(leader: Server) -> Iterator[tuple[str, Measurement]]:
    """A whole command, event by event: five steps from proposal to applied."""
    names = ("Proposed", "LogPersisted", "AppendEntriesResult (commits)", "AppendEntriesResult (second)", "Applied")
    spent = dict.fromkeys(names, 0)

    def command(server: Server) -> Server:
        index = server.log.last_index + 1
        for name, event in zip(names, (Proposed(index, (COMMAND,)), *acknowledgements(index)), strict=True):
            started = time.perf_counter_ns()
            server = step(server, event).server
            spent[name] += time.perf_counter_ns() - started
        assert server.last_applied == index
        return server

    def run() -> tuple[int, int]:
        server = command(leader)
        spent.update(dict.fromkeys(names, 0))
        gc.collect()
        gc.disable()
        for _ in range(ADDED):
            server = command(server)
        gc.enable()
        return sum(spent.values()), ADDED

    def share(name: str) -> Measurement:
        return lambda: (run()[0] and spent[name], ADDED)

    yield "leader: one command, all 5 steps", run
    for name in names:
        yield f"leader: step({name})", share(name)


def server_measurements(size: int) -> Iterator[tuple[str, Measurement]]:
    """The steps of a leader and of a follower whose logs have `size` entries."""
    leader = a_leader(size)
    yield from leader_measurement(leader)
    yield "leader: step(HeartbeatTimeout)", lambda: timed(lambda: step(leader, HeartbeatTimeout()), 5_000)
    fresh = follower("n1", PEERS, current_term=2, terms=[1] * size, commit_index=size)

    def follow() -> tuple[int, int]:
        server, index, term = fresh, size, 1

        def take() -> None:
            nonlocal server, index, term
            message = AppendEntries(2, "n2", index, term, (Entry(2, COMMAND),), index)
            server, index, term = step(server, received("n2", message)).server, index + 1, 2

        take()
        return timed(take, ADDED)

    yield "follower: step(AppendEntries of 1 entry)", follow


def figure(operation: str, size: int, measurement: Measurement, runs: int) -> Figure:
    """The median of `runs` runs after one to warm up."""
    measurement()
    costs = [elapsed / count for elapsed, count in (measurement() for _ in range(runs))]
    return Figure(
        operation=operation,
        log_entries=size,
        median_ns=round(statistics.median(costs), 1),
        lowest_ns=round(min(costs), 1),
        highest_ns=round(max(costs), 1),
        runs=runs,
    )


def measure(runs: int) -> list[Figure]:
    """All figures, size by size."""
    figures = []
    for size in SIZES:
        for measurements in (log_measurements(size), server_measurements(size)):
            figures += [figure(name, size, measurement, runs) for name, measurement in measurements]
    return figures


def table(figures: list[Figure]) -> str:
    """One line for each operation, one column for each length of the log."""
    operations = list(dict.fromkeys(f["operation"] for f in figures))
    cells = {(f["operation"], f["log_entries"]): f for f in figures}
    lines = [f"{'nanoseconds, median [lowest - highest]':42}" + "".join(f"{size:>34,}" for size in SIZES)]
    for operation in operations:
        row = [cells[operation, size] for size in SIZES]
        texts = [f"{f['median_ns']:,.0f} [{f['lowest_ns']:,.0f} - {f['highest_ns']:,.0f}]" for f in row]
        lines.append(f"{operation:42}" + "".join(f"{text:>34}" for text in texts))
    return "\n".join(lines)


def main() -> None:
    """The table on standard output; with --json the figures and the host in a file as well."""
    parser = argparse.ArgumentParser(description="Cost of the pure core at three lengths of the log.")
    parser.add_argument("--runs", type=int, default=7, help="runs for each figure (default 7, at least 5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if arguments.runs < 5:
        parser.error("a median needs at least 5 runs")
    host = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    print(f"CPython {host['python']}, {host['system']} {host['machine']}, {arguments.runs} runs each", file=sys.stderr)
    figures = measure(arguments.runs)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({"host": host, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
