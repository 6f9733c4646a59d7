"""Made-up histories: concurrent, valid by construction, and the same again for the same seed.

A checker that has only seen short histories has seen nothing.  These are made in three stages, and each stage is a
value that can be looked at, or changed before the next one (`raft_core.verify.planted` does):

1. A *program*: which client calls what, in the one order in which the calls take effect.
2. *Results*: the model runs the program.  A step that takes effect 0 times was lost; its outcome is unknown.
3. *Intervals*: every step takes effect at an instant of its own, and its interval is widened around it.  A client is
   sequential, so the idle time between two of its calls is cut somewhere and each side gets its share.  With N clients
   a call overlaps about 2 N others.  A call of unknown outcome was invoked up to 3 N steps before it took effect, as a
   request that wandered through the network; its client went on in the meantime.

The order of stage 1 explains the results of stage 2 and lies within the intervals of stage 3.  So the history *is*
linearizable, and a checker that says otherwise is wrong.  Rejected: running clients against a simulated object tick by
tick, which gives the same histories, but with the order hidden in the run, where nobody can plant anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import Any, TypeAlias

from msgspec import Struct

from raft_core.verify.counter import CounterModel
from raft_core.verify.history import KeyValueModel, LockModel, Model, Operation, QueueModel, RegisterModel

Call: TypeAlias = tuple[str, tuple[Any, ...]]

INSTANTS = 1_000
"""Instants between two effects: so many that two ends of intervals seldom coincide."""

VALUES = 10
"""Different values that are written where values repeat."""


class Workload(Struct, frozen=True):
    """What clients do: a model, and the call that a client makes next."""

    name: str
    model: Model
    next_call: Callable[[Random, int, int], Call]
    """`next_call(rng, client, number)`; the number is that of the step, for values that must not repeat."""


class Step(Struct, frozen=True):
    """One call of a program."""

    client: int
    call: Call
    key: Hashable = None
    times: int = 1
    """How often it takes effect; the first time gives the result."""
    known: bool = True
    """Whether the client learns the result."""


def _register(rng: Random, client: int, number: int) -> Call:
    return ("write", (rng.randrange(VALUES),)) if rng.random() < 0.5 else ("read", ())


def _key_value(rng: Random, client: int, number: int) -> Call:
    calls: list[Call] = [("get", ()), ("put", (rng.randrange(VALUES),)), ("delete", ())]
    calls.append(("cas", (rng.randrange(VALUES), rng.randrange(VALUES))))
    return rng.choices(calls, (45, 30, 5, 20))[0]


def _own_values(rng: Random, client: int, number: int) -> Call:
    return ("put", (number,)) if rng.random() < 0.5 else ("get", ())


def _hidden_values(rng: Random, client: int, number: int) -> Call:
    return ("put", (number,)) if rng.random() < 0.95 else ("get", ())


def _lock(rng: Random, client: int, number: int) -> Call:
    return rng.choice(("acquire", "release")), (client,)


def _queue(rng: Random, client: int, number: int) -> Call:
    return ("enqueue", (number,)) if rng.random() < 0.5 else ("dequeue", ())


def _counter(rng: Random, client: int, number: int) -> Call:
    return rng.choices([("incr", ()), ("incr", (rng.randint(1, 3),)), ("get", ())], (60, 20, 20))[0]


REGISTER = Workload("register", RegisterModel(), _register)
KEY_VALUE = Workload("key-value store", KeyValueModel(), _key_value)
KEY_VALUE_OWN_VALUES = Workload("key-value store, no value twice", KeyValueModel(), _own_values)
KEY_VALUE_HIDDEN_VALUES = Workload("key-value store, seldom read", KeyValueModel(), _hidden_values)
LOCK = Workload("lock", LockModel(), _lock)
QUEUE = Workload("queue", QueueModel(), _queue)
COUNTER = Workload("counter", CounterModel(), _counter)

WORKLOADS = (REGISTER, KEY_VALUE, KEY_VALUE_OWN_VALUES, KEY_VALUE_HIDDEN_VALUES, LOCK, QUEUE, COUNTER)


def valid_history(
    workload: Workload, rng: Random, *, operations: int, clients: int = 10, keys: int = 1, unknown: float = 0.0
) -> list[Operation]:
    """A linearizable history, in order of effect; `unknown` is the share of calls whose client never hears of them.

    >>> from raft_core.verify.linearizability import check
    >>> history = valid_history(LOCK, Random(1), operations=100, clients=5, unknown=0.05)
    >>> bool(check(history, LOCK.model))
    True
    """
    steps = program(workload, rng, operations=operations, clients=clients, keys=keys, unknown=unknown)
    return spread(steps, run(steps, workload.model), rng)


def program(workload: Workload, rng: Random, *, operations: int, clients: int, keys: int, unknown: float) -> list[Step]:
    """Stage 1.  Of the steps of unknown outcome half take effect, half do not."""
    steps = []
    for number in range(operations):
        client = rng.randrange(clients)
        known = rng.random() >= unknown
        times = 1 if known else rng.randrange(2)
        key = rng.randrange(keys) if keys > 1 else None
        steps.append(Step(client, workload.next_call(rng, client, number), key, times, known))
    return steps


def run(steps: Sequence[Step], model: Model) -> list[Any]:
    """Stage 2: the result of each step, `None` where nobody learns it."""
    states: dict[Hashable, Any] = {}
    results = []
    for step in steps:
        state = states.get(step.key, model.initial)
        answers = []
        for _ in range(step.times):
            state, answer = model.apply(state, *step.call)
            answers.append(answer)
        states[step.key] = state
        results.append(answers[0] if answers and step.known else None)
    return results


def spread(steps: Sequence[Step], results: Sequence[Any], rng: Random) -> list[Operation]:
    """Stage 3: the history, in the order of the program."""
    clients = len({step.client for step in steps})
    free: dict[int, int] = {}
    invoked, returned = [0] * len(steps), [0] * len(steps)
    latest: dict[int, int] = {}
    for index, step in enumerate(steps):
        effect = (index + 3 * clients) * INSTANTS
        if not step.known:
            invoked[index] = effect - rng.randrange(3 * clients * INSTANTS)
            continue
        cut = rng.randint(free.get(step.client, effect - clients * INSTANTS), effect)
        invoked[index] = rng.randint(cut, effect)
        if step.client in latest:
            before = latest[step.client]
            returned[before] = rng.randint(free[step.client], cut)
        latest[step.client], free[step.client] = index, effect + 1
    for last in latest.values():
        returned[last] = free[steps[last].client] + rng.randrange(clients * INSTANTS)
    return [
        Operation(step.client, *step.call, result, invoked[index], returned[index] if step.known else None, step.key)
        for index, (step, result) in enumerate(zip(steps, results, strict=True))
    ]
