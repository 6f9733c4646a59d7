"""The pytest plugin: `sim_cluster` and `raft_cluster`, and what a failure leaves behind.

pytest loads this in every project that has actorum installed, so it imports nothing of it before a fixture is used.

A seed is drawn once for a run, or given with `--raft-seed`.  When `check` of a `sim_cluster` fails, the run is made
small, and the report shows it: a space-time table, the path of a figure, and the line that runs the test again.  A test
that failed by something else has the latest steps and that line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actors.replicated import Replicated
    from actors.testing.chaos import ChaosCluster
    from actors.testing.failure import Failure
    from actors.testing.steps import Makers

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
    if report.failed and call.when == "call" and call.excinfo is not None:
        if clusters := item.stash.get(_CLUSTERS, []):
            shown = [_shown(item, cluster) for cluster in clusters]
            replay = f"replay: pytest {shlex.quote(item.nodeid)} --raft-seed={item.config.stash[_SEED]}"
            report.sections.append(("actorum", "\n\n".join([*shown, replay])))
        elif failure := getattr(call.excinfo.value, "failure", None):  # of a `RaftMachine`: hypothesis made it small
            replay = f"replay: pytest {shlex.quote(item.nodeid)}  (hypothesis remembers it)"
            report.sections.append(("actorum", f"{_drawn(item, failure)}\n\n{replay}"))
    return report


def _shown(item: pytest.Item, cluster: ChaosCluster[Any]) -> str:
    """The run of one cluster, made small if it can be."""
    from actors.testing.failure import failure_of, latest_steps

    if cluster.violation is None:
        return f"what happened last:\n\n{latest_steps(cluster)}"
    failure = failure_of(cluster)
    if failure is None:
        return f"{cluster.violation}\n\nIt did not happen again, so what happened last:\n\n{latest_steps(cluster)}"
    left = f"{failure.steps} of {failure.was} steps are enough"
    return f"{failure.violation}\n\n{left}:\n\n{_drawn(item, failure)}"


def _drawn(item: pytest.Item, failure: Failure) -> str:
    """The table, and the place of the figure."""
    cache = getattr(item.config, "cache", None)  # not there with `-p no:cacheprovider`
    directory = Path(mkdtemp(prefix="actorum-")) if cache is None else cache.mkdir("actorum")
    page = directory / (re.sub(r"\W+", "-", item.nodeid).strip("-") + ".html")
    page.write_text(failure.page(item.nodeid), encoding="utf-8")
    return f"{failure.text()}\n\nfigure: {page.as_uri()}"


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
