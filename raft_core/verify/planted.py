"""Planted violations: histories that are valid but for one lie.  A checker that finds nothing in them is broken.

A violation is a short script that one client, or two, follow in the middle of everybody else's traffic: real calls,
which take effect like all others, but some results are lies.  Nothing else in the history is wrong, so whoever finds a
violation has found this one.

Rules of this file.  Every script is a violation *whatever the others do*, and the reason is told beside it: it uses
values or owners that occur nowhere else, and order within one client.  So nobody has to decide whether the plant
"took".  Calls of a script always have a known outcome.  A queue cannot have private items (all share one order), so
there the lie is told of existing calls, chosen so that it is one; histories of queues must not hold dequeues of unknown
outcome, which could excuse it.

Four kinds, for each object for which they mean something: a *stale read* shows what was overwritten before it was
asked; a *lost update* was acknowledged and is nowhere to be seen; a *double apply* took effect twice; *reordered* calls
took effect against their order in real time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raft_core.verify.generator import (
    COUNTER,
    KEY_VALUE,
    KEY_VALUE_HIDDEN_VALUES,
    KEY_VALUE_OWN_VALUES,
    LOCK,
    QUEUE,
    REGISTER,
    Call,
    Step,
    Workload,
    program,
    run,
    spread,
)
from raft_core.verify.operations import Operation

Lie: TypeAlias = Callable[[Sequence[Any]], Any]
"""From the true results of the script to the result that is told."""


class Line(Struct, frozen=True):
    """One call of a script."""

    client: int
    """0 or 1."""
    call: Call
    lie: Lie | None = None
    times: int = 1


class Plant(Struct, frozen=True):
    """A violation: for which workload, of which kind."""

    workload: Workload
    kind: str
    script: tuple[Line, ...] = ()
    edit: Callable[[list[Operation], Random], list[Operation]] | None = None
    """Instead of a script."""

    @property
    def name(self) -> str:
        """Kind and workload."""
        return f"{self.kind}, {self.workload.name}"


A, B, BIG = "planted a", "planted b", 1_000_000


def _says(result: Any) -> Lie:
    return lambda _: result


def _truth_of(line: int, add: int = 0) -> Lie:
    return lambda results: results[line] + add


def _overwriting(workload: Workload, read: str, write: str) -> list[Plant]:
    """Registers and key-value stores.  Nobody else writes A or B."""
    write_a, write_b = (write, (A,)), (write, (B,))
    read_a, read_b = (Line(0, (read, ()), _says(value)) for value in (A, B))
    other_a, other_b = (Line(1, (read, ()), _says(value)) for value in (A, B))
    return [
        # B was seen, then A, which was written once and before B.
        Plant(workload, "stale read", (Line(0, write_a), Line(0, write_b), read_b, read_a)),
        # A was overwritten by B before it is read.
        Plant(workload, "lost update", (Line(0, write_a), Line(0, write_b), read_a)),
        # A is there, then B, then A again: it would have to be written twice.
        Plant(workload, "double apply", (Line(0, write_a), read_a, Line(0, write_b), read_a, read_a)),
        # One reader sees A before B, the other B before A; each is written once.
        Plant(workload, "reordered", (Line(0, write_a), read_a, read_b, Line(1, write_b), other_b, other_a)),
    ]


def _swapping(workload: Workload) -> list[Plant]:
    """Swaps.  A is written once, so only one swap can find it."""
    took = (Line(0, ("cas", (A, B)), _says(True)), Line(0, ("cas", (A, "planted c")), _says(True)))
    again = Line(0, ("cas", (A, B)), _says(True))
    return [
        Plant(workload, "lost update by a swap", (Line(0, ("put", (A,))), *took)),
        Plant(workload, "double apply of a swap", (Line(0, ("put", (A,))), again, again)),
    ]


def _locking() -> list[Plant]:
    """Locks.  Nobody else acquires or releases for A or B."""
    acquire_a, acquire_b = (Line(0, ("acquire", (owner,)), _says(True)) for owner in (A, B))
    release_a, release_b = (Line(0, ("release", (owner,)), _says(True)) for owner in (A, B))
    return [
        # A is refused its own lock as if it were not there yet, and never gave it back in between.
        Plant(LOCK, "stale read", (acquire_a, Line(0, ("release", (A,)), _says(False)), release_a)),
        # A's acquisition is forgotten: B gets the lock as well.
        Plant(LOCK, "lost update", (acquire_a, acquire_b, release_b, release_a)),
        # One acquisition, two releases that took.
        Plant(LOCK, "double apply", (acquire_a, release_a, release_a)),
        # A's release took before there was an acquisition.
        Plant(LOCK, "reordered", (release_a, acquire_a, Line(0, ("release", (A,))))),
    ]


def _counting() -> list[Plant]:
    """Counters.  Amounts by others are so small that together they do not reach BIG."""
    incr = ("incr", (1,))
    return [
        # The client does not see its own increment.
        Plant(COUNTER, "stale read", (Line(0, incr), Line(0, ("get", ()), _truth_of(0, -1)))),
        # Two increments make the same value.
        Plant(COUNTER, "lost update", (Line(0, incr), Line(0, incr, _truth_of(0)))),
        # Nobody else can have added the second BIG.
        Plant(COUNTER, "double apply", (Line(0, ("incr", (BIG,)), times=2), Line(0, ("get", ())))),
        # The later of two gets the lower value.
        Plant(COUNTER, "reordered", (Line(0, incr, _truth_of(1)), Line(0, incr, _truth_of(0)))),
    ]


def _found_empty(history: list[Operation], rng: Random) -> list[Operation]:
    """An item stays in the queue for ever, although a later one came out."""
    first, _ = _pair(history, rng)
    return [replace(op, result=None) if op is first else op for op in history]


def _item_lost(history: list[Operation], rng: Random) -> list[Operation]:
    """Nobody ever gets the item, although a later one came out: the call that got it is not in the history."""
    first, _ = _pair(history, rng)
    return [op for op in history if op is not first]


def _handed_out_twice(history: list[Operation], rng: Random) -> list[Operation]:
    first, second = _pair(history, rng)
    return [replace(op, result=first.result) if op is second else op for op in history]


def _handed_out_in_the_wrong_order(history: list[Operation], rng: Random) -> list[Operation]:
    first, second = _pair(history, rng)
    swapped = {_name(first): second.result, _name(second): first.result}
    return [replace(op, result=swapped.get(_name(op), op.result)) for op in history]


def _name(operation: Operation) -> tuple[str | int, int]:
    """A client invokes one call at an instant."""
    return operation.client, operation.invoked


def _pair(history: list[Operation], rng: Random) -> tuple[Operation, Operation]:
    """Two dequeues, one after the other in real time, of items that were enqueued one after the other, too."""
    enqueued = {op.arguments[0]: op for op in history if op.name == "enqueue" and op.returned is not None}
    dequeued = [op for op in history if op.name == "dequeue" and op.result in enqueued]
    for place in rng.sample(range(len(dequeued)), len(dequeued)):
        first = dequeued[place]
        for second in dequeued[place + 1 :]:
            one_queue = first.key == second.key and _before(enqueued[first.result], enqueued[second.result])
            if one_queue and _before(first, second):
                return first, second
    raise ValueError("no two items of this history were in a queue one after the other: it is too short")


def _before(first: Operation, second: Operation) -> bool:
    return first.returned is not None and first.returned < second.invoked


PLANTS = (
    *_overwriting(REGISTER, "read", "write"),
    *_overwriting(KEY_VALUE, "get", "put"),
    *_swapping(KEY_VALUE),
    *_overwriting(KEY_VALUE_OWN_VALUES, "get", "put"),
    *_overwriting(KEY_VALUE_HIDDEN_VALUES, "get", "put"),
    *_locking(),
    *_counting(),
    Plant(QUEUE, "stale read", edit=_found_empty),
    Plant(QUEUE, "lost update", edit=_item_lost),
    Plant(QUEUE, "double apply", edit=_handed_out_twice),
    Plant(QUEUE, "reordered", edit=_handed_out_in_the_wrong_order),
)


def spoiled_history(
    plant: Plant,
    rng: Random,
    *,
    operations: int,
    clients: int = 10,
    keys: int = 1,
    unknown: float = 0.0,
    at: float = 0.5,
) -> list[Operation]:
    """A history with this one violation, planted `at` this share of its length.

    >>> from raft_core.verify.linearizability import check
    >>> plant = next(plant for plant in PLANTS if plant.name == "stale read, register")
    >>> bool(check(spoiled_history(plant, Random(1), operations=100), plant.workload.model))
    False
    """
    steps = program(plant.workload, rng, operations=operations, clients=clients, keys=keys, unknown=unknown)
    if plant.edit is not None:
        return plant.edit(spread(steps, run(steps, plant.workload.model), rng), rng)
    places = _places(plant.script, steps, int(at * operations))
    for place, line in zip(places, plant.script, strict=True):
        steps[place] = Step(steps[place].client, line.call, steps[places[0]].key, line.times)
    results = run(steps, plant.workload.model)
    true = [results[place] for place in places]
    for place, line in zip(places, plant.script, strict=True):
        results[place] = results[place] if line.lie is None else line.lie(true)
    return spread(steps, results, rng)


def _places(script: Sequence[Line], steps: Sequence[Step], start: int) -> list[int]:
    """Steps of the first two clients that act from `start` on, or before the end: a client's own come in order."""
    actors = list(dict.fromkeys(step.client for step in steps[start:]))
    own = [[place for place in range(start, len(steps)) if steps[place].client == actor] for actor in actors[:2]]
    return [own[line.client].pop(0) for line in script]
