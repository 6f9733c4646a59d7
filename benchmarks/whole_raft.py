"""What the rest of Raft costs: snapshots and restoring, catching up, changing members, reads of every consistency.

    python -m benchmarks.whole_raft [--runs 5] [--storage sqlite|memory] [--json FILE]

Each run measures everything once, in turn, so that a machine whose speed drifts is unfair to nobody; printed are the
medians over the runs.

* *State*: a store of 100,000 keys, about 21 MiB: encoding it, writing it down as a snapshot (with fsync for sqlite),
  reading and checking it, making it a machine again.
* *Catching up*: a follower of three that was away for 50,000 increments, from the start of its process (told apart)
  until it has applied them, while nobody else asks for anything.  The log is long enough, so no snapshot is sent.
* *Members and leaders*: an idle cluster of three; from the call until it returns.  To add a peer includes starting its
  process, removing one includes stopping it.
* *Reads*: of one counter, on three processes, one at a time and with 64 under way, after one another in turn, in
  slices of a second.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter, sleep
from typing import Any, Literal, TypeAlias

from actors.calls import Call
from actors.cluster import Cluster
from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.machines.key_value import Item, KeyValue
from actors.protocol import Consistency
from actors.storage.snapshots import SnapshotFiles
from benchmarks.measuring import host, write_json
from raft_core import Settings
from raft_core.configuration import Configured, configuration

Storage: TypeAlias = Literal["memory", "sqlite"]
Times: TypeAlias = dict[str, float]
"""A figure by its name, the unit in it."""
KEYS = 100_000
MISSED = 50_000
MIB = 1 << 20
PATIENCE = 60.0
MODES: tuple[Consistency, ...] = ("linearizable", "follower", "lease", "stale")
IN_FLIGHT = (1, 64)
SLICE = 1.0
"""Seconds."""


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


# --- state ------------------------------------------------------------------------------------------------------------


def state(storage: Storage) -> Times:
    """MiB per second."""
    store = KeyValue()
    store.items = {f"key {number}": Item("x" * 180, number) for number in range(KEYS)}
    machine, fresh = MachineHost(store), MachineHost(KeyValue())
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        files = SnapshotFiles(directory, cluster_id="c", server_id="n1", synchronous=storage == "sqlite")
        members = Configured(0, configuration(["n1"]))
        encode = seconds(machine.save)
        content = machine.save()
        write = seconds(lambda: files.save(1, 1, members, content))
        snapshot = files.latest()
        assert snapshot is not None
        read = seconds(lambda: files.load(snapshot))
        restore = seconds(lambda: fresh.restore(content))
    mebibytes = len(content) / MIB
    return {
        "encode a state, MiB/s": mebibytes / encode,
        "write a snapshot down, MiB/s": mebibytes / write,
        "take a snapshot, encode and write, MiB/s": mebibytes / (encode + write),
        "read and check a snapshot, MiB/s": mebibytes / read,
        "restore a machine from it, MiB/s": mebibytes / restore,
    }


# --- clusters ---------------------------------------------------------------------------------------------------------


@contextmanager
def started(storage: Storage, settings: Settings) -> Iterator[Counter]:
    """Three peers whose files are on the disk of this directory."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        kept, tempfile.tempdir = tempfile.tempdir, directory
        try:
            with Counter.cluster(storage=storage, settings=settings, timeout=PATIENCE) as counter:
                counter.incr()
                yield counter
        finally:
            tempfile.tempdir = kept


def catching_up(storage: Storage) -> Times:
    """A follower that was away."""
    with started(storage, Settings(snapshot_entries=0)) as counter:
        cluster = counter.cluster
        away = next(name for name in cluster.nodes if name != cluster.leader())
        cluster.kill(away)
        last = deque((counter.incr.submit(1) for _ in range(MISSED)), maxlen=1).pop()
        last.result()
        wanted = max(status.commit_index for status in cluster.status(0.5).values() if status is not None)
        start = seconds(lambda: cluster.restart(away))
        catch_up = seconds(lambda: _until_applied(cluster, away, wanted))
    return {"start a peer's process again, s": start, "catch up from the log, entries/s": MISSED / catch_up}


def _until_applied(cluster: Cluster, name: str, wanted: int) -> None:
    while (status := cluster.status().get(name)) is None or status.applied_index < wanted:
        sleep(0.001)


def changes(storage: Storage) -> Times:
    """Milliseconds of each operation."""
    with started(storage, Settings()) as counter:
        cluster = counter.cluster
        cluster.leader()
        times: Times = {}

        def timed(what: str, work: Callable[[], object]) -> None:
            times[f"{what}, ms"] = 1000 * seconds(work)

        timed("add a learner, with its process", lambda: cluster.add("n4", promote=False))
        timed("promote a learner", lambda: cluster.promote("n4"))
        timed("make a voter a learner", lambda: cluster.set_members(["n1", "n2", "n3"], ["n4"]))
        timed("two changes at once (joint)", lambda: cluster.set_members(["n1", "n2", "n4"], ["n3"]))
        timed("remove a follower", lambda: cluster.remove(_follower(cluster)))
        timed("transfer leadership", cluster.transfer_leadership)
        timed("add a voter, with its process", cluster.add)
        timed("remove the leader", lambda: cluster.remove(cluster.leader()))
        timed("replace a voter", lambda: cluster.replace(_follower(cluster)))
        timed("a snapshot of a small state", cluster.snapshot)
    return times


def _follower(cluster: Cluster) -> str:
    leader = cluster.leader()
    return next(name for name in cluster.members().voters if name != leader)


# --- reads ------------------------------------------------------------------------------------------------------------


def reads(storage: Storage) -> Times:
    """Answers a second."""
    rates: Times = {}
    with started(storage, Settings(lease_reads=True)) as counter:
        for in_flight in IN_FLIGHT:
            for mode in MODES:
                submit = counter.get.using(consistency=mode).submit
                _rate(submit, in_flight, SLICE / 5)
                rates[f"reads, {mode}, {in_flight} in flight, /s"] = _rate(submit, in_flight, SLICE)
            submit = counter.incr.submit
            rates[f"(increments, {in_flight} in flight, /s)"] = _rate(submit, in_flight, SLICE)
    return rates


def _rate(submit: Callable[[], Call[Any]], in_flight: int, duration: float) -> float:
    calls: deque[Call[Any]] = deque()
    answered, began = 0, perf_counter()
    while perf_counter() - began < duration:
        while len(calls) < in_flight:
            calls.append(submit())
        calls.popleft().result()
        answered += 1
    for call in calls:
        call.result()
    return (answered + len(calls)) / (perf_counter() - began)


PARTS: tuple[Callable[[Storage], Times], ...] = (state, catching_up, changes, reads)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--storage", choices=("memory", "sqlite"), action="append")
    parser.add_argument("--json")
    options = parser.parse_args()
    storages: list[Storage] = options.storage or ["memory", "sqlite"]
    figures: dict[Storage, dict[str, list[float]]] = {storage: {} for storage in storages}
    for _ in range(options.runs):
        for part in PARTS:
            for storage in storages:
                for name, value in part(storage).items():
                    figures[storage].setdefault(name, []).append(value)
    print("| | " + " | ".join(storages) + " |\n|---|" + "---:|" * len(storages))
    for name in figures[storages[0]]:
        shown = [median(figures[storage][name]) for storage in storages]
        print(f"| {name} | " + " | ".join(f"{value:,.0f}" if value >= 10 else f"{value:.2f}" for value in shown) + " |")
    write_json(options.json, {"host": host(), "runs": options.runs, "figures": figures})


if __name__ == "__main__":
    main()
