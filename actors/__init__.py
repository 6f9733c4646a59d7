"""Replicate a typed Python class over processes: Raft as actors that share nothing and talk only by messages.

    from actors import Replicated, command, query

    class Counter(Replicated):
        value: int = 0

        @command
        def incr(self, by: int = 1) -> int:
            self.value += by
            return self.value

        @query
        def get(self) -> int:
            return self.value

    if __name__ == "__main__":
        with Counter.cluster(nodes=3) as counter:
            print(counter.incr(5), counter.get())

Names are imported when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.calls import Call
    from actors.cluster import Cluster
    from actors.context import HERE, Context
    from actors.errors import ActorumError
    from actors.network import Faults, Network
    from actors.recovery import recover
    from actors.remote import RemoteCluster, connect
    from actors.replicated import Replicated, command, query
    from raft_core import Settings

_PLACES = {
    "ActorumError": "actors.errors",
    "Call": "actors.calls",
    "Cluster": "actors.cluster",
    "Context": "actors.context",
    "Faults": "actors.network",
    "HERE": "actors.context",
    "Network": "actors.network",
    "RemoteCluster": "actors.remote",
    "Replicated": "actors.replicated",
    "Settings": "raft_core",
    "command": "actors.replicated",
    "connect": "actors.remote",
    "query": "actors.replicated",
    "recover": "actors.recovery",
}

__all__ = [
    "HERE",
    "ActorumError",
    "Call",
    "Cluster",
    "Context",
    "Faults",
    "Network",
    "RemoteCluster",
    "Replicated",
    "Settings",
    "command",
    "connect",
    "query",
    "recover",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
