"""A million commands with compaction: memory and disk, restarts, a fresh peer under load, snapshots under load.

    python -m benchmarks.million [--commands 1000000] [--machine counter|store] [--storage memory|sqlite] [--json FILE]

One client keeps 64 or more commands under way on three processes, of a counter (its snapshot is a few bytes) or of a
store of 100,000 keys with 180 bytes each (its snapshot is about 20 MiB).  One run, in this order, and the load pauses
only for the restarts:

* *bounds*: all commands, with snapshots as they come by default; resident memory and bytes on disk of each peer, every
  twentieth of the way;
* *snapshots under load*: windows without a snapshot, and windows in which all three peers are told to take one, from
  the first request to the last answer, by turns and as long as the ones before them, for what may go wrong meanwhile;
* *a fresh peer under load*, three times: its process is started first; then how long it takes from the request that it
  become a learner until it has applied all that was committed at that moment; the throughput before, meanwhile, and
  afterwards, when there is one more to serve; then it is removed;
* *restarts*: of a peer, from its start until it has applied what was committed; of all three at once, from their start
  until the first command is answered.

Elections are counted as terms that went by, in each kind of window.  What counts are ratios: of commands a second, and
of commands for a second of processor time of all who serve (copies of peers that save a state included, a fresh peer
not: it has a machine of its own elsewhere), which depends less on what else runs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any, Literal, NamedTuple

from actors.calls import Call
from actors.client import Client
from actors.cluster import Cluster, ClusterHandle
from actors.machines.counter import Counter
from actors.machines.key_value import KeyValue
from actors.supervisor import Supervisor
from benchmarks.measuring import TICKS, host, resident_mib, write_json
from benchmarks.million_load import Load, Submit
from raft_core import Settings

KEYS = 100_000
VALUE = "x" * 180
SHARES = 20
"""Samples on the way."""
WINDOW = 2.0
"""Seconds without a snapshot, at least."""
FRESH = 3
"""Fresh peers, one after the other."""
PATIENCE = 60.0


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
    """Of each kind: quiet, taking; before, sending, after."""
    restart_of_one: float = 0.0
    restart_of_all: float = 0.0


class Run:
    """One cluster, measured."""

    def __init__(self, cluster: Cluster, submit: Submit, directory: Path, figures: Figures) -> None:
        self._cluster = cluster
        self._submit = submit
        self._directory = directory
        self.figures = figures

    def all_of_it(self, commands: int, windows: int, tell: Callable[[str], None]) -> None:
        """See the module."""
        self._fill()
        load = Load(self._submit, self.figures.in_flight)
        try:
            self._window("all", load, lambda: self._bounds(load, commands, tell))
            load.longest_gap = 0.0
            self._snapshots_under_load(load, windows, tell)
            self._fresh_peers(load, tell)
            self.figures.longest_gap = load.longest_gap
        finally:
            load.stop()
        self._restarts()

    def _window(self, kind: str, load: Load, work: Callable[[], object], fresh: str = "") -> str:
        """What happens under `load` while `work` is done; in words, too.  What `fresh` itself does is not counted."""
        members = self._cluster.supervisor.members()
        processes = [os.getpid(), *(one for name, (_, _, one) in members.items() if name != fresh)]
        term, answered, used, began = self._term(), load.answered, _processor(processes), perf_counter()
        work()
        seconds = perf_counter() - began
        window = Window(load.answered - answered, seconds, _processor(processes) - used, self._term() - term)
        self.figures.windows.setdefault(kind, []).append(window)
        return f"{kind}: {window.commands / seconds:,.0f}/s for {seconds:.3f} s, {window.processor:.2f} s of processors"

    def _fill(self) -> None:
        """Every key once, so that the state has its size from the beginning."""
        if self.figures.machine == "store":
            calls = deque(self._submit(number) for number in range(1024))
            for number in range(1024, KEYS):
                calls.popleft().result()
                calls.append(self._submit(number))
            for call in calls:
                call.result()
        self._cluster.leader()

    def _term(self) -> int:
        return max(status.term for status in self._cluster.status(5.0).values() if status is not None)

    def _bounds(self, load: Load, commands: int, tell: Callable[[str], None]) -> None:
        began = perf_counter()
        for share in range(1, SHARES + 1):
            while load.answered < commands * share // SHARES:
                sleep(0.005)
            sample = Sample(load.answered, perf_counter() - began, self._resident(), self._disk())
            self.figures.samples.append(sample)
            tell(f"{sample.commands:>9,} {sample.seconds:6.1f} s  {_both(sample)}")
        self.figures.commands, self.figures.seconds = load.answered, perf_counter() - began

    def _resident(self) -> dict[str, float]:
        members = self._cluster.supervisor.members()
        return {name: resident_mib([process_id]) for name, (_, _, process_id) in members.items()}

    def _disk(self) -> dict[str, float]:
        sizes: dict[str, float] = {}
        for path in self._directory.rglob("*"):
            try:
                size = path.stat().st_size if path.is_file() else 0
            except FileNotFoundError:  # a snapshot that made room for the next one
                continue
            peer = next((part for part in path.parts if part in self._cluster.nodes), None)
            if peer is not None:
                sizes[peer] = sizes.get(peer, 0.0) + size / (1 << 20)
        return sizes

    def _snapshots_under_load(self, load: Load, windows: int, tell: Callable[[str], None]) -> None:
        for _ in range(windows):
            tell(self._window("quiet", load, lambda: sleep(self._latest("taking"))))
            tell(self._window("taking", load, self._snapshot_everywhere))
        files = [path.stat().st_size for path in self._directory.rglob("*.snapshot")]
        self.figures.snapshot_mib = max(files, default=0) / (1 << 20)

    def _latest(self, kind: str) -> float:
        """Seconds that the latest window of this kind lasted, or as many as are usual."""
        windows = self.figures.windows.get(kind, [])
        return max(WINDOW, windows[-1].seconds) if windows else WINDOW

    def _snapshot_everywhere(self) -> None:
        with ThreadPoolExecutor(len(self._cluster.nodes)) as hands:
            for done in [hands.submit(self._cluster.snapshot, name, timeout=PATIENCE) for name in self._cluster.nodes]:
                done.result()

    def _fresh_peers(self, load: Load, tell: Callable[[str], None]) -> None:
        for _ in range(FRESH):
            name = self._cluster.supervisor.add(None)
            tell(self._window("before", load, lambda: sleep(self._latest("sending")), name))
            tell(self._window("sending", load, partial(self._bring_up_to_date, name), name))
            tell(self._window("after", load, lambda: sleep(WINDOW), name))
            self._cluster.remove(name, timeout=PATIENCE)

    def _bring_up_to_date(self, name: str) -> None:
        wanted = max(status.commit_index for status in self._cluster.status().values() if status is not None)
        self._cluster.add(name, promote=False, timeout=PATIENCE)
        self._wait_applied(name, wanted)

    def _wait_applied(self, name: str, wanted: int) -> None:
        while (status := self._cluster.status().get(name)) is None or status.applied_index < wanted:
            sleep(0.01)

    def _restarts(self) -> None:
        cluster, figures = self._cluster, self.figures
        name = next(name for name in cluster.nodes if name != cluster.leader())
        wanted = max(status.commit_index for status in cluster.status().values() if status is not None)
        cluster.kill(name)
        began = perf_counter()
        cluster.restart(name)
        self._wait_applied(name, wanted)
        figures.restart_of_one = perf_counter() - began
        nodes = cluster.nodes
        for name in nodes:
            cluster.kill(name)
        began = perf_counter()
        with ThreadPoolExecutor(len(nodes)) as hands:
            list(hands.map(cluster.restart, nodes))
        self._submit(0).result(PATIENCE)
        figures.restart_of_all = perf_counter() - began


def _both(sample: Sample) -> str:
    return (
        f"memory {' '.join(f'{mib:.0f}' for mib in sample.resident.values())} MiB, "
        f"disk {' '.join(f'{mib:.0f}' for mib in sample.disk.values())} MiB"
    )


@contextmanager
def _own_client(cluster: Cluster) -> Iterator[ClusterHandle]:
    """For the load alone: who looks at peers with the same client would read its answers, and slow it down."""
    supervisor = cluster.supervisor
    client = Client(timeout=PATIENCE, health=supervisor.health)
    assert isinstance(supervisor, Supervisor)
    number = supervisor.add_client(client)
    try:
        yield ClusterHandle(client, cluster)
    finally:
        supervisor.remove_client(number)
        client.close()


@contextmanager
def _started(
    machine: str, storage: Literal["memory", "sqlite"], directory: Path
) -> Iterator[tuple[Cluster, Callable[[int], Call[Any]]]]:
    """A cluster whose files are in `directory`, and its command number so and so."""
    kept, tempfile.tempdir = tempfile.tempdir, str(directory)
    kind: Any = Counter if machine == "counter" else KeyValue
    try:
        with (
            kind.cluster(storage=storage, settings=Settings(), timeout=PATIENCE) as started,
            _own_client(started.cluster) as handle,
        ):
            mine = kind._bound(handle)
            if machine == "counter":
                yield started.cluster, lambda number: mine.incr.submit(1)
            else:
                yield started.cluster, lambda number: mine.put.submit(f"key {number % KEYS}", VALUE)
    finally:
        tempfile.tempdir = kept


def measured(
    machine: str,
    storage: Literal["memory", "sqlite"],
    *,
    commands: int,
    in_flight: int,
    windows: int,
    tell: Callable[[str], None] = lambda line: None,
) -> Figures:
    """One run."""
    figures = Figures(machine, storage, in_flight)
    with (
        tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory,
        _started(machine, storage, Path(directory)) as (cluster, submit),
    ):
        Run(cluster, submit, Path(directory), figures).all_of_it(commands, windows, tell)
    return figures


def table(runs: list[Figures]) -> list[str]:
    """For people, in Markdown: one column for each run."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("commands", lambda one: f"{one.commands:,}"),
        ("in flight", lambda one: f"{one.in_flight:,}"),
        ("commands/s", lambda one: f"{one.commands / one.seconds:,.0f}"),
        ("snapshot, MiB", lambda one: f"{one.snapshot_mib:.1f}"),
        ("largest peer, MiB: a tenth, half, all of the way", lambda one: _along(one, "resident")),
        ("largest directory, MiB: the same, and its peak", lambda one: _along(one, "disk")),
        ("taking a snapshot lasts, s", lambda one: f"{_lasts(one, 'taking'):.2f}"),
        ("throughput meanwhile / before: by time, by processor time", lambda one: _ratios(one, "taking", "quiet")),
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


def _processor(process_ids: list[int]) -> float:
    """Processor time used so far by these processes and by their children that have ended."""
    total = 0
    for process_id in filter(None, process_ids):
        fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def _along(one: Figures, what: str) -> str:
    sizes = [max(getattr(sample, what).values()) for sample in one.samples]
    places = [sizes[SHARES // 10 - 1], sizes[SHARES // 2 - 1], sizes[-1]]
    return ", ".join(f"{size:.0f}" for size in (places if what == "resident" else [*places, max(sizes)]))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--machine", choices=("counter", "store"), action="append")
    parser.add_argument("--storage", choices=("memory", "sqlite"), action="append")
    parser.add_argument("--json")
    options = parser.parse_args()
    runs = []
    for machine in options.machine or ["counter", "store"]:
        for storage in options.storage or ["memory", "sqlite"]:
            print(f"{machine}, {storage}", flush=True)
            runs.append(
                measured(
                    machine,
                    storage,
                    commands=options.commands,
                    in_flight=options.in_flight,
                    windows=options.windows,
                    tell=lambda line: print(line, flush=True),
                )
            )
    print("\n".join(table(runs)))
    write_json(options.json, {"host": host(), "runs": runs})


if __name__ == "__main__":
    main()
