"""How long a cluster is without a leader when the leader's disk is full, or hangs; and what is lost: nothing.

    python -m benchmarks.full_disk [--trials 10] [--runtime actors] [--fault full|limit|hang] [--json FILE]

Five processes on sqlite with fsync, and a client that keeps calls under way.  In each trial the disk of whoever leads
stops taking writes:

* `full`: each peer's directory is a small file system of its own (tmpfs; it must be allowed to mount one), and a file
  fills it;
* `limit`: the files of the running process are forbidden to have bytes (RLIMIT_FSIZE); anywhere;
* `hang`: a write of the log does not return.

Then it is measured how long it takes from the last write that the disk took until another peer says that it leads, how
long no call was answered, and, once there is room again (after two more seconds), until the peer has persisted what was
committed by then.  It must be the same process.  In the end every acknowledged increment is counted.  (From the last
write: SQLite's write-ahead log may have room of its own for some seconds when there is no other.)
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep

from msgspec import msgpack

from actors.cluster import Cluster, ClusterHandle, run_peers
from actors.control import ControlChannel
from actors.hosts import ProcessHost
from actors.machines.counter import Counter
from actors.process import open_disk, report_end, start_peer
from actors.protocol import Status
from actors.replicated import machine_reference
from actors.spec import PeerConfig, PeerSpec, RuntimeName
from actors.storage.disk import Disk
from actors.storage.port import Storage, Stored
from benchmarks.measuring import host, write_json
from raft_core import PersistEffect, ServerId, Settings

NAMES = ("n1", "n2", "n3", "n4", "n5")
SETTINGS = Settings()
DISK = 64 << 20
"""Bytes of a peer's small file system."""
IN_FLIGHT = 64
PATIENCE = 60.0
POLL = 0.005
PAUSE = 2.0
"""Seconds that the disk stays as it is after another leads."""


@dataclass
class Trial:
    """Seconds."""

    until_another_leads: float
    longest_silence: float
    """Between two answers to the client, from the fault until another led for a while."""
    until_it_follows: float


class HangingStorage:
    """A log whose writes do not return while a file of that name is there."""

    def __init__(self, storage: Storage, sign: Path) -> None:
        self._storage = storage
        self._sign = sign
        self.blocking = storage.blocking

    def load(self) -> Stored:
        """What was written."""
        return self._storage.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Hang, or write."""
        while self._sign.exists():
            sleep(POLL)
        self._storage.write(changes)

    def close(self) -> None:
        """Close."""
        self._storage.close()


def hanging_main(signs: str, end: socket.socket, encoded_spec: bytes) -> None:
    """Entry point of a peer's process whose disk can be made to hang."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = msgpack.decode(encoded_spec, type=PeerSpec)
    channel, ended = ControlChannel(end), SimpleQueue[BaseException | None]()
    disk = open_disk(spec)
    sign = Path(signs) / f"{spec.config.server_id}.hangs"
    start_peer(spec, Disk(HangingStorage(disk.storage, sign), disk.snapshots), channel, ended.put)
    error = ended.get()
    report_end(channel, error)
    os._exit(0 if error is None else 1)


# --- faults: each returns what ends it --------------------------------------------------------------------------------

Undo = Callable[[], object]


def fill(directory: Path, cluster: Cluster, name: ServerId) -> Undo:
    """Write to its file system until nothing more fits."""
    filler = directory / name / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler.unlink


def limit(directory: Path, cluster: Cluster, name: ServerId) -> Undo:
    """Forbid its process to write to files."""
    process_id = cluster.supervisor.members()[name][2]
    soft, hard = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (0, hard))
    return lambda: resource.prlimit(process_id, resource.RLIMIT_FSIZE, (soft, hard))


def hang(directory: Path, cluster: Cluster, name: ServerId) -> Undo:
    """Let its next write hang."""
    sign = directory / f"{name}.hangs"
    sign.touch()
    return sign.unlink


FAULTS = {"full": fill, "limit": limit, "hang": hang}


@contextmanager
def small_disks(directory: Path) -> Iterator[None]:
    """A file system for each peer."""
    with ExitStack() as stack:
        for name in NAMES:
            (directory / name).mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "actorum-benchmark", str(directory / name)]
            subprocess.run(mount, check=True)
            stack.callback(subprocess.run, ["umount", str(directory / name)], check=True)
        yield


# --- load -------------------------------------------------------------------------------------------------------------


class Load:
    """Calls, a few at a time, from a thread of its own."""

    def __init__(self, counter: Counter) -> None:
        self.acknowledged = 0
        self.silences: list[tuple[float, float]] = []
        """When an answer came, and how long none had come before."""
        self._counter = counter
        self._is_over = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        last = perf_counter()
        while not self._is_over.is_set():
            calls = [self._counter.incr.submit() for _ in range(IN_FLIGHT)]
            for call in calls:
                call.result(PATIENCE)
            now = perf_counter()
            self.acknowledged += len(calls)
            self.silences.append((now, now - last))
            last = now

    def longest_silence(self, since: float) -> float:
        """Of those that ended after `since`."""
        return max(silence for ended, silence in self.silences if ended > since)

    def stop(self) -> int:
        """The number of acknowledged increments."""
        self._is_over.set()
        self._thread.join()
        return self.acknowledged


# --- trials -----------------------------------------------------------------------------------------------------------


def status_of(cluster: Cluster, name: ServerId) -> Status | None:
    answer = cluster.client.inspect(name, digest=False, timeout=0.1)
    return answer if isinstance(answer, Status) else None


def seconds_until(condition: Callable[[], bool]) -> float:
    began = perf_counter()
    while not condition():
        if perf_counter() - began > PATIENCE:
            raise TimeoutError(f"not within {PATIENCE} s")
        sleep(POLL)
    return perf_counter() - began


def trial(cluster: Cluster, load: Load, begin: Callable[[Cluster, ServerId], Undo]) -> Trial:
    """The disk of the present leader stops taking writes, and takes them again."""
    victim = cluster.leader()
    others = [name for name in NAMES if name != victim]
    process_id = cluster.supervisor.members()[victim][2]
    before = status_of(cluster, victim)
    assert before is not None
    term, began = before.term, perf_counter()
    undo = begin(cluster, victim)
    written, stands_since = before.written_index, perf_counter()

    def another_leads() -> bool:
        nonlocal written, stands_since
        status = status_of(cluster, victim)
        if status is not None and status.written_index > written:
            written, stands_since = status.written_index, perf_counter()
        found = [status_of(cluster, name) for name in others]
        return any(status is not None and status.role == "leader" and status.term > term for status in found)

    seconds_until(another_leads)
    moved = perf_counter() - stands_since
    sleep(PAUSE)
    silence = load.longest_silence(began)
    leader = status_of(cluster, cluster.leader())
    assert leader is not None
    undo()

    def follows() -> bool:
        status = status_of(cluster, victim)
        return status is not None and status.written_index >= leader.commit_index

    returned = seconds_until(follows)
    assert cluster.supervisor.members()[victim][2] == process_id, "it was to survive in place"
    found = Trial(moved, silence, returned)
    print(found, file=sys.stderr)
    return found


def specs(directory: Path, runtime: RuntimeName) -> list[PeerSpec]:
    return [
        PeerSpec(
            config=PeerConfig(server_id=name, voters=NAMES, settings=SETTINGS),
            cluster_id="full-disk",
            machine=machine_reference(Counter),
            directory=str(directory / name),
            runtime=runtime,
        )
        for name in NAMES
    ]


def measure(fault: str, runtime: RuntimeName, trials: int, directory: Path) -> tuple[list[Trial], int]:
    """The trials, and how many acknowledged increments are not there in the end."""
    with ExitStack() as stack:
        if fault == "full":
            stack.enter_context(small_disks(directory))
        peer_host = ProcessHost(partial(hanging_main, str(directory))) if fault == "hang" else ProcessHost()
        cluster = stack.enter_context(run_peers(specs(directory, runtime), peer_host, timeout=PATIENCE, data=directory))
        counter = Counter._bound(ClusterHandle(cluster.client, cluster))
        counter.incr(0)
        load = Load(counter)
        found = [trial(cluster, load, partial(FAULTS[fault], directory)) for _ in range(trials)]
        acknowledged = load.stop()
        assert len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1
        return found, acknowledged - counter.get()


def print_figures(fault: str, runtime: str, trials: Sequence[Trial], lost: int) -> None:
    print(f"{fault}, runtime {runtime}, {len(trials)} trials; election timeout {SETTINGS.election_timeout} ms")
    for figure in ("until_another_leads", "longest_silence", "until_it_follows"):
        values = sorted(getattr(one, figure) for one in trials)
        print(
            f"  {figure.replace('_', ' '):24} min {values[0]:6.3f}  median {median(values):6.3f}  max {values[-1]:6.3f}"
        )
    print(f"  acknowledged and lost    {lost}")


def main() -> int:
    """Measure, print, and fail if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--runtime", choices=["actors", "locks"], default="actors")
    parser.add_argument("--fault", choices=list(FAULTS), default="limit")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is mounted must not stay
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        place = Path(directory).absolute()
        trials, lost = measure(arguments.fault, arguments.runtime, arguments.trials, place)
    print_figures(arguments.fault, arguments.runtime, trials, lost)
    write_json(arguments.json, {"host": host(), "fault": arguments.fault, "trials": trials, "lost": lost})
    return 0 if lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
