"""`actorum down`: stop a running cluster in good order."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import say
from actors.cli.shared import data_option


@click.command(epilog="\b\nExample:\n  actorum down --data ./demo\n")
@data_option
def down(data: Path) -> None:
    """Stop a running cluster; its data stays."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.down()
    say(f"the cluster on {data} has stopped")
