"""Both runtimes run the same core: what a peer recorded is played through `step` again, with equal states and effects.

Here for clusters of processes and threads, with a kill and a restart in between; `tests/lab` does it for every scenario
in simulation.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from actors.machines.counter import Counter
from actors.spec import RuntimeName
from actors.storage.trace import read_trace
from raft_core.verify.replay import Turn, replay

PATIENCE = 40.0

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_what_a_peer_recorded_is_what_the_core_does(
    engine: Literal["threads", "processes"], each_runtime: RuntimeName, tmp_path: Path
) -> None:
    with Counter.cluster(engine=engine, record=tmp_path, timeout=PATIENCE) as counter:
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        killed = counter.cluster.kill_leader()
        assert [call.result() for call in [counter.incr.submit() for _ in range(200)]] == list(range(21, 221))
        counter.cluster.restart(killed)
        counter.cluster.wait_until_equal(PATIENCE)
    reports = {name: replay(read_trace(tmp_path / f"{name}.trace")) for name in counter.cluster.nodes}
    assert {name: report.incarnations for name, report in reports.items()} == {
        name: 2 if name == killed else 1 for name in reports
    }
    assert len({report.server.log.last_index for report in reports.values()}) == 1
    assert all(report.turns > 10 for report in reports.values())


def test_traces_hold_what_an_outside_checker_needs(each_runtime: RuntimeName, tmp_path: Path) -> None:
    with Counter.cluster(engine="threads", record=tmp_path, timeout=PATIENCE) as counter:
        counter.incr()
        leader = counter.cluster.leader()
    turns = [record for record in read_trace(tmp_path / f"{leader}.trace") if isinstance(record, Turn)]
    assert any(turn.before.role != "leader" and turn.after.role == "leader" for turn in turns)
    assert all(earlier.after == later.before for earlier, later in pairwise(turns))
    assert turns[-1].after.commit_index >= 3
