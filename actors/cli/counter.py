"""`actorum counter`: call the replicated counter of a running cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actors.cli.calling import call, timeout_option
from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

if TYPE_CHECKING:
    from actors.machines.counter import Counter
    from actors.protocol import Consistency


@click.group(
    epilog="\b\nExamples:\n  actorum counter incr --by 5\n  actorum counter get --consistency stale --max-staleness 1\n"
)
def counter() -> None:
    """Call a running cluster's replicated counter."""


@counter.command(context_settings={"ignore_unknown_options": False})
@click.option("--by", type=int, default=1, show_default=True, help="Added to the value; may be negative.")
@timeout_option
@data_option
@output_option
def incr(by: int, timeout: float, data: Path, output: Output) -> None:
    """Add to the counter and print its new value."""
    _call(data, timeout, output, lambda machine: machine.incr(by))


@counter.command()
@click.option(
    "--consistency",
    type=click.Choice(["linearizable", "follower", "lease", "stale"]),
    default="linearizable",
    show_default=True,
    help="How fresh, and who answers.",
)
@click.option("--max-staleness", type=float, help="Seconds by which a stale value may be behind.")
@timeout_option
@data_option
@output_option
def get(consistency: Consistency, max_staleness: float | None, timeout: float, data: Path, output: Output) -> None:
    """Print the counter's value."""
    _call(
        data,
        timeout,
        output,
        lambda machine: machine.get.using(consistency=consistency, max_staleness=max_staleness)(),
    )


def _call(data: Path, timeout: float, output: Output, function: Callable[[Counter], int]) -> None:
    from actors.machines.counter import Counter

    value = call(Counter, data, timeout, output, function)
    output.record({"value": value}, str(value))
