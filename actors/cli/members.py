"""`actorum members`, `actorum transfer`, `actorum snapshot`: change who belongs to a running cluster, and who leads it.

Every command waits until it is done or the time is up, and says which: exit code 3, nothing was changed; 5, it is not
known whether it was (`actorum members list` tells), and asking for the same again is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = """
Examples:

\b
  actorum members list
  actorum members add                     a new peer: a learner until it has caught up, then a voter
  actorum members add n7 --learner        and later: actorum members promote n7
  actorum members remove n2 n3
  actorum members replace n1              n1 is dead and will not come back
  actorum members priority n2 5           n2 shall lead whenever it can; 0: only while nobody else can
"""


def _timeout_option(function: F) -> F:
    return click.option(
        "--timeout",
        type=click.FloatRange(0.0),
        default=30.0,
        show_default=True,
        help="Seconds within which it must be done.",
    )(function)


def _steering(function: F) -> F:
    """The options of a command that changes something."""
    return data_option(output_option(_timeout_option(function)))


@click.group(epilog=EXAMPLES)
def members() -> None:
    """Add, promote, remove, replace and rank peers of a running cluster (paper 6)."""


@members.command("list")
@data_option
@output_option
def list_members(data: Path, output: Output) -> None:
    """Who belongs to the cluster, and how far each one is."""
    from actors.cli.status import described
    from actors.remote import connect

    with connect(data) as cluster:
        known = cluster.members()
        _, rows = described(cluster.status())
    shown = {str(row["node"]): row for row in rows}
    for name in (*known.voters, *known.learners):
        shown.setdefault(name, {"node": name, "role": "not running"})
    kinds = dict.fromkeys(known.voters, "voter") | dict.fromkeys(known.learners, "learner")
    keys = ("role", "last", "trails", "snapshot", "uptime_s", "pid")
    records = [
        {
            "node": name,
            "member": kinds.get(name),
            "priority": known.priority(name) if name in kinds else None,
            **{key: row.get(key) for key in keys},
        }
        for name, row in shown.items()
    ]
    if output.is_table:
        settled = "" if known.is_committed else ", and a change is under way"
        output.line(f"MEMBERS of entry {known.index}{settled}")
    output.rows(records)


@members.command()
@click.argument("name", required=False)
@click.option("--learner", is_flag=True, help="Do not let it vote yet.")
@_steering
def add(name: str | None, learner: bool, timeout: float, data: Path, output: Output) -> None:
    """Start a new peer, called NAME or by the next number, and make it a member."""
    from actors.remote import connect

    with connect(data) as cluster:
        added = cluster.add(name, promote=not learner, timeout=timeout)
    kind = "learner" if learner else "voter"
    output.record({"node": added, "member": kind}, f"{added} is a {kind}")


@members.command()
@click.argument("name")
@_steering
def promote(name: str, timeout: float, data: Path, output: Output) -> None:
    """Let the learner NAME vote, as soon as it has caught up."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.promote(name, timeout=timeout)
    output.record({"node": name, "member": "voter"}, f"{name} is a voter")


@members.command()
@click.argument("names", nargs=-1, required=True)
@_steering
def remove(names: tuple[str, ...], timeout: float, data: Path, output: Output) -> None:
    """Take peers out of the cluster, the leader too, and stop them; their data stays."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.remove(*names, timeout=timeout)
    output.record({"removed": list(names)}, f"{', '.join(names)} left")


@members.command()
@click.argument("name")
@_steering
def replace(name: str, timeout: float, data: Path, output: Output) -> None:
    """Put a fresh peer, under a new name, in the place of NAME, which will not come back."""
    from actors.remote import connect

    with connect(data) as cluster:
        fresh = cluster.replace(name, timeout=timeout)
    output.record({"node": fresh, "member": "voter", "replaces": name}, f"{fresh} took the place of {name}")


@members.command()
@click.argument("name")
@click.argument("priority", type=click.IntRange(0))
@_steering
def priority(name: str, priority: int, timeout: float, data: Path, output: Output) -> None:
    """Let NAME lead rather than members of lower PRIORITY; all begin with 1, and 0 leads only while nobody else can."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.set_priority(name, priority, timeout=timeout)
    output.record({"node": name, "priority": priority}, f"{name} has priority {priority}")


@click.command(epilog="\b\nExamples:\n  actorum transfer\n  actorum transfer n2\n")
@click.argument("name", required=False)
@_steering
def transfer(name: str | None, timeout: float, data: Path, output: Output) -> None:
    """Let NAME lead, or whoever has most of the log."""
    from actors.remote import connect

    with connect(data) as cluster:
        leader = cluster.transfer_leadership(name, timeout=timeout)
    output.record({"leader": leader}, f"{leader} leads")


@click.command(epilog="\b\nExamples:\n  actorum snapshot\n  actorum snapshot n2\n")
@click.argument("name", required=False)
@_steering
def snapshot(name: str | None, timeout: float, data: Path, output: Output) -> None:
    """Have NAME, or the leader, save its state now and shorten its log."""
    from actors.remote import connect

    with connect(data) as cluster:
        index = cluster.snapshot(name, timeout=timeout)
    output.record({"node": name, "index": index}, f"saved up to entry {index}")
