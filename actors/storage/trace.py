"""Where the turns of a server are recorded: a file that survives the kill of its writer, or a list in memory.

What is recorded, and how it is proven, is the core's: `raft_core.verify.replay`.  Here a record becomes a *frame*:

    length of the record | CRC-32 of the record | CRC-32 of the two before | record      (numbers: 4 bytes, big-endian)

Rules of this file:

1. A turn reaches the operating system (one `write`) before its effects are carried out, so whatever others saw of this
   server is in its trace, even after SIGKILL.  There is no fsync: a loss of power may cost the end of a trace, which is
   evidence, and never what Raft promised, which is in the storage.
2. A killed writer leaves a beginning of a frame at most.  Readers stop before it; the next writer cuts it off.
3. Everything else that is not as it was written is damage and said so, never skipped.  That is what the second CRC is
   for: without it a damaged length would look like a frame cut short, and all that follows would vanish unnoticed.

Rejected: SQLite, as in `sqlite.py` (a transaction costs more than the turn it records, and nobody queries a trace); a
buffer that is written every so often (the last turns before a crash are the ones that matter).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from zlib import crc32

from msgspec import MsgspecError

from actors.storage.damage import translated
from actors.storage.files import make_directory
from actors.storage.port import CorruptStorage, UnknownFormat
from raft_core.effects import Effect
from raft_core.events import Event
from raft_core.state import Server
from raft_core.verify.replay import Record, decode_record, encode_record, started, turn

_HEADER = Struct(">III")
_CHECKED = Struct(">II")
"""The part of a header that its own CRC covers."""


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

    One writer at a time: whoever owns the server's storage.  Raises `CorruptStorage` if the file is damaged, rather
    than append where no reader would come, and `StorageError` if a write fails; that is final.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        make_directory(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
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
        frame = _frame(record)
        try:
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]
        except OSError as error:
            # Part of the frame may be there; a further one behind it would be damage.
            self.close()
            raise translated(self._path, error) from error


def read_trace(path: Path) -> Iterator[Record]:
    """The records in `path`, oldest first; the file may still be written to.

    Raises `CorruptStorage` at what is not as it was written, `UnknownFormat` at a record of another version.
    """
    for number, (_, encoded) in enumerate(_frames(path), start=1):
        yield _decoded(path, number, encoded)


def _decoded(path: Path, number: int, encoded: bytes) -> Record:
    try:
        return decode_record(encoded)
    except MsgspecError as error:
        raise UnknownFormat(
            f"record {number} of the trace {path} cannot be read: {error}",
            why="it is as it was written, so another version of Actorum wrote it",
            fix="replay it with the version of Actorum that recorded it",
        ) from None


def _frame(record: bytes) -> bytes:
    length, checksum = len(record), crc32(record)
    return _HEADER.pack(length, checksum, crc32(_CHECKED.pack(length, checksum))) + record


def _frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole frame's end (a position in the file) and record."""
    with path.open("rb") as file:
        end = 0
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum, header_checksum = _HEADER.unpack(header)
            if crc32(header[: _CHECKED.size]) != header_checksum:
                raise _damaged(path, end, "the header of a record is not what was written")
            record = file.read(length)
            if len(record) < length:
                return
            if crc32(record) != checksum:
                raise _damaged(path, end, "a record is not what was written")
            end += len(header) + length
            yield end, record


def _damaged(path: Path, position: int, damage: str) -> CorruptStorage:
    return CorruptStorage(
        f"the trace {path} is damaged at byte {position}: {damage}",
        why="what follows cannot be trusted, and a trace with a hole proves nothing. The server's own data is "
        "elsewhere: nothing that it promised depends on this file",
        fix=f"what stands before that byte can still be replayed; to record again, move the file away (mv {path} "
        f"{path}.damaged)",
    )
