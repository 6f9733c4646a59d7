"""A large state is saved by a copy of the peer's process, and the peer goes on (paper 7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest

from actors.applier import Applier, Apply, Saved, TakeSnapshot
from actors.errors import ActorumError, PeerFailed, SnapshotFailed
from actors.machine import MachineHost
from actors.machines.counter import Counter
from actors.protocol import Administered, PeerMessage
from actors.snapshot_saving import POLITENESS
from actors.snapshot_taking import Outcome, SavingHere, SnapshotTaker, Tell
from actors.spec import RuntimeName
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import Configured, Entry, EntryKind, LogIndex, Settings, Snapshot, Term, configuration
from tests.actors.large import Large

BASE = Configured(0, configuration(["n1"]))
NO_OP = Entry(1, b"", EntryKind.NO_OP)
MANY = 400_000
"""Numbers whose saving takes far longer than a command."""
PATIENCE = 60.0


# --- What the applier makes of it.


class SavingLater:
    """Saves at once, and says so when it is told to."""

    def __init__(self, machine: MachineHost) -> None:
        self._here = SavingHere(machine, MemorySnapshots())
        self.under_way: list[tuple[Outcome, Tell]] = []

    def save(self, index: LogIndex, term: Term, configured: Configured, size: int, tell: Tell) -> Outcome | None:
        outcome = self._here.save(index, term, configured, size, tell)
        assert outcome is not None
        self.under_way.append((outcome, tell))
        return None

    def finish(self, error: ActorumError | None = None) -> None:
        outcome, tell = self.under_way.pop(0)
        tell(error or outcome)


class Desk:
    """An applier whose snapshots are saved behind it."""

    def __init__(self) -> None:
        machine = MachineHost(Counter())
        self.saver = SavingLater(machine)
        self.taken: list[LogIndex] = []
        self.said: list[PeerMessage] = []
        taker = SnapshotTaker(machine, MemorySnapshots(), Settings(snapshot_entries=3), None, BASE, saver=self.saver)
        self.applier = Applier("n1", machine, self, lambda index: None, taker, self._note, self._later)

    def _note(self, snapshot: Snapshot) -> None:
        self.taken.append(snapshot.last_included_index)

    def _later(self, saved: Saved) -> None:
        self.applier.work([saved])

    def reply(self, client_id: int, message: PeerMessage) -> None:
        self.said.append(message)

    def apply(self, count: int) -> None:
        self.applier.work([Apply(self.applier.applied_index + 1, (NO_OP,) * count)])

    def ask(self, number: int) -> None:
        self.applier.work([TakeSnapshot(7, number)])


def test_the_core_hears_of_a_snapshot_when_it_is_on_disk_and_no_other_is_begun_before() -> None:
    desk = Desk()
    desk.apply(3)
    assert desk.taken == []
    desk.apply(5)
    assert len(desk.saver.under_way) == 1
    desk.saver.finish()
    assert desk.taken == [3]
    desk.apply(1)
    desk.saver.finish()
    assert desk.taken == [3, 9]


def test_who_asks_for_a_snapshot_is_answered_when_one_holds_all_that_was_applied_before() -> None:
    desk = Desk()
    desk.apply(3)
    desk.apply(1)
    desk.ask(1)
    desk.saver.finish()  # of what was applied before the last entry
    assert desk.said == []
    desk.saver.finish()
    assert desk.said == [Administered(1, "done", 4)]
    assert desk.taken == [3, 4]


def test_who_asks_for_what_is_being_saved_waits_for_that() -> None:
    desk = Desk()
    desk.apply(3)
    desk.ask(1)
    desk.saver.finish()
    assert desk.said == [Administered(1, "done", 3)]
    assert not desk.saver.under_way


def test_who_asks_hears_that_saving_failed_and_the_next_who_asks_has_it_tried_again() -> None:
    desk = Desk()
    desk.apply(1)
    desk.ask(1)
    desk.saver.finish(PeerFailed("the disk is full"))
    assert desk.said == [Administered(1, "refused", reason="the disk is full")]
    desk.ask(2)
    desk.saver.finish()
    assert desk.said[1:] == [Administered(2, "done", 1)]


# --- Processes.


def children_of(process_id: int) -> list[int]:
    """Processes that it has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            found += [int(path.parent.name)] if int(fields[1]) == process_id and fields[0] != "Z" else []
    return found


def _until(condition: object, what: str) -> None:
    deadline = monotonic() + PATIENCE
    assert callable(condition)
    while not condition():
        assert monotonic() < deadline, f"not in time: {what}"
        sleep(0.001)


@pytest.fixture(params=["actors", "locks"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Large]:
    runtime: RuntimeName = request.param
    with Large.cluster(nodes=1, runtime=runtime, data=tmp_path, storage="memory", timeout=PATIENCE) as machine:
        machine.fill(MANY)
        yield machine


@pytest.fixture
def hand() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def copy_at_work(large: Large, hand: ThreadPoolExecutor) -> tuple[Future[int], int]:
    """A snapshot that is being taken, and the process that saves it."""
    process_id = large.cluster.supervisor.members()["n1"][2]
    under_way = hand.submit(large.cluster.snapshot)
    _until(lambda: under_way.done() or children_of(process_id), "a copy of the peer")
    assert not under_way.done(), "it was saved in the peer itself"
    return under_way, children_of(process_id)[0]


def test_commands_are_answered_while_a_snapshot_is_taken_and_it_is_sound(
    large: Large, hand: ThreadPoolExecutor
) -> None:
    under_way, _ = copy_at_work(large, hand)
    answered = 0
    while not under_way.done():
        answered = large.incr()
    assert answered > 20
    large.cluster.restart("n1")
    assert large.size() == MANY
    assert large.incr() > answered


def test_a_copy_that_is_killed_leaves_nothing_and_the_next_one_succeeds(
    large: Large, hand: ThreadPoolExecutor, tmp_path: Path
) -> None:
    under_way, copy = copy_at_work(large, hand)
    (tmp_path / "n1" / "snapshots" / "half.saving").write_bytes(b"what it has written so far")
    os.kill(copy, signal.SIGKILL)
    with pytest.raises(SnapshotFailed, match="could not take"):
        under_way.result(PATIENCE)
    assert not [*tmp_path.rglob("*.saving"), *tmp_path.rglob("*.snapshot")]
    assert large.cluster.snapshot() > 0
    assert len([*tmp_path.rglob("*.snapshot")]) == 1


def test_a_copy_holds_no_link_of_its_peer_and_ends_with_it(large: Large, hand: ThreadPoolExecutor) -> None:
    under_way, copy = copy_at_work(large, hand)
    _until(lambda: os.getpriority(os.PRIO_PROCESS, copy) > os.getpriority(os.PRIO_PROCESS, 0), "it has cut loose")
    os.kill(copy, signal.SIGSTOP)  # it does not end by itself
    descriptors = [os.readlink(path) for path in Path(f"/proc/{copy}/fd").iterdir() if int(path.name) > 2]
    assert not [link for link in descriptors if link.startswith("socket:")]
    large.cluster.kill("n1")
    _until(lambda: not Path(f"/proc/{copy}").exists(), "the end of the copy")
    large.cluster.restart("n1")
    assert large.size() == MANY
    with suppress(ActorumError):
        under_way.result(PATIENCE)


SAVES = """
import os, sys, threading
from pathlib import Path
from actors import snapshot_saving
from actors.machine import MachineHost
from actors.machines.key_value import KeyValue
from actors.storage.snapshots import SnapshotFiles
from raft_core import Configured, configuration

snapshot_saving.STARVED = float(sys.argv[2])
store = KeyValue()
store.put("key", "x" * (100 * snapshot_saving.SMALL))
machine = MachineHost(store)
files = SnapshotFiles(sys.argv[1], cluster_id="c", server_id="n1", synchronous=True)
write_down = files.write_down

def noted(*arguments):
    Path(sys.argv[1], str(os.sched_getscheduler(0))).write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
    return write_down(*arguments)

files.write_down = noted
told, outcomes = threading.Event(), []
tell = lambda outcome: (outcomes.append(outcome), told.set())
saver = snapshot_saving.saver_of(machine, files, behind=True)
assert saver.save(1, 1, Configured(0, configuration(["n1"])), sys.maxsize, tell) is None
assert told.wait(60)
assert files.load(outcomes[0]) == machine.save()
"""


@pytest.mark.parametrize(
    ("starved", "scheduler"), [(60.0, os.SCHED_IDLE), (0.001, os.SCHED_OTHER)], ids=["idle time", "no idle time"]
)
def test_a_copy_works_in_idle_time_and_by_itself_if_there_is_none(
    tmp_path: Path, starved: float, scheduler: int
) -> None:
    subprocess.run([sys.executable, "-c", SAVES, str(tmp_path), str(starved)], check=True, timeout=PATIENCE)
    assert (tmp_path / str(scheduler)).exists()
    if scheduler == os.SCHED_OTHER:
        assert int((tmp_path / str(scheduler)).read_text()) >= POLITENESS
    assert len([*tmp_path.glob("*.snapshot")]) == 1 and not [*tmp_path.glob("*.saving")]
