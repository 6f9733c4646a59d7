"""What happens in the middle of a run, and what it did to the service.

The faults that last for the whole run (a slow state machine, a slow disk, slow links) are made when the cluster is:
see `running`.  Here are those that begin at a moment: a third of the way into the measurement.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from time import monotonic
from types import TracebackType

from actors.cluster import Cluster
from actors.compare.measured import Probes, Report
from actors.compare.plan import PLANTED
from actors.compare.records import Cell
from raft_core import ServerId

PAUSE = 2.0
"""Seconds for which a follower stands still; at most half of the measurement."""
_PERIOD = 0.01
_STOPPER = """
import os, signal, sys, time
share, period, processes = float(sys.argv[1]), float(sys.argv[2]), [int(each) for each in sys.argv[3:]]
is_over = []
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))

def tell(name):
    for process in processes:
        try:
            os.kill(process, name)
        except ProcessLookupError:
            pass
    return time.monotonic()

os.write(1, b"!")
going = time.monotonic()
debt = 0.0
while not is_over and os.getppid() == processes[0]:
    time.sleep((1 - share) * period)
    stopped = tell(signal.SIGSTOP)
    debt += (stopped - going) * share / (1 - share)
    time.sleep(max(0.0, debt))
    going = tell(signal.SIGCONT)
    debt -= going - stopped
"""
"""It keeps account of how long it let them go, for it is woken late itself when they keep all processors busy."""


class Misfortune:
    """Nothing happens.  The others happen between entering and leaving the `with` block."""

    killed: ServerId | None = None
    elections = 0
    """Elections that it makes necessary."""

    def __enter__(self) -> Misfortune:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def outcome(
        self, returned: Sequence[float], reports: Mapping[ServerId, Report], began: float
    ) -> tuple[float | None, float | None, float | None]:
        """When it happened, how long until the next leader, and the longest time without a result: seconds, the first
        since the measurement `began` (by the monotonic clock).  `returned`: when results came, ascending."""
        return None, None, None


class _AtAMoment(Misfortune, ABC):
    """Something that happens once, in a thread of its own.  What goes wrong there is raised at the end: a run without
    its fault is none of its cell."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="misfortune")
        self._at = 0.0
        self._error: BaseException | None = None

    @abstractmethod
    def happen(self) -> None:
        """What happens."""

    def _wait(self) -> None:
        if not self._over.wait(self._after):
            self._at = monotonic()
            try:
                self.happen()
            except BaseException as error:
                self._error = error

    def __enter__(self) -> Misfortune:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error
        if error is None and not self._at:
            raise RuntimeError("the load was over before the fault could happen")

    def outcome(
        self, returned: Sequence[float], reports: Mapping[ServerId, Report], began: float
    ) -> tuple[float | None, float | None, float | None]:
        at = self._at - began
        led = [led.time - self._at for report in reports.values() for led in report.led if led.time > self._at]
        return at, min(led, default=None) if self.elections else None, _longest_gap(returned, at)


def _longest_gap(returned: Sequence[float], since: float) -> float | None:
    """The longest time without a result that ends after `since`; None if there was none after it."""
    before = max((moment for moment in returned if moment <= since), default=0.0)
    moments = [before, *(moment for moment in returned if moment > since)]
    return max((later - earlier for earlier, later in pairwise(moments)), default=None)


class _LeaderKilled(_AtAMoment):
    elections = 1

    def __init__(self, after: float, cluster: Cluster, leader: ServerId) -> None:
        super().__init__(after)
        self._cluster = cluster
        self.killed = leader

    def happen(self) -> None:
        assert self.killed is not None
        self._cluster.kill(self.killed)


class _FollowerPaused(_AtAMoment):
    def __init__(self, after: float, probes: Probes, follower: ServerId, process_id: int, seconds: float) -> None:
        super().__init__(after)
        self._pause = probes.pause
        self._follower = follower
        self._process_id = process_id
        self._seconds = seconds

    def happen(self) -> None:
        self._pause(self._follower, self._process_id, self._seconds)


class _PlantedSlowdown(Misfortune):
    """Another process stops all processes of the run for a share of the time, and lets them go on."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._processes = [str(os.getpid()), *(str(each) for each in processes if each != os.getpid())]

    def __enter__(self) -> Misfortune:
        arguments = [str(PLANTED), str(_PERIOD), *self._processes]
        self._stopper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _STOPPER, *arguments], stdout=subprocess.PIPE
        )
        assert self._stopper.stdout is not None
        self._stopper.stdout.read(1)  # from here on, and not from when an interpreter is up
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stopper:  # it lets all go on before it ends
            self._stopper.terminate()


def misfortune(
    cell: Cell,
    cluster: Cluster,
    probes: Probes,
    leader: ServerId,
    process_ids: Mapping[ServerId, int],
    seconds: float,
    randomness: Random,
) -> Misfortune:
    """What happens to the measurement of `cell`, which takes so many `seconds`."""
    if cell.control == "planted slowdown":
        return _PlantedSlowdown(list(process_ids.values()))
    match cell.fault:
        case "leader killed":
            return _LeaderKilled(seconds / 3, cluster, leader)
        case "follower paused":
            follower = randomness.choice(sorted(process_ids.keys() - {leader}))
            pause = min(PAUSE, seconds / 2)
            return _FollowerPaused(seconds / 3, probes, follower, process_ids[follower], pause)
        case _:
            return Misfortune()
