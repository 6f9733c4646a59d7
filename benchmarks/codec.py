"""What it costs to make bytes of messages and to read them: AppendEntries, RequestVote, a part of a snapshot.

    python -m benchmarks.codec [--bytes 64] [--rounds 7] [--seconds 0.1] [--json FILE]

The messages of Figures 2 and 13 as peers send them to each other: msgspec writes them, and the strict decoder of
`actors.codec` reads and checks them.  AppendEntries is taken with 1, 10, 100 and 2,000 entries of `--bytes` bytes each,
for what matters is what an entry costs when many travel together.  Each figure is the median over the rounds; a round
repeats its work for `--seconds`.  Garbage collection is off while the clock runs: no message makes cycles, and a
collection would be charged to whichever message happens to meet it.

A message is also read back and compared before it is measured, so that no figure is of a codec that loses something.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

from actors.codec import decode_message, encode_message
from benchmarks.measuring import host, write_json
from raft_core import (
    AppendEntries,
    Configured,
    Entry,
    InstallSnapshot,
    Message,
    RequestVote,
    Settings,
    Snapshot,
    configuration,
)

ENTRIES = (1, 10, 100, 2_000)
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Sample:
    """One message that is measured, and how many log entries are in it."""

    name: str
    message: Message
    entries: int = 0


@dataclass
class Speed:
    """One line of the table; medians over the rounds."""

    name: str
    operation: str
    frame_bytes: int
    messages_per_second: float
    entries_per_second: float
    megabytes_per_second: float


def samples(size: int) -> list[Sample]:
    """The messages, with commands of `size` bytes."""
    sent = [
        Sample(f"AppendEntries, {n:,} entries", AppendEntries(3, "n1", 7, 2, (Entry(3, b"x" * size),) * n, 6, 4), n)
        for n in ENTRIES
    ]
    part = b"x" * Settings().snapshot_chunk_bytes
    snapshot = Snapshot(7, 2, Configured(4, configuration(("n1", "n2", "n3"))), len(part) * 8, "0" * 64)
    return [
        *sent,
        Sample("RequestVote", RequestVote(3, "n1", 7, 2)),
        Sample(f"InstallSnapshot, {len(part) >> 10} KiB", InstallSnapshot(3, "n1", snapshot, 0, part)),
    ]


def per_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` is done in a second; the clock is looked at once in a while only."""
    began = perf_counter()
    work()
    at_a_time = max(1, int(0.001 / (perf_counter() - began)))
    done, began = 0, perf_counter()
    while perf_counter() - began < seconds:
        for _ in range(at_a_time):
            work()
        done += at_a_time
    return done / (perf_counter() - began)


def without_collections(rounds: int, work: Callable[[], object], seconds: float) -> float:
    """The median of several rounds."""
    gc.collect()
    gc.disable()
    try:
        return median(per_second(work, seconds) for _ in range(rounds))
    finally:
        gc.enable()


def measure(sample: Sample, rounds: int, seconds: float) -> list[Speed]:
    """One message in both directions."""
    frame = encode_message(sample.message)
    assert decode_message(frame) == sample.message, sample.name
    speeds = []
    for operation, work in (
        ("encode", partial(encode_message, sample.message)),
        ("decode", partial(decode_message, frame)),
    ):
        rate = without_collections(rounds, work, seconds)
        speed = Speed(sample.name, operation, len(frame), rate, rate * sample.entries, rate * len(frame) / MEGABYTE)
        speeds.append(speed)
    return speeds


def main() -> None:
    """Measure, print a table, write JSON if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=64, help="size of a command")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="of one round")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(f"{'':34} {'frame bytes':>12} {'messages/s':>12} {'entries/s':>12} {'MB/s':>10}")
    speeds: list[Speed] = []
    for sample in samples(options.bytes):
        for speed in measure(sample, options.rounds, options.seconds):
            speeds.append(speed)
            start = f"{speed.operation} {speed.name:27} {speed.frame_bytes:>12,} {speed.messages_per_second:>12,.0f}"
            entries = f"{speed.entries_per_second:,.0f}" if speed.entries_per_second else "-"
            print(f"{start} {entries:>12} {speed.megabytes_per_second:>10,.1f}", flush=True)
    if options.json is not None:
        write_json(options.json, {"host": host(), "speeds": speeds})


if __name__ == "__main__":
    main()
