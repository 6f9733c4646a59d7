"""The conditions without which the speed of a run is not reported: it is easy to be fast and wrong.

* The client's history is linearizable: every put returned the number it made, as an increment does.
* The replicas that are up are equal, once all have applied the same entries.
* No term had two leaders (Election Safety, Figure 3), by what the peers say.
* The traces come out again: the first turns of each peer through the same core give the same states and effects.

The control without a core passes by the first alone: it replicates nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from actors.cluster import Cluster
from actors.compare.load import Loader
from actors.compare.measured import Report
from actors.compare.records import Cell, Gate
from actors.demo.patience import wait_until
from actors.errors import ActorumError
from actors.protocol import Digest
from actors.storage.trace import read_whole_trace, trace_files
from raft_core import ServerId
from raft_core.verify.counter import CounterModel
from raft_core.verify.linearizability import check
from raft_core.verify.replay import Divergence, replay


def gates(cell: Cell, cluster: Cluster, loader: Loader, reports: Mapping[ServerId, Report]) -> tuple[Gate, ...]:
    """What can be found out while the cluster runs.  The traces come afterwards: `traces_gate`."""
    found = [_gate("history is linearizable", lambda: _history(loader))]
    if cell.control != "null core":
        found.append(_gate("replicas are equal", lambda: _replicas(cluster)))
        found.append(_gate("one leader a term", lambda: _leaders(reports)))
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


def _replicas(cluster: Cluster) -> str:
    """Of the peers that are up, once they have applied the same number of entries."""
    latest: list[Digest] = []

    def look() -> bool:
        latest[:] = [digest for digest in cluster.digests().values() if digest is not None]
        return bool(latest) and len({digest.applied_index for digest in latest}) == 1

    wait_until(look, "not all replicas applied the same entries")
    return "" if len({digest.digest for digest in latest}) == 1 else f"the replicas differ: {latest}"


def _leaders(reports: Mapping[ServerId, Report]) -> str:
    leaders = Counter(led.term for report in reports.values() for led in report.led)
    twice = [term for term, count in leaders.items() if count > 1]
    return f"terms {twice} had two leaders" if twice else ""


def _traces(directory: Path) -> str:
    files = trace_files(directory)
    if not files:
        return "there is no trace"
    for path in files:
        try:
            report = replay(read_whole_trace(path))
        except Divergence as error:
            return f"{path.name}: {error}"
        if not report.turns:
            return f"{path.name}: no turn was recorded"
    return ""
