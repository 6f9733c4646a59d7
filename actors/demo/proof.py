"""The proof: what the clients saw against what the replicas have."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from actors.cluster import Cluster
from actors.demo.happenings import Proven
from actors.demo.patience import wait_until
from actors.errors import SafetyViolation
from raft_core import ServerId
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import Operation
from raft_core.verify.linearizability import check


def settled_digests(cluster: Cluster) -> dict[ServerId, str]:
    """The replicas' fingerprints once all have applied the same number of entries - whether they are equal or not."""
    latest: dict[ServerId, tuple[int, str]] = {}

    def look() -> bool:
        answers = cluster.digests()
        latest.update({name: (answer.applied_index, answer.digest) for name, answer in answers.items() if answer})
        return None not in answers.values() and len({index for index, _ in latest.values()}) == 1

    wait_until(look, "not all replicas applied the same entries")
    return {server_id: digest for server_id, (_, digest) in latest.items()}


def prove(history: Sequence[Operation], value: int, digests: dict[ServerId, str]) -> Proven:
    """Hold what the clients saw against what the replicas have.  Raises `SafetyViolation`, with all that is wrong.

    An increment returns the value it made, so every acknowledged one must have a value of its own, up to the final
    one: those that have not are lost.  Values that nobody was told of beyond the unknown outcomes are doubled."""
    increments = [operation for operation in history if operation.name == "incr"]
    acknowledged = [operation.result for operation in increments if operation.returned is not None]
    unknown = len(increments) - len(acknowledged)
    accounted = len({result for result in acknowledged if 1 <= result <= value})
    lost, doubled = len(acknowledged) - accounted, max(0, value - accounted - unknown)
    began = monotonic()
    verdict = check(history, CounterModel())
    wrong = [] if len(set(digests.values())) == 1 else [f"the replicas differ: {digests}"]
    if lost or doubled:
        wrong.append(f"{lost} increments lost, {doubled} doubled: value {value}, {len(acknowledged)} acknowledged")
    if not verdict:
        wrong.append(str(verdict))
    if wrong:
        raise SafetyViolation(
            "; ".join(wrong),
            why="what a client was told must stay true, whoever is killed (paper, Figure 3 and section 8)",
            fix="please report it and keep the data directory: it is left as it is",
        )
    return Proven(
        replicas=len(digests),
        value=value,
        acknowledged=len(acknowledged),
        unknown=unknown,
        lost=lost,
        doubled=doubled,
        digest=next(iter(digests.values())),
        operations=len(history),
        reads=len(history) - len(increments),
        check_seconds=monotonic() - began,
    )
