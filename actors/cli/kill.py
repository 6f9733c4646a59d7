"""`actorum kill`: SIGKILL a peer of a running cluster, to see what the others do."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import say
from actors.cli.shared import data_option


@click.command(epilog="\b\nExamples:\n  actorum kill n2\n  actorum kill --leader && actorum counter incr\n")
@click.argument("node", required=False)
@click.option("--leader", is_flag=True, help="Whoever leads.")
@data_option
def kill(node: str | None, leader: bool, data: Path) -> None:
    """Kill NODE (SIGKILL) and leave it down until `actorum restart NODE`."""
    from actors.remote import connect

    if (node is None) != leader:
        raise click.UsageError("name a node, or say --leader")
    with connect(data) as cluster:
        say(f"killed {cluster.kill(node)}")
