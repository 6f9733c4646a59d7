"""Every machine with a model is linearizable on a simulated cluster whose leaders are cut off."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from actors.context import HERE, Context
from actors.machines.counter import Counter
from actors.machines.key_value import KeyValue
from actors.machines.lock import Holding, Lock
from actors.machines.queue import Queue
from actors.machines.register import Register
from actors.machines.set import Set
from actors.replicated import command
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import KeyValueModel, LockModel, QueueModel, RegisterModel
from raft_core.verify.operations import State
from tests.machines.histories import Asked, verdict

SEEDS = [1, 2]
LONG = 1_000.0


def draw_register(register: Register, random: Random) -> Asked:
    if random.random() < 0.5:
        return Asked(register.read.submit(), "read")
    value = random.randrange(100)
    return Asked(register.write.submit(value), "write", (value,))


def draw_store(store: KeyValue, random: Random) -> Asked:
    key, value, expected = random.choice("ab"), random.randrange(3), random.choice([None, 0, 1, 2])
    match random.randrange(4):
        case 0:
            return Asked(store.get.submit(key), "get", (), key)
        case 1:
            return Asked(store.put.submit(key, value), "put", (value,), key, lambda revision: None)
        case 2:
            return Asked(store.delete.submit(key), "delete", (), key, lambda was_there: None)
        case _:
            return Asked(store.cas.submit(key, expected, value), "cas", (expected, value), key)


def draw_lock(lock: Lock, random: Random) -> Asked:
    """Whoever releases must name the token; an owner here holds the lock at most once, under the number it draws."""
    owner = str(random.randrange(1_000_000))
    if random.random() < 0.6:
        return Asked(lock.acquire.submit(owner, LONG), "acquire", (owner,), None, lambda token: token is not None)
    holding = lock.holder()
    if holding is None:
        return Asked(lock.release.submit(owner, 0), "release", (owner,))
    return Asked(lock.release.submit(holding.owner, holding.token), "release", (holding.owner,))


def draw_queue(queue: Queue, random: Random) -> Asked:
    if random.random() < 0.5:
        return Asked(queue.pop.submit(), "dequeue", (), None, lambda job: job and job.value)
    value = random.getrandbits(60)
    return Asked(queue.put.submit(value), "enqueue", (value,), None, lambda number: None)


def draw_counter(counter: Counter, random: Random) -> Asked:
    by = random.choice([1, 1, 2])
    return (
        Asked(counter.get.submit(), "get") if random.random() < 0.4 else Asked(counter.incr.submit(by), "incr", (by,))
    )


class SetModel:
    """The set, without a cluster."""

    initial: State = frozenset()

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        match name, arguments:
            case "add", (element,):
                return state | {element}, element not in state
            case "discard", (element,):
                return state - {element}, element in state
            case "members", ():
                return state, tuple(sorted(state))
        raise LookupError(name)


def draw_set(elements: Set, random: Random) -> Asked:
    element = random.randrange(4)
    match random.randrange(3):
        case 0:
            return Asked(elements.members.submit(), "members", (), None, tuple)
        case 1:
            return Asked(elements.add.submit(element), "add", (element,))
        case _:
            return Asked(elements.discard.submit(element), "discard", (element,))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_register(seed: int) -> None:
    assert verdict(Register, draw_register, RegisterModel(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_key_value_store(seed: int) -> None:
    assert verdict(KeyValue, draw_store, KeyValueModel(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_lock(seed: int) -> None:
    assert verdict(Lock, draw_lock, LockModel(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_queue(seed: int) -> None:
    assert verdict(Queue, draw_queue, QueueModel(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_counter(seed: int) -> None:
    assert verdict(Counter, draw_counter, CounterModel(), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_set(seed: int) -> None:
    assert verdict(Set, draw_set, SetModel(), seed)


class ForgetfulRegister(Register):
    """Loses every third write."""

    writes: int = 0

    @command
    def write(self, value: Any) -> None:
        self.writes += 1
        if self.writes % 3:
            self.value = value


class LaxLock(Lock):
    """Gives the lock to whoever asks."""

    @command
    def acquire(self, owner: str, ttl: float, *, context: Context = HERE) -> int | None:
        self.holding = Holding(owner, 0, context.after(ttl))
        return 0


def test_machines_that_do_wrong_are_found_out() -> None:
    assert not verdict(ForgetfulRegister, draw_register, RegisterModel(), 1)
    assert not verdict(LaxLock, draw_lock, LockModel(), 1)
