"""Storage in one append-only file that outlives the process, and no more: what "memory" means for peers in processes.

A process that is killed loses its memory but not what it gave to the kernel.  So the cheapest thing that lets a peer
keep its promises after SIGKILL (thesis 3.8) is one `write(2)` for each write of the port: no transaction, no index, no
wait for a disk.  A loss of power loses any part of it, so this is NOT for data that shall be kept: `data=` is `sqlite`.

An own format is a burden where data is kept: versions, tools, recovery from every kind of half-done sector.  Here it is
defensible, because the file lives as long as the program that made it.  No other version ever reads it, the kernel that
took the bytes is the one that gives them back, and there is one way in which a record can be incomplete.

Rules of the file
-----------------
1. A record is a head (length and CRC-32 of the payload, and a CRC-32 of these two) and a payload: the changes of one
   write, as msgspec encodes them.  Replacing the end of the log is a record like any other, and so is dropping its
   beginning.
2. The first record says whose journal it is; a file has its name only once it is complete.
3. A record that goes beyond the end of the file is one that a killed process did not finish and nobody was told of:
   `load` cuts it off.  `write(2)` appends from the front, so a record that is all there and fails its CRC was once
   whole: that is damage, at the end of the file as anywhere else.  The head has a CRC of its own because a damaged
   length would look like such an end.  (A file cut short by someone else cannot be told from a killed process.)
4. Nothing is ever written behind a part of a record.  One that was not taken whole, for want of room, is cut off at
   once, or at the latest before the next one; then the write was refused and may be tried again.  To write the journal
   anew (rule 5) is put off if there is no room for both.
5. The journal forgets by being written anew: when a compaction leaves more dead than living bytes, what lives goes into
   a new file that takes the name of the old one.  What dies was appended once, so all this writing together is less
   than all appending, whatever the history.  Both files say the same, so it does not matter which a kill leaves.

Alternatives rejected: sqlite with synchronous=OFF (two to three times the time of a write, on the path of every commit,
once at the leader and once at a follower); memory shared between processes (its size must be known beforehand); keeping
the log in the supervisor (its death would be that of all peers' memory, and it would take part in every commit).
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import DecodeError, msgpack

from actors.storage import damage
from actors.storage.files import FileLock, make_directory, remove_if_there
from actors.storage.memory import MemoryStorage
from actors.storage.port import DiskFull, LogGap, StorageError, Stored
from actors.storage.room import is_for_want_of_room
from raft_core.effects import AppendToLog, CompactLog, PersistEffect, PersistTermAndVote
from raft_core.types import ServerId

_HEAD = struct.Struct("<II")
_CHECK = struct.Struct("<I")
_HEAD_SIZE = _HEAD.size + _CHECK.size

_NOT_WORTH_IT = 1 << 20
"""Dead bytes up to which a journal is never written anew."""
_ENTRY_OVERHEAD = 8
"""About what an entry takes besides its command, where many share a record."""
_ENTRIES_PER_RECORD = 4096

_encode = msgpack.Encoder().encode
_decode_changes = msgpack.Decoder(tuple[PersistEffect, ...]).decode
_decode_owner = msgpack.Decoder(tuple[str, ServerId]).decode


class JournalStorage:
    """A `Storage` in the file `path`, which is created, with its directories, if it does not exist.

    `cluster_id` and `server_id` are written into a new file and must agree with those in an existing one.
    Raises `StorageInUse`, `WrongCluster`, `CorruptStorage`, and `StorageError` if the operating system refuses.
    """

    blocking: bool = False

    def __init__(self, path: str | os.PathLike[str], *, cluster_id: str, server_id: ServerId) -> None:
        self.path: Path = Path(path).absolute()
        self._descriptor = -1
        self._failure: StorageError | None = None
        self._lock: FileLock | None = None
        self._owner = (cluster_id, server_id)
        self._content: MemoryStorage | None = None
        """What the file says; None until it has been read.  The entries are those of the peer's log, not copies."""
        self._size = 0
        """Bytes of all records."""
        self._has_part = False
        """Behind them is a part of one that was refused."""
        try:
            self._open()
        except BaseException as cause:
            self.close()
            if not isinstance(cause, OSError):
                raise
            raise damage.translated(self.path, cause) from cause

    def load(self) -> Stored:
        """Read and check everything; cut off what a killed process did not finish."""
        self._check_usable()
        try:
            self._content = self._replay()
        except (StorageError, OSError) as cause:
            raise self._fail(cause) from cause
        return self._content.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Append `changes` as one record; it is the kernel's when this returns."""
        self._check_usable()
        if self._content is None:
            self.load()  # it also cuts off the part of a record that this one must not follow
        assert self._content is not None
        self._content.check(changes)
        try:
            self._append(_record(_encode(changes)))
            self._content.write(changes)
            if any(isinstance(change, CompactLog) for change in changes):
                self._forget(self._content.load())
        except Exception as cause:
            raise self._refused(cause) from cause
        except BaseException:
            # Interrupted: the record may be there or not, and what we believe of it may be wrong.
            self._fail(InterruptedError("a write was interrupted"))
            raise

    def close(self) -> None:
        """Close the file, then release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _open(self) -> None:
        make_directory(self.path.parent)
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        if not self.path.exists():
            self._replace_by([_encode(self._owner)])
        with self.path.open("rb") as file:
            self._check_owner(file, self._owner)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _check_owner(self, file: BinaryIO, wanted: tuple[str, ServerId]) -> None:
        try:
            found = _decode_owner(next(self._payloads(file), b""))
        except DecodeError as cause:
            raise damage.corrupt(self.path, f"it does not say whose data it is ({cause})") from cause
        if found != wanted:
            raise damage.wrong_cluster(self.path, found, wanted)

    # Writing

    def _append(self, record: bytes) -> None:
        self._cut_off_part()
        if os.write(self._descriptor, record) < len(record):
            self._has_part = True
            self._cut_off_part()
            raise OSError(errno.ENOSPC, "a part of a record was not taken")
        self._size += len(record)

    def _cut_off_part(self) -> None:
        """Some file systems need room even to make a file shorter: then this is tried again before the next record."""
        if self._has_part:
            os.ftruncate(self._descriptor, self._size)
            self._has_part = False

    def _forget(self, stored: Stored) -> None:
        """Write the journal anew if more of it is dead than living."""
        living = sum(len(entry.command) + _ENTRY_OVERHEAD for entry in stored.entries)
        if self._size - living <= max(living, _NOT_WORTH_IT):
            return
        try:
            self._replace_by([_encode(self._owner), *map(_encode, _changes_to(stored))])
        except OSError as cause:
            if not is_for_want_of_room(self.path, cause):
                raise
            return  # the old one says the same; the next compaction tries again
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _replace_by(self, payloads: Iterable[bytes]) -> None:
        """Put these records into a new file under the name of the journal.  A killed process leaves one or the other.

        What another one left under the name of the unfinished file is overwritten.
        """
        unfinished = self.path.with_name(self.path.name + ".new")
        try:
            with unfinished.open("wb") as file:
                file.writelines(map(_record, payloads))
                size = file.tell()
            unfinished.rename(self.path)
        except BaseException:
            remove_if_there(unfinished)  # the disk may be full because of it
            raise
        self._size = size

    # Reading

    def _replay(self) -> MemoryStorage:
        content = MemoryStorage()
        with self.path.open("rb") as file:
            payloads = self._payloads(file)
            next(payloads, None)
            whole = file.tell()
            for payload in payloads:
                self._replay_record(payload, whole, content)
                whole = file.tell()
        os.truncate(self.path, whole)
        self._size = whole
        return content

    def _replay_record(self, payload: bytes, start: int, content: MemoryStorage) -> None:
        try:
            content.write(_decode_changes(payload))
        except (DecodeError, LogGap) as cause:
            raise damage.corrupt(self.path, f"the record at byte {start} makes no sense: {cause}") from cause

    def _payloads(self, file: BinaryIO) -> Iterator[bytes]:
        """The payloads of all whole records; what a killed process left at the end is not one."""
        size = os.fstat(file.fileno()).st_size
        while (start := file.tell()) + _HEAD_SIZE <= size:
            head = file.read(_HEAD.size)
            if file.read(_CHECK.size) != _CHECK.pack(zlib.crc32(head)):
                raise damage.corrupt(self.path, f"the head of the record at byte {start} fails its checksum")
            length, checksum = _HEAD.unpack(head)
            if file.tell() + length > size:
                return
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                raise damage.corrupt(self.path, f"the record at byte {start} fails its checksum")
            yield payload

    # Failing

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._descriptor < 0:
            raise damage.closed(self.path)

    def _refused(self, cause: Exception) -> StorageError:
        """For want of room, nothing has happened: see rule 4.  Any other failure is final."""
        error = damage.translated(self.path, cause)
        return error if isinstance(error, DiskFull) else self._fail(error)

    def _fail(self, cause: Exception) -> StorageError:
        self._failure = damage.translated(self.path, cause)
        return self._failure


def _changes_to(stored: Stored) -> Iterator[tuple[PersistEffect, ...]]:
    """The writes that lead from an empty log to `stored`."""
    index, entries = stored.last_included_index, stored.entries
    yield (
        PersistTermAndVote(stored.current_term, stored.voted_for),
        CompactLog(index, stored.last_included_term, discards_all=True),
    )
    for first in range(0, len(entries), _ENTRIES_PER_RECORD):
        yield (AppendToLog(index + first, entries[first : first + _ENTRIES_PER_RECORD], stored.current_term),)


def _record(payload: bytes) -> bytes:
    head = _HEAD.pack(len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(zlib.crc32(head)) + payload
