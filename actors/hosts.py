"""Where peers live: in operating-system processes, or in threads of this one.

A host starts a peer from its specification and gives back a `Hosted`: the supervisor's end of the control channel and a
way to kill.  Everything else about a peer - links, packets, its end - is the same for both.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from msgspec import msgpack

from actors.control import ControlChannel, control_pair
from actors.errors import ActorumError, NoMainGuard, PeerFailed
from actors.notes import EndedFromOutside
from actors.process import open_disk, peer_main, report_end, start_peer
from actors.replicated import Replicated
from actors.spec import PeerSpec, RunningPeer
from actors.storage.disk import Disk
from raft_core import ServerId

PeerMain = Callable[[socket.socket, bytes], None]
"""Entry point of a peer's process: its end of the control channel and its encoded `PeerSpec`."""

NO_MAIN_GUARD_EXIT = 66
"""Exit code of a process that was about to start a cluster while it was itself being started as a peer."""


_PEER_NAME = "actorum-"


class Killed(EndedFromOutside):
    """The peer in a thread was killed; nothing it had in memory is used again."""


class Hosted(Protocol):
    """One incarnation of a peer."""

    channel: ControlChannel

    def kill(self) -> None:
        """End it at once, without a chance to write or say anything."""

    def join(self) -> int | None:
        """Wait until it is gone; its exit code, if it has one."""


class Host(Protocol):
    """A place for peers."""

    def launch(self, spec: PeerSpec) -> Hosted:
        """Start a peer; `PeerReady` or `PeerEnded` will come over its channel."""


class _Process:
    def __init__(self, spec: PeerSpec, main: PeerMain) -> None:
        ours, theirs = control_pair()
        context = multiprocessing.get_context("spawn")
        self.channel = ControlChannel(ours)
        self._process = context.Process(
            target=main, args=(theirs, msgpack.encode(spec)), name=f"{_PEER_NAME}{spec.config.server_id}", daemon=True
        )
        self._process.start()
        theirs.close()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)

    def join(self) -> int | None:
        """Reap the process."""
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        self._process.close()
        return code


class ProcessHost:
    """Each peer in a process of its own, started afresh (`spawn`): no lock or descriptor is inherited by accident."""

    def __init__(self, main: PeerMain = peer_main) -> None:
        """`main`: what the new process runs; importable, for it goes there by name."""
        self._main = main

    def launch(self, spec: PeerSpec) -> Hosted:
        """Start a process."""
        return _Process(spec, self._main)


class StartHere(Protocol):
    """Starts a peer in threads of this process, as `process.start_peer` does."""

    def __call__(
        self,
        spec: PeerSpec,
        disk: Disk,
        channel: ControlChannel,
        stopped: Callable[[BaseException | None], None],
        /,
        *,
        machine: type[Replicated] | None,
    ) -> RunningPeer: ...


class _Thread:
    def __init__(
        self, spec: PeerSpec, disk: Callable[[], Disk], machine: type[Replicated] | None, start: StartHere
    ) -> None:
        ours, theirs = control_pair()
        self.channel = ControlChannel(ours)
        self._theirs = ControlChannel(theirs)
        self._peer: RunningPeer | None = None
        try:
            self._peer = start(spec, disk(), self._theirs, self._ended, machine=machine)
        except ActorumError as error:
            self._ended(error)

    def _ended(self, error: BaseException | None) -> None:
        report_end(self._theirs, None if isinstance(error, Killed) else error)

    def kill(self) -> None:
        """Make the peer fail at its next turn."""
        if self._peer is not None:
            self._peer.fail(Killed())

    def join(self) -> int | None:
        """The channel's end was the peer's end."""
        return None


class ThreadHost:
    """All peers in threads of this process.  Memory storage outlives the peer that used it, as a disk would."""

    def __init__(self, machine: type[Replicated] | None = None, start: StartHere = start_peer) -> None:
        """`machine`: the class itself, which need not be importable here; without it, what the specification names.
        `start`: what starts a peer, instead of `process.start_peer`."""
        self._machine = machine
        self._start = start
        self._memories: dict[ServerId, Disk] = {}

    def launch(self, spec: PeerSpec) -> Hosted:
        """Start a peer in this process."""
        return _Thread(spec, lambda: self._disk(spec), self._machine, self._start)

    def _disk(self, spec: PeerSpec) -> Disk:
        if spec.directory is not None:
            return open_disk(spec)
        return self._memories.setdefault(spec.config.server_id, open_disk(spec))


def end_if_being_started() -> None:
    """While `spawn` imports the main program into a new process, no cluster can be started from it.

    A process that was to become a peer ends silently, and its supervisor says why; in any other the error says so."""
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        if process.name.startswith(_PEER_NAME):
            os._exit(NO_MAIN_GUARD_EXIT)
        raise no_main_guard()


def no_main_guard() -> NoMainGuard:
    """The program starts its cluster when it is imported."""
    return NoMainGuard(
        'the program starts its cluster without `if __name__ == "__main__":`',
        why="each peer is a new process that imports the program, and would start a cluster of its own",
        fix='put the code that starts the cluster under `if __name__ == "__main__":`',
    )


def start_error(server_id: ServerId, exit_code: int | None) -> ActorumError:
    """Why a peer ended before it was ready, as far as its exit code tells."""
    if exit_code == NO_MAIN_GUARD_EXIT:
        return no_main_guard()
    return PeerFailed(
        f"{server_id} ended while it was starting (exit code {exit_code})",
        why="see what it printed to standard error",
    )


def pass_to(other: socket.socket, data: bytes, descriptors: tuple[int, ...]) -> None:
    """Send `data` with copies of `descriptors` over a Unix socket."""
    socket.send_fds(other, [data], descriptors)
