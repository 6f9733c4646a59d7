"""`actorum counter`: call the replicated counter of a running cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from actors.cli.output import Output, output_option, say
from actors.cli.shared import data_option

if TYPE_CHECKING:
    from actors.machines.counter import Counter

WORTH_TELLING = 0.15
"""Seconds after which the user is told why a call took so long."""


@click.group(epilog="\b\nExamples:\n  actorum counter incr --by 5\n  actorum counter get --consistency stale\n")
def counter() -> None:
    """Call a running cluster's replicated counter."""


@counter.command(context_settings={"ignore_unknown_options": False})
@click.option("--by", type=int, default=1, show_default=True, help="Added to the value; may be negative.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer.")
@data_option
@output_option
def incr(by: int, timeout: float, data: Path, output: Output) -> None:
    """Add to the counter and print its new value."""
    _call(data, timeout, output, lambda machine: machine.incr(by))


@counter.command()
@click.option("--consistency", type=click.Choice(["linearizable", "stale"]), default="linearizable", show_default=True)
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer.")
@data_option
@output_option
def get(consistency: str, timeout: float, data: Path, output: Output) -> None:
    """Print the counter's value."""
    _call(
        data,
        timeout,
        output,
        lambda machine: machine.get.using(consistency="stale" if consistency == "stale" else "linearizable")(),
    )


def _call(data: Path, timeout: float, output: Output, function: Callable[[Counter], int]) -> None:
    from actors.machines.counter import Counter
    from actors.remote import connect

    with connect(data, timeout=timeout) as cluster:
        machine = cluster.bind(Counter)
        began = monotonic()
        value = function(machine)
        waited = monotonic() - began
        output.record({"value": value}, str(value))
        if waited > WORTH_TELLING and output.is_table:
            nodes = cluster.status().nodes
            down = [node.server_id for node in nodes if node.status is None]
            leads = [(n.server_id, n.status.term) for n in nodes if n.status is not None and n.status.role == "leader"]
            why = f"{', '.join(down)} down" if down else "the cluster was busy"
            who = f"; {leads[0][0]} leads in term {leads[0][1]}" if leads else ""
            say(f"(waited {waited:.2f} s: {why}{who})")
