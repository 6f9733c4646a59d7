"""Snapshots as files (paper 7): what stands for the beginning of a log once that is cut off.

What such a file consists of is in `actors.storage.snapshot_format`; here is under which name it is, and which counts.

Rules of the files
------------------
1. A file has its name only once it is complete: written under another name, synced, renamed, directory synced (the
   syncs only if `synchronous`, as in `sqlite`).  So a file under a snapshot's name that is not as it was written is
   damage, and said so.  One under any other name is work that was not finished: it holds nothing that anybody relies
   on, and is removed without a word.
2. A name is the index, the term and the beginning of the checksum.  Which snapshot is the newest is decided by these as
   numbers: as strings, "9" comes after "10".  The checksum is in the name because two snapshots of one index may meet,
   our own and the leader's: equal states, but not always equal bytes.  Neither ever takes the other's place, so whoever
   knows a `Snapshot` reads that one or none.
3. Damage is never repaired in silence.  If the newest snapshot is damaged and the log begins behind it, the server must
   not start.  If the log reaches back without it (the log was not cut yet), nothing is lost: the file is put aside as
   evidence, under a name of its own, and the log of this process says so.
4. A full disk costs the snapshot, not the server: what there is of it is removed, and makes room for the log.  What an
   fsync failed for is removed too, and the failure is final, as for the log: a later fsync might succeed.

Who may call what at the same time
----------------------------------
`save` is the applier's, and so are its two halves, of which a copy of the process may do the first; `receive`,
`received`, `latest` and `prune` are the disk's; the two may be at work at the same time, and `read` and `load` beside
both, in any thread.  This needs no lock: those that write never use the same name (rule 2; unfinished files have an
ending for each), a name appears at once, and readers open what they read anew each time, so that a file which is
removed meanwhile is either read or `SnapshotGone`.

Rejected: snapshots as blobs in the database (a snapshot would hold up every write of the log, and pages freed by an old
one stay in the file); one file that is overwritten (a crash would leave neither snapshot).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from actors.storage import damage
from actors.storage.files import make_directory, remove_if_there, sync, sync_directory
from actors.storage.port import CorruptStorage, DiskFull, SnapshotGone
from actors.storage.room import check_room
from actors.storage.snapshot_format import head_of, pieces, read_head
from raft_core.configuration import Configured, Snapshot
from raft_core.types import LogIndex, ServerId, Term

LOG = logging.getLogger("actorum.storage")
"""Damage that could be passed over, and snapshots that were given up (WARNING)."""

PIECE: Final = 1 << 20
"""Bytes that are made durable at a time: while the disk takes many at once, the logs of all peers wait behind them."""
_NAME: Final = re.compile(r"(\d+)-(\d+)-[0-9a-f]{16}\.snapshot(\.part)?")
_CHECKSUM: Final = re.compile(r"[0-9a-f]{64}")
_SAVING, _PART, _DAMAGED = ".saving", ".part", ".damaged"


class SnapshotFiles:
    """The `Snapshots` of one server in `directory`, which is created if it does not exist.

    It takes no lock of its own: make it once the server's storage is open, which has one.  Raises `StorageError` if the
    operating system refuses.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, cluster_id: str, server_id: ServerId, synchronous: bool
    ) -> None:
        self.directory: Path = Path(directory).absolute()
        self._owner = (cluster_id, server_id)
        self._synchronous = synchronous
        self._token = secrets.token_hex(4)
        """In the names of our unfinished files: the thread of an earlier peer may still be at work on its own."""
        self._arriving: _Arriving | None = None
        """What `receive` knows of the parts so far (they are in a file)."""
        self._refused: Snapshot | None = None
        """There was no room for this one, as has been said."""
        with self._failing(self.directory):
            make_directory(self.directory)
            self._remove_unfinished(_SAVING)

    # Keeping our own

    def save(
        self, last_included_index: LogIndex, last_included_term: Term, configured: Configured, content: bytes
    ) -> Snapshot:
        """Write a snapshot of this server's own; it is durable when this returns."""
        return self.publish(self.write_down(last_included_index, last_included_term, configured, content))

    def write_down(
        self, last_included_index: LogIndex, last_included_term: Term, configured: Configured, content: bytes
    ) -> Snapshot:
        """Write one that nobody reads before `publish`."""
        checksum = sha256(content).hexdigest()
        snapshot = Snapshot(last_included_index, last_included_term, configured, len(content), checksum)
        unfinished = self._path(snapshot, f".{self._token}{_SAVING}")
        with self._removed_if_it_fails(unfinished), unfinished.open("wb") as file:
            file.write(head_of(snapshot, self._owner))
            for start in range(0, max(1, len(content)), PIECE):
                file.write(content[start : start + PIECE])
                self._sync(file)
        return snapshot

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """What was written down is one of this server's snapshots from now on."""
        unfinished = self._path(snapshot, f".{self._token}{_SAVING}")
        with self._removed_if_it_fails(unfinished):
            self._publish(unfinished, self._path(snapshot))
        return snapshot

    def forget_unfinished(self) -> None:
        """Remove what was written down and will not be published."""
        with self._failing(self.directory):
            self._remove_unfinished(_SAVING)

    @contextlib.contextmanager
    def _removed_if_it_fails(self, unfinished: Path) -> Iterator[None]:
        try:
            with self._failing(unfinished):
                yield
        except BaseException:
            remove_if_there(unfinished)  # the disk may be full because of it
            raise

    def _publish(self, unfinished: Path, path: Path) -> None:
        """Give a complete file its name: see rule 1."""
        unfinished.rename(path)
        if self._synchronous:
            try:
                sync_directory(self.directory)
            except OSError:
                remove_if_there(path)
                raise

    def _sync(self, file: BinaryIO) -> None:
        file.flush()
        if self._synchronous:
            sync(file.fileno())

    # Receiving another's

    def receive(self, snapshot: Snapshot, offset: int, data: bytes) -> bool | None:
        """Take a part.  Only the last is synced: what was lost of others shows in the checksum."""
        if not _CHECKSUM.fullmatch(snapshot.checksum):
            return False  # it came over a network, and the name of a file is made of it
        try:
            with self._failing(self._path(snapshot, _PART)):
                return self._received(snapshot, offset, data)
        except BaseException as error:
            self._forget_parts()
            if not isinstance(error, DiskFull):
                raise
            if self._refused != snapshot:
                LOG.warning("a snapshot from the leader is given up: %s", error)
            self._refused = snapshot
        return False

    def _received(self, snapshot: Snapshot, offset: int, data: bytes) -> bool | None:
        arriving = self._arriving_at(snapshot, offset)
        if arriving is None or offset + len(data) > snapshot.size:
            self._forget_parts()
            return False
        self._write_part(arriving, data)
        return self._finished(arriving) if arriving.is_complete else None

    def _write_part(self, arriving: _Arriving, data: bytes) -> None:
        with self._path(arriving.snapshot, _PART).open("r+b") as file:
            file.seek(arriving.head_size + arriving.offset)
            file.write(data)
            arriving.take(data)
            if arriving.is_complete:
                self._sync(file)

    def received(self, snapshot: Snapshot) -> int:
        """How many bytes of this very snapshot are here.  For the caller of `receive`."""
        if self._path(snapshot).exists():
            return snapshot.size
        with contextlib.suppress(FileNotFoundError, CorruptStorage), self._path(snapshot, _PART).open("rb") as file:
            if read_head(file, self._owner) == snapshot:
                there = os.fstat(file.fileno()).st_size - file.tell()
                return there if there <= snapshot.size else 0
        return 0

    def _arriving_at(self, snapshot: Snapshot, offset: int) -> _Arriving | None:
        """What has come of `snapshot`, if that ends at `offset`; at 0 it begins anew, and others are given up."""
        if offset == 0:
            self._forget_parts()
            check_room(self.directory, snapshot.size)
            head = head_of(snapshot, self._owner)
            self._path(snapshot, _PART).write_bytes(head)
            self._arriving = _Arriving(snapshot, len(head))
        elif self._arriving is None or self._arriving.snapshot != snapshot:
            self._arriving = self._resumed(snapshot)
        arriving = self._arriving
        return arriving if arriving is not None and arriving.offset == offset else None

    def _resumed(self, snapshot: Snapshot) -> _Arriving | None:
        """After a restart: what is in the file is hashed again."""
        there = self.received(snapshot)
        path = self._path(snapshot, _PART)
        if not there or not path.exists():
            return None
        arriving = _Arriving(snapshot, len(head_of(snapshot, self._owner)))
        with path.open("rb") as file:
            file.seek(arriving.head_size)
            for piece in pieces(file):
                arriving.take(piece)
        return arriving

    def _finished(self, arriving: _Arriving) -> bool:
        snapshot = arriving.snapshot
        is_sound = arriving.hash.hexdigest() == snapshot.checksum
        if is_sound:
            self._publish(self._path(snapshot, _PART), self._path(snapshot))
        self._forget_parts()
        return is_sound

    def _forget_parts(self) -> None:
        self._arriving = None
        self._remove_unfinished(_PART)

    # Reading

    def read(self, snapshot: Snapshot, offset: int, length: int) -> bytes:
        """A part of the content, for sending."""
        with self._opened(snapshot) as file:
            file.seek(offset, os.SEEK_CUR)
            return file.read(length)

    def load(self, snapshot: Snapshot) -> bytes:
        """The content, checked."""
        with self._opened(snapshot) as file:
            content = file.read()
        if sha256(content).hexdigest() != snapshot.checksum:
            raise damage.corrupt_snapshot(self._path(snapshot), "its content fails its checksum")
        return content

    def latest(self) -> Snapshot | None:
        """The snapshot with the highest index; its head is checked, its content is by `load`."""
        newest = max(self._files(), default=None)
        return self._snapshot_in(newest[-1]) if newest else None

    def latest_sound(self, log_begins_behind: LogIndex) -> Snapshot | None:
        """The newest one that is what was written, content and all: see rule 3."""
        damaged: list[tuple[Path, CorruptStorage]] = []
        sound: Snapshot | None = None
        for *_, path in sorted(self._files(), reverse=True):
            try:
                sound = self._snapshot_in(path)
                self._check_content(path, sound)
                break
            except CorruptStorage as found:
                damaged.append((path, found))
                sound = None
        if damaged and log_begins_behind > (sound.last_included_index if sound else 0):
            raise damaged[0][1]
        for path, error in damaged:
            self._put_aside(path, error)
        return sound

    def _check_content(self, path: Path, snapshot: Snapshot) -> None:
        found = sha256()
        with self._opened(snapshot) as file:
            for piece in pieces(file):
                found.update(piece)
        if found.hexdigest() != snapshot.checksum:
            raise damage.corrupt_snapshot(path, "its content fails its checksum")

    def _put_aside(self, path: Path, error: CorruptStorage) -> None:
        aside = path.with_name(path.name + _DAMAGED)
        LOG.warning("%s; the log reaches back without it, so the server goes on. It is kept as %s", error, aside)
        with self._failing(path):
            path.rename(aside)

    def _files(self, ending: str | None = None) -> Iterator[tuple[LogIndex, Term, str, Path]]:
        """Index, term, name and path of every snapshot, or of every one with this ending; they sort by number."""
        with self._failing(self.directory):
            for name in os.listdir(self.directory):
                found = _NAME.fullmatch(name)
                if found and found[3] == ending:
                    yield int(found[1]), int(found[2]), name, self.directory / name

    def _snapshot_in(self, path: Path) -> Snapshot:
        with self._failing(path), path.open("rb") as file:
            snapshot = read_head(file, self._owner)
        if self._path(snapshot) != path:
            raise damage.corrupt_snapshot(path, f"it has the name of another one: it is {self._path(snapshot).name}")
        return snapshot

    @contextlib.contextmanager
    def _opened(self, snapshot: Snapshot) -> Iterator[BinaryIO]:
        """The file of `snapshot`, at the beginning of the content."""
        path = self._path(snapshot)
        with self._failing(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                raise _gone(path) from None
            with file:
                if read_head(file, self._owner) != snapshot:
                    raise damage.corrupt_snapshot(path, "it says that it is another one than its name says")
                yield file

    # Forgetting

    def prune(self, keep: Snapshot, needed: Collection[Snapshot] = ()) -> None:
        """Remove what is older than `keep` and not `needed`, and what was begun of such; nothing if `keep` is gone."""
        if not self._path(keep).exists():
            raise _gone(self._path(keep))
        spared = {self._path(snapshot) for snapshot in needed}
        older = [file for file in self._files() if file[0] < keep.last_included_index and file[-1] not in spared]
        begun = [file for file in self._files(_PART) if file[0] <= keep.last_included_index]
        with self._failing(self.directory):
            for *_, path in older + begun:
                remove_if_there(path)
        if begun:
            self._arriving = None

    def _remove_unfinished(self, ending: str) -> None:
        for path in self.directory.glob(f"*{ending}"):
            remove_if_there(path)

    def _path(self, snapshot: Snapshot, ending: str = "") -> Path:
        index, term = snapshot.last_included_index, snapshot.last_included_term
        return self.directory / f"{index:020}-{term:020}-{snapshot.checksum[:16]}.snapshot{ending}"

    @contextlib.contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        """What the operating system refuses is a `StorageError`."""
        try:
            yield
        except OSError as cause:
            raise damage.translated(path, cause) from cause


class _Arriving:
    """A snapshot of which the bytes up to `offset` are here, and the hash of these."""

    def __init__(self, snapshot: Snapshot, head_size: int) -> None:
        self.snapshot = snapshot
        self.head_size = head_size
        self.offset = 0
        self.hash = sha256()

    @property
    def is_complete(self) -> bool:
        """Nothing is missing; whether it is what it should be, the hash says."""
        return self.offset == self.snapshot.size

    def take(self, data: bytes) -> None:
        """`data` comes next."""
        self.hash.update(data)
        self.offset += len(data)


def _gone(path: Path) -> SnapshotGone:
    return SnapshotGone(
        f"the snapshot {path.name} is no longer there",
        why="a newer one took its place, and holds all that was in it",
        fix="go on with the newest",
    )
