"""What the scenarios run on: each runtime in each engine; and what a scenario says of itself.

A scenario is a function of a `Lab`, written once.  `@scenario` notes how many servers it wants and over which network;
`conftest` makes tests of it, one for each variant and seed, and `campaign` runs it as often as one likes.

In a simulation a lab second is a second, literally: it costs nothing.  In real time it is half a second, which brings a
pass of all scenarios under three minutes; the peers' own times shrink with it.  Election time-outs are then 250 to
500 ms: long enough that a loaded machine does not make a leader look dead, and well below a lab second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args
from zlib import crc32

from msgspec.structs import replace

from actors.interpreter import Recorder
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName
from raft_core import ServerId, Settings
from tests.lab.harness import TIME_LIMIT, Lab
from tests.lab.ports import RealPort, SimPort

Engine: TypeAlias = Literal["sim", "threads", "processes"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
ScenarioFunction: TypeAlias = Callable[[Lab], None]
F = TypeVar("F", bound=ScenarioFunction)

REAL_SECOND = 0.5
"""Seconds of real time that make a lab second."""
REAL_PATIENCE = 20.0
"""Seconds of real time that what must happen gets at least: machines may be slow, that is no violation."""
REAL_SETTINGS = Settings(election_timeout=250, heartbeat_interval=50)
SIM_SETTINGS = Settings(election_timeout=300, heartbeat_interval=100)
"""At most ten heartbeats a lab second, as the lab asks for."""
ONE_BY_ONE = replace(SIM_SETTINGS, max_entries_per_message=1)
"""With entries travelling alone.  A new leader's first message brings entries of older terms and its own no-op
together, so what figure 8 is about hardly ever happens: an old entry on a majority of disks and no newer one there.  So
in the simulation every other seed forbids that."""


SMALL_CHUNK = 1024
"""Bytes of a snapshot in one message, with every other seed: the larger ones then travel in several."""

TRAILING = 3
"""Entries that are kept behind a snapshot with every other two seeds; the lab's servers keep none."""


class Variant(NamedTuple):
    """A runtime in an engine."""

    runtime: RuntimeName
    engine: Engine

    @property
    def is_real(self) -> bool:
        """Time is that of the clock on the wall."""
        return self.engine != "sim"

    def is_on_diagonal_of(self, function: ScenarioFunction) -> bool:
        """Of the four squares of runtimes and real engines, each scenario has two that share neither: drawn from its
        name, so that a scenario more or less moves no other."""
        square = RUNTIMES.index(self.runtime) + ENGINES.index(self.engine)
        return not self.is_real or (square + crc32(function.__name__.encode())) % 2 == 0


VARIANTS = [Variant(runtime, engine) for runtime in RUNTIMES for engine in ENGINES]


class Plan(NamedTuple):
    """What a scenario wants."""

    servers: int
    unreliable: bool = False
    """Over the lab's unreliable network."""
    seeds: int = 10
    """Seeds that an ordinary test run tries in the simulation."""
    engines: tuple[Engine, ...] = ENGINES
    ordinary: tuple[Engine, ...] = ENGINES
    """Of these, where an ordinary test run plays it.  A campaign plays everything everywhere."""
    with_snapshots: bool = False
    """Servers are given snapshots, and keep little or nothing in their logs of what is in them."""

    def runs_on(self, variant: Variant) -> bool:
        """The one place that decides what is not run."""
        return variant.engine in self.engines


_PLAN = "lab_plan"


def scenario(
    servers: int,
    *,
    unreliable: bool = False,
    seeds: int = 10,
    engines: tuple[Engine, ...] = ENGINES,
    ordinary: tuple[Engine, ...] = ENGINES,
    with_snapshots: bool = False,
) -> Callable[[F], F]:
    """Note the `Plan` of a scenario."""

    def note(function: F) -> F:
        setattr(function, _PLAN, Plan(servers, unreliable, seeds, engines, ordinary, with_snapshots))
        return function

    return note


def plan_of(function: object) -> Plan | None:
    """What `@scenario` noted; None for any other function."""
    plan = getattr(function, _PLAN, None)
    return plan if isinstance(plan, Plan) else None


def settings_of(plan: Plan, variant: Variant, seed: int) -> Settings:
    """How the servers of one run are set."""
    settings = REAL_SETTINGS if variant.is_real else ONE_BY_ONE if seed % 2 else SIM_SETTINGS
    if plan.with_snapshots:
        chunk = SMALL_CHUNK if seed % 2 else settings.snapshot_chunk_bytes
        trailing = TRAILING if seed % 4 >= 2 else 0
        return replace(settings, snapshot_entries=0, trailing_entries=trailing, snapshot_chunk_bytes=chunk)
    return settings


@contextmanager
def open_lab(
    plan: Plan,
    variant: Variant,
    seed: int,
    recorder_of: Callable[[ServerId], Recorder | None] = lambda name: None,
    *,
    is_brief: bool = False,
) -> Iterator[Lab]:
    """A running cluster as the plan wants it (the lab's `make_config`).  It must be done with within the time limit.

    `recorder_of`: who records what happens to a server, in a simulation.  `is_brief`: see `Lab`."""
    settings = settings_of(plan, variant, seed)
    if variant.is_real:
        lab = Lab(
            lambda listener: RealPort(
                plan.servers, variant.runtime, variant.engine, settings, seed, listener, REAL_SECOND
            ),
            plan.servers,
            seed=seed,
            patience=REAL_PATIENCE / REAL_SECOND,
            with_snapshots=plan.with_snapshots,
            is_brief=is_brief,
        )
    else:
        lab = Lab(
            lambda listener: SimPort(plan.servers, variant.runtime, settings, seed, listener, recorder_of),
            plan.servers,
            seed=seed,
            with_snapshots=plan.with_snapshots,
            is_brief=is_brief,
        )
    began = monotonic()
    try:
        lab.begin()
        if plan.unreliable:
            lab.set_unreliable()
        yield lab
        took = monotonic() - began if variant.is_real else lab.now
        assert took <= TIME_LIMIT, f"the scenario took {took:.0f} s; {TIME_LIMIT:.0f} are the limit"
    finally:
        lab.close()
