"""What the commands that call a running machine have in common: connect, call, print, and say why it took so long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actors.cli.output import Output, say
from actors.errors import ExitCode

if TYPE_CHECKING:
    from actors.remote import RemoteCluster
    from actors.replicated import Replicated

M = TypeVar("M", bound="Replicated")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

WORTH_TELLING = 0.15
"""Seconds after which the user is told why a call took so long."""


def timeout_option(function: F) -> F:
    """Give a command `--timeout SECONDS`."""
    return click.option(
        "--timeout", type=float, default=10.0, show_default=True, help="Seconds to wait for the answer."
    )(function)


def call(machine: type[M], data: Path, timeout: float, output: Output, function: Callable[[M], R]) -> R:
    """Let `function` call the cluster that runs on `data`; if it takes long, say why."""
    from actors.remote import connect

    with connect(data, timeout=timeout) as cluster:
        bound = cluster.bind(machine)
        began = monotonic()
        result = function(bound)
        waited = monotonic() - began
        if waited > WORTH_TELLING and output.is_table:
            _explain(cluster, waited)
        return result


def _explain(cluster: RemoteCluster, waited: float) -> None:
    nodes = cluster.status().nodes
    down = [node.server_id for node in nodes if node.status is None]
    leads = [(n.server_id, n.status.term) for n in nodes if n.status is not None and n.status.role == "leader"]
    why = f"{', '.join(down)} down" if down else "the cluster was busy"
    who = f"; {leads[0][0]} leads in term {leads[0][1]}" if leads else ""
    say(f"(waited {waited:.2f} s: {why}{who})")


def tell(output: Output, record: Mapping[str, object], text: str, *, holds: bool = True) -> None:
    """Print a result; the exit code is that of a condition which is false unless it `holds`."""
    output.record(record, text)
    if not holds:
        click.get_current_context().exit(ExitCode.CONDITION_FALSE)
