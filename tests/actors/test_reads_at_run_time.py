"""Linearizable reads by every consistency, in every runtime: each sees what was done before it (thesis 6.4)."""

from __future__ import annotations

import pytest

from actors.machines.counter import Counter
from actors.protocol import Consistency
from actors.spec import RuntimeName
from raft_core import Settings

PATIENCE = 60.0


@pytest.mark.parametrize("engine", ["threads", "sim"])
@pytest.mark.parametrize("runtime", ["actors", "locks"])
@pytest.mark.parametrize("consistency", ["linearizable", "follower", "lease"])
def test_a_read_sees_every_write_before_it(engine: str, runtime: RuntimeName, consistency: Consistency) -> None:
    settings = Settings(lease_reads=True)
    with Counter.cluster(engine=engine, runtime=runtime, settings=settings, timeout=PATIENCE) as counter:  # type: ignore[arg-type]
        for number in range(1, 40):
            assert counter.incr() == number
            assert counter.get.using(consistency=consistency)() == number


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_followers_go_on_answering_with_the_next_leader(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="threads", runtime=runtime, timeout=PATIENCE) as counter:
        counter.incr(3)
        cluster = counter.cluster
        fallen = cluster.kill_leader()
        assert counter.get.using(consistency="follower")() == 3
        cluster.restart(fallen)
        assert counter.get.using(consistency="follower")() == 3
