"""Every scenario of the lab, played once more: what its servers did is what the core does, and the twin keeps its lock.

* Each server's turns are recorded and replayed through `step`, with equal states and effects.
* The twin runs under the lockset checker: no shared field is ever used without its lock.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from actors.lock_based.lockset import CheckedThreads, LocksetChecker
from actors.lock_based.threads import Threads
from actors.sim import locked
from actors.sim.green import GreenThreads
from actors.spec import RuntimeName
from actors.storage.trace import MemoryTrace
from raft_core import ServerId
from raft_core.verify.replay import replay
from tests.lab.campaign import SCENARIOS
from tests.lab.variants import Variant, open_lab, plan_of

SIMULATED = [
    name
    for name, function in SCENARIOS.items()
    if (plan := plan_of(function)) and plan.runs_on(Variant("actors", "sim"))
]


@pytest.fixture
def checkers(monkeypatch: pytest.MonkeyPatch) -> list[LocksetChecker]:
    """One for each incarnation of the twin that is started meanwhile."""
    every: list[LocksetChecker] = []

    def checked(green: GreenThreads) -> Threads:
        every.append(LocksetChecker(green.current))
        return CheckedThreads(green, every[-1])

    monkeypatch.setattr(locked, "threads_of", checked)
    return every


@pytest.mark.parametrize("runtime", ["actors", "locks"])
@pytest.mark.parametrize("name", SIMULATED)
def test_what_happened_replays_and_nothing_was_used_without_its_lock(
    name: str, runtime: RuntimeName, checkers: list[LocksetChecker]
) -> None:
    plan = plan_of(SCENARIOS[name])
    assert plan is not None
    traces: dict[ServerId, MemoryTrace] = defaultdict(MemoryTrace)
    with open_lab(plan, Variant(runtime, "sim"), 0, lambda server: traces[server], is_brief=True) as lab:
        SCENARIOS[name](lab)
    assert len(traces) == plan.servers
    for server, trace in traces.items():
        report = replay(trace)
        assert report.turns > 0, f"{server} did nothing"
    assert bool(checkers) == (runtime == "locks")
    assert [str(race) for checker in checkers for race in checker.races] == []
