"""`actorum upgrade`: let a running cluster go over to a newer version of its machine."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

EXAMPLES = """
\b
Examples:
  actorum restart n1      ... and n2, n3, once the new program is installed: each goes on as the old one did
  actorum upgrade
"""


@click.command(epilog=EXAMPLES)
@click.option("--to", "version", type=click.IntRange(1), help="Begin this version.  [default: the newest]")
@click.option("--timeout", type=click.FloatRange(0.0), default=30.0, show_default=True, help="Seconds.")
@data_option
@output_option
def upgrade(version: int | None, timeout: float, data: Path, output: Output) -> None:
    """Begin a newer version of the machine on all replicas alike; refused unless every voter knows it."""
    from actors.remote import connect

    with connect(data) as cluster:
        begun = cluster.upgrade(version, timeout=timeout)
    output.record({"version": begun}, f"version {begun} of the machine is in force")
