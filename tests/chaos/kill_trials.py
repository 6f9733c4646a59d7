"""Kill peers at random moments, again and again, and count what should never happen.

    python tests/chaos/kill_trials.py --trials 60 --load saturation --storage memory --seed 1

One trial: a client keeps three peer processes busy; a peer, the leader or not, gets SIGKILL from outside, as a crash or
the kernel would do it; the supervisor notices by itself and starts it again.  A trial counts as

* *silenced* if a survivor stops applying commands, or the client stops getting answers;
* *stuck* if the peer does not come back and catch up with the leader;
* *lost* for each acknowledged increment that is missing in the end;
* *doubled* for each that was applied twice (two results alike, or a value higher than everything submitted);
* *unequal* if the replicas differ, and *out of order* if the history of results is not linearizable.

A shared `multiprocessing.Queue` as the peers' inbox fails this at the rate of one trial in three; that is why links are
as they are (`actors.links.pipes`), and why this campaign exists.  Lines of progress go to standard error, the summary
as JSON to standard output; the exit code is 1 if anything above happened or anything was left behind.
"""

from __future__ import annotations

import argparse
import glob
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children
from random import Random
from statistics import median
from tempfile import gettempdir
from time import monotonic, monotonic_ns, sleep

from msgspec import json

from actors.calls import Call
from actors.cluster import Cluster
from actors.machines.counter import Counter
from actors.protocol import Status
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName
from actors.supervisor import PeerState
from raft_core import ServerId
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import NotLinearizable, Operation
from raft_core.verify.linearizability import check

IN_FLIGHT = 1024
PATIENCE = 40.0
"""Seconds after which a survivor counts as silenced, a restarted peer as stuck, an unanswered command as lost."""
TRIALS_PER_CLUSTER = 10
WARM_UP = 200
"""Answers before the kill and after the recovery that make sure there is load."""


@dataclass
class Load:
    """A thread that submits increments until it is told to stop, and what came of them."""

    counter: Counter
    rate: float | None
    """Increments a second; None: as many as are answered, `IN_FLIGHT` at a time."""
    history: list[Operation] = field(default_factory=list)
    unanswered: int = 0
    longest_gap: float = 0.0
    """Longest time between two answers, in seconds."""
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._pending: deque[tuple[int, Call[int]]] = deque()
        self._last_answer = monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Submit no more, and wait for the answers that are under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._submit_until_stopped()
            while self._pending:
                self._take(PATIENCE)
        except BaseException as error:
            self.failure = error
            self.unanswered = len(self._pending)

    def _submit_until_stopped(self) -> None:
        began, submitted = monotonic(), 0
        while not self._stopping.is_set():
            due = IN_FLIGHT if self.rate is None else int((monotonic() - began) * self.rate) - submitted
            for _ in range(min(due, IN_FLIGHT - len(self._pending))):
                self._pending.append((monotonic_ns(), self.counter.incr.submit()))
                submitted += 1
            if self.rate is None or len(self._pending) >= IN_FLIGHT:
                self._take(PATIENCE)
            else:
                sleep(0.002)
            while self._pending and self._pending[0][1].done():
                self._take(0.0)

    def _take(self, seconds: float) -> None:
        invoked, call = self._pending[0]
        result = call.result(seconds)
        now = monotonic()
        self.longest_gap, self._last_answer = max(self.longest_gap, now - self._last_answer), now
        self.history.append(Operation(0, "incr", (), result, invoked, monotonic_ns()))
        self._pending.popleft()


@dataclass
class Tally:
    """What the trials so far came to."""

    trials: int = 0
    leaders_killed: int = 0
    silenced: int = 0
    stuck: int = 0
    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    out_of_order: int = 0
    increments: int = 0
    recoveries: list[float] = field(default_factory=list)
    unavailabilities: list[float] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Did anything happen that should not?"""
        return bool(self.problems or self.left_behind)

    def note(self, kind: str, count: int, what: str) -> None:
        """Something happened that should not."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.problems.append(f"trial {self.trials}: {kind}: {what}")

    def summary(self) -> dict[str, object]:
        """All of it, for JSON."""
        times = {"recovery": self.recoveries, "unavailability": self.unavailabilities}
        spread = {
            f"{name}_{kind}_s": round(function(values), 3) if values else None
            for name, values in times.items()
            for kind, function in (("median", median), ("max", max))
        }
        counts = {name: value for name, value in vars(self).items() if name not in ("recoveries", "unavailabilities")}
        return counts | spread


class Trial:
    """One kill, and the judgement."""

    def __init__(self, counter: Counter, rate: float | None, random: Random, tally: Tally) -> None:
        self._counter = counter
        self._cluster: Cluster = counter.cluster
        self._rate = rate
        self._random = random
        self._tally = tally

    def run(self) -> None:
        """Load, kill, watch, count."""
        self._tally.trials += 1
        before = self._counter.get()
        load = Load(self._counter, self._rate)
        try:
            self._wait(lambda: len(load.history) > WARM_UP, "silenced", "no load before the kill")
            sleep(self._random.random() * 0.3)
            self._kill_and_watch(load)
        finally:
            load.stop()
        self._judge(before, load)

    def _kill_and_watch(self, load: Load) -> None:
        leader = self._cluster.leader()
        victim = self._random.choice((leader, *self._cluster.nodes))
        process_id = self._cluster.supervisor.members()[victim][2]
        survivors = [name for name in self._cluster.nodes if name != victim]
        self._tally.leaders_killed += victim == leader
        applied = {name: self._applied(name) for name in survivors}
        load.longest_gap, killed_at = 0.0, monotonic()
        os.kill(process_id, signal.SIGKILL)
        answered = len(load.history)
        for name in survivors:
            self._wait(lambda n=name: self._applied(n) > applied[n] + WARM_UP, "silenced", f"{name} applies no more")  # type: ignore[misc]
        self._wait(lambda: len(load.history) > answered + IN_FLIGHT, "silenced", "the client gets no answers")
        if self._wait(lambda: self._has_caught_up(victim, process_id), "stuck", f"{victim} did not come back"):
            self._tally.recoveries.append(monotonic() - killed_at)
        self._tally.unavailabilities.append(load.longest_gap)

    def _has_caught_up(self, victim: ServerId, old_process_id: int) -> bool:
        state, _, process_id = self._cluster.supervisor.members()[victim]
        if state is not PeerState.UP or process_id == old_process_id:
            return False
        wanted = max(self._applied(name) for name in self._cluster.nodes if name != victim)
        deadline = monotonic() + 1.0
        while monotonic() < deadline:
            if self._applied(victim) >= wanted:
                return True
        return False

    def _applied(self, name: ServerId) -> int:
        answer = self._cluster.client.inspect(name, digest=False, timeout=2.0)
        return answer.applied_index if isinstance(answer, Status) else 0

    def _wait(self, condition: Callable[[], bool], kind: str, what: str) -> bool:
        deadline = monotonic() + PATIENCE
        while not condition():
            if monotonic() > deadline:
                self._tally.note(kind, 1, f"{what} ({self._cluster.status()})")
                return False
            sleep(0.01)
        return True

    def _judge(self, before: int, load: Load) -> None:
        tally, results = self._tally, [operation.result for operation in load.history]
        tally.increments += len(results)
        tally.note("lost", load.unanswered, f"no answer to {load.unanswered} increments: {load.failure}")
        tally.note("doubled", len(results) - len(set(results)), "increments share a result")
        value = self._counter.get.using(timeout=PATIENCE)()
        tally.note("lost", max(0, before + len(results) - value), f"{value} after {before} and {len(results)} more")
        tally.note(
            "doubled", max(0, value - before - len(results) - load.unanswered), f"{value} is more than was asked"
        )
        verdict = check(load.history, CounterModel(before))
        tally.note("out_of_order", isinstance(verdict, NotLinearizable), str(verdict))
        digests = {digest.digest for digest in self._cluster.wait_until_equal(PATIENCE).values()}
        tally.note("unequal", len(digests) - 1, str(digests))


def _left_behind() -> set[str]:
    """What a cluster might leave on the machine: processes of ours, threads, semaphores, sockets, directories."""
    places = ("/dev/shm/*", f"{gettempdir()}/actorum-*", f"{gettempdir()}/pymp-*")
    files = {path for place in places for path in glob.glob(place)}
    threads = {f"thread {thread.name}" for thread in threading.enumerate()}
    links = [os.readlink(path) for path in glob.glob("/proc/self/fd/*") if os.path.islink(path)]
    descriptors = {f"descriptor {link}" for link in links if link.startswith(("socket:", "anon_inode:"))}
    return files | threads | descriptors | {f"process {child.name}" for child in active_children()}


@contextmanager
def nothing_left_behind(tally: Tally) -> Iterator[None]:
    """Note what is there afterwards and was not before; what other programs make for a moment goes again."""
    before = _left_behind()
    yield
    deadline = monotonic() + PATIENCE
    while (left := _left_behind() - before) and monotonic() < deadline:
        sleep(0.1)
    tally.left_behind.extend(sorted(left))


def campaign(
    trials: int,
    *,
    rate: float | None,
    storage: str,
    seed: int,
    runtime: RuntimeName = "actors",
    tell: Callable[[str], None] = lambda line: None,
) -> Tally:
    """Run `trials` trials, each cluster serving `TRIALS_PER_CLUSTER` of them."""
    random, tally = Random(seed), Tally()
    with nothing_left_behind(tally):
        while tally.trials < trials:
            with Counter.cluster(
                nodes=3, runtime=runtime, storage="sqlite" if storage == "sqlite" else "memory", timeout=PATIENCE
            ) as counter:
                for _ in range(min(TRIALS_PER_CLUSTER, trials - tally.trials)):
                    Trial(counter, rate, random, tally).run()
                    tell(_line(tally, trials))
    return tally


def _line(tally: Tally, trials: int) -> str:
    done = "#" * (20 * tally.trials // trials)
    verdict = tally.problems[-1].splitlines()[0] if tally.problems else "nothing lost"
    times = f"recovery {tally.recoveries[-1]:.2f} s, gap {tally.unavailabilities[-1]:.2f} s" if tally.recoveries else ""
    return f"[{done:<20}] {tally.trials}/{trials}  {tally.increments} increments  {times}  {verdict}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill peers at random moments and count what should never happen.")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--load", default="saturation", help="'saturation', or increments a second, as 2000")
    parser.add_argument("--storage", choices=("memory", "sqlite"), default="memory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runtime", choices=RUNTIMES, default="actors")
    options = parser.parse_args()
    rate = None if options.load == "saturation" else float(options.load)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    tally = campaign(
        options.trials,
        rate=rate,
        storage=options.storage,
        seed=options.seed,
        runtime=options.runtime,
        tell=tell,
    )
    print(json.encode(vars(options) | tally.summary()).decode())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
