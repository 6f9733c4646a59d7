"""Clusters whose network misbehaves: on every engine and runtime they lose nothing, and go on when it is well again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from actors.cluster import Cluster
from actors.errors import WrongArguments
from actors.machines.counter import Counter
from actors.network import Faults
from actors.sim import SimCluster
from actors.spec import RuntimeName

PATIENCE = 40.0
Engine = Literal["sim", "threads", "processes"]

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("each_runtime")]
every_engine = pytest.mark.parametrize("engine", ["sim", "threads", "processes"])


@contextmanager
def counter_on(engine: Engine, **options: object) -> Iterator[Counter]:
    with Counter.cluster(nodes=3, engine=engine, chaos=True, timeout=PATIENCE, seed=4, **options) as counter:  # type: ignore[arg-type]
        yield counter


def are_equal(cluster: Cluster) -> bool:
    return len({digest.digest for digest in cluster.wait_until_equal(PATIENCE).values()}) == 1


@every_engine
def test_a_leader_that_nobody_hears_is_replaced_and_what_it_took_alone_is_not_lost(engine: Engine) -> None:
    with counter_on(engine) as counter:
        assert counter.incr() == 1
        lonely = counter.cluster.leader()
        counter.cluster.network.disconnect(lonely)
        assert [counter.incr() for _ in range(5)] == [2, 3, 4, 5, 6]
        counter.cluster.network.connect(lonely)
        assert are_equal(counter.cluster)
        assert counter.get() == 6


@every_engine
def test_loss_delay_duplication_and_reordering_change_no_result(engine: Engine) -> None:
    with counter_on(engine) as counter:
        network = counter.cluster.network
        network.unreliable()
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        network.set(requests=Faults(duplicate=0.5, delay=(0.0, 0.01)))
        network.reorder_results(hold_back_delay=(0.05, 0.3))
        assert [counter.incr() for _ in range(10)] == list(range(21, 31))
        network.heal()
        assert are_equal(counter.cluster)
        assert network.counts().lost > 0


@every_engine
def test_without_a_majority_that_can_talk_nothing_is_committed_until_it_is_healed(engine: Engine) -> None:
    with counter_on(engine) as counter:
        assert counter.incr() == 1
        counter.cluster.network.partition(["n1"], ["n2"], ["n3"])
        call = counter.incr.submit()
        with pytest.raises(Exception, match="incr"):
            call.result(timeout=1.0)
        assert max(status.commit_index for status in counter.cluster.status().values() if status) <= 3
        counter.cluster.network.heal()
        assert call.result(timeout=PATIENCE) == 2


@every_engine
def test_a_restarted_peer_is_linked_through_the_same_network(engine: Engine) -> None:
    with counter_on(engine) as counter:
        counter.cluster.network.disconnect("n1")
        counter.cluster.kill("n1")
        counter.cluster.restart("n1")
        before = counter.cluster.network.link_counts()["n2", "n1"].lost
        assert [counter.incr() for _ in range(3)] == [1, 2, 3]
        status = counter.cluster.status()["n1"]
        assert status is not None and status.commit_index == 0
        assert (
            counter.cluster.network.link_counts()["n2", "n1"].lost
            + counter.cluster.network.link_counts()["n3", "n1"].lost
            > before
        )
        counter.cluster.network.connect("n1")
        assert are_equal(counter.cluster)


def test_the_same_seed_gives_the_same_misfortunes(each_runtime: RuntimeName) -> None:
    digests = set()
    for _ in range(2):
        with counter_on("sim") as counter:
            assert isinstance(counter.cluster, SimCluster)
            counter.cluster.network.unreliable()
            counter.cluster.network.reorder_results()
            for _ in range(10):
                counter.incr()
            digests.add(counter.cluster.trace_digest)
    assert len(digests) == 1


def test_a_cluster_that_was_not_started_for_it_says_how_to() -> None:
    with (
        Counter.cluster(nodes=1, engine="threads") as counter,
        pytest.raises(WrongArguments, match="chaos=True"),
    ):
        counter.cluster.network.heal()
