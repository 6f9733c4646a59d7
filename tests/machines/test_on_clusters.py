"""The machines on clusters of every engine and runtime: time passes by itself, and all replicas agree on when."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Literal

import pytest

from actors.machines.election import Election, Leadership
from actors.machines.key_value import KeyValue, watch
from actors.machines.lock import Lock
from actors.machines.queue import Job, Queue
from actors.machines.set import Set
from actors.sim import SimCluster
from actors.spec import RuntimeName

PATIENCE = 10.0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it did not come to that in time"
        sleep(0.005)


@pytest.mark.parametrize("runtime", ["actors", "locks"])
@pytest.mark.parametrize("engine", ["threads", "sim"])
def test_what_expires_goes_on_all_replicas_though_nobody_sends_a_command(
    engine: Literal["threads", "sim"], runtime: RuntimeName
) -> None:
    with KeyValue.cluster(nodes=3, engine=engine, runtime=runtime, seed=3, check_determinism=True) as store:
        store.put("a", 1, ttl=0.3)
        store.put("b", 1)
        assert store.get("a") == 1
        eventually(lambda: store.get("a") is None)
        digests = store.cluster.wait_until_equal()
        assert len({digest.digest for digest in digests.values()}) == 1
        assert [change.kind for change in store.changes(0).changes] == ["put", "put", "expire"]
        assert max(digest.applied_index for digest in digests.values()) <= 9, "queries wrote nothing, nor did waiting"


def test_a_lock_is_not_lost_to_a_change_of_leader_and_expires_under_the_new_one() -> None:
    with Lock.cluster(nodes=3, engine="sim", seed=5, timeout=60.0) as lock:
        cluster = lock.cluster
        assert isinstance(cluster, SimCluster)
        assert lock.acquire("ann", ttl=5.0) == 1
        cluster.kill_leader()
        assert lock.acquire("bob", ttl=5.0) is None
        held_since = cluster.now
        while lock.holder() is not None:
            cluster.run_for(0.05)
        assert 3.0 < cluster.now - held_since < 6.0
        assert lock.acquire("bob", ttl=5.0) == 2


def test_a_worker_that_is_gone_loses_its_job_and_a_silent_leader_its_office() -> None:
    with Queue.cluster(nodes=3, engine="sim", seed=1) as queue:
        queue.put("a")
        assert queue.take(lease=1.0) == Job(1, "a", 1)
        assert isinstance(queue.cluster, SimCluster)
        queue.cluster.run_for(1.2)
        assert queue.take(lease=1.0) == Job(1, "a", 2)
    with Election.cluster(nodes=3, engine="sim", seed=1) as election:
        election.campaign("ann", ttl=1.0)
        election.campaign("bob", ttl=9.0)
        assert isinstance(election.cluster, SimCluster)
        election.cluster.run_for(1.2)
        assert election.leader() == Leadership("bob", 2)


def test_a_watch_follows_a_store_in_other_processes() -> None:
    with KeyValue.cluster(nodes=3) as store:
        changes = watch(store, prefix="jobs/", pause=0.01)
        store.put("jobs/1", {"what": "sweep"}, ttl=0.2)
        assert [(change.kind, change.value) for change in (next(changes), next(changes))] == [
            ("put", {"what": "sweep"}),
            ("expire", None),
        ]


def test_a_set_answers_alike_in_every_process() -> None:
    with Set.cluster(nodes=3) as elements:
        for word in ("pear", "apple", "fig", "plum"):
            elements.add(word)
        assert elements.members() == sorted(["pear", "apple", "fig", "plum"])
        elements.cluster.wait_until_equal()
