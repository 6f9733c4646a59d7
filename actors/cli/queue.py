"""`actorum queue`: put jobs into the replicated queue of a running cluster, take them, report them done."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.calling import call, tell, timeout_option
from actors.cli.output import Output, output_option
from actors.cli.shared import data_option


@click.group(
    epilog="\b\nExamples:\n  actorum up queue &\n  actorum queue put sweep\n  actorum queue take --lease 30\n"
    "  actorum queue ack 1 1\n\n  Exit code 4: there is no job, or the lease was over.\n"
)
def queue() -> None:
    """Put jobs into a running cluster's queue, and take them."""


@queue.command()
@click.argument("value")
@timeout_option
@data_option
@output_option
def put(value: str, timeout: float, data: Path, output: Output) -> None:
    """Put a job at the end, and print its number."""
    from actors.machines.queue import Queue

    number = call(Queue, data, timeout, output, lambda queue: queue.put(value))
    tell(output, {"number": number}, str(number))


@queue.command()
@click.option("--lease", type=float, default=60.0, show_default=True, metavar="SECONDS", help="Until it comes again.")
@timeout_option
@data_option
@output_option
def take(lease: float, timeout: float, data: Path, output: Output) -> None:
    """Take the first job; print its number, the attempt, and what it is."""
    from actors.machines.queue import Queue

    job = call(Queue, data, timeout, output, lambda queue: queue.take(lease))
    if job is None:
        tell(output, {"number": None, "attempt": None, "value": None}, "no job", holds=False)
    else:
        record = {"number": job.number, "attempt": job.attempt, "value": job.value}
        tell(output, record, f"{job.number} {job.attempt} {job.value}")


@queue.command()
@click.argument("number", type=int)
@click.argument("attempt", type=int)
@timeout_option
@data_option
@output_option
def ack(number: int, attempt: int, timeout: float, data: Path, output: Output) -> None:
    """Report a job done."""
    from actors.machines.queue import Queue

    done = call(Queue, data, timeout, output, lambda queue: queue.ack(number, attempt))
    tell(output, {"done": done}, "done" if done else "the lease was over", holds=done)


@queue.command()
@timeout_option
@data_option
@output_option
def size(timeout: float, data: Path, output: Output) -> None:
    """Print how many jobs are not done."""
    from actors.machines.queue import Queue

    number = call(Queue, data, timeout, output, lambda queue: queue.size())
    tell(output, {"size": number}, str(number))
