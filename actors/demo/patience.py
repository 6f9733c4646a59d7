"""Waiting for something to become true, with a limit that only a hang reaches."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from actors.errors import NoQuorum

PATIENCE = 60.0
"""Seconds a call waits, and seconds every step may take: far beyond any recovery, for a slow machine is no failure."""
POLL = 0.005


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        if monotonic() > deadline:
            raise NoQuorum(f"{otherwise} within {PATIENCE} s", fix="`actorum doctor` shows how fast this disk is")
        sleep(POLL)
