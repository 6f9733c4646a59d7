"""Whom nobody can reach does not become a voter: the others would wait for it."""

from __future__ import annotations

import pytest

from actors.errors import NotCaughtUp
from actors.machines.counter import Counter
from actors.membership import unheard
from actors.protocol import Status
from actors.runtimes import RUNTIMES
from actors.sim import SimCluster
from actors.spec import RuntimeName


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_newcomer_that_the_leader_cannot_reach_stays_a_learner(nodes: int, runtime: RuntimeName) -> None:
    """The log is short, so it does not lack much of it; but a cluster of one would never decide anything again."""
    with Counter.cluster(engine="sim", runtime=runtime, nodes=nodes, seed=1) as counter:
        cluster, newcomer = counter.cluster, f"n{nodes + 1}"
        assert isinstance(cluster, SimCluster)
        assert counter.incr() == 1
        cluster.network.admit(newcomer)
        cluster.network.disconnect(newcomer)
        with pytest.raises(NotCaughtUp):
            cluster.add(timeout=5)
        assert cluster.members().learners == (newcomer,)
        assert counter.incr() == 2
        cluster.network.connect(newcomer)
        cluster.promote(newcomer)
        assert cluster.members().voters == (*(f"n{number}" for number in range(1, nodes + 1)), newcomer)
        assert counter.incr() == 3


def _status(server_id: str, leader_id: str | None) -> Status:
    return Status(0, server_id, "", 2, leader_id, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0, voters=("n1", "n2"))


def test_who_votes_already_need_not_be_heard() -> None:
    leader = _status("n1", "n1")
    statuses = {"n1": leader, "n2": None, "n3": _status("n3", "n1"), "n4": _status("n4", "n2"), "n5": None}
    assert unheard(leader, ("n1", "n2", "n3", "n4", "n5"), statuses) == ["n4", "n5"]
