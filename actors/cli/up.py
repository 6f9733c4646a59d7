"""`actorum up`: start a cluster and serve it until it is stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from actors.cli.output import say
from actors.cli.shared import LEVELS, data_option, record_option, runtime_option

if TYPE_CHECKING:
    from actors.replicated import Replicated
    from actors.spec import RuntimeName, StorageKind

EXAMPLES = """
Examples:

\b
  actorum up counter
  actorum up counter --nodes 5 --data ./five &
  actorum up counter --runtime locks
  actorum up counter --chaos          and then: actorum chaos disconnect n1
  actorum up counter --log-level info
  actorum up counter --record ./traces      and later: actorum check replay ./traces
  actorum up mypackage.ledger:Ledger --data ./ledger

Ctrl-C, SIGTERM or `actorum down` stop it in good order; after a crash, start it again on the same directory.
"""


@click.command(epilog=EXAMPLES)
@click.argument("machine", default="counter")
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True, help="Peers, each a process.")
@click.option("--name", help="The cluster's name.  [default: that of the directory]")
@click.option("--memory", is_flag=True, help="Do not wait for the disk: survives kill -9, not a loss of power.")
@click.option("--chaos", is_flag=True, help="Let `actorum chaos` lose, delay and cut what the peers say to each other.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help='How much this program and the peers say on stderr; later: "actorum settings log-level".',
)
@record_option
@runtime_option
@data_option
def up(
    machine: str,
    nodes: int,
    name: str | None,
    memory: bool,
    chaos: bool,
    log_level: str | None,
    record: Path | None,
    runtime: RuntimeName,
    data: Path,
) -> None:
    """Start a cluster of MACHINE: counter, kv, lock, queue, register, set, election, or "module:Class" of your own."""
    from actors.cluster import peer_specs, run_peers
    from actors.hosts import ProcessHost
    from actors.logs import set_log_level
    from actors.network import Network
    from actors.service import Service, refuse_if_served
    from actors.signals import asked_to_stop
    from actors.supervisor import PeerState, Supervisor
    from raft_core import Settings

    began = monotonic()
    kind = find_machine(machine)
    if log_level is not None:
        set_log_level(log_level)
    refuse_if_served(data)
    storage: StorageKind = "unsynced sqlite" if memory else "sqlite"
    specs = peer_specs(kind, nodes, Settings(), data, storage, runtime=runtime, record=record, log_level=log_level)
    network = Network(spec.config.server_id for spec in specs) if chaos else None
    with (
        asked_to_stop() as asked,
        run_peers(specs, ProcessHost(), timeout=10.0, data=data, network=network) as cluster,
    ):
        assert isinstance(cluster.supervisor, Supervisor)
        described = f"{kind._machine_name}@{kind.version}"
        service = Service(
            cluster,
            cluster.supervisor,
            data,
            name=name or data.resolve().name,
            machine=described,
            on_stop=lambda: asked.put("down"),
        )
        try:
            seconds = monotonic() - began
            ready = sum(state is PeerState.UP for state, _, _ in cluster.supervisor.members().values())
            peers = f"{ready} of {len(specs)} peers of {described}"
            say(f"{peers} ready in {seconds:.1f} s on {data}, leader {cluster.leader()}")
            if record is not None:
                say(f"recording into {record}: actorum check replay {record}")
            say(f"stopping: {asked.get()}")
        finally:
            service.close()


MACHINES = {
    "counter": "counter:Counter",
    "counters": "counters:Counters",
    "election": "election:Election",
    "kv": "key_value:KeyValue",
    "lock": "lock:Lock",
    "queue": "queue:Queue",
    "register": "register:Register",
    "set": "set:Set",
}
"""Our own, by their short names."""


def find_machine(name: str) -> type[Replicated]:
    """The machine that is meant: one of ours by its short name, or "module:Class", looked up from here."""
    from actors.replicated import load_machine

    known = {name: f"actors.machines.{place}" for name, place in MACHINES.items()}
    if name not in known and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` would; the peers inherit it
    return load_machine(known.get(name, name))
