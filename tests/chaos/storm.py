"""Members come and go, leaders hand over, snapshots are taken, peers die, stand still and are cut off: all of it at
random, in a real cluster of five processes under continuous load.

    python -m tests.chaos.storm --runtime actors --operations 200 --seed 1 --storage sqlite

Six clients, each with a session of its own, make calls and record them (`tests.chaos.recorded`) while a plan drawn from
the seed (`tests.chaos.storm_plan`) is carried out to the edge of what a quorum can miss (`tests.chaos.storm_deeds`).
The logs of all peers are followed (`tests.chaos.storm_witness`).  In the end everything is put right, all members agree
on who they are and on their state, every key is read once more, and then:

* the whole history is linearizable, calls of unknown outcome included;
* every acknowledged increment counts, none counts twice, and the counters are what the followed log says;
* nobody applied another entry than the others at the same place, and no two led in a term;
* no process, thread, link or file is left behind.

The plan is printed first, then each operation with what became of it, then the figures, and as the last line of
standard output the same as JSON.  The exit code is 6 if the history is not linearizable, 4 for any other fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from time import monotonic
from typing import Literal

from msgspec import json

from actors.cluster import Cluster, ClusterHandle
from actors.errors import ActorumError, ExitCode
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName
from actors.supervisor import Supervisor
from raft_core import Settings
from raft_core.verify.operations import Operation
from tests.chaos import histories
from tests.chaos.kill_trials import Tally, nothing_left_behind
from tests.chaos.machines import Store
from tests.chaos.recorded import COUNTERS, VALUES, Ask, Judgement, RecordedClient, asking, judge
from tests.chaos.storm_deeds import PATIENCE, Storm
from tests.chaos.storm_plan import KINDS, Step, planned
from tests.chaos.storm_witness import LogWitness

NODES = 5
SHARED = "/dev/shm/"
"""Other programs put things there as well, and peers nothing at all: they share no semaphores or memory."""
SETTINGS = Settings(snapshot_entries=1000, trailing_entries=50, max_promotion_lag=200)
"""Logs are short, so that who comes late is sent a snapshot; not so short that no copy of a peer would save it."""


@dataclass(frozen=True)
class Plan:
    """What one storm shall be."""

    runtime: RuntimeName
    storage: Literal["memory", "sqlite"]
    operations: int
    seed: int
    meddle: Callable[[Ask], Ask] = lambda ask: ask
    """What comes between a client and its store: a planted fault, to see that it is found."""
    record: Path | None = None
    """Directory for a trace of each peer."""

    @property
    def steps(self) -> list[Step]:
        """What shall happen."""
        return planned(self.seed, self.operations)


@dataclass
class Outcome:
    """What became of it."""

    plan: Plan
    history: list[Operation] = field(default_factory=list)
    refused: int = 0
    judgement: Judgement | None = None
    problems: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Linearizable, and nothing else to complain of."""
        return self.judgement is not None and bool(self.judgement.verdict) and not self.problems

    @property
    def exit_code(self) -> ExitCode:
        """Of the command."""
        if self.judgement is not None and not self.judgement.verdict:
            return ExitCode.UNSAFE
        return ExitCode.OK if self.is_good else ExitCode.CONDITION_FALSE


def run(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """One cluster, one storm, one verdict."""
    outcome, left, began = Outcome(plan), Tally(), monotonic()
    with _own_directory(), nothing_left_behind(left), _started(plan) as store, _witnessed(store.cluster) as witness:
        storm = Storm(store.cluster, witness, tell)
        try:
            _live_through(plan, store, storm, outcome)
            _come_to_rest(store, storm, outcome)
        except (ActorumError, TimeoutError) as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
        network = store.cluster.network.counts()
        outcome.figures |= {"processes": sum(witness.incarnations.values()), "messages_lost": network.lost}
        outcome.figures["snapshot_parts_sent"] = network.by_type.get("InstallSnapshot", 0)
    outcome.problems += [f"left behind: {what}" for what in left.left_behind if not what.startswith(SHARED)]
    outcome.problems += witness.problems
    _look_into(storm, outcome)
    outcome.judgement = judge(outcome.history)
    outcome.figures["seconds"] = round(monotonic() - began, 1)
    return outcome


@contextmanager
def _own_directory() -> Iterator[None]:
    """What is left behind here is ours: other programs may use the common one."""
    with tempfile.TemporaryDirectory(prefix="storm-") as directory:
        kept, tempfile.tempdir = tempfile.tempdir, directory
        try:
            yield
        finally:
            tempfile.tempdir = kept


@contextmanager
def _started(plan: Plan) -> Iterator[Store]:
    with Store.cluster(
        nodes=NODES,
        runtime=plan.runtime,
        storage=plan.storage,
        seed=plan.seed,
        timeout=PATIENCE,
        chaos=True,
        settings=SETTINGS,
        record=plan.record,
    ) as store:
        yield store


@contextmanager
def _witnessed(cluster: Cluster) -> Iterator[LogWitness]:
    supervisor = cluster.supervisor
    assert isinstance(supervisor, Supervisor)
    witness = LogWitness()
    number = supervisor.add_client(witness.client)
    try:
        yield witness
    finally:
        supervisor.remove_client(number)
        witness.client.close()


def _live_through(plan: Plan, store: Store, storm: Storm, outcome: Outcome) -> None:
    """Calls from the first operation to the last."""
    stop = threading.Event()
    asked = histories.Plan(plan.runtime, plan.storage, 0, plan.seed, NODES, plan.meddle)
    with histories.recorded_clients(store.cluster, asked) as clients, ThreadPoolExecutor(len(clients)) as hands:
        running: list[Future[None]] = [hands.submit(client.run, stop) for client in clients]
        try:
            storm.rage(plan.steps)
        finally:
            stop.set()
    outcome.history += [operation for client in clients for operation in client.history]
    outcome.refused += sum(client.refused for client in clients)
    for thread in running:
        thread.result()


def _come_to_rest(store: Store, storm: Storm, outcome: Outcome) -> None:
    """All are members or gone, all members agree, and every key is read once more."""
    cluster = store.cluster
    members = cluster.members(PATIENCE)
    for name in set(cluster.nodes) - {*members.voters, *members.learners}:
        cluster.remove(name)  # whether it was added was not known
    digests = cluster.wait_until_equal(PATIENCE)
    statuses = cluster.status()
    storm.witness.looked_at(statuses.values())
    seen = {(s.voters, s.learners, s.old_voters, s.configuration_index) if s else None for s in statuses.values()}
    if len(seen) != 1:
        outcome.problems.append(f"members do not agree on who they are: {seen}")
    reader = RecordedClient("0", asking(Store._bound(ClusterHandle(cluster.client, cluster))), Random(0))
    for key in (*VALUES, *COUNTERS):
        reader.call("get", key, ())
    outcome.history += reader.history
    outcome.figures["members"] = " ".join(sorted(cluster.nodes))
    outcome.figures["digest"] = next(iter(digests.values())).digest
    _count(reader, storm.witness, outcome)


def _count(reader: RecordedClient, witness: LogWitness, outcome: Outcome) -> None:
    """Acknowledged increments that are missing, and those that count twice."""
    final = {operation.key: operation.result for operation in reader.history if operation.key in COUNTERS}
    increments = [operation for operation in outcome.history if operation.name == "incr"]
    lost = doubled = 0
    for key in COUNTERS:
        mine = [operation for operation in increments if operation.key == key]
        acknowledged = sum(operation.arguments[0] for operation in mine if operation.returned is not None)
        unknown = sum(operation.arguments[0] for operation in mine if operation.returned is None)
        lost += max(0, acknowledged - final[key])
        doubled += max(0, final[key] - acknowledged - unknown)
    outcome.figures |= {"acknowledged_lost": lost, "doubled": doubled}
    counted, repeated = witness.counted()
    outcome.figures |= {"entries": len(witness.log), "unheard": witness.missing(), "repeated_in_log": repeated}
    if lost or doubled:
        outcome.problems.append(f"acknowledged and lost: {lost}; doubled: {doubled}")
    if not witness.missing() and counted != final:
        outcome.problems.append(f"the log says {counted}, the replicas {final}")


def _look_into(storm: Storm, outcome: Outcome) -> None:
    """The figures, and what should have been."""
    deeds, history = storm.deeds, outcome.history
    ends = sorted(operation.returned for operation in history if operation.returned is not None)
    failed = Counter(deed.error.code for deed in deeds if deed.error is not None)
    done = Counter(deed.step.kind for deed in deeds if deed.error is None)
    slowest = {kind: max((d.seconds for d in deeds if d.step.kind == kind), default=0.0) for kind in KINDS}
    outcome.figures |= {
        "operations": len(deeds),
        "done": dict(sorted(done.items())),
        "not_done": dict(sorted(failed.items())),
        "answered": len(ends),
        "unknown": len(history) - len(ends),
        "refused": outcome.refused,
        "longest_gap_s": round(max((b - a for a, b in pairwise(ends)), default=0) / 1e9, 2),
        "leaders": len(storm.witness.leaders),
        "snapshots_installed": storm.witness.jumps,
        "most_harmed": storm.most_harmed,
        "slowest_s": {kind: round(seconds, 2) for kind, seconds in slowest.items()},
    }
    if len(deeds) != outcome.plan.operations:
        outcome.problems.append(f"only {len(deeds)} operations")
    for deed in deeds:
        if deed.error is not None and deed.error.exit_code not in (ExitCode.RETRY, ExitCode.UNKNOWN):
            outcome.problems.append(f"operation {deed.number}: {deed.error}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="A storm of changes and harm on a real cluster under load.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="actors")
    parser.add_argument("--storage", choices=("memory", "sqlite"), default="sqlite")
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="directory for a trace of each peer (they become large)")
    parser.add_argument("--directory", type=Path, default=Path("report"), help="where violations are written")
    options = parser.parse_args()
    plan = Plan(options.runtime, options.storage, options.operations, options.seed, record=options.record)
    print(f"plan of seed {plan.seed}: {', '.join(map(str, plan.steps))}", flush=True)
    outcome = run(plan, lambda line: print(line, flush=True))
    verdict = outcome.judgement.verdict if outcome.judgement is not None else None
    print("linearizable" if verdict else f"NOT LINEARIZABLE: {verdict}")
    if outcome.judgement is not None and not verdict:
        keep(outcome, options.directory)
    for problem in outcome.problems:
        print(f"problem: {problem}")
    said = {"runtime": plan.runtime, "storage": plan.storage, "seed": plan.seed, "problems": outcome.problems}
    print(json.encode(said | {"linearizable": bool(verdict)} | outcome.figures).decode())
    return outcome.exit_code


def keep(outcome: Outcome, directory: Path) -> None:
    """Write a history that is not linearizable, and what contradicts itself in it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"storm-{outcome.plan.runtime}-{outcome.plan.storage}-{outcome.plan.seed}.json"
    path.write_bytes(json.encode(sorted(outcome.history, key=lambda operation: operation.invoked)))
    print(f"written: {path}")
    with suppress(AttributeError):
        print(outcome.judgement.explanation())  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())
