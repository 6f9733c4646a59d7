"""The pytest plugin: `sim_cluster` and `raft_cluster`, and a seed that replays a failure.

pytest loads this in every project that has actorum installed, so it imports nothing of it before a fixture is used.

A seed is drawn once for a run, or given with `--raft-seed`.  When a test that used `sim_cluster` fails, whatever it
failed by, the report says what happened last and the line that runs it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actors.replicated import Replicated
    from actors.testing.chaos import ChaosCluster, Makers

_SEED = pytest.StashKey[int]()
_CLUSTERS = pytest.StashKey["list[ChaosCluster[Any]]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option: the seed."""
    parser.getgroup("actorum").addoption(
        "--raft-seed", type=int, default=None, metavar="N", help="seed of sim_cluster: the one that a failure showed"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed of this run, unless it is given."""
    given = config.getoption("--raft-seed")
    config.stash[_SEED] = SystemRandom().randrange(2**32) if given is None else given


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what happened in its clusters, and how to see it again."""
    report = yield
    clusters = item.stash.get(_CLUSTERS, [])
    if report.failed and clusters:
        seed = item.config.stash[_SEED]
        tables = "\n\n".join(cluster.table() for cluster in clusters)
        replay = f"pytest {shlex.quote(item.nodeid)} --raft-seed={seed}"
        report.sections.append(("actorum", f"seed {seed}; what happened last:\n\n{tables}\n\nreplay: {replay}"))
    return report


@pytest.fixture
def sim_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., ChaosCluster[Any]]]:
    """Start simulated clusters: `sim_cluster(Machine, nodes=3)`; `.chaos(steps)`, then `.check()`."""
    from actors.testing.chaos import chaos_cluster

    clusters = request.node.stash[_CLUSTERS] = []
    with ExitStack() as at_end:

        def start(machine: type[Replicated], nodes: int = 3, arguments: Makers | None = None) -> ChaosCluster[Any]:
            seed = request.config.stash[_SEED]
            cluster = at_end.enter_context(chaos_cluster(machine, nodes=nodes, seed=seed, arguments=arguments))
            clusters.append(cluster)
            return cluster

        yield start


@pytest.fixture
def raft_cluster() -> Iterator[Callable[..., Any]]:
    """Start clusters on threads: `raft_cluster(Machine, nodes=3)` gives a bound machine; closed after the test."""
    with ExitStack() as at_end:

        def start(machine: type[Replicated], nodes: int = 3, **options: Any) -> Any:
            return at_end.enter_context(machine.cluster(nodes=nodes, engine="threads", **options))

        yield start
