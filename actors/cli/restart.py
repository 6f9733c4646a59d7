"""`actorum restart`: start a peer of a running cluster from its storage."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import say
from actors.cli.shared import data_option


@click.command(epilog="\b\nExample:\n  actorum restart n2\n")
@click.argument("node")
@data_option
def restart(node: str, data: Path) -> None:
    """Start NODE again from its storage (stopping it first if it runs)."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.restart(node)
    say(f"{node} is up")
