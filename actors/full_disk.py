"""Make the disk of a running peer full, and give it room again, without a disk: for `actorum chaos` and for tests.

The kernel is told to let the files of the peer's process have no bytes (RLIMIT_FSIZE, set from outside): every write
to a file fails, with an error that a storage treats as it treats a file system without room.  Pipes and sockets go on.
Nobody else is harmed, nothing has to be mounted, and it ends with the process.  It takes Linux, and a process for each
peer.
"""

from __future__ import annotations

import resource

from actors.errors import WrongArguments


def fill(process_id: int) -> None:
    """From now on, no file of this process takes a byte."""
    _limit(process_id, 0)


def make_room(process_id: int) -> None:
    """Undo `fill`."""
    _limit(process_id, None)


def _limit(process_id: int, size: int | None) -> None:
    """`size` in bytes; None: as large as is allowed."""
    if not hasattr(resource, "prlimit"):
        raise WrongArguments("this system cannot limit another process", why="prlimit(2) is Linux", fix="use Linux")
    try:
        _, largest = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
        resource.prlimit(process_id, resource.RLIMIT_FSIZE, (largest if size is None else size, largest))
    except (ProcessLookupError, PermissionError) as cause:
        raise WrongArguments(
            f"process {process_id} cannot be limited: {cause.strerror}",
            why="it is gone, or belongs to another user",
            fix="see `actorum status`, and run this as the user who runs the cluster",
        ) from cause
