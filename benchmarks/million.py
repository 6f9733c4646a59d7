"""A million commands with compaction: memory and disk, restarts, a fresh peer under load, snapshots under load.

    python -m benchmarks.million [--commands 1000000] [--machine counter|store] [--storage memory|sqlite] [--json FILE]

One client keeps 64 or more commands under way on three processes, of a counter (its snapshot is a few bytes) or of a
store of 100,000 keys with 180 bytes each (its snapshot is about 20 MiB).  One run, in this order, and the load pauses
only for the restarts:

* *bounds*: all commands, with snapshots as they come by default; resident memory and bytes on disk of each peer, every
  twentieth of the way;
* *snapshots under load*: windows without a snapshot, windows in which one peer after the other is told to take one (so
  they come by themselves, where the state is large), and windows in which all three are told at once: each from the
  first request to the last answer, or a `MOMENT` where that is shorter;
* *a follower that fell behind*, three times: it is stopped until the log of the others begins behind its own, and then
  sent their snapshot; the throughput before it was stopped, and from its going on until it has applied all that was
  committed at that moment;
* *a fresh peer under load*, three times: its process is started first; then how long it takes from the request that it
  become a learner until it has applied all that was committed at that moment; the throughput before, meanwhile, and
  afterwards, when there is one more to serve; then it is removed;
* *restarts*: of a peer, from its start until it has applied what was committed; of all three at once, from their start
  until the first command is answered.

Elections are counted as terms that went by, in each kind of window.  What counts are ratios: of commands a second, and
of commands for a second of processor time of all who serve (copies of peers that save a state included; who catches up
not: it has a machine of its own elsewhere), which depends less on what else runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Literal

from actors.calls import Call
from actors.client import Client
from actors.cluster import Cluster, ClusterHandle
from actors.machines.counter import Counter
from actors.machines.key_value import KeyValue
from actors.supervisor import Supervisor
from benchmarks.measuring import TICKS, host, resident_mib, write_json
from benchmarks.million_figures import SHARES, Figures, Sample, Window, table
from benchmarks.million_load import Load, Submit
from raft_core import Settings

KEYS = 100_000
VALUE = "x" * 180
WINDOW = 2.0
"""Seconds without a snapshot, at least."""
MOMENT = 0.25
"""Seconds that are looked at when something is over sooner."""
FRESH = 3
"""Fresh peers, and followers that fell behind, one after the other."""
PATIENCE = 60.0


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
            self._followers_behind(load, tell)
            self._fresh_peers(load, tell)
            self.figures.longest_gap = load.longest_gap
        finally:
            load.stop()
        self._restarts()

    def _window(self, kind: str, load: Load, work: Callable[[], object], apart: str = "") -> str:
        """What happens under `load` while `work` is done; in words, too.  What peer `apart` does is not counted."""
        members = self._cluster.supervisor.members()
        processes = [os.getpid(), *(one for name, (_, _, one) in members.items() if name != apart)]
        term, answered, used, began = self._term(), load.answered, _processor(processes), perf_counter()
        work()
        if (early := MOMENT - (perf_counter() - began)) > 0:
            sleep(early)
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
        return max(status.term for status in self._cluster.status(1.0).values() if status is not None)

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
            tell(self._window("taking", load, self._snapshots_in_turn))
            tell(self._window("quiet", load, lambda: sleep(self._latest("at once"))))
            tell(self._window("at once", load, self._snapshots_at_once))
        files = [path.stat().st_size for path in self._directory.rglob("*.snapshot")]
        self.figures.snapshot_mib = max(files, default=0) / (1 << 20)

    def _latest(self, kind: str) -> float:
        """Seconds that the latest window of this kind lasted, or as many as are usual."""
        windows = self.figures.windows.get(kind, [])
        return max(WINDOW, windows[-1].seconds) if windows else WINDOW

    def _snapshots_in_turn(self) -> None:
        for name in self._cluster.nodes:
            self._cluster.snapshot(name, timeout=PATIENCE)

    def _snapshots_at_once(self) -> None:
        with ThreadPoolExecutor(len(self._cluster.nodes)) as hands:
            for done in [hands.submit(self._cluster.snapshot, name, timeout=PATIENCE) for name in self._cluster.nodes]:
                done.result()

    def _followers_behind(self, load: Load, tell: Callable[[str], None]) -> None:
        for _ in range(FRESH):
            name = self._a_follower()
            tell(self._window("together", load, lambda: sleep(self._latest("returning")), name))
            _, _, process_id = self._cluster.supervisor.members()[name]
            os.kill(process_id, signal.SIGSTOP)
            try:
                self._cut_the_logs_without(name)
                tell(self._window("returning", load, partial(self._return, name, process_id), name))
            finally:
                os.kill(process_id, signal.SIGCONT)

    def _a_follower(self) -> str:
        return next(name for name in self._cluster.nodes if name != self._cluster.leader())

    def _cut_the_logs_without(self, name: str) -> None:
        """Until every log that goes on begins behind what `name` can have."""
        others = [other for other in self._cluster.nodes if other != name]
        statuses = self._cluster.status(1.0)
        beyond = max(status.last_index for status in statuses.values() if status is not None)
        while any((status := statuses.get(other)) is None or status.first_index <= beyond for other in others):
            for other in others:
                self._cluster.snapshot(other, timeout=PATIENCE)
            statuses = self._cluster.status(1.0)

    def _return(self, name: str, process_id: int) -> None:
        os.kill(process_id, signal.SIGCONT)
        self._wait_applied(name, self._committed())

    def _committed(self) -> int:
        return max(status.commit_index for status in self._cluster.status(1.0).values() if status is not None)

    def _fresh_peers(self, load: Load, tell: Callable[[str], None]) -> None:
        for _ in range(FRESH):
            name = self._cluster.supervisor.add(None)
            tell(self._window("before", load, lambda: sleep(self._latest("sending")), name))
            tell(self._window("sending", load, partial(self._bring_up_to_date, name), name))
            tell(self._window("after", load, lambda: sleep(WINDOW), name))
            self._cluster.remove(name, timeout=PATIENCE)

    def _bring_up_to_date(self, name: str) -> None:
        wanted = self._committed()
        self._cluster.add(name, promote=False, timeout=PATIENCE)
        self._wait_applied(name, wanted)

    def _wait_applied(self, name: str, wanted: int) -> None:
        while (status := self._cluster.status().get(name)) is None or status.applied_index < wanted:
            sleep(0.01)

    def _restarts(self) -> None:
        cluster, figures = self._cluster, self.figures
        name, wanted = self._a_follower(), self._committed()
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


def _processor(process_ids: list[int]) -> float:
    """Processor time used so far by these processes and by their children that have ended."""
    total = 0
    for process_id in filter(None, process_ids):
        fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15]))
    return total / TICKS


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
