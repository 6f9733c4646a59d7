"""The runtimes by name: the only place that knows there are several.

A runtime is how concurrent callers of one peer take turns (ring 3).  Everything else - core, interpreter, storage,
links, codec, supervisor, client - is the same code for all, and must not ask which one it serves.
"""

from __future__ import annotations

from importlib import import_module
from typing import get_args

from actors.spec import RuntimeName, StartPeer

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

_PLACES: dict[RuntimeName, str] = {"actors": "actors.peer", "locks": "actors.lock_based.peer"}
"""The module of each, imported when a peer of it is started: nobody pays for the other's threads or actors."""


def start_of(runtime: RuntimeName) -> StartPeer:
    """The function that starts a peer of this runtime."""
    start: StartPeer = import_module(_PLACES[runtime]).start
    return start
