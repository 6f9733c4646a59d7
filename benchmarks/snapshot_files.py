"""How fast snapshots are written, received, sent and read, and what compacting a log costs, on this machine's disk.

    python -m benchmarks.snapshot_files [--mebibytes 64] [--runs 3] [--directory DIR]

MiB per second, the median over the runs.  `save` and `receive` end with the fsyncs that make a snapshot durable;
`receive` and `send` go in parts of 256 KiB.  Of a compaction, milliseconds: a log of 20,000 entries, appended a hundred
at a time, is cut to its last thousand.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from actors.storage.journal import JournalStorage
from actors.storage.port import Storage
from actors.storage.snapshots import SnapshotFiles
from actors.storage.sqlite import SqliteStorage
from raft_core.configuration import Configured, configuration
from raft_core.effects import AppendToLog, CompactLog
from raft_core.types import Entry

MEMBERS = Configured(0, configuration(["n1"]))
PART = 256 << 10
MIB = 1 << 20


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def one_run(directory: Path, content: bytes) -> dict[str, float]:
    """Seconds for each use of one snapshot."""
    here = SnapshotFiles(directory / "here", cluster_id="c", server_id="n1", synchronous=True)
    there = SnapshotFiles(directory / "there", cluster_id="c", server_id="n2", synchronous=True)
    times = {"save": seconds(lambda: here.save(7, 3, MEMBERS, content))}
    snapshot = here.latest()
    assert snapshot is not None
    offsets = range(0, len(content), PART)
    times["send"] = seconds(lambda: [here.read(snapshot, offset, PART) for offset in offsets])
    times["receive"] = seconds(lambda: [there.receive(snapshot, at, content[at : at + PART]) for at in offsets])
    times["load"] = seconds(lambda: there.load(snapshot))
    return times


def compaction(storage: Storage) -> float:
    """Seconds to cut a log to its last thousand entries."""
    entries = (Entry(1, b"x" * 100),) * 100
    for prev_log_index in range(0, 20_000, 100):
        storage.write([AppendToLog(prev_log_index, entries, 1)])
    return seconds(lambda: storage.write([CompactLog(19_000, 1)]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--mebibytes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    content = os.urandom(MIB) * options.mebibytes
    runs: list[dict[str, float]] = []
    open_storage: dict[str, Callable[[Path], Storage]] = {
        "sqlite, fsync": partial(SqliteStorage, cluster_id="c", server_id="n1"),
        "journal": partial(JournalStorage, cluster_id="c", server_id="n1"),
    }
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            times = one_run(Path(directory), content)
            for name, make in open_storage.items():
                with closing(make(Path(directory) / name)) as storage:
                    times[name] = compaction(storage)
            runs.append(times)
    for use in ("save", "receive", "send", "load"):
        print(f"{use:24} {options.mebibytes / median(run[use] for run in runs):8.0f} MiB/s")
    for name in open_storage:
        print(f"compact, {name:15} {1000 * median(run[name] for run in runs):8.1f} ms")


if __name__ == "__main__":
    main()
