"""Signals that a program gets as the system may give them, though it seldom does."""

from __future__ import annotations

import ctypes
import os


def signal_another_thread(process_id: int, number: int) -> None:
    """Let a thread that is not the main one of that process take the signal."""
    another = max(int(name) for name in os.listdir(f"/proc/{process_id}/task"))
    assert another != process_id, "it has one thread"
    if ctypes.CDLL(None, use_errno=True).tgkill(process_id, another, number):
        raise OSError(ctypes.get_errno(), "tgkill")
