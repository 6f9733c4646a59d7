"""`SimCluster`: the same `Cluster`, with a clock that its program moves."""

from __future__ import annotations

from actors.cluster import Cluster
from actors.machine import refuse_inside_apply
from actors.sim.client import SimClient
from actors.sim.peers import SimPeers
from actors.sim.timeline import Timeline
from actors.sim.watcher import SimWatcher, receiver
from actors.watching import Watch


class SimCluster(Cluster):
    """A running simulation.  All times, also those of errors and status, are virtual seconds."""

    def __init__(self, peers: SimPeers, client: SimClient, timeline: Timeline, *, timeout: float) -> None:
        super().__init__(peers, client, data=None, timeout=timeout, network=peers.network)
        self._timeline = timeline
        self._peers = peers

    @property
    def peers(self) -> SimPeers:
        """Who runs the simulated peers."""
        return self._peers

    @property
    def now(self) -> float:
        """Virtual seconds since the simulation began."""
        return self._timeline.now

    @property
    def trace(self) -> list[str]:
        """The latest events, oldest first: virtual time, who, what, checksum of the bytes involved."""
        return list(self._timeline.lines)

    @property
    def trace_digest(self) -> str:
        """SHA-256 of all events so far with all their bytes: two runs are the same if and only if it is."""
        return self._timeline.digest

    def run_for(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass, and everything happen that is due meanwhile."""
        refuse_inside_apply("run_for()")
        self._timeline.run_until(self._timeline.now + seconds)

    def _new_watch(self) -> Watch:
        watch = Watch(receiver(self._timeline), is_threaded=False)
        watcher = SimWatcher(self._timeline, watch)
        watcher.client_id = self._peers.add_listener(watcher)
        self._at_end.callback(watch.close)
        return watch

    def _now(self) -> float:
        return self.now

    def _pause(self, seconds: float) -> None:
        self.run_for(seconds)
