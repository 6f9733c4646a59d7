"""Clients whose every call is recorded, and the judgement on what they recorded.

A client is a thread that makes one call at a time, with a session of its own.  Calls are drawn from a seeded generator;
instants are of one monotonic clock, read before a call is made and after it has returned.  What an error means for the
history is a matter of its exit code alone: *retry* means that nothing was changed, so the call is left out; *unknown*
means a call without a return; every other error ends the run.

Values are written once each, so that a stale or lost one is recognized; a swap expects what its client saw last, so
that some take and some do not.  Values and counters have keys of their own, each judged with its own model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic_ns, sleep
from typing import Any, TypeAlias

from actors.errors import ActorumError, ExitCode
from raft_core.verify.counter import CounterModel
from raft_core.verify.explanation import Explanation, explain
from raft_core.verify.history import KeyValueModel, by_key
from raft_core.verify.linearizability import check
from raft_core.verify.operations import Linearizable, Model, Operation, Verdict
from tests.chaos.machines import Store

VALUES = ("a", "b", "c", "d")
COUNTERS = ("hits", "total")
PACE = 0.016
"""Longest pause between two calls of a client, in seconds: a history shall last as long as the misfortunes do."""
LIMIT = 2_000_000
"""Situations that the search may look at for one key."""

Ask: TypeAlias = Callable[[str, str, tuple[Any, ...]], Any]
"""Carry out a call: name, key, arguments.  Names are those of the models."""
Draw: TypeAlias = tuple[str, str, tuple[Any, ...]]


def asking(store: Store) -> Ask:
    """Calls for a store."""

    def ask(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        method = "count" if name == "get" and key in COUNTERS else name
        return getattr(store, method)(key, *arguments)

    return ask


@dataclass
class RecordedClient:
    """One thread's calls."""

    name: str
    ask: Ask
    random: Random
    history: list[Operation] = field(default_factory=list)
    answered: int = 0
    refused: int = 0
    """Calls that certainly did nothing; they are no part of the history."""

    def __post_init__(self) -> None:
        self._written = 0
        self._seen: dict[str, int | None] = dict.fromkeys(VALUES)

    def run(self, stop: threading.Event) -> None:
        """Make calls until told to stop."""
        while not stop.is_set():
            self.call(*self._drawn())
            sleep(self.random.random() * PACE)

    def call(self, name: str, key: str, arguments: tuple[Any, ...]) -> None:
        """Make one call and record it."""
        invoked = monotonic_ns()
        try:
            result, returned = self.ask(name, key, arguments), monotonic_ns()
        except ActorumError as error:
            self._failed(Operation(self.name, name, arguments, None, invoked, None, key), error)
            return
        self.answered += 1
        self.history.append(Operation(self.name, name, arguments, result, invoked, returned, key))
        if key in self._seen:
            self._seen[key] = _value_after(name, arguments, result)

    def _failed(self, operation: Operation, error: ActorumError) -> None:
        match error.exit_code:
            case ExitCode.RETRY:
                self.refused += 1
            case ExitCode.UNKNOWN:
                self.history.append(operation)
            case _:
                raise error

    def _drawn(self) -> Draw:
        random = self.random
        if random.random() < 0.3:
            call: tuple[str, tuple[Any, ...]] = (
                ("get", ()) if random.random() < 0.4 else ("incr", (random.randint(1, 3),))
            )
            return call[0], random.choice(COUNTERS), call[1]
        key, chance = random.choice(VALUES), random.random()
        if chance < 0.4:
            return "get", key, ()
        if chance < 0.45:
            return "delete", key, ()
        self._written += 1
        value = int(self.name) * 1_000_000 + self._written
        return ("put", key, (value,)) if chance < 0.7 else ("cas", key, (self._seen[key], value))


def _value_after(name: str, arguments: tuple[Any, ...], result: Any) -> Any:
    """What a client may take the value to be."""
    match name:
        case "get":
            return result
        case "put":
            return arguments[0]
        case "cas":
            return arguments[1] if result else None
    return None


@dataclass(frozen=True)
class Judgement:
    """What a history came to: linearizable, or the part that is not."""

    verdict: Verdict
    operations: Sequence[Operation] = ()
    """Those of the key at fault."""

    def explanation(self) -> Explanation | None:
        """Why, if the history is not linearizable."""
        return explain(self.operations, model_of(self.operations[0].key), limit=LIMIT) if self.operations else None


def model_of(key: object) -> Model:
    """The sequential object behind a key."""
    return CounterModel(0) if key in COUNTERS else KeyValueModel()


def judge(history: Iterable[Operation]) -> Judgement:
    """Check a history key by key, each with its model."""
    order: list[Operation] = []
    for key, operations in by_key(history).items():
        verdict = check(operations, model_of(key), limit=LIMIT)
        if not isinstance(verdict, Linearizable):
            return Judgement(verdict, operations)
        order += verdict.order
    return Judgement(Linearizable(tuple(order)))
