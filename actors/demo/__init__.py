"""What `actorum demo` does, apart from drawing it: load, kill, recover - and then prove that nothing was lost.

`run` is a generator of what happened, in order; whoever draws it decides what it looks like, and one who stops
listening stops the demonstration.  Nothing here is staged: processes are killed with SIGKILL while calls are under way,
every number is measured, and every call of every client is recorded with the instants of its invocation and its return,
so that at the end the whole run is checked for linearizability (paper section 8), not a sample of it.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic

from actors.demo.faults import fail_over, leader_status, recover
from actors.demo.happenings import Checking, Happening, Plan, Ready, Starting
from actors.demo.load import load_on
from actors.demo.patience import PATIENCE
from actors.demo.proof import prove, settled_digests
from actors.machines.counter import Counter


def run(plan: Plan) -> Generator[Happening, None, None]:
    """Demonstrate.  Raises `SafetyViolation` if anything that Raft promises did not hold, `NoQuorum` if a step took
    longer than `PATIENCE`."""
    yield Starting(nodes=plan.nodes, engine=plan.engine, runtime=plan.runtime, data=str(plan.data))
    began = monotonic()
    cluster_of = Counter.cluster(
        nodes=plan.nodes,
        engine=plan.engine,
        runtime=plan.runtime,
        data=plan.data,
        storage="sqlite",
        record=plan.record,
        timeout=PATIENCE,
    )
    with cluster_of as counter, load_on(counter.cluster, plan.clients) as load:
        status = leader_status(counter.cluster)
        counter.get()
        yield Ready(seconds=monotonic() - began, leader=status.server_id, term=status.term)
        yield from load.measured(plan.increments)
        load.go_on()
        yield from fail_over(counter.cluster, load)
        yield from recover(counter.cluster, load)
        load.finish()
        history = load.history()
        yield Checking(operations=len(history))
        yield prove(history, counter.get(), settled_digests(counter.cluster))
