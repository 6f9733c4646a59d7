"""PySyncObj as the yardstick: three nodes, the client inside the leader's process, as its users run it.

`python -m benchmarks.pysyncobj_cluster NODE CONFIG` runs a follower until its standard input ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated


class Counter(SyncObj):  # type: ignore[misc, unused-ignore]
    """A replicated counter."""

    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        self._value = 0
        super().__init__(own, others, conf)

    @replicated
    def incr(self, by: int) -> int:
        self._value += by
        return self._value


def configuration(*, batch: bool, period: float, journal: str | None, is_leader: bool) -> SyncObjConf:
    """`period`: seconds between rounds (default of the library: 0.1).  Its journal is written without fsync."""
    return SyncObjConf(
        appendEntriesUseBatch=batch,
        connectionTimeout=10.0,
        appendEntriesPeriod=period,
        autoTickPeriod=min(period / 2, 0.05),
        commandsQueueSize=200_000,
        raftMinTimeout=0.4 if is_leader else 6.0,
        raftMaxTimeout=0.6 if is_leader else 8.0,
        logCompactionMinEntries=10_000_000,
        logCompactionMinTime=100_000,
        journalFile=journal,
    )


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


class PySyncObjCluster:
    """Leader here, two followers in processes."""

    def __init__(self, directory: Path, *, batch: bool, period: float, journal: bool) -> None:
        addresses = free_addresses(3)
        settings: dict[str, Any] = {"batch": batch, "period": period}
        self._followers = [self._follower(directory, number, addresses, settings, journal) for number in (1, 2)]
        path = str(directory / "journal-0") if journal else None
        conf = configuration(**settings, journal=path, is_leader=True)
        self._leader = Counter(addresses[0], addresses[1:], conf)
        deadline = time.monotonic() + 30
        while not (self._leader.isReady() and self._leader._isLeader()):
            if time.monotonic() > deadline:
                raise TimeoutError("PySyncObj elected no leader")
            time.sleep(0.01)

    @staticmethod
    def _follower(
        directory: Path, number: int, addresses: list[str], settings: dict[str, Any], journal: bool
    ) -> subprocess.Popen[bytes]:
        path = str(directory / f"journal-{number}") if journal else None
        others = [address for address in addresses if address != addresses[number]]
        config = json.dumps({"others": others, "settings": {**settings, "journal": path}})
        command = [sys.executable, "-m", "benchmarks.pysyncobj_cluster", addresses[number], config]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    @property
    def process_ids(self) -> list[int]:
        """Of the followers; the leader is this process."""
        return [follower.pid for follower in self._followers]

    def submit(self, done: Callable[[Any, Any], None]) -> None:
        """One increment; `done` is called in the library's thread."""
        self._leader.incr(1, callback=done)

    def close(self) -> None:
        """Stop all three."""
        self._leader.destroy()
        for follower in self._followers:
            follower.kill()
            follower.communicate()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    Counter(sys.argv[1], given["others"], configuration(**given["settings"], is_leader=False))
    sys.stdin.read()
