"""Histories of real clusters, in a form short enough for every run of the suite (the long one: `histories`).

The second half plants faults between clients and their store, in real clusters: what is recorded of them goes the same
way as every other history, and must be found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest

from actors.errors import CallTimeout, ClusterClosed, ExitCode, OutcomeUnknown
from raft_core.verify.operations import Operation
from tests.chaos.histories import Plan, campaign, run
from tests.chaos.machines import Store
from tests.chaos.nemesis import KILL_ALL, KINDS
from tests.chaos.recorded import COUNTERS, Ask, RecordedClient, asking, judge
from tests.runtimes import runtime

OPERATIONS = 600


@pytest.mark.slow
@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_a_history_under_one_misfortune_of_each_kind_is_linearizable(storage: Literal["memory", "sqlite"]) -> None:
    outcome = run(Plan(runtime(), storage, OPERATIONS, seed=3))
    assert outcome.is_good, f"{outcome}\n{outcome.violation}"
    assert outcome.answered >= OPERATIONS
    assert set(outcome.happened) == {*KINDS, KILL_ALL} if storage == "sqlite" else set(KINDS)
    assert outcome.lost > 0, "what was cut let everything through"
    assert {operation.name for operation in outcome.history} == {"get", "put", "delete", "cas", "incr"}


def now_and_then_stale(ask: Ask) -> Ask:
    """Some reads answer what the read before them has seen."""
    seen: dict[str, Any] = {}
    random = Random(1)

    def asked(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        result = ask(name, key, arguments)
        if name != "get":
            return result
        before, seen[key] = seen.get(key, result), result
        return before if random.random() < 0.2 else result

    return asked


def now_and_then_doubled(ask: Ask) -> Ask:
    """Some increments take effect twice, as a retry would that nobody recognizes."""
    random = Random(1)

    def asked(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        if name == "incr" and random.random() < 0.1:
            ask(name, key, arguments)
        return ask(name, key, arguments)

    return asked


def now_and_then_forgotten(ask: Ask) -> Ask:
    """Some writes are acknowledged and not made."""
    random = Random(1)

    def asked(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        return None if name == "put" and random.random() < 0.1 else ask(name, key, arguments)

    return asked


FAULTS = [now_and_then_stale, now_and_then_doubled, now_and_then_forgotten]


def recorded(meddle: Callable[[Ask], Ask]) -> list[Operation]:
    """What a few clients record of a healthy cluster."""
    with Store.cluster(engine="threads", timeout=40.0) as store:
        clients = [RecordedClient(str(number), meddle(asking(store)), Random(number)) for number in range(1, 4)]
        stop = threading.Event()
        threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
        for thread in threads:
            thread.start()
        while sum(client.answered for client in clients) < 300 and all(thread.is_alive() for thread in threads):
            threads[0].join(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    return [operation for client in clients for operation in client.history]


def test_a_healthy_cluster_without_a_planted_fault_is_not_accused() -> None:
    judgement = judge(recorded(lambda ask: ask))
    assert judgement.verdict, str(judgement.verdict)
    assert judgement.explanation() is None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_a_client_is_found_and_explained(fault: Callable[[Ask], Ask]) -> None:
    judgement = judge(recorded(fault))
    assert not judgement.verdict
    explanation = judgement.explanation()
    assert explanation is not None
    assert (explanation.key in COUNTERS) == (fault is now_and_then_doubled) or fault is now_and_then_stale


@pytest.mark.slow
def test_a_campaign_that_finds_a_violation_says_so_and_keeps_history_and_picture(tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan("actors", "memory", OPERATIONS, seed=5, meddle=now_and_then_doubled)
    assert campaign([plan], tmp_path, said.append) is ExitCode.UNSAFE
    assert "not linearizable" in said[0]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".html"}
    assert said[-1].startswith("0 of 1 runs")


def test_a_call_that_certainly_did_nothing_is_left_out_and_one_of_unknown_outcome_has_no_return() -> None:
    errors = iter([CallTimeout("not accepted"), OutcomeUnknown("sent")])

    def ask(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        raise next(errors)

    client = RecordedClient("1", ask, Random(1))
    client.call("put", "a", (1,))
    assert (client.history, client.refused) == ([], 1)
    client.call("put", "a", (2,))
    assert [(operation.arguments, operation.returned) for operation in client.history] == [((2,), None)]
    assert client.answered == 0


def test_an_error_that_says_nothing_about_the_outcome_ends_the_run() -> None:
    def ask(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        raise ClusterClosed("closed")

    with pytest.raises(ClusterClosed):
        RecordedClient("1", ask, Random(1)).call("put", "a", (1,))
