"""The two worlds in which the lab's scenarios run: virtual time, and real time with peers in threads or processes.

A `Port` is all that differs: what time it is, how to let time pass while listening, how to say something to a peer, how
to kill and start one.  Everything above it is single-threaded: what peers say is handed to the listener while
`pump` lets time pass, never otherwise.

Times are *lab seconds*: the lab's constants are written for an election time-out of one second, and a variant says how
long that is in its world.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

from actors.interpreter import Recorder
from actors.network import Network
from actors.outside import Outside
from actors.protocol import ClientMessage, PeerMessage, decode_peer_message, encode
from actors.raw_client import RawClient, RawListener
from actors.sim.incarnation import LINK, Incarnation, PeerPlan
from actors.sim.peers import SimPeers
from actors.sim.timeline import Timeline, Way
from actors.spec import RuntimeName
from actors.supervisor import Supervisor
from raft_core import ServerId, Settings


class Port(Protocol):
    """A running cluster, time, and a way to talk."""

    @property
    def second(self) -> float:
        """How many seconds of the peers' time a lab second is."""

    @property
    def network(self) -> Network:
        """The links between the peers."""

    @property
    def now(self) -> float:
        """Lab seconds since the beginning."""

    def begin(self) -> None:
        """Tell the listener of the peers, from now on."""

    def pump(self, until: float) -> None:
        """Let time pass until `until`, and tell the listener what peers say meanwhile."""

    def send(self, name: ServerId, message: ClientMessage) -> None:
        """Say something to a peer; nothing happens if it is not there."""

    def kill(self, name: ServerId) -> Future[None]:
        """Kill a peer."""

    def restart(self, name: ServerId) -> Future[None]:
        """Start a peer from its storage, ending it first if it runs."""

    def pause(self, name: ServerId) -> None:
        """Let a peer stand still, with all it has."""

    def resume(self, name: ServerId) -> None:
        """Let it go on."""

    def close(self) -> None:
        """End everything."""


class SimPort:
    """Virtual time: one second is a lab second (a `Port`, and the peers' `Listener`)."""

    second = 1.0

    def __init__(
        self,
        servers: int,
        runtime: RuntimeName,
        settings: Settings,
        seed: int,
        listener: RawListener,
        recorder_of: Callable[[ServerId], Recorder | None] = lambda name: None,
    ) -> None:
        self._listener = listener
        self._timeline = Timeline(seed)
        names = tuple(f"n{number}" for number in range(1, servers + 1))
        plan = PeerPlan(names, settings, Outside, runtime=runtime, recorder_of=recorder_of)
        self.peers = SimPeers(plan, self._timeline)
        self._ways: dict[ServerId, tuple[Incarnation, Way]] = {}
        self._client_id = self.peers.add_listener(self)

    @property
    def network(self) -> Network:
        """The links between the peers."""
        return self.peers.network

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._timeline.now

    @property
    def trace(self) -> list[str]:
        """What happened last."""
        return list(self._timeline.lines)

    @property
    def trace_digest(self) -> str:
        """Of everything that happened."""
        return self._timeline.digest

    def begin(self) -> None:
        """Start the peers."""
        self.peers.start()

    def pump(self, until: float) -> None:
        """Let happen what is due by `until`."""
        self._timeline.run_until(until)

    def send(self, name: ServerId, message: ClientMessage) -> None:
        """On its way to the peer."""
        if name in self._ways:
            peer, way = self._ways[name]
            frame = encode(message)
            way.put(lambda: peer.ask(self._client_id, frame))

    def kill(self, name: ServerId) -> Future[None]:
        """At once."""
        return _done(lambda: self.peers.kill(name))

    def restart(self, name: ServerId) -> Future[None]:
        """At once."""
        return _done(lambda: self.peers.restart(name))

    def pause(self, name: ServerId) -> None:
        """There is nothing that could be stopped."""
        raise NotImplementedError("a simulated peer cannot be paused")

    def resume(self, name: ServerId) -> None:
        """There is nothing that could be stopped."""
        raise NotImplementedError("a simulated peer cannot be paused")

    def close(self) -> None:
        """Drop everything."""
        self.peers.close()

    # --- what the peers tell ------------------------------------------------------------------------------------------

    def attach(self, peer: Incarnation) -> None:
        """A new incarnation is there."""
        self._ways[peer.server_id] = peer, Way(self._timeline, LINK, lambda: peer.is_up)
        self._listener.attached(peer.server_id)

    def detach(self, server_id: ServerId) -> None:
        """It is gone."""
        del self._ways[server_id]
        self._listener.gone(server_id)

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        """It said something."""
        self._listener.heard(server_id, decode_peer_message(frame))


def _done(function: Callable[[], None]) -> Future[None]:
    done: Future[None] = Future()
    function()
    done.set_result(None)
    return done


class RealPort:
    """Real time, and peers in threads or processes (a `Port`, and a `RawListener` that passes on)."""

    def __init__(
        self,
        servers: int,
        runtime: RuntimeName,
        engine: str,
        settings: Settings,
        seed: int,
        listener: RawListener,
        second: float,
    ) -> None:
        """`second`: how long a lab second is."""
        self._listener = listener
        self.second = second
        self._heard: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._paused: set[int] = set()
        self._at_end = ExitStack()
        with ExitStack() as at_end:
            cluster = at_end.enter_context(
                Outside.cluster(
                    nodes=servers,
                    engine="threads" if engine == "threads" else "processes",
                    runtime=runtime,
                    settings=settings,
                    seed=seed,
                    chaos=True,
                )
            ).cluster
            assert isinstance(cluster.supervisor, Supervisor)
            self._cluster = cluster
            self._supervisor = cluster.supervisor
            self._client = RawClient(self)
            at_end.callback(self._client.close)
            self._hands = at_end.enter_context(ThreadPoolExecutor(servers))
            at_end.callback(self._resume_all)
            self._at_end = at_end.pop_all()
        self._began = monotonic()

    @property
    def network(self) -> Network:
        """The links between the peers."""
        return self._cluster.network

    @property
    def now(self) -> float:
        """Lab seconds since the beginning."""
        return (monotonic() - self._began) / self.second

    def begin(self) -> None:
        """Get links."""
        client_id = self._supervisor.add_client(self._client)
        self._at_end.callback(self._supervisor.remove_client, client_id)

    def pump(self, until: float) -> None:
        """Listen until then; what has been said is heard even if it is late already."""
        while True:
            try:
                self._heard.get(timeout=max(0.0, (until - self.now) * self.second))()
            except Empty:
                return

    def send(self, name: ServerId, message: ClientMessage) -> None:
        """Over a link."""
        self._client.send(name, message)

    def kill(self, name: ServerId) -> Future[None]:
        """SIGKILL, for a process."""
        return self._hands.submit(self._supervisor.kill, name)

    def restart(self, name: ServerId) -> Future[None]:
        """From its storage."""
        return self._hands.submit(self._supervisor.restart, name)

    def pause(self, name: ServerId) -> None:
        """SIGSTOP; returns when the process stands still, which is a moment after the signal was sent."""
        process_id = self._supervisor.members()[name][2]
        assert process_id not in (0, os.getpid()), "only a process of its own can be paused"
        os.kill(process_id, signal.SIGSTOP)
        os.waitid(os.P_PID, process_id, os.WSTOPPED | os.WNOWAIT)  # it is our child
        self._paused.add(process_id)

    def resume(self, name: ServerId) -> None:
        """SIGCONT."""
        process_id = self._supervisor.members()[name][2]
        os.kill(process_id, signal.SIGCONT)
        self._paused.discard(process_id)

    def _resume_all(self) -> None:
        """Whoever stands still cannot stop in good order."""
        for process_id in self._paused:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)

    def close(self) -> None:
        """Stop the cluster."""
        self._at_end.close()

    # --- in the thread of the client ----------------------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """A new incarnation is there."""
        self._heard.put(lambda: self._listener.attached(server_id))

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """It said something."""
        self._heard.put(lambda: self._listener.heard(server_id, message))

    def gone(self, server_id: ServerId) -> None:
        """It is gone."""
        self._heard.put(lambda: self._listener.gone(server_id))
