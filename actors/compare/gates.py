"""The conditions without which the speed of a run is not reported: it is easy to be fast and wrong.

* The client's history is linearizable: every put returned the number it made, as an increment does.
* The replicas that are up, a majority, are equal, once all have applied the same entries.
* No term had two leaders (Election Safety, Figure 3), by what the peers say, those that were killed too.
* The traces come out again: the first turns of each peer through the same core give the same states and effects.

The control without a core passes by the first alone: it replicates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from actors.cluster import Cluster
from actors.compare.load import Loader
from actors.compare.measured import Report
from actors.compare.probe import Led
from actors.compare.records import Cell, Gate
from actors.demo.patience import wait_until
from actors.errors import ActorumError
from actors.protocol import Digest
from actors.storage.trace import read_whole_trace, trace_files
from raft_core import ServerId
from raft_core.verify.counter import CounterModel
from raft_core.verify.linearizability import check
from raft_core.verify.replay import Divergence, replay


def gates(
    cell: Cell, cluster: Cluster, loader: Loader, reports: Mapping[ServerId, Report], first: tuple[ServerId, int]
) -> tuple[Gate, ...]:
    """What can be found out while the cluster runs.  The traces come afterwards: `traces_gate`.

    `first`: who led before the measurement, and in which term; it may have been killed since."""
    found = [_gate("history is linearizable", lambda: _history(loader))]
    if cell.control != "null core":
        found.append(_gate("replicas are equal", lambda: _replicas(cluster, cell.peers // 2 + 1)))
        led = {name: report.led for name, report in reports.items()}
        found.append(_gate("one leader a term", lambda: leaders_wrong(led, first)))
    return tuple(found)


def traces_gate(directory: Path) -> Gate:
    """Whether every trace in `directory` comes out again."""
    return _gate("traces replay", lambda: _traces(directory))


def _gate(name: str, condition: Callable[[], str]) -> Gate:
    """`condition` says what is wrong, "" if nothing is."""
    try:
        wrong = condition()
    except ActorumError as error:
        wrong = error.what
    return Gate(name, not wrong, wrong)


def _history(loader: Loader) -> str:
    history = loader.history()
    if not any(operation.returned is not None for operation in history):
        return "nothing was completed"
    verdict = check(history, CounterModel(loader.before))
    return "" if verdict else str(verdict)


def _replicas(cluster: Cluster, fewest: int) -> str:
    """Of the peers that are up, `fewest` or more, once they have applied the same number of entries."""
    latest: list[Digest] = []

    def look() -> bool:
        latest[:] = [digest for digest in cluster.digests().values() if digest is not None]
        return len(latest) >= fewest and len({digest.applied_index for digest in latest}) == 1

    wait_until(look, "not all replicas applied the same entries")
    return "" if len({digest.digest for digest in latest}) == 1 else f"the replicas differ: {latest}"


def leaders_wrong(led: Mapping[ServerId, Sequence[Led]], first: tuple[ServerId, int]) -> str:
    """The terms that two peers led, in words."""
    name, term = first
    leaders: dict[int, set[ServerId]] = {term: {name}}
    for name, times in led.items():
        for time in times:
            leaders.setdefault(time.term, set()).add(name)
    twice = {term: sorted(names) for term, names in leaders.items() if len(names) > 1}
    return f"terms with two leaders: {twice}" if twice else ""


def _traces(directory: Path) -> str:
    for path in trace_files(directory):
        try:
            report = replay(read_whole_trace(path))
        except Divergence as error:
            return f"{path.name}: {error}"
        if not report.turns:
            return f"{path.name}: no turn was recorded"
    return ""
