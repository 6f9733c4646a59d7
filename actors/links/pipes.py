"""A directed link: a queue on multiprocessing's pipe, with exactly one writer and one reader.

Why not `multiprocessing.Queue`: it guards its pipe with semaphores that nobody releases after SIGKILL.  A writer killed
while it holds one silences every other writer; a reader killed while waiting takes the queue with it.  Here each pair
of incarnations has a pipe of its own, and when either end dies the link dies with it and is replaced.

The rules of the file:

* Never block.  `put` writes what the pipe takes and keeps the rest, up to a limit; past it the frame is dropped and
  counted (Raft resends; clients retry).
* A frame is four bytes of length (big-endian) and the payload.  A frame larger than `MAX_FRAME` is refused at both
  ends.  A partial frame of a killed writer is never delivered: the link ends before it is whole.
* What arrives is bytes.  Nothing is unpickled here or behind here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from struct import Struct

from actors.errors import BadFrame

MAX_FRAME = 96 << 20
"""Largest payload of a frame in bytes; above any message that the settings' bounds let grow."""
BACKLOG_LIMIT = 128 << 20
"""Bytes a writer keeps for a reader that does not keep up before frames are dropped."""
_PIPE_SIZE = 1 << 20
_READ_SIZE = 1 << 16
"""Bytes of one read: below the size from which the allocator maps fresh pages for every buffer (20 us each)."""
_MOST_READS = 16
_HEADER = Struct("!I")


class LinkClosed(Exception):
    """The other end is gone; this link will never carry anything again."""


class LinkWriter:
    """The sending end.  One thread uses it."""

    def __init__(self, connection: Connection, *, backlog_limit: int = BACKLOG_LIMIT) -> None:
        self._connection = connection
        self._fd = connection.fileno()
        self._backlog = bytearray()
        self._limit = backlog_limit
        self.dropped = 0
        """Frames that were not sent because the reader did not keep up or is gone."""
        self.is_closed = False
        """Nothing will be sent any more: `close` was called, or the reader is gone."""
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """The descriptor, for a selector; valid until `close`, even if the reader is gone."""
        return self._fd

    @property
    def backlog(self) -> int:
        """Bytes accepted and not yet in the pipe; while there are some, call `flush` when the pipe is writable."""
        return len(self._backlog)

    def put(self, frame: bytes) -> bool:
        """Send a frame, or drop it and return False; never waits."""
        if self.is_closed or len(frame) > MAX_FRAME or len(self._backlog) + len(frame) > self._limit:
            self.dropped += 1
            return False
        data = _HEADER.pack(len(frame)) + frame
        if self._backlog:
            self._backlog += data
            self.flush()
        else:
            written = self._write(data)
            if written < len(data) and not self.is_closed:
                self._backlog += memoryview(data)[written:]
        return not self.is_closed

    def flush(self) -> None:
        """Move as much of the backlog into the pipe as it takes."""
        while self._backlog:
            with memoryview(self._backlog) as view:
                written = self._write(view[:_PIPE_SIZE])
            if not written:
                return
            del self._backlog[:written]

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._give_up()
            return 0

    def _give_up(self) -> None:
        """The descriptor stays open until `close`: a selector may watch it, and its number must not pass to another."""
        self.is_closed = True
        self._backlog = bytearray()  # not cleared: `flush` may be looking at the old one

    def close(self) -> None:
        """Close this end; what the pipe holds still arrives."""
        self._give_up()
        self._connection.close()


class LinkReader:
    """The receiving end.  One thread uses it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._fd = connection.fileno()
        self._buffer = bytearray()
        self.is_closed = False
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._fd

    def get_available(self) -> list[bytes]:
        """All whole frames that are there, oldest first; at most about a MiB of them, so that nobody starves.

        Raises `LinkClosed` when the writer is gone and everything was read, `BadFrame` on a length beyond the limit.
        """
        data = self._read()
        if len(data) == _READ_SIZE:
            chunks = [data]
            while len(chunks) < _MOST_READS and len(chunks[-1]) == _READ_SIZE:
                chunks.append(self._read(or_nothing=True))
            data = b"".join(chunks)
        return self._split(data) if data else []

    def _read(self, *, or_nothing: bool = False) -> bytes:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LinkClosed from error
        if not data and not or_nothing:
            raise LinkClosed
        return data

    def _split(self, data: bytes) -> list[bytes]:
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer) if self._holds_a_frame() else b""
            if not data:
                return []
        frames: list[bytes] = []
        position, end = 0, len(data)
        while position + 4 <= end:
            start = position + 4
            stop = start + self._length(data, position)
            if stop > end:
                break
            frames.append(data[start:stop])
            position = stop
        self._buffer = bytearray(memoryview(data)[position:])
        return frames

    def _holds_a_frame(self) -> bool:
        return len(self._buffer) >= 4 and len(self._buffer) >= 4 + self._length(self._buffer, 0)

    @staticmethod
    def _length(data: bytes | bytearray, position: int) -> int:
        length: int = _HEADER.unpack_from(data, position)[0]
        if length > MAX_FRAME:
            raise BadFrame(
                f"a frame of {length} bytes was announced; {MAX_FRAME} is the limit",
                why="the other end does not speak this protocol, or the stream is damaged",
                fix="the link is closed and replaced; nothing was lost that Raft does not send again",
            )
        return length

    def close(self) -> None:
        """Close this end; the writer's next `put` finds out."""
        if not self.is_closed:
            self.is_closed = True
            self._connection.close()


def link_pair() -> tuple[Connection, Connection]:
    """The two ends of a new link, (reading, writing), as multiprocessing connections that can be handed on."""
    reading, writing = get_context("spawn").Pipe(duplex=False)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(writing.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return reading, writing


def reader_of(descriptor: int) -> LinkReader:
    """The reading end that was handed to this process as a descriptor."""
    return LinkReader(Connection(descriptor, readable=True, writable=False))


def writer_of(descriptor: int) -> LinkWriter:
    """The writing end that was handed to this process as a descriptor."""
    return LinkWriter(Connection(descriptor, readable=False, writable=True))
