"""The deterministic engine: a whole cluster in the calling thread, with a clock of its own.

`Counter.cluster(engine="sim", seed=1)` gives the same bound instance as the other engines.  The core, the interpreter,
the applier, the deadlines, the client's session, the machine and every frame on the way are the real ones, literally;
what is replaced is what makes real runs differ: threads, clocks, pipes and disks.  So the same seed and the same calls
give the same run, byte for byte (`cluster.trace_digest`), an hour takes seconds, and a failure found once is found
again.

How it works: a heap of what will happen (`timeline`), one incarnation after the other of each peer (`peer`), one client
(`client`).  Time stands still until somebody waits: a call, `result()`, `await`, `cluster.run_for(seconds)` take the
next events from the heap, in the thread that waits, until they have what they want or the virtual time is up.  A call
that was only submitted gets on meanwhile, and its callbacks run there.

Rules of the package:

1. No threads, no clock, no processes, no files; randomness comes from the seed alone.
2. Whatever takes time takes a drawn time, and nothing overtakes on one way: links, disk and applier keep their order,
   as pipes and queues do.
3. A kill takes everything but the disk, and of the disk only what was confirmed is certain: a write under way is lost.
4. An exception in a peer is not survived: it comes out where the simulation is driven, for it is a bug to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from actors.cluster import ClusterHandle
from actors.interpreter import Recorder
from actors.replicated import Replicated
from actors.sim.client import SimClient
from actors.sim.cluster import SimCluster
from actors.sim.incarnation import PeerPlan
from actors.sim.peers import SimPeers
from actors.sim.timeline import Timeline
from actors.spec import RuntimeName
from raft_core import ServerId, Settings

__all__ = ["SimCluster", "start_sim_cluster"]

M = TypeVar("M", bound=Replicated)


@contextmanager
def start_sim_cluster(
    machine: type[M],
    *,
    nodes: int,
    seed: int,
    timeout: float,
    settings: Settings,
    allow_code: bool,
    check_determinism: bool,
    runtime: RuntimeName = "actors",
    recorder_of: Callable[[ServerId], Recorder | None] = lambda server_id: None,
) -> Iterator[M]:
    """Give a bound instance of `machine` over `nodes` simulated peers; `timeout` is in virtual seconds.

    `recorder_of`: who records what happens to a server."""
    timeline = Timeline(seed)
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    plan = PeerPlan(names, settings, machine, allow_code, check_determinism, runtime, recorder_of)
    peers = SimPeers(plan, timeline)
    client = SimClient(timeline, timeout=timeout, health=peers.health)
    peers.start()
    client.client_id = peers.add_listener(client)
    cluster = SimCluster(peers, client, timeline, timeout=timeout)
    try:
        yield machine._bound(ClusterHandle(client, cluster))
    finally:
        cluster.stop_watching()
        client.close()
        peers.close()
