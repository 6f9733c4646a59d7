"""Disks that refuse and disks that fail, on any machine: what stands behind a descriptor is changed.

The storage's own code runs to its last line, and the kernel gives the errors.  A device takes the place of an open
file: `/dev/full` refuses whatever is written (ENOSPC), `/dev/null` takes it and cannot be synced (EINVAL), and the same
opened for reading cannot even be written (EBADF).  Afterwards the file is back, as it was.  SQLite reads what it
writes, so there a full disk is a process whose files may have no bytes (EFBIG).  A part of a write is taken by files
that may not grow (`files_limited_to`), and by a real disk that is small (`small_disk`), where one may be mounted.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path


def descriptors_of(path: Path) -> list[int]:
    """Those of this process on which `path` is open."""
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                found.append(int(name))
    return found


def written_file(path: Path) -> Path:
    """The file to which the storage in `path` writes: SQLite's is its write-ahead log."""
    return path if path.suffix != ".db" else path.with_name(path.name + "-wal")


@contextmanager
def replaced_by(path: Path, device: str, flags: int) -> Iterator[None]:
    """Whoever has `path` open has `device` open."""
    descriptors = descriptors_of(path)
    assert descriptors, f"nobody has {path} open"
    saved = [(descriptor, os.dup(descriptor)) for descriptor in descriptors]
    other = os.open(device, flags)
    try:
        for descriptor in descriptors:
            os.dup2(other, descriptor, inheritable=False)
        yield
    finally:
        for descriptor, original in saved:
            if os.path.exists(f"/proc/self/fd/{descriptor}"):  # else it was closed meanwhile
                os.dup2(original, descriptor, inheritable=False)
            os.close(original)
        os.close(other)


def full(path: Path) -> AbstractContextManager[None]:
    """No room for another byte in `path`."""
    return files_limited_to(0) if path.name.endswith("-wal") else replaced_by(path, "/dev/full", os.O_RDWR)


def unsyncable(path: Path) -> AbstractContextManager[None]:
    """Writes are taken, and an fsync fails."""
    return replaced_by(path, "/dev/null", os.O_RDWR)


def broken(path: Path) -> AbstractContextManager[None]:
    """Writes fail, and not for want of room."""
    return replaced_by(path, "/dev/null", os.O_RDONLY)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond `size` bytes: it takes a part of a write, then EFBIG."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[bool]:
    """A file system of `size` bytes on `directory`; False where nobody may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "actorum-test", str(directory)]
    with suppress(FileNotFoundError):
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            try:
                yield True
            finally:
                subprocess.run(["umount", str(directory)], check=True)
            return
    yield False
