"""Which cells are measured, how often, in which order; and what was expected before the first run.

The four cells of the comparison are {actors, locks} x {threads, processes}: the first factor is what it is about, the
second is what isolation costs.  Everything else is varied for both alike.

Order: one repetition of every cell, then the next repetition in the opposite order (ABBA).  So a machine that slows
down, or speeds up, while the experiment goes on does so to both sides of each difference alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from random import Random
from typing import get_args

from msgspec.structs import asdict, replace

from actors.compare.records import Cell, Fault, Hypothesis, Isolation, Load, Planned, Storage
from actors.errors import ActorumError, ExitCode
from actors.spec import RuntimeName

RUNTIMES: tuple[RuntimeName, ...] = ("actors", "locks")
ISOLATIONS: tuple[Isolation, ...] = ("threads", "processes")
PEERS = (3, 5, 7)
PAYLOADS = (16, 1024, 16384)
CLIENTS = (1, 16, 64)
OPEN_CLIENTS = 16
"""What stands in the cells of the open loop, where arrivals do not depend on how many commands are under way."""
PLANTED = 0.2
"""Share of the time for which the control "planted slowdown" stops everything."""
RATE = 1000.0
"""Arrivals per second of the open loop: what the slowest cell of the grid without fsync still keeps up with."""

HYPOTHESES = (
    Hypothesis(
        "median",
        "Among threads of one process with one client, the lock has the lower median latency.",
        "An uncontended lock costs less than handing a message to another thread and being woken by its answer.",
    ),
    Hypothesis(
        "tail",
        "With 64 commands under way, the mailbox has the lower p99 in the same process.",
        "threading.Lock is unfair: a thread that gives it up often takes it again before the one that waits longest.",
    ),
    Hypothesis(
        "throughput",
        "With 64 commands under way, the difference of throughput is below 20 % in both isolations.",
        "Core, codec, storage and links are the same, and cost more than either way of taking turns.",
    ),
    Hypothesis(
        "isolation",
        "Isolation costs less than the choice of design: processes are at least as fast as threads in both designs.",
        "Threads of one interpreter share one lock of the interpreter; processes do not.",
    ),
    Hypothesis(
        "switches",
        "Locks cause more context switches per commit than mailboxes.",
        "A message wakes one thread; a condition wakes some that must wait for the lock at once.",
    ),
    Hypothesis(
        "failover",
        "The time to a new leader does not differ: it is the election timeout in both.",
        "The same timers decide in both designs (paper 9.3).",
    ),
    Hypothesis(
        "fsync",
        "With fsync on every commit, no difference of throughput is detected.",
        "The disk is what is waited for.",
    ),
)


class UnknownFactor(ActorumError):
    """`--only` names a factor or a value that the experiment does not have.  Nothing was measured."""

    code = "UNKNOWN-FACTOR"
    exit_code = ExitCode.USAGE


def quick() -> tuple[tuple[Cell, int], ...]:
    """Under two minutes: the four cells, their failover, and the noise floor, each with its number of repetitions."""
    four = tuple(Cell(runtime=runtime, isolation=isolation) for isolation, runtime in product(ISOLATIONS, RUNTIMES))
    return (
        *((cell, 7) for cell in four),
        *((replace(cell, fault="leader killed"), 4) for cell in four),
        *((replace(four[0], control="a/a", label=label), 5) for label in ("A", "B")),
    )


def star(repetitions: int = 8) -> tuple[tuple[Cell, int], ...]:
    """One factor at a time around the usual conditions, in all four cells, and every control: under an hour."""
    four = [Cell(runtime=runtime, isolation=isolation) for isolation, runtime in product(ISOLATIONS, RUNTIMES)]
    usual = four[0]
    rays: list[tuple[str, object]] = [
        *(("clients", clients) for clients in CLIENTS if clients != usual.clients),
        *(("peers", peers) for peers in PEERS if peers != usual.peers),
        *(("payload", payload) for payload in PAYLOADS if payload != usual.payload),
        *(("storage", storage) for storage in get_args(Storage) if storage != usual.storage),
        ("batching", False),
        *(("fault", fault) for fault in get_args(Fault) if fault != "none"),
    ]
    varied = [replace(cell, **{factor: value}) for factor, value in rays for cell in four]
    opened = [replace(cell, load="open", rate=RATE) for cell in four]
    return tuple((cell, repetitions) for cell in [*four, *varied, *opened, *_controls(four)])


def _controls(four: Sequence[Cell]) -> Iterator[Cell]:
    """The same cell twice, a core that costs nothing, and a slowdown that must be found."""
    yield from (replace(cell, control="a/a", label=label) for cell in four for label in ("A", "B"))
    yield from (replace(cell, control="null core") for cell in four)
    yield from (replace(cell, control="planted slowdown") for cell in four)


def full(repetitions: int = 10) -> tuple[tuple[Cell, int], ...]:
    """The whole grid, and its controls."""
    grid = [
        Cell(
            runtime=runtime,
            isolation=isolation,
            peers=peers,
            storage=storage,
            payload=payload,
            clients=clients,
            batching=batching,
            load=load,
            rate=RATE if load == "open" else 0.0,
            fault=fault,
        )
        for fault, load, batching, clients, payload, storage, peers, isolation, runtime in product(
            get_args(Fault),
            get_args(Load),
            (True, False),
            CLIENTS,
            PAYLOADS,
            get_args(Storage),
            PEERS,
            ISOLATIONS,
            RUNTIMES,
        )
        if load == "closed" or clients == OPEN_CLIENTS
    ]
    four = [Cell(runtime=runtime, isolation=isolation) for isolation, runtime in product(ISOLATIONS, RUNTIMES)]
    return tuple((cell, repetitions) for cell in [*grid, *_controls(four)])


PLANS: dict[str, Callable[[], tuple[tuple[Cell, int], ...]]] = {"quick": quick, "star": star, "full": full}


def restricted(cells: Sequence[tuple[Cell, int]], only: Iterable[str]) -> tuple[tuple[Cell, int], ...]:
    """Those of `cells` that have all the values of `only`: "storage=memory", "peers=3,5".

    Raises `UnknownFactor` on a factor that no cell has, and if nothing is left.
    """
    kept = tuple(cells)
    for text in only:
        name, _, values = text.partition("=")
        known = sorted({_text(asdict(cell)[name]) for cell, _ in cells}) if name in Cell.__struct_fields__ else []
        wanted = values.split(",")
        if not known or not set(wanted) <= set(known):
            raise UnknownFactor(
                f"--only {text}: " + (f"{name} has the values {', '.join(known)}" if known else f"no factor {name!r}"),
                why="a misspelt restriction would measure nothing, or everything",
                fix=f"one of: {', '.join(Cell.__struct_fields__)}; values separated by commas",
            )
        kept = tuple((cell, count) for cell, count in kept if _text(asdict(cell)[name]) in wanted)
    if not kept:
        raise UnknownFactor("--only leaves no cell", why="no cell has all of these values", fix="name fewer of them")
    return kept


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def ordered(cells: Sequence[tuple[Cell, int]], seed: int) -> tuple[Planned, ...]:
    """The runs of the experiment in their order: ABBA; seeds by the number of the repetition, so that the two sides of
    a difference see the same ones."""
    seeds = Random(seed)
    most = max(count for _, count in cells)
    of_repetition = [seeds.getrandbits(31) for _ in range(most)]
    return tuple(
        Planned(number, cell, repetition, of_repetition[repetition])
        for number, (cell, repetition) in enumerate(_turns(cells, most))
    )


def _turns(cells: Sequence[tuple[Cell, int]], most: int) -> Iterator[tuple[Cell, int]]:
    for repetition in range(most):
        turn: Callable[[Sequence[tuple[Cell, int]]], Iterable[tuple[Cell, int]]] = reversed if repetition % 2 else iter
        for cell, count in turn(cells):
            if repetition < count:
                yield cell, repetition
