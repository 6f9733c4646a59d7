"""What several of these tests need: specifications of peers, and waiting for a condition with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from actors.cluster import Cluster
from actors.protocol import Status
from actors.replicated import Replicated, machine_reference
from actors.spec import PeerConfig, PeerSpec, StorageKind
from raft_core import ServerId, Settings
from tests.runtimes import runtime

PATIENCE = 40.0
"""Seconds for anything that must happen: far more than it takes, because the machine may be busy with other things."""


def eventually(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until `condition` holds; fail, saying `what` did not happen, after `patience` seconds."""
    deadline = monotonic() + patience
    while not condition():
        assert monotonic() < deadline, f"not within {patience} s: {what}"
        sleep(0.01)


def peer_specs(
    machine: type[Replicated],
    directory: Path | None,
    *,
    nodes: int = 3,
    settings: Settings | None = None,
    storage: StorageKind = "unsynced sqlite",
) -> list[PeerSpec]:
    """Specifications of the peers n1, n2, ...; their files survive the death of a process, not of the machine."""
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    return [
        PeerSpec(
            config=PeerConfig(server_id=name, voters=names, settings=settings or Settings()),
            cluster_id=machine.__name__,
            machine=machine_reference(machine),
            directory=None if directory is None else str(directory / name),
            storage=storage,
            runtime=runtime(),
        )
        for name in names
    ]


def status_of(cluster: Cluster, server_id: ServerId, timeout: float = 2.0) -> Status | None:
    """How one peer is; None if it does not say."""
    answer = cluster.client.inspect(server_id, digest=False, timeout=timeout)
    return answer if isinstance(answer, Status) else None
