"""Tests that must hold whoever takes turns: they ask for the fixture `each_runtime` and run once for each runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.replicated import ClusterStarter
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName

_chosen: list[RuntimeName] = ["actors"]


def runtime() -> RuntimeName:
    """The runtime that the test at hand is about."""
    return _chosen[-1]


@pytest.fixture(params=RUNTIMES)
def each_runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeName]:
    """What starts a cluster without naming a runtime gets this one."""
    name: RuntimeName = request.param
    defaults = ClusterStarter.__call__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "runtime", name)
    _chosen.append(name)
    yield name
    _chosen.pop()
