"""What the commands for a running cluster share: where it is, and how to reach it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DATA = "demo"
LEVELS = ("debug", "info", "warning", "error", "critical")
"""Of logging."""


def data_option(function: F) -> F:
    """Give a command `--data DIR`: the directory of the cluster that is meant."""
    return click.option(
        "-d",
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DATA,
        show_default=True,
        envvar="ACTORUM_DATA",
        help="The cluster's data directory (or ACTORUM_DATA).",
    )(function)


def runtime_option(function: F) -> F:
    """Give a command `--runtime`: how the threads of a peer take turns."""
    return click.option(
        "--runtime",
        type=click.Choice(["actors", "locks"]),
        default="actors",
        show_default=True,
        help="Peers as actors with mailboxes, or as threads around one lock.",
    )(function)


def record_option(function: F) -> F:
    """Give a command `--record DIR`: where a trace of each peer is written."""
    return click.option(
        "--record",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Record there what happens to each peer, for `actorum check replay`; goes on behind what is there.",
    )(function)
