"""Where the turns of a server are recorded: a file that survives the kill of its writer, or a list in memory.

What is recorded, and how it is proven, is the core's: `raft_core.verify.replay`.  Here a record becomes a *frame*:

    length of the record | CRC-32 of the record | CRC-32 of the two before | record      (numbers: 4 bytes, big-endian)

Rules of this file:

1. A turn reaches the operating system (one `write`) before its effects are carried out, so whatever others saw of this
   server is in its trace, even after SIGKILL.  There is no fsync: a loss of power may cost the end of a trace, which is
   evidence, and never what Raft promised, which is in the storage.
2. A killed writer leaves a beginning of a frame at most, a *torn end*.  Nothing that others saw is in it (rule 1).
   Readers stop before it and say how long it is; the next writer cuts it off.
3. Everything else that is not as it was written is damage and said so, never skipped.  That is what the second CRC is
   for: without it a damaged length would look like a frame cut short, and all that follows would vanish unnoticed.
4. A turn cannot go missing between two others, nor change its place: turns are numbered, and `replay` counts.  A file
   has one writer at a time, by a lock of the kernel's that ends with the process.

Rejected: SQLite, as in `sqlite.py` (a transaction costs more than the turn it records, and nobody queries a trace); a
buffer that is written every so often (the last turns before a crash are the ones that matter); a first line that says
what the file is (each record says so: see `_not_understood`, and a file can begin anew after any crash).
"""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from struct import Struct
from time import monotonic, sleep
from zlib import crc32

from msgspec import MsgspecError, msgpack

from actors.errors import ExitCode
from actors.storage.damage import translated
from actors.storage.files import make_directory
from actors.storage.port import CorruptStorage, StorageError, StorageInUse, UnknownFormat
from actors.storage.room import is_for_want_of_room
from raft_core.effects import Effect
from raft_core.events import Event
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.replay import FORMAT, Record, Started, decode_record, encode_record, started, turn

SUFFIX = ".trace"
"""Of a trace's name; what stands before it is the server's."""

LONGEST_BACKLOG = 64 << 20
"""Bytes of a trace that wait for room on its disk at most."""
_HEADER = Struct(">III")
_CHECKED = Struct(">II")
"""The part of a header that its own CRC covers."""
_MAKE_ONE = "`actorum up --record DIR`, or Machine.cluster(record=DIR), records one"
_SIGNS = (b"type", b"Started")
"""What stands near the beginning of every trace."""
_NEAR = 64
_PATIENCE = 1.0
"""Seconds to wait for another writer to be gone: it may have been killed a moment ago."""
_POLL = 0.01


class TraceDamaged(CorruptStorage):
    """A trace is not what was written.  What stands before the damage can be replayed; a retry fails alike."""

    code = "TRACE-DAMAGED"
    exit_code = ExitCode.USAGE


class NotATrace(CorruptStorage):
    """The file, or the directory, is something else.  Nothing of it was used; a retry fails alike."""

    code = "NOT-A-TRACE"
    exit_code = ExitCode.USAGE


class TraceCutShort(StorageError):
    """A trace has no beginning that is whole, so there is no server to replay.  A retry fails alike."""

    code = "TRACE-CUT-SHORT"
    exit_code = ExitCode.USAGE


class UnknownTraceFormat(UnknownFormat):
    """The trace was recorded by another version of Actorum.  Replay it with that one."""

    code = "TRACE-FORMAT-UNKNOWN"
    exit_code = ExitCode.USAGE


class TraceRecorder(ABC):
    """What the interpreter calls (its `Recorder`): numbers the turns of each incarnation and encodes the records."""

    def __init__(self) -> None:
        self._turns = 0

    def started(self, server: Server) -> None:
        """An incarnation begins."""
        self._turns = 0
        self._append(encode_record(started(server)))

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """`step_all(before, events)` gave `after` and `effects`; `now` in seconds."""
        self._turns += 1
        self._append(encode_record(turn(self._turns, now, events, before, after, effects)))

    @abstractmethod
    def _append(self, record: bytes) -> None:
        """Keep an encoded record."""


class MemoryTrace(TraceRecorder):
    """A trace for simulations; it outlives the incarnations that record into it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[bytes] = []
        """One msgpack blob for each record."""

    def __iter__(self) -> Iterator[Record]:
        return map(decode_record, self.encoded)

    def _append(self, record: bytes) -> None:
        self.encoded.append(record)


class TraceWriter(TraceRecorder):
    """A trace in a file; what earlier incarnations recorded there stays.

    Raises `StorageInUse` if another one writes there, `CorruptStorage` if the file is damaged, rather than append where
    no reader would come, and `StorageError` if a write fails; that is final.  But while the disk is full, what is
    recorded waits in memory: a peer survives that, and its trace must not be what ends it.  A kill then costs the
    latest turns.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._unwritten = bytearray()
        make_directory(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._descriptor, path)
            os.ftruncate(self._descriptor, max((end for end, _ in _frames(path)), default=0))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Nothing more will be recorded.  Calling it again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _append(self, record: bytes) -> None:
        self._unwritten += _frame(record)
        try:
            while self._unwritten:
                del self._unwritten[: os.write(self._descriptor, self._unwritten)]
        except OSError as error:
            # Part of a frame may be there.  When there is room, the rest of it follows, and nothing before.
            if is_for_want_of_room(self._path, error) and len(self._unwritten) <= LONGEST_BACKLOG:
                return
            self.close()
            raise translated(self._path, error) from error


@contextmanager
def recorders(directory: Path) -> Iterator[Callable[[ServerId], TraceWriter]]:
    """Gives each server its writer into `directory`, the same for all its incarnations: for peers that live in one
    thread, as those of a simulation do."""
    writers: dict[ServerId, TraceWriter] = {}

    def recorder_of(server_id: ServerId) -> TraceWriter:
        if server_id not in writers:
            writers[server_id] = TraceWriter(directory / f"{server_id}{SUFFIX}")
        return writers[server_id]

    try:
        yield recorder_of
    finally:
        for writer in writers.values():
            writer.close()


class TraceReader:
    """The records of a trace, oldest first, once, and how far that has come; the file may still be written to.

    Raises `TraceDamaged` at what is not as it was written, `NotATrace` if it is something else from the start,
    `UnknownTraceFormat` at a record of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        """Bytes of whole records so far: where the torn end begins, once all records were read."""
        self.size = path.stat().st_size
        """Bytes in the file, when it was opened."""
        self.torn_bytes = 0
        """Once all records were read: length of what is behind them, of which its writer made no whole record."""

    def __iter__(self) -> Iterator[Record]:
        frames = _frames(self.path)
        for number in count(1):
            try:
                end, encoded = next(frames)
            except StopIteration as stop:
                self.torn_bytes = stop.value
                return
            record = _decoded(self.path, number, encoded)
            self.position = end
            yield record


def read_trace(path: Path) -> Iterator[Record]:
    """The records in `path`, as `TraceReader` gives them."""
    return iter(TraceReader(path))


def read_whole_trace(path: Path) -> TraceReader:
    """A reader of a trace that can be replayed.  Raises `TraceCutShort` if its first record is not a whole start."""
    try:
        first = next(read_trace(path), None)
    except OSError as error:
        raise NotATrace(f"{path} cannot be read: {error.strerror}", fix=_MAKE_ONE) from None
    if not isinstance(first, Started):
        raise TraceCutShort(
            f"{path} has no beginning: {_what_is_there(path, first)}",
            why="a replay starts from the server as it came from its storage, which is the first record of a trace",
            fix="take the whole file from where it was recorded",
        )
    return TraceReader(path)


def trace_files(place: Path) -> list[Path]:
    """The traces that `place` means: itself, or all in the directory that it is, in the order of their servers."""
    if not place.exists():
        raise NotATrace(f"there is no {place}", fix=_MAKE_ONE)
    if not place.is_dir():
        return [place]
    found = sorted(place.glob(f"*{SUFFIX}"), key=lambda path: (len(path.name), path.name))
    if not found:
        raise NotATrace(
            f"there is no trace in {place}",
            why=f"a directory of traces has one file for each server, such as n1{SUFFIX}",
            fix=_MAKE_ONE,
        )
    return found


def _what_is_there(path: Path, first: Record | None) -> str:
    if first is not None:
        return "its first record is a turn"
    size = path.stat().st_size
    return f"its {size} bytes are the beginning of a record" if size else "it is empty"


def _lock(descriptor: int, path: Path) -> None:
    deadline = monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                raise StorageInUse(
                    f"another program, or another cluster of this one, records into {path}",
                    why="the turns of two servers in one trace would be none",
                    fix="give each cluster a directory of its own to record into",
                ) from None
        sleep(_POLL)


def _decoded(path: Path, number: int, encoded: bytes) -> Record:
    try:
        return decode_record(encoded)
    except MsgspecError as error:
        raise _not_understood(path, number, encoded, error) from None


def _not_understood(path: Path, number: int, encoded: bytes, error: MsgspecError) -> StorageError:
    """A record whose bytes are those that were written: of another version, or no record at all."""
    if number == 1 and not _looks_like_a_start(encoded[:_NEAR]):
        return _not_a_trace(path)
    found = _format_of(encoded)
    reason = str(error) if found in (None, FORMAT) else f"it has format {found}; this program reads format {FORMAT}"
    return UnknownTraceFormat(
        f"record {number} of the trace {path} cannot be read: {reason}",
        why="it is as it was written, so another version of Actorum wrote it",
        fix="replay it with the version of Actorum that recorded it",
    )


def _format_of(encoded: bytes) -> object:
    try:
        fields = msgpack.decode(encoded)
    except MsgspecError:
        return None
    return fields.get("format") if isinstance(fields, dict) else None


def _frame(record: bytes) -> bytes:
    length, checksum = len(record), crc32(record)
    return _HEADER.pack(length, checksum, crc32(_CHECKED.pack(length, checksum))) + record


def _frames(path: Path) -> Generator[tuple[int, bytes], None, int]:
    """Each whole frame's end (a position in the file) and record; at last, the length of the torn end."""
    with path.open("rb") as file:
        end = 0
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum, header_checksum = _HEADER.unpack(header)
            if crc32(header[: _CHECKED.size]) != header_checksum:
                if end == 0 and not _looks_like_a_start(file.read(_NEAR)):
                    raise _not_a_trace(path)
                raise _damaged(path, end, "the header of a record is not what was written")
            record = file.read(length)
            if len(record) < length:
                return len(header) + len(record)
            if crc32(record) != checksum:
                raise _damaged(path, end, "a record is not what was written")
            end += len(header) + length
            yield end, record
        return len(header)


def _looks_like_a_start(first_bytes: bytes) -> bool:
    return all(sign in first_bytes for sign in _SIGNS)


def _not_a_trace(path: Path) -> NotATrace:
    return NotATrace(
        f"{path} is not a trace",
        why="a trace begins with the start of a server, and this file begins with something else",
        fix=f"name a file such as n1{SUFFIX}, or the directory that was recorded into",
    )


def _damaged(path: Path, position: int, damage: str) -> TraceDamaged:
    return TraceDamaged(
        f"the trace {path} is damaged at byte {position}: {damage}",
        why="what follows cannot be trusted, and a trace with a hole proves nothing. The server's own data is "
        "elsewhere: nothing that it promised depends on this file",
        fix=f"`actorum check replay {path} --show 1:` lists what stands before that byte; to record again, move the "
        f"file away (mv {path} {path}.damaged)",
    )
