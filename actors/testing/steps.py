"""What a test does to a cluster, step by step, as plain data: so it can be done again, in whole or in part.

A step says nothing of the state it meets, or parts could not be left out: what does not apply (a restart of a server
that runs) is passed over.  Crashes leave a majority, for otherwise nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, TypeAlias, assert_never

from msgspec import Struct

from actors.network import Faults
from actors.replicated import Replicated
from actors.sim import SimCluster
from actors.testing.values import Arguments, arguments_for
from raft_core import ServerId

Makers: TypeAlias = Mapping[str, Callable[[Random], Arguments]]
"""By the name of an operation: what makes the arguments of a call."""


class Ask(Struct, frozen=True):
    """A client calls an operation, and does not wait."""

    name: str
    by_position: Arguments = ()
    by_keyword: dict[str, Any] = {}

    def __str__(self) -> str:
        named = (f"{name}={value!r}" for name, value in self.by_keyword.items())
        return f"{self.name}({', '.join([*map(repr, self.by_position), *named])})"


class Crash(Struct, frozen=True):
    """A server loses its memory, if a majority stays up."""

    server_id: ServerId


class Restart(Struct, frozen=True):
    """A server that is down comes back with what is on its disk."""

    server_id: ServerId


class Cut(Struct, frozen=True):
    """Nothing gets through in this direction."""

    sender: ServerId
    receiver: ServerId


class Isolate(Struct, frozen=True):
    """Nothing gets through to this server or from it."""

    server_id: ServerId


class Disturb(Struct, frozen=True):
    """The network loses, doubles and reorders."""


class Heal(Struct, frozen=True):
    """The network is well."""


class Wait(Struct, frozen=True):
    """Virtual time passes."""

    seconds: float


Step: TypeAlias = Ask | Crash | Restart | Cut | Isolate | Disturb | Heal | Wait

DISTURBANCE = Faults(drop=0.1, duplicate=0.2, delay=(0.0, 0.05))


def down(cluster: SimCluster) -> list[ServerId]:
    """The servers that do not run."""
    return [name for name, (state, _, _) in cluster.supervisor.members().items() if state != "up"]


def perform(step: Step, cluster: SimCluster, machine: Replicated) -> bool:
    """Do it; false if it does not apply."""
    network = cluster.network
    match step:
        case Ask(name=name, by_position=by_position, by_keyword=by_keyword):
            getattr(machine, name).submit(*by_position, **by_keyword)
        case Crash(server_id=name):
            gone = down(cluster)
            if name in gone or len(gone) >= (len(cluster.nodes) - 1) // 2:
                return False
            cluster.kill(name)
        case Restart(server_id=name):
            if name not in down(cluster):
                return False
            cluster.restart(name)
        case Cut(sender=sender, receiver=receiver):
            network.cut(sender, receiver)
        case Isolate(server_id=name):
            network.disconnect(name)
        case Disturb():
            network.set(requests=DISTURBANCE, results=DISTURBANCE)
        case Heal():
            network.heal()
        case Wait(seconds=seconds):
            cluster.run_for(seconds)
        case _:
            assert_never(step)
    return True


def words(step: Step) -> tuple[str, str]:
    """To whom it happens ("client", "network" or a server), and what."""
    match step:
        case Ask():
            return "client", str(step)
        case Crash(server_id=name):
            return name, "crashes"
        case Restart(server_id=name):
            return name, "restarts"
        case Cut(sender=sender, receiver=receiver):
            return "network", f"{sender} -/-> {receiver}"
        case Isolate(server_id=name):
            return "network", f"{name} is cut off"
        case Disturb():
            return "network", "loses, doubles, reorders"
        case Heal():
            return "network", "heals"
        case Wait(seconds=seconds):
            return "client", f"waits {seconds:g} s"
        case _:
            assert_never(step)


def drawn(
    count: int, kind: type[Replicated], names: Sequence[ServerId], random: Random, arguments: Makers
) -> Iterator[Step]:
    """So many steps, in an order that `random` gives."""
    for _ in range(count):
        match random.randrange(14):
            case 0 | 1 | 2 | 3 | 4:
                yield _asked(kind, random, arguments)
            case 5:
                yield Crash(random.choice(names))
            case 6 | 7:
                yield Restart(random.choice(names))
            case 8 | 9 | 10:
                yield _trouble(names, random)
            case _:
                yield Wait(random.choice((0.0005, 0.003, 0.05, 0.4)))


def _asked(kind: type[Replicated], random: Random, arguments: Makers) -> Ask:
    operation = random.choice(list(kind._operations.values()))
    maker = arguments.get(operation.name)
    if maker:
        return Ask(operation.name, maker(random))
    return Ask(operation.name, *arguments_for(operation, random))


def _trouble(names: Sequence[ServerId], random: Random) -> Step:
    if len(names) < 2 or random.random() < 0.4:
        return Heal()
    one, other = random.sample(names, 2)
    return random.choice((Cut(one, other), Isolate(one), Disturb()))
