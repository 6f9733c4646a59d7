"""Peers that are measured: started as any other, with a probe as recorder, a disk that counts, a machine of our own.

In processes, the experiment tells a peer to begin and to end its measurement by a signal, and the peer leaves what it
saw in a file; in threads of one process it calls the probe.  Both are the same `Probes` to whoever runs the experiment.
"""

from __future__ import annotations

import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from msgspec import Struct, msgpack

from actors import interpreter
from actors.compare import null_core
from actors.compare.payloads import measured_payloads
from actors.compare.probe import Led, MeasuredStorage, Probe, Seen
from actors.control import ControlChannel
from actors.hosts import Host, ProcessHost, ThreadHost
from actors.process import live_as_peer, start_peer
from actors.replicated import Replicated
from actors.spec import PeerSpec, RunningPeer
from actors.storage.disk import Disk
from actors.storage.trace import TraceWriter
from raft_core import ServerId

BEGIN, END = signal.SIGUSR1, signal.SIGUSR2
PATIENCE = 20.0
"""Seconds within which a peer says what it saw."""
_LOOK = 0.005


class Measured(Struct, frozen=True, kw_only=True):
    """What is special about the peers of one run."""

    directory: str
    """Where traces and figures go."""
    slow_apply: float = 0.0
    """Seconds that each command keeps a processor busy."""
    slow_fsync: float = 0.0
    """Seconds that each write takes longer."""
    null_core: bool = False
    """Replace the core, from `begin` on, by one that commits at once and tells nobody."""


class Report(Struct, frozen=True):
    """What a peer leaves when its measurement ends."""

    seen: Seen
    led: tuple[Led, ...]


class _Start:
    """`process.start_peer` with a probe (see `hosts.StartHere`)."""

    def __init__(self, measured: Measured, probes: dict[ServerId, Probe]) -> None:
        self._measured = measured
        self._probes = probes

    def __call__(
        self,
        spec: PeerSpec,
        disk: Disk,
        channel: ControlChannel,
        stopped: Callable[[BaseException | None], None],
        /,
        *,
        machine: type[Replicated] | None = None,
    ) -> RunningPeer:
        server_id = spec.config.server_id
        path = Path(self._measured.directory) / f"{server_id}.{os.getpid()}.{monotonic():.3f}.trace"
        trace = TraceWriter(path)
        storage = MeasuredStorage(disk.storage, self._measured.slow_fsync)
        measured_disk = Disk(storage, disk.snapshots, is_alone=disk.is_alone)
        probe = Probe(server_id, trace, storage)

        def ended(error: BaseException | None) -> None:
            trace.close()
            stopped(error)

        own = machine or measured_payloads(self._measured.slow_apply, probe.note_applied)
        peer = start_peer(spec, measured_disk, channel, ended, machine=own, recorder=probe)
        probe.watch(peer)
        self._probes[server_id] = probe
        return peer


def begin(probes: Iterable[Probe], measured: Measured) -> None:
    """The measurement of the peers of this process begins; no trace holds a turn of another core than ours."""
    for probe in probes:
        probe.begin()
    if measured.null_core:
        interpreter.step_all = null_core.step_all  # type: ignore[attr-defined]


def measured_main(end: socket.socket, encoded_spec: bytes, *, measured: Measured) -> None:
    """Entry point of a measured peer's process."""
    probes: dict[ServerId, Probe] = {}
    start = _Start(measured, probes)

    def on_begin(*_: object) -> None:
        begin(probes.values(), measured)
        for server_id in probes:
            _begun(measured, server_id).touch()

    def on_end(*_: object) -> None:
        for probe in probes.values():
            _leave(Path(measured.directory), Report(probe.end(), tuple(probe.led)))

    signal.signal(BEGIN, on_begin)
    signal.signal(END, on_end)
    live_as_peer(end, encoded_spec, start)


def _begun(measured: Measured, server_id: ServerId) -> Path:
    """What is there once this peer's measurement has begun."""
    return Path(measured.directory) / f"{server_id}.begun"


def _leave(directory: Path, report: Report) -> None:
    path = directory / f"{report.seen.peer}.seen"
    beside = path.with_suffix(".tmp")
    beside.write_bytes(msgpack.encode(report))
    beside.replace(path)


class Probes(ABC):
    """The probes of all peers of one run, wherever they live."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    @abstractmethod
    def host(self) -> Host:
        """Where the peers are started."""

    @abstractmethod
    def begin(self, process_ids: dict[ServerId, int]) -> None:
        """All begin to measure; `process_ids` of the peers that are up."""

    @abstractmethod
    def end(self, process_ids: dict[ServerId, int]) -> dict[ServerId, Report]:
        """All end; what those saw that are up."""

    @abstractmethod
    def pause(self, server_id: ServerId, process_id: int, seconds: float) -> None:
        """Let a peer stand still; returns when it goes on."""


class ProcessProbes(Probes):
    """Of peers in processes."""

    def host(self) -> Host:
        """See `Probes`."""
        return ProcessHost(partial(measured_main, measured=self.measured))

    def begin(self, process_ids: dict[ServerId, int]) -> None:
        """See `Probes`."""
        for process_id in process_ids.values():
            os.kill(process_id, BEGIN)
        for server_id in process_ids:
            self._wait_for(_begun(self.measured, server_id))

    def end(self, process_ids: dict[ServerId, int]) -> dict[ServerId, Report]:
        """See `Probes`."""
        for process_id in process_ids.values():
            os.kill(process_id, END)
        return {server_id: self._left(server_id) for server_id in process_ids}

    def _left(self, server_id: ServerId) -> Report:
        path = Path(self.measured.directory) / f"{server_id}.seen"
        self._wait_for(path)
        return msgpack.decode(path.read_bytes(), type=Report)

    def _wait_for(self, path: Path) -> None:
        deadline = monotonic() + PATIENCE
        while not path.exists():
            if monotonic() > deadline:
                raise TimeoutError(f"no {path.name} within {PATIENCE} s")
            sleep(_LOOK)

    def pause(self, server_id: ServerId, process_id: int, seconds: float) -> None:
        """See `Probes`."""
        os.kill(process_id, signal.SIGSTOP)
        sleep(seconds)
        os.kill(process_id, signal.SIGCONT)


class ThreadProbes(Probes):
    """Of peers in threads of this process."""

    def __init__(self, measured: Measured) -> None:
        super().__init__(measured)
        self._probes: dict[ServerId, Probe] = {}

    def host(self) -> Host:
        """See `Probes`."""
        return ThreadHost(start=_Start(self.measured, self._probes))

    def begin(self, process_ids: dict[ServerId, int]) -> None:
        """See `Probes`."""
        begin([self._probes[server_id] for server_id in process_ids], self.measured)

    def end(self, process_ids: dict[ServerId, int]) -> dict[ServerId, Report]:
        """See `Probes`."""
        probes = [self._probes[server_id] for server_id in process_ids]
        return {probe.server_id: Report(probe.end(), tuple(probe.led)) for probe in probes}

    def pause(self, server_id: ServerId, process_id: int, seconds: float) -> None:
        """See `Probes`: its next turn takes so long, and in the twin it holds the lock meanwhile."""
        self._probes[server_id].pause = seconds
        sleep(seconds)
