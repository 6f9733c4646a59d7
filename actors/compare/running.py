"""One run: a fresh process, a fresh cluster, warm-up, load, perhaps a fault, the gates.

    python -m actors.compare.running        the planned run on standard input, its directory and seconds as arguments

A process of its own for each run: what an earlier run left in memory, in the allocator or in the caches of the
interpreter is in no later one.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from time import monotonic, time
from typing import NamedTuple

from msgspec import json
from msgspec.structs import replace

from actors import session
from actors.cluster import Cluster, cluster_directory, peer_specs, run_peers
from actors.compare.faults import Misfortune, misfortune
from actors.compare.gates import gates, traces_gate
from actors.compare.load import Loader, StampingClient
from actors.compare.measured import Measured, Probes, ProcessProbes, Report, ThreadProbes
from actors.compare.payloads import Payloads
from actors.compare.records import STAGES, Cell, Experiment, PeerUse, Planned, Run, Waiting
from actors.compare.waiting import waiting
from actors.demo.patience import wait_until
from actors.network import Faults, Network
from actors.process import SWITCH_INTERVAL
from raft_core import ServerId, Settings, Term

WARM_UP = 0.3
"""Seconds of load before the measurement begins."""
TENTH = 0.1
SLOW_APPLY = 100e-6
"""Seconds of processor time that a command takes with the fault "slow apply"."""
SLOW_FSYNC = 0.005
LINK_DELAY = 0.002
"""Seconds that a message between peers takes longer, on average, with the fault "link delay"."""


class _Measurement(NamedTuple):
    loader: Loader
    written: dict[int, float]
    frames: array[float]
    """When the client wrote each of its frames to the leader."""
    reports: dict[ServerId, Report]
    leader: ServerId
    """Who led when the measurement began."""
    fault: Misfortune
    seconds: float


def carry_out(planned: Planned, experiment: Experiment, seconds: float) -> Run:
    """Carry out `planned` here and keep it."""
    began, load_before = time(), os.getloadavg()[0]
    sys.setswitchinterval(SWITCH_INTERVAL)  # as in the process of a peer, so that it is no factor
    if not planned.cell.batching:
        session.MAX_BATCH = 1  # of this process, which carries out one run
    with tempfile.TemporaryDirectory(prefix="actorum-compare-") as traces:
        with _cluster(planned, Path(traces)) as (cluster, client, probes):
            measured, term = _measure(planned, cluster, client, probes, seconds)
            found = gates(planned.cell, cluster, measured.loader, measured.reports, (measured.leader, term))
        run = _run_of(planned, measured, began, load_before)
        run = replace(run, gates=(*found, traces_gate(Path(traces))))
    latencies, intended = _latencies(measured.loader)
    experiment.save(run, latencies, intended)
    return run


@contextmanager
def _cluster(planned: Planned, traces: Path) -> Iterator[tuple[Cluster, StampingClient, Probes]]:
    cell = planned.cell
    measured = Measured(
        directory=str(traces),
        slow_apply=SLOW_APPLY if cell.fault == "slow apply" else 0.0,
        slow_fsync=SLOW_FSYNC if cell.fault == "slow fsync" else 0.0,
        null_core=cell.control == "null core",
    )
    probes = (ProcessProbes if cell.isolation == "processes" else ThreadProbes)(measured)
    settings = Settings() if cell.batching else Settings(max_entries_per_message=1)
    with ExitStack() as stack:
        directory, kind = stack.enter_context(cluster_directory(None, cell.storage, cell.isolation))
        specs = peer_specs(Payloads, cell.peers, settings, directory, kind, planned.seed, runtime=cell.runtime)
        network = Network(spec.config.server_id for spec in specs) if cell.fault == "link delay" else None
        if network is not None:
            slow = Faults(delay=(0.0, 2 * LINK_DELAY))
            network.set(requests=slow, results=slow)
        cluster = stack.enter_context(
            run_peers(specs, probes.host(), timeout=10.0, data=None, network=network, seed=planned.seed)
        )
        client = StampingClient(timeout=10.0, health=cluster.supervisor.health)
        stack.callback(client.close)
        cluster.supervisor.add_client(client)
        yield cluster, client, probes


def _measure(
    planned: Planned, cluster: Cluster, client: StampingClient, probes: Probes, seconds: float
) -> tuple[_Measurement, Term]:
    """The measurement, and the term in which it began."""
    cell = planned.cell
    warm = Loader(client, cell.payload)
    warm.closed(min(cell.clients, 16), WARM_UP)
    leader, term = _leader(cluster)
    ids = {name: process_id for name, (_, _, process_id) in cluster.supervisor.members().items()}
    client.written.clear()
    loader = Loader(client, cell.payload, before=len(warm.completed))
    fault = misfortune(cell, cluster, probes, leader, ids, seconds, Random(planned.seed))
    gc.collect()
    probes.begin(ids)
    with fault:
        if cell.load == "closed":
            loader.closed(cell.clients, seconds)
        else:
            loader.open(cell.rate, seconds)
    reports = probes.end({name: process_id for name, process_id in ids.items() if name != fault.killed})
    return _Measurement(loader, client.written, client.frames[leader], reports, leader, fault, seconds), term


def _leader(cluster: Cluster) -> tuple[ServerId, Term]:
    """Who leads, and in which term; of several that say so, the one of the latest."""
    leading: list[tuple[Term, ServerId]] = []

    def look() -> bool:
        leading[:] = [(each.term, name) for name, each in cluster.status().items() if each and each.role == "leader"]
        return bool(leading)

    wait_until(look, "nobody leads")
    term, name = max(leading)
    return name, term


def _latencies(loader: Loader) -> tuple[array[float], array[float]]:
    done = loader.completed
    latencies = array("d", ((loader.returned[n] - loader.intended[n]) / 1e9 for n in done))
    return latencies, array("d", ((loader.intended[n] - loader.began_ns) / 1e9 for n in done))


def _run_of(planned: Planned, measured: _Measurement, began: float, load_before: float) -> Run:
    loader, reports = measured.loader, measured.reports
    done = loader.completed
    returned = sorted((loader.returned[n] - loader.began_ns) / 1e9 for n in done)
    within = [moment for moment in returned if moment <= measured.seconds]
    tenths = [0] * math.ceil(measured.seconds / TENTH - 1e-9)
    for moment in within:
        tenths[min(int(moment / TENTH), len(tenths) - 1)] += 1
    leads = reports.get(measured.leader)
    fault_at, elected, unavailable = measured.fault.outcome(returned, reports, loader.began_ns / 1e9)
    return Run(
        number=planned.number,
        cell=planned.cell,
        repetition=planned.repetition,
        seed=planned.seed,
        began=began,
        load_before=load_before,
        seconds=measured.seconds,
        completed=len(done),
        refused=loader.refused,
        unknown=loader.unknown,
        throughput=len(within) / measured.seconds,
        timeline=tuple(tenths),
        fault_at=fault_at,
        elected=elected,
        unavailable=unavailable,
        elections=_elections(reports, loader.began_ns / 1e9, measured.fault),
        entries_per_append=leads.seen.appended / leads.seen.appends if leads and leads.seen.appends else 0.0,
        stages=_stages(measured) if leads else {},
        waiting=_waiting(measured) if leads else None,
        peers=_uses(planned.cell, measured),
    )


def _elections(reports: dict[ServerId, Report], began: float, fault: Misfortune) -> int:
    """Leaders that began within the measurement, less the one that a fault makes necessary."""
    during = sum(1 for report in reports.values() for led in report.led if led.time >= began)
    return max(0, during - fault.elections)


def _stages(measured: _Measurement) -> dict[str, tuple[float, float]]:
    """The p50 and the p99 of each stage, over the samples that passed all of them."""
    loader, seen = measured.loader, measured.reports[measured.leader].seen
    rows: list[list[float]] = []
    for sample, number in loader.samples.items():
        committed = seen.committed.get(sample, math.inf)
        stored = min(seen.stored.get(sample, committed), committed)  # behind the commit, nobody waits for it
        before = (measured.written.get(sample), seen.took.get(sample), seen.decided.get(sample))
        passed = [time for time in (*before, stored, committed, seen.applied.get(sample)) if time is not None]
        if len(passed) == len(STAGES) - 1 and committed < math.inf and loader.returned[number] > 0:
            rows.append(spans([loader.invoked[number] / 1e9, *passed, loader.returned[number] / 1e9]))
    if not rows:
        return {}
    return {
        stage: (_percentile(values, 0.5), _percentile(values, 0.99))
        for stage, values in zip(STAGES, zip(*rows, strict=True), strict=True)
    }


def spans(times: list[float]) -> list[float]:
    """The time between each moment and the next, with the sum of what is between the first and the last.

    Two threads note two moments that follow each other, and one may be late in doing so: the earlier moment is then
    taken to be no later than the one behind it."""
    for place in range(len(times) - 2, 0, -1):
        times[place] = min(times[place], times[place + 1])
    ascending = list(accumulate(times, max))
    return [later - earlier for earlier, later in pairwise(ascending)]


def _percentile(values: tuple[float, ...], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _waiting(measured: _Measurement) -> Waiting | None:
    """What waited at the leader, from when the load began."""
    visits = measured.reports[measured.leader].seen.visits
    arrived, began, done = list(visits.arrived), visits.began, visits.done
    if visits.kind == "mailbox":
        # Of all clients, the load's: nobody else sends as much.
        counts = max(visits.frames.values(), key=sum, default=[])
        turns = [turn for turn, count in enumerate(counts) for _ in range(count)]
        arrived = measured.frames[: len(turns)].tolist()
        began, done = [began[turn] for turn in turns], [done[turn] for turn in turns]
    since = measured.loader.began_ns / 1e9
    return waiting(visits.kind, arrived, began, done, since, since + measured.seconds)


def _uses(cell: Cell, measured: _Measurement) -> tuple[PeerUse, ...]:
    uses = [
        PeerUse(
            peer=name,
            was_leader=name == measured.leader,
            processor=report.seen.processor,
            voluntary=report.seen.voluntary,
            involuntary=report.seen.involuntary,
            fsyncs=report.seen.fsyncs,
            resident=report.seen.resident,
        )
        for name, report in measured.reports.items()
    ]
    if cell.isolation == "threads":  # one process: each report is of all of it, but for its own disk
        fsyncs = sum(use.fsyncs for use in uses)
        uses = [replace(use, fsyncs=fsyncs) for use in [*(use for use in uses if use.was_leader), *uses][:1]]
    return tuple(uses)


def main() -> None:
    """See the module."""
    experiment, seconds = Experiment(Path(sys.argv[1])), float(sys.argv[2])
    planned = json.decode(sys.stdin.buffer.read(), type=Planned)
    began = monotonic()
    run = carry_out(planned, experiment, seconds)
    print(f"{run.throughput:.0f}/s in {monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
