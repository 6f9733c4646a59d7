"""The faults: peers are killed while calls are under way, and come back with nothing but their storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, monotonic_ns

from actors.cluster import Cluster
from actors.demo.happenings import CaughtUp, Killing, Recovered, Restarting, TookOver
from actors.demo.load import Load, Seen
from actors.demo.patience import wait_until
from actors.errors import SafetyViolation
from actors.protocol import Status
from raft_core import ServerId


def fail_over(cluster: Cluster, load: Load) -> Iterator[Killing | TookOver | Restarting | CaughtUp]:
    """Kill the leader under load, and start it again."""
    load.settle(monotonic_ns())
    old, failed = leader_status(cluster), load.failed
    yield Killing(servers=(old.server_id,), leader=old.server_id)
    killed_at = monotonic_ns()
    cluster.kill(old.server_id)
    load.settle(monotonic_ns())
    load.settle(monotonic_ns())  # those that waited while the first ones were answered
    answered_at, waited = _end_of_silence(load.seen(), killed_at)
    new = leader_status(cluster)
    _require_higher_term(new, old)
    seconds, failed = (answered_at - killed_at) / 1e9, load.failed - failed
    yield TookOver(leader=new.server_id, term=new.term, seconds=seconds, waited=waited, failed=failed)
    yield Restarting(server=old.server_id)
    yield _catch_up(cluster, old.server_id)


def _catch_up(cluster: Cluster, server_id: ServerId) -> CaughtUp:
    began = monotonic()
    cluster.restart(server_id)
    ready = monotonic()
    recovered = cluster.supervisor.recovered_index(server_id)
    committed = leader_status(cluster).commit_index

    def has_caught_up() -> bool:
        status = cluster.status()[server_id]
        return status is not None and status.commit_index >= committed

    wait_until(has_caught_up, f"{server_id} does not catch up")
    return CaughtUp(
        server=server_id,
        recovered=recovered,
        entries=max(0, committed - recovered),
        start_seconds=ready - began,
        seconds=monotonic() - ready,
    )


def recover(cluster: Cluster, load: Load) -> Iterator[Killing | Recovered]:
    """Kill all peers under load, the leader last, and start them from their storage."""
    old, failed = leader_status(cluster), load.failed
    others = [server_id for server_id in cluster.nodes if server_id != old.server_id]
    yield Killing(servers=(*others, old.server_id), leader=old.server_id)
    for server_id in (*others, old.server_id):
        cluster.kill(server_id)
    died_at = monotonic_ns()
    with ThreadPoolExecutor(len(cluster.nodes)) as threads:
        list(threads.map(cluster.restart, cluster.nodes))
    load.settle(monotonic_ns())
    load.settle(monotonic_ns())
    answered_at, waited = _end_of_silence(load.seen(), died_at)
    new = leader_status(cluster)
    entries = _found_by_a_majority([cluster.supervisor.recovered_index(server_id) for server_id in cluster.nodes])
    _require_higher_term(new, old)
    _require_committed(entries, old)
    yield Recovered(
        recovered_term=old.term,
        entries=entries,
        leader=new.server_id,
        term=new.term,
        seconds=(answered_at - died_at) / 1e9,
        waited=waited,
        failed=load.failed - failed,
    )


def _end_of_silence(seen: Sequence[Seen], since: int) -> tuple[int, int]:
    """The first answer after the longest silence since an instant, and how many calls were under way then."""
    returns = sorted(one.returned for one in seen if one.returned is not None and one.returned >= since)
    silences = zip([since, *returns], returns, strict=False)
    _, end = max(silences, key=lambda silence: silence[1] - silence[0])
    return end, sum(one.invoked < end and (one.returned is None or one.returned >= end) for one in seen)


def leader_status(cluster: Cluster) -> Status:
    """How the leader is; waits for one."""
    found: list[Status] = []

    def look() -> bool:
        leaders = [status for status in cluster.status().values() if status and status.role == "leader"]
        found[:] = leaders
        return bool(found)

    wait_until(look, "no leader was elected")
    return max(found, key=lambda status: status.term)


def _require_higher_term(new: Status, old: Status) -> None:
    if new.term <= old.term:
        raise SafetyViolation(
            f"{new.server_id} leads in term {new.term}, but {old.server_id} led in term {old.term} before it",
            why="a new leader needs a new term (paper 5.2): votes or terms were forgotten",
        )


def _found_by_a_majority(recovered: Sequence[int]) -> int:
    """The index up to which a majority has entries on its disks.

    >>> _found_by_a_majority([7, 9, 8])
    8
    """
    return sorted(recovered, reverse=True)[len(recovered) // 2]


def _require_committed(entries: int, old: Status) -> None:
    if entries < old.commit_index:
        raise SafetyViolation(
            f"a majority found {entries} entries on its disks, but {old.commit_index} were committed before",
            why="an entry is committed when a majority has it on its disks (paper 5.3)",
        )
