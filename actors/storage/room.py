"""Was a write refused for want of room?  Then it is as if it had never been tried, and may be tried again.

The operating system says so by number: no space left (ENOSPC), over quota (EDQUOT), longer than a file may be (EFBIG,
`ulimit -f`).  SQLite has one code of its own for the first and folds the others into "a write failed", as which it also
reports a broken disk.  Which it was is found out by asking again: a small file beside the database, as far into it as
the database reaches, meets the same quota and the same limit.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from pathlib import Path

from actors.storage.files import remove_if_there

_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PIECE = 1 << 14
"""Bytes that are tried: more than SQLite gives to one write."""


def is_for_want_of_room(path: Path, cause: BaseException) -> bool:
    """Did a write to `path`, or to a file beside it, fail because there is no room?"""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR_WRITE and not _has_room(path))
    return isinstance(cause, OSError) and cause.errno in _REFUSALS


def check_room(directory: Path, size: int) -> None:
    """Refuse beforehand what there is no room for.  (A quota does not show here; the write itself meets it.)"""
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(errno.ENOSPC, f"{size} bytes are to come")


def _has_room(path: Path) -> bool:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.room")
    try:
        reach = max((file.stat().st_size for file in path.parent.glob(f"{path.name}*")), default=0)
        _try(beside, reach)
    except OSError as error:
        return error.errno not in _REFUSALS
    finally:
        remove_if_there(beside)
    return True


def _try(path: Path, reach: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if os.pwrite(descriptor, bytes(_PIECE), reach) < _PIECE:
            raise OSError(errno.ENOSPC, "not all was taken")
    finally:
        os.close(descriptor)
