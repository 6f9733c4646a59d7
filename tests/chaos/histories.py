"""Histories of real clusters under kill -9, SIGSTOP, partitions and restarts of everything: are they linearizable?

    python -m tests.chaos.histories --runtime actors --storage sqlite --runs 13 --operations 5000 --seed 1

One run: three (or five) peer processes keep a store of values and counters; clients, each with a session of its own,
make calls and record them (`tests.chaos.recorded`), while misfortunes befall the peers (`tests.chaos.nemesis`).  It
goes on until enough calls were answered and every kind of misfortune has happened.  Then everything is put right, the
replicas must become equal, every key is read once more, and the whole history is checked.

All die at once only with sqlite, which is what a program asks for whose data shall survive that.

One line for each run, with what happened in it.  A history that is not linearizable is written as JSON, with a picture
of the contradiction beside it, and the exit code is 6; with any other fault (replicas that stay different, calls that
nobody answers) it is 4.  The seed decides what clients ask and what befalls whom; not when, for time here is real.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Literal

from msgspec import json

from actors.client import Client
from actors.cluster import Cluster, ClusterHandle
from actors.errors import ActorumError, ExitCode
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName
from actors.supervisor import Supervisor
from raft_core.verify.operations import NotLinearizable, Operation
from raft_core.verify.picture import picture
from tests.chaos.machines import Store
from tests.chaos.nemesis import KILL_ALL, Nemesis
from tests.chaos.recorded import COUNTERS, VALUES, Ask, Judgement, RecordedClient, asking, judge

CLIENTS = 6
CALL_TIMEOUT = 0.4
"""Seconds: less than many misfortunes last, so that some outcomes are unknown."""
PATIENCE = 60.0
"""Seconds within which replicas must be equal once everything is put right, and reads answered."""
LONGEST_RUN = 600.0
"""Seconds after which a run without enough answers is given up."""


@dataclass(frozen=True)
class Plan:
    """What one run shall be."""

    runtime: RuntimeName
    storage: Literal["memory", "sqlite"]
    operations: int
    """Answers to wait for."""
    seed: int
    nodes: int = 3
    meddle: Callable[[Ask], Ask] = lambda ask: ask
    """What comes between a client and its store: a planted fault, to see that it is found."""


@dataclass
class Outcome:
    """What became of it."""

    plan: Plan
    history: list[Operation] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    """Messages between peers."""
    refused: int = 0
    seconds: float = 0.0
    judgement: Judgement | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Calls with a result."""
        return sum(operation.returned is not None for operation in self.history)

    @property
    def violation(self) -> NotLinearizable | None:
        """Why the history is not linearizable."""
        verdict = None if self.judgement is None else self.judgement.verdict
        return verdict if isinstance(verdict, NotLinearizable) else None

    @property
    def is_good(self) -> bool:
        """Nothing happened that should not, and everything that should."""
        return self.judgement is not None and bool(self.judgement.verdict) and not self.problems

    def __str__(self) -> str:
        plan = self.plan
        said = "no verdict" if self.judgement is None else "linearizable" if self.judgement.verdict else ""
        return (
            f"seed {plan.seed}, {plan.runtime}, {plan.storage}, {plan.nodes} peers: {self.answered:,} answered, "
            f"{len(self.history) - self.answered} unknown, {self.refused} refused; {self._misfortunes()}, "
            f"{self.lost:,} messages lost; {said or str(self.judgement and self.judgement.verdict).splitlines()[0]}; "
            f"{self.seconds:.1f} s{''.join(f'; {problem}' for problem in self.problems)}"
        )

    def _misfortunes(self) -> str:
        count = self.happened.get
        kills = count("kill", 0) + count("kill leader", 0)
        cuts = sum(count(kind, 0) for kind in ("cut", "one-way", "bridge"))
        return (
            f"{kills} kills ({count('kill leader', 0)} of leaders), {count(KILL_ALL, 0)} of all, "
            f"{count('pause', 0)} pauses, {cuts} cuts, {count('noise', 0)} noises"
        )


def run(plan: Plan) -> Outcome:
    """One cluster, one history, one verdict."""
    outcome, began = Outcome(plan), monotonic()
    with (
        Store.cluster(
            nodes=plan.nodes, runtime=plan.runtime, storage=plan.storage, seed=plan.seed, timeout=PATIENCE, chaos=True
        ) as store,
        recorded_clients(store.cluster, plan) as clients,
    ):
        nemesis = Nemesis(store.cluster, Random(f"{plan.seed} nemesis"), kills_all=plan.storage == "sqlite")
        try:
            _live_through(plan, clients, nemesis, outcome)
            _come_to_rest(store, outcome)
        except (ActorumError, TimeoutError) as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
        outcome.history += [operation for client in clients for operation in client.history]
        outcome.refused += sum(client.refused for client in clients)
        outcome.happened = dict(nemesis.happened)
        outcome.lost = store.cluster.network.counts().lost
    outcome.judgement = judge(outcome.history)
    outcome.problems += _missing(plan, nemesis, outcome)
    outcome.seconds = monotonic() - began
    return outcome


def _missing(plan: Plan, nemesis: Nemesis, outcome: Outcome) -> list[str]:
    """What the run should have had."""
    too_few = outcome.answered < plan.operations
    absent = [kind for kind in nemesis.kinds if not nemesis.happened[kind]]
    return [f"only {outcome.answered} answers"] * too_few + [f"no {kind}" for kind in absent]


@contextmanager
def recorded_clients(cluster: Cluster, plan: Plan) -> Iterator[list[RecordedClient]]:
    """Clients with a session each."""
    supervisor = cluster.supervisor
    assert isinstance(supervisor, Supervisor)
    with ExitStack() as at_end:
        clients = []
        for number in range(1, CLIENTS + 1):
            client = Client(timeout=CALL_TIMEOUT, health=supervisor.health)
            at_end.callback(client.close)
            at_end.callback(supervisor.remove_client, supervisor.add_client(client))
            ask = plan.meddle(asking(Store._bound(ClusterHandle(client, cluster))))
            clients.append(RecordedClient(str(number), ask, Random(f"{plan.seed} client {number}")))
        yield clients


def _live_through(plan: Plan, clients: list[RecordedClient], nemesis: Nemesis, outcome: Outcome) -> None:
    """Calls and misfortunes, until there were enough of both."""
    stop, deadline = threading.Event(), monotonic() + LONGEST_RUN
    with ThreadPoolExecutor(len(clients)) as hands:
        running = [hands.submit(client.run, stop) for client in clients]
        try:
            while not (nemesis.has_done_all and sum(client.answered for client in clients) >= plan.operations):
                nemesis.strike()
                if monotonic() > deadline:
                    outcome.problems.append(f"given up after {LONGEST_RUN:.0f} s")
                if outcome.problems or any(thread.done() for thread in running):  # a client ends early by an error only
                    break
        finally:
            stop.set()
            nemesis.put_right()
    for thread in running:
        thread.result()


def _come_to_rest(store: Store, outcome: Outcome) -> None:
    """Replicas become equal, and every key is read once more."""
    store.cluster.wait_until_equal(PATIENCE)
    ask = asking(Store._bound(ClusterHandle(store.cluster.client, store.cluster)))
    reader = RecordedClient("0", ask, Random(0))
    for key in (*VALUES, *COUNTERS):
        reader.call("get", key, ())
    outcome.history += reader.history
    if reader.refused:
        outcome.problems.append(f"{reader.refused} reads at the end were not answered")


def keep(outcome: Outcome, directory: Path) -> list[Path]:
    """Write a history that is not linearizable, and a picture of the contradiction."""
    assert outcome.judgement is not None
    plan = outcome.plan
    name = f"history-{plan.runtime}-{plan.storage}-{plan.nodes}-{plan.seed}"
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.json", directory / f"{name}.html"]
    paths[0].write_bytes(json.encode(sorted(outcome.history, key=lambda operation: operation.invoked)))
    explanation = outcome.judgement.explanation()
    if explanation is None:
        return paths[:1]
    paths[1].write_text(picture(outcome.history, explanation, title=name), encoding="utf-8")
    return paths


def campaign(plans: list[Plan], directory: Path, tell: Callable[[str], None]) -> ExitCode:
    """All runs, one after the other."""
    violations = faults = 0
    for number, plan in enumerate(plans, 1):
        outcome = run(plan)
        tell(f"run {number} of {len(plans)}: {outcome}")
        faults += not outcome.is_good
        if outcome.violation is not None and outcome.judgement is not None:
            violations += 1
            tell(f"{outcome.judgement.explanation() or outcome.violation}")
            tell("written: " + ", ".join(map(str, keep(outcome, directory))))
    tell(f"{len(plans) - faults} of {len(plans)} runs were linearizable and had all that was asked for")
    return ExitCode.UNSAFE if violations else ExitCode.CONDITION_FALSE if faults else ExitCode.OK


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check histories of real clusters under misfortunes.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="actors")
    parser.add_argument("--storage", choices=("memory", "sqlite"), default="memory")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each run has the next one")
    parser.add_argument("--directory", type=Path, default=Path("report"), help="where violations are written")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.runs)
    plans = [Plan(options.runtime, options.storage, options.operations, seed, options.nodes) for seed in seeds]
    return campaign(plans, options.directory, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
