"""A cluster of which some peers lost their data starts with the others, if these are a majority of the voters.

A peer without its log is never started with an empty one: it has voted and acknowledged, and would not know (thesis
3.8).  So it stays down, with its reason, and who looks after the cluster is told to put a fresh peer, under a fresh
name, in its place.  That takes a running cluster, hence this module.

Without a majority nothing is started: it could serve nobody, and what to do next is the operator's decision
(`recovery`).

Rejected: to start with whoever is there, whatever that is (calls would wait and time out, far from the cause); to put
the fresh peer there at once (a disk that is merely not mounted yet would cost the peer its name).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from actors.errors import ActorumError
from actors.protocol import Status
from actors.storage.port import CorruptStorage
from actors.supervisor import PeerState, Supervisor
from raft_core import ServerId, majority

LOG = logging.getLogger("actorum.recovery")


def start_the_sound(supervisor: Supervisor, timeout: float) -> dict[ServerId, ActorumError]:
    """Start all peers; who cannot for want of its data, and why.  Raises what keeps any other from starting, or if
    there is no other."""
    try:
        supervisor.start(timeout)
    except CorruptStorage:
        states, errors = supervisor.members(), supervisor.last_errors()
        lost = {name: errors[name] for name, (state, _, _) in states.items() if state is PeerState.FAILED}
        if len(lost) == len(states) or not all(isinstance(error, CorruptStorage) for error in lost.values()):
            raise
        return lost
    return {}


def warn_or_refuse(lost: Mapping[ServerId, ActorumError], statuses: Iterable[Status | None]) -> None:
    """Raise `CorruptStorage` if without the `lost` ones there is no majority; else name who must be replaced.

    The members are those of the latest configuration that any of them has."""
    up = [status for status in statuses if status is not None]
    latest = max(up, key=lambda status: status.configuration_index, default=None)
    groups = [] if latest is None else [group for group in (latest.voters, latest.old_voters) if group]
    if any(len(set(group) - lost.keys()) < majority(group) for group in groups):
        raise _too_few(lost, groups[0], [status.server_id for status in up])
    for name, error in lost.items():
        LOG.warning("started without %s: %s; to replace it: actorum members replace %s", name, error.what, name)


def _too_few(
    lost: Mapping[ServerId, ActorumError], voters: Iterable[ServerId], up: Iterable[ServerId]
) -> CorruptStorage:
    reasons = "; ".join(f"{name}: {error.what}" for name, error in lost.items())
    return CorruptStorage(
        f"a majority of the voters {', '.join(voters)} has lost its data",
        why=reasons,
        fix="restore the files; if they are gone for good, lose what only they held: actorum recover DIR "
        + " ".join(f"--survivor {name}" for name in up),
    )
