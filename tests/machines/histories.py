"""Histories of simulated clusters: many calls at a time, leaders cut off and killed, and every answer noted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, TypeVar

from actors.calls import Call
from actors.replicated import Replicated
from actors.sim import SimCluster
from raft_core.verify.linearizability import check
from raft_core.verify.operations import Model, Operation, Verdict

M = TypeVar("M", bound=Replicated)

ROUNDS = 40
AT_ONCE = 4


class Asked(NamedTuple):
    """A call under way, and how it is to stand in the history."""

    call: Call[Any]
    name: str
    arguments: tuple[Any, ...] = ()
    key: str | None = None
    shown: Callable[[Any], Any] = lambda result: result
    """What the model would have answered where the machine has more to say."""


def verdict(machine: type[M], draw: Callable[[M, Random], Asked], model: Model, seed: int) -> Verdict:
    """Whether the answers of a cluster of `machine` to drawn calls are those of `model`."""
    return check(recorded(machine, draw, seed), model)


def recorded(machine: type[M], draw: Callable[[M, Random], Asked], seed: int) -> list[Operation]:
    """Calls drawn by `draw`, a few at a time, and what came of them while leaders came and went."""
    random = Random(seed)
    history: list[Operation] = []
    with machine.cluster(engine="sim", seed=seed, timeout=60.0) as bound:
        cluster = bound.cluster
        assert isinstance(cluster, SimCluster)
        for number in range(ROUNDS):
            calls = [
                _noted(draw(bound, random), cluster, history, client) for client in range(random.randint(1, AT_ONCE))
            ]
            if number % 4 == 1:
                cluster.network.disconnect(cluster.leader())
            if number % 4 == 3:
                cluster.network.heal()
            for call in calls:
                call.result()
        assert len(history) >= ROUNDS, "every call is in it"
    return history


def _noted(asked: Asked, cluster: SimCluster, history: list[Operation], client: int) -> Call[Any]:
    invoked = round(cluster.now * 1e9)

    def answered(call: Call[Any]) -> None:
        returned = round(cluster.now * 1e9)
        result = asked.shown(call.result())
        history.append(Operation(client, asked.name, asked.arguments, result, invoked, returned, asked.key))

    asked.call.add_done_callback(answered)
    return asked.call
