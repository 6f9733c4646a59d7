"""Who writes a snapshot down: the applier itself, or a copy of its process behind it (paper 7, "copy-on-write").

*Here* is simple: the state is encoded and written, and nothing is applied meanwhile.  *Behind* forks: the copy has the
state as it is at this moment, encodes it, writes the file and ends, while the applier goes on.  Measured with a store
of 100,000 keys (20 MiB) under load: half a second and more without an answer becomes a few milliseconds.

Rules of the file:

1. Only a peer that has a process of its own, on Linux, has copies made; and only if there may be much to write.
2. The copy closes every link and file of its original at once: for others, the end of a link is the end of a peer.  It
   ends with its original, too, by the kernel's doing: nobody waits for it, and nobody meets what it would write later.
3. The copy writes under a name that nobody reads.  The original gives the file its own, when the copy has said that it
   is durable.
4. It cannot be stuck: a copy that says nothing for `PATIENCE` is killed, and the next snapshot is another attempt.
5. It shall not be felt: a copy of the copy does the work, in time that nobody else wants (SCHED_IDLE).  If there is no
   such time, the copy ends it and does the work itself, with a lower priority than those who serve, but with one.
   (Without privileges nobody leaves SCHED_IDLE again; hence two of them.)

Only the thread that forks lives on in the copy, so it touches no lock that another thread may have held: it encodes,
hashes and writes, which need none of Python's.

Rejected: a thread that encodes a copy of the state (making that copy is most of the work, and encoding holds the
interpreter's lock, for which heartbeats wait); applying to an overlay meanwhile (each machine would have to know how).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from msgspec import MsgspecError, json, msgpack

from actors.errors import ActorumError, PeerFailed, error_from_json
from actors.machine import MachineHost
from actors.snapshot_taking import Outcome, Saver, SavingHere, Tell
from actors.storage.port import Snapshots
from actors.storage.snapshots import SnapshotFiles
from raft_core import Configured, LogIndex, Snapshot, Term

CAN_COPY: Final = sys.platform == "linux"
SMALL: Final = 32 << 10
"""Bytes below which a copy of the process costs more than it spares."""
POLITENESS: Final = 10
"""By how much a copy's priority is lower that does not wait for idle time."""
STARVED: Final = 0.5
"""Seconds in which who waits for idle time must have got a tenth of a processor, or have ended."""
PATIENCE: Final = 600.0
"""Seconds after which a copy that says nothing is killed."""
_PR_SET_PDEATHSIG: Final = 1


def saver_of(machine: MachineHost, snapshots: Snapshots, *, behind: bool) -> Saver:
    """Behind, if that can be done."""
    if behind and CAN_COPY and isinstance(snapshots, SnapshotFiles):
        return SavingBehind(machine, snapshots)
    return SavingHere(machine, snapshots)


class SavingBehind:
    """In a copy of this process."""

    def __init__(self, machine: MachineHost, files: SnapshotFiles) -> None:
        import ctypes  # not at the top: only peers need it, and the command line shall start fast

        self._prctl = ctypes.CDLL(None).prctl
        self._machine = machine
        self._files = files
        self._here = SavingHere(machine, files)

    def save(self, index: LogIndex, term: Term, configured: Configured, size: int, tell: Tell) -> Outcome | None:
        """Later, unless it is small or the system refuses."""
        if size < SMALL:
            return self._here.save(index, term, configured, size, tell)
        original = os.getpid()
        reader, writer = os.pipe()
        try:
            copy = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            return self._here.save(index, term, configured, size, tell)
        if copy == 0:
            self._be_the_copy(original, writer, index, term, configured)
        os.close(writer)
        threading.Thread(target=self._wait, args=(copy, reader, tell), name="snapshot", daemon=True).start()
        return None

    # --- in the copy --------------------------------------------------------------------------------------------------

    def _be_the_copy(self, original: int, writer: int, index: LogIndex, term: Term, configured: Configured) -> NoReturn:
        try:
            self._cut_loose(original, writer)
            report = self._report_in_idle_time(index, term, configured)
            os.write(writer, report or self._report(index, term, configured))
        finally:
            os._exit(0)

    def _cut_loose(self, original: int, writer: int) -> None:
        """Be nobody's peer, and nobody's heir: see rule 2."""
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        self._end_with(original)
        os.nice(POLITENESS)

    def _end_with(self, original: int) -> None:
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != original:
            os._exit(1)

    def _report_in_idle_time(self, index: LogIndex, term: Term, configured: Configured) -> bytes:
        """What a copy of this copy has to say; nothing if there is no idle time."""
        parent = os.getpid()
        reader, writer = os.pipe()
        try:
            idler = os.fork()
        except OSError:
            return b""
        if idler == 0:
            try:
                self._end_with(parent)
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                os.write(writer, self._report(index, term, configured))
            finally:
                os._exit(0)
        os.close(writer)
        before = 0.0
        while not (report := _everything(reader, STARVED)):
            used = _processor_seconds(idler)
            if used - before < STARVED / 10:
                break
            before = used
        os.kill(idler, signal.SIGKILL)
        os.waitpid(idler, 0)
        return report

    def _report(self, index: LogIndex, term: Term, configured: Configured) -> bytes:
        try:
            return msgpack.encode(self._files.write_down(index, term, configured, self._machine.save()))
        except ActorumError as error:
            return json.encode(error.as_json())
        except Exception as error:
            return json.encode(_failed(f"{type(error).__name__}: {error}").as_json())

    # --- in the original, in a thread that waits ----------------------------------------------------------------------

    def _wait(self, copy: int, reader: int, tell: Tell) -> None:
        report = _everything(reader, PATIENCE)
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(copy, signal.SIGKILL)  # it has said all, or nothing in time
        os.waitpid(copy, 0)
        tell(self._outcome(report))

    def _outcome(self, report: bytes) -> Outcome:
        if report.startswith(b"{"):
            return error_from_json(json.decode(report))
        try:
            return self._files.publish(msgpack.decode(report, type=Snapshot))
        except MsgspecError:
            self._files.forget_unfinished()
            return _failed("it ended, or was killed, before it was done")
        except ActorumError as error:
            return error


def _processor_seconds(process: int) -> float:
    """Used by it so far."""
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _everything(reader: int, patience: float) -> bytes:
    """What is written until the other end is closed, or `patience` is over."""
    said, deadline = b"", monotonic() + patience
    while select.select([reader], [], [], max(0.0, deadline - monotonic()))[0]:
        if not (more := os.read(reader, 65536)):
            break
        said += more
    return said


def _failed(why: str) -> PeerFailed:
    return PeerFailed(
        "the copy of the process that was to save the state failed", why=why, fix="the log stays; it is tried again"
    )
