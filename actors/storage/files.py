"""What a durable file needs besides its bytes: a directory that remembers it, and one owner.

A new name is on the disk only once its directory was fsynced.  An fsync that fails says nothing of what is on the disk,
and the next one may succeed although it is not (the kernel forgets what it could not write): so whatever the reason,
its error is another one than that of a refused `write`.  The lock is the kernel's (`flock` on a file of its own):
it ends with the process however that ends, so a peer killed with SIGKILL leaves nothing to clean up.  It is a file of
its own because SQLite's own locks vanish when anything in the same process closes another descriptor of the database (a
trap of POSIX record locks), and because the database must be examined before SQLite may touch it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path

from actors.storage.port import StorageInUse

_PATIENCE = 1.0
"""Seconds to wait for a lock: a killed predecessor may be reported dead a moment before the kernel closes its files."""
_POLL = 0.01


def make_directory(directory: Path) -> None:
    """Create `directory` and its missing parents such that they survive a loss of power."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk.  An `OSError` without a number if that fails."""
    try:
        os.fsync(descriptor)
    except OSError as cause:
        raise OSError(f"fsync failed: {cause}") from cause


def sync_directory(directory: Path) -> None:
    """Make names created, renamed or removed in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def read_or_make_secret(path: Path, size: int = 32) -> bytes:
    """The secret in `path`, made at the first time; only its owner may read it."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(size))
        finally:
            os.close(descriptor)
    return path.read_bytes()


def remove_if_there(path: Path) -> None:
    """Remove a name; nothing happens if it is gone already."""
    path.unlink(missing_ok=True)


class FileLock:
    """Exclusive ownership of what `path` stands for, until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(path)
        except BaseException:
            self.release()
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others in.  Calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquire(self, path: Path) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self._try():
            if time.monotonic() > deadline:
                raise self._in_use(path)
            time.sleep(_POLL)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _in_use(self, path: Path) -> StorageInUse:
        holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace") or "unknown"
        return StorageInUse(
            f"the data of this server is in use: {path} is locked by process {holder}",
            why="two peers writing one log would corrupt it, and each could cast the same vote",
            fix=f"stop that process (ps -p {holder}), or give this peer a data directory of its own",
        )
