"""What the interpreter does is recorded, turn by turn, and replays; a trace file survives the kill of its writer.

Three real interpreters talk to each other here, in virtual time and without threads, with a disk that confirms at once
or later.  The file is then damaged in every way a file can be.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
from msgspec.structs import replace

from actors.applier import Apply, ClientId, Work
from actors.deadlines import Deadlines
from actors.interpreter import Interpreter, Written
from actors.protocol import PeerMessage, SubmitCommands
from actors.storage import trace
from actors.storage.disk import Arrival
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import CorruptStorage, StorageError, StorageInUse, UnknownFormat
from actors.storage.trace import (
    MemoryTrace,
    TraceReader,
    TraceRecorder,
    TraceWriter,
    read_trace,
    recorders,
    trace_files,
)
from raft_core import (
    AppendEntries,
    AppendToLog,
    Applied,
    Effect,
    ElectionTimeout,
    Entry,
    Event,
    LogPersisted,
    Message,
    PersistEffect,
    Received,
    ServerId,
    Settings,
    follower,
    restore,
    step_all,
)
from raft_core.verify.replay import Divergence, Record, Started, Turn, encode_record, outline, replay, started
from tests.actors.storage.faults import broken, files_limited_to

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("n1", "n2", "n3")
SETTINGS = Settings(election_timeout=300, heartbeat_interval=50)


@pytest.fixture
def writer() -> Iterator[Writer]:
    """`writer(path)`: opens a trace, and closes it after the test."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(Verbatim(path)))


class Verbatim(TraceWriter):
    """Writes encoded records as they are, too."""

    def write(self, record: bytes) -> None:
        self._append(record)


Writer: TypeAlias = Callable[[Path], Verbatim]

# --- Three interpreters.


class Killed(Exception):
    """The peer ends here."""


class Peer:
    """One interpreter, its ports, and what waits for it."""

    def __init__(
        self, server_id: ServerId, group: Group, recorder: TraceRecorder | None, *, asynchronous: bool
    ) -> None:
        self.server_id = server_id
        self.group = group
        self.recorder = recorder
        self.asynchronous = asynchronous
        self.storage = MemoryStorage()
        self.doomed: Callable[[Effect], bool] = lambda effect: False
        self.incarnation = 0
        self.start()

    def start(self) -> None:
        """From what is stored, with fresh memory."""
        self.incarnation += 1
        self.inbox: list[Event] = []
        self.asked: deque[tuple[ClientId, SubmitCommands]] = deque()
        self.writes: deque[Sequence[PersistEffect]] = deque()
        self.deadlines = Deadlines(Random(f"{self.server_id} {self.incarnation}"))
        stored = self.storage.load()
        self.interpreter = Interpreter(
            restore(
                self.server_id,
                NAMES,
                SETTINGS,
                randomness=Random(self.server_id).getrandbits(32),
                current_term=stored.current_term,
                voted_for=stored.voted_for,
                entries=stored.entries,
            ),
            transport=self,
            disk=self,
            snapshots=MemorySnapshots(),
            applier=self.apply,
            replies=self,
            deadlines=self.deadlines,
            boundary=self.before_effect,
            recorder=self.recorder,
        )
        self.interpreter.start(self.group.now)

    def send(self, to: ServerId, message: Message) -> None:
        self.group.peers[to].inbox.append(Received(self.server_id, message))

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...] | None:
        if self.asynchronous:
            self.writes.append(changes)
        else:
            self.storage.write(changes)
        return None if self.asynchronous else ()

    def apply(self, work: list[Work]) -> None:
        self.inbox.extend(Applied(item.first_index + len(item.entries) - 1) for item in work if isinstance(item, Apply))

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        """The client is content."""

    def before_effect(self, effect: Effect) -> None:
        if self.doomed(effect):
            raise Killed

    def turn(self) -> None:
        """Everything that waits: confirmed writes, messages, requests, deadlines."""
        events, self.inbox = self.inbox, []
        asked, self.asked = self.asked, deque()
        written = Written(len(self.writes))
        while self.writes:
            self.storage.write(self.writes.popleft())
        self.interpreter.serve(self.group.now, events, asked, written)


class Group:
    """Three of them, in virtual time."""

    def __init__(self, record: Callable[[ServerId], TraceRecorder | None], *, asynchronous: bool = False) -> None:
        self.now = 0.0
        self.peers: dict[ServerId, Peer] = {}
        for name in NAMES:
            self.peers[name] = Peer(name, self, record(name), asynchronous=asynchronous)

    def run(self, milliseconds: int) -> None:
        for _ in range(milliseconds):
            self.now += 0.001
            for peer in self.peers.values():
                peer.turn()

    def until_it_has_a_leader(self) -> Peer:
        for _ in range(10_000):
            self.run(1)
            for peer in self.peers.values():
                if peer.interpreter.server.role_name == "leader":
                    return peer
        raise AssertionError("no leader in ten seconds of virtual time")

    def submit(self, commands: int) -> None:
        """One by one, with time for each to be committed."""
        leader = self.until_it_has_a_leader()
        for number in range(commands):
            leader.asked.append((7, SubmitCommands(number, (b"%d" % number,))))
            self.run(10)


def turns_of(records: Sequence[Record]) -> list[Turn]:
    return [record for record in records if isinstance(record, Turn)]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_the_interpreters_did_replays_from_memory(asynchronous: bool) -> None:
    traces = {name: MemoryTrace() for name in NAMES}
    group = Group(traces.__getitem__, asynchronous=asynchronous)
    group.submit(5)
    group.run(200)
    for name, peer in group.peers.items():
        report = replay(traces[name])
        assert report.server == peer.interpreter.server
        assert report.server.commit_index == report.server.last_applied == 6
        assert report.turns > 20


def test_what_the_interpreters_did_replays_from_files_with_a_restart_in_one(tmp_path: Path, writer: Writer) -> None:
    group = Group(lambda name: writer(tmp_path / "traces" / name))
    group.submit(3)
    old = group.until_it_has_a_leader()
    assert isinstance(old.recorder, TraceWriter)
    old.recorder.close()
    old.recorder = writer(tmp_path / "traces" / old.server_id)
    old.start()
    group.submit(3)
    group.run(200)
    for name, peer in group.peers.items():
        report = replay(read_trace(tmp_path / "traces" / name))
        assert report.server == peer.interpreter.server
        assert report.incarnations == (2 if peer is old else 1)
        assert report.server.commit_index > 6


def test_an_interpreter_without_a_recorder_does_the_same() -> None:
    recorded, plain = Group(lambda name: MemoryTrace()), Group(lambda name: None)
    for group in (recorded, plain):
        group.submit(2)
    for name in NAMES:
        assert recorded.peers[name].interpreter.server == plain.peers[name].interpreter.server


def test_a_turn_is_one_call_of_step_all_with_its_time() -> None:
    """A disk that confirms at once leads to a second turn, with nothing but its confirmation."""
    trace = MemoryTrace()
    peer = Group(lambda name: trace if name == "n1" else None).peers["n1"]
    peer.group.now = 0.125
    before = peer.interpreter.server
    event = Received("n2", AppendEntries(1, "n2", 0, 0, (Entry(1, b"x"),), 0))
    peer.inbox.append(event)
    peer.turn()
    start, first, second = trace
    assert isinstance(start, Started) and isinstance(first, Turn) and isinstance(second, Turn)
    assert start == started(before)
    middle, effects = step_all(before, [event])
    assert (first.number, first.time, first.events, first.effects) == (1, 0.125, (event,), effects)
    assert (first.before, first.after) == (outline(before), outline(middle))
    assert (second.number, second.time, second.events, second.effects) == (2, 0.125, (LogPersisted(1, 1),), ())
    peer.turn()
    assert len(trace.encoded) == 3, "nothing happened, and nothing is recorded"


def test_a_turn_is_in_the_trace_before_any_of_its_effects_is_carried_out(tmp_path: Path, writer: Writer) -> None:
    path = tmp_path / "n1"
    group = Group(lambda name: writer(path) if name == "n1" else None)
    peer = group.peers["n1"]
    seen: list[Turn] = []

    def look_and_die(effect: Effect) -> bool:
        seen.extend(turns_of(list(read_trace(path))))
        return True

    peer.doomed = look_and_die
    peer.inbox.append(Received("n2", AppendEntries(1, "n2", 0, 0, (Entry(1, b"x"),), 0)))
    with pytest.raises(Killed):
        peer.turn()
    assert any(isinstance(effect, AppendToLog) for effect in seen[-1].effects)
    assert peer.storage.load().entries == ()
    assert replay(read_trace(path)).server == peer.interpreter.server


# --- The file.


def write(path: Path, turns: int = 4) -> list[Record]:
    """A trace of one incarnation; what it should be read as."""
    memory, writer = MemoryTrace(), TraceWriter(path)
    for recorder in (memory, writer):
        server = follower("n1", NAMES, settings=SETTINGS)
        recorder.started(server)
        for number in range(turns):
            before, events = server, [ElectionTimeout(number)]
            server, effects = step_all(before, events)
            recorder.turn(number / 4, events, before, server, effects)
    writer.close()
    return list(memory)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "below" / "trace"
    records = write(path)
    assert list(read_trace(path)) == records
    assert [record.number for record in turns_of(records)] == [1, 2, 3, 4]
    assert replay(records).turns == 4


def test_a_new_writer_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    records = write(path) + write(path, turns=2)
    assert list(read_trace(path)) == records
    assert replay(records).incarnations == 2


def test_a_trace_in_memory_outlives_its_incarnations() -> None:
    trace, server = MemoryTrace(), follower("n1", NAMES)
    for _ in range(2):
        trace.started(server)
        after, effects = step_all(server, [ElectionTimeout(1)])
        trace.turn(0.0, [ElectionTimeout(1)], server, after, effects)
    assert [record.number for record in turns_of(list(trace))] == [1, 1]
    assert replay(trace).incarnations == 2


def ends_of_frames(path: Path, tmp_path: Path, records: int) -> list[int]:
    """Where each record ends, found by writing fewer."""
    sizes = []
    for count in range(records - 1):
        write(tmp_path / f"shorter {count}", turns=count)
        sizes.append((tmp_path / f"shorter {count}").stat().st_size)
    return [*sizes, path.stat().st_size]


def test_a_file_cut_short_anywhere_is_read_up_to_its_last_whole_record_and_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    records = write(path, turns=2)
    content, ends = path.read_bytes(), ends_of_frames(path, tmp_path, 3)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        whole = records[: sum(end <= length for end in ends)]
        assert list(read_trace(path)) == whole, f"cut at byte {length}"
        again = write(path, turns=1)
        assert list(read_trace(path)) == whole + again, f"cut at byte {length}"


def test_each_single_damaged_byte_is_found_after_what_stands_before_it(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    records = write(path, turns=2)
    content, ends = path.read_bytes(), ends_of_frames(path, tmp_path, 3)
    for position in range(len(content)):
        spoilt = bytearray(content)
        spoilt[position] ^= 0x41
        path.write_bytes(spoilt)
        found: list[Record] = []
        with pytest.raises(CorruptStorage, match="damaged at byte"):
            found.extend(read_trace(path))
            raise AssertionError(f"byte {position} was damaged and nobody said so: {found}")
        reader = read_trace(path)
        for record in records[: sum(end <= position for end in ends)]:
            assert next(reader) == record, f"byte {position}"


def test_bytes_missing_from_the_middle_or_zeros_at_the_end_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    write(path)
    content = path.read_bytes()
    for damaged in (content[:60] + content[61:], content + bytes(64)):
        path.write_bytes(damaged)
        with pytest.raises(CorruptStorage, match=str(path)):
            list(read_trace(path))


def test_nothing_is_appended_to_a_damaged_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    write(path)
    content = path.read_bytes()
    damaged = content[:30] + b"?" + content[31:]
    path.write_bytes(damaged)
    with pytest.raises(CorruptStorage) as caught:
        TraceWriter(path)
    assert path.read_bytes() == damaged
    assert "why: " in str(caught.value) and f"mv {path} {path}.damaged" in str(caught.value)


def test_a_trace_has_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    first = TraceWriter(path)
    try:
        first.started(follower("n1", NAMES))
        with pytest.raises(StorageInUse, match=str(path)):
            TraceWriter(path)
        first.started(follower("n1", NAMES))
    finally:
        first.close()
    TraceWriter(path).close()
    assert len(list(read_trace(path))) == 2, "whoever was refused changed nothing"


def test_a_reader_says_how_far_it_is_and_what_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    records = write(path, turns=2)
    path.write_bytes(path.read_bytes() + b"\0\0\0")
    reader = TraceReader(path)
    ends = [reader.position for _ in reader]
    assert len(ends) == len(records) and ends[-1] == reader.size - 3
    assert (reader.position, reader.torn_bytes) == (ends[-1], 3)


def test_peers_of_one_thread_record_side_by_side_and_on_through_their_restarts(tmp_path: Path) -> None:
    with recorders(tmp_path) as recorder_of:
        for _ in range(2):
            for name in NAMES:
                recorder_of(name).started(follower(name, NAMES))
    assert [path.name for path in trace_files(tmp_path)] == ["n1.trace", "n2.trace", "n3.trace"]
    for path in trace_files(tmp_path):
        assert replay(read_trace(path)).incarnations == 2
        TraceWriter(path).close()  # nobody holds it any more


@pytest.mark.parametrize(
    "record", [encode_record(replace(started(follower("n1", NAMES)), format=99)), b"\x81\xa4type\xa5Twist", b"\xc1"]
)
def test_a_record_of_another_version_is_told_from_damage(tmp_path: Path, writer: Writer, record: bytes) -> None:
    path = tmp_path / "trace"
    write(path, turns=1)
    writer(path).write(record)
    with pytest.raises(UnknownFormat, match="record 3 of the trace"):
        list(read_trace(path))


def test_what_a_full_disk_refuses_waits_and_follows_in_order_when_there_is_room(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full: part of the frame is written, then no more."""
    path, server = tmp_path / "trace", follower("n1", NAMES)
    writer = TraceWriter(path)
    writer.started(server)
    with files_limited_to(path.stat().st_size + 20):
        for term in range(1, 5):
            writer.started(replace(server, current_term=term))
        assert len(list(read_trace(path))) == 1
    writer.started(replace(server, current_term=5))
    writer.close()
    assert [record.current_term for record in read_trace(path) if isinstance(record, Started)] == list(range(6))


def test_a_disk_that_is_full_for_too_long_and_any_other_failed_write_are_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, server = tmp_path / "trace", follower("n1", NAMES)
    monkeypatch.setattr(trace, "LONGEST_BACKLOG", 5000)
    for is_full in (True, False):
        writer = TraceWriter(path)
        with files_limited_to(0) if is_full else broken(path), pytest.raises(StorageError):
            for _ in range(5000):
                writer.started(server)
        with pytest.raises(StorageError, match="Bad file descriptor"):
            writer.started(server)
    assert list(read_trace(path)) == []


def test_a_closed_trace_takes_nothing_more(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "trace")
    writer.close()
    writer.close()
    with pytest.raises(StorageError):
        writer.started(follower("n1", NAMES))


def test_what_a_process_recorded_is_there_after_it_was_killed(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from actors.storage.trace import TraceWriter
from raft_core import ElectionTimeout, follower, step_all
writer, server = TraceWriter(Path({str(tmp_path / "trace")!r})), follower("n1", {NAMES!r})
writer.started(server)
for number in range(7):
    after, effects = step_all(server, [ElectionTimeout(number)])
    writer.turn(0.0, [ElectionTimeout(number)], server, after, effects)
    server = after
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(program)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert replay(read_trace(tmp_path / "trace")).turns == 7


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_tampered_record_in_a_sound_file_is_found_by_replaying(tmp_path: Path, writer: Writer) -> None:
    """A checksum tells what was written; only the replay tells whether it is true."""
    path = tmp_path / "trace"
    copy = writer(path)
    for record in write(tmp_path / "original"):
        is_third = isinstance(record, Turn) and record.number == 3
        copy.write(encode_record(replace(record, digest="0" * 32) if is_third else record))
    with pytest.raises(Divergence) as caught:
        replay(read_trace(path))
    assert caught.value.turn == 3
