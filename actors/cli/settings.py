"""`actorum settings`: timers, limits and logging of a cluster that runs."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import LEVELS, data_option

EXAMPLES = """
\b
Examples:
  actorum settings show
  actorum settings set election_timeout=1000 heartbeat_interval=100
  actorum settings set snapshot_entries=5000
  actorum settings log-level debug

They hold until the cluster is stopped; peers that are started again meanwhile begin with them.
"""


@click.group(epilog=EXAMPLES)
def settings() -> None:
    """Change timers, limits and logging of a running cluster."""


@settings.command()
@data_option
@output_option
def show(data: Path, output: Output) -> None:
    """What is in force, at each peer that answers."""
    from msgspec import to_builtins

    from actors.remote import connect

    with connect(data) as cluster:
        known = {name: to_builtins(found) for name, found in cluster.settings().items()}
    names: dict[str, object] = next(iter(known.values()), {})
    output.rows([{"setting": name, **{peer: found[name] for peer, found in known.items()}} for name in names])


@settings.command("set", epilog="\b\nExample:\n  actorum settings set election_timeout=1000 pre_vote=true\n")
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
@data_option
@output_option
def set_(changes: tuple[str, ...], data: Path, output: Output) -> None:
    """Give all peers other settings; `actorum settings show` names them."""
    from actors.remote import connect

    wished = dict(_change(change) for change in changes)
    with connect(data) as cluster:
        now = cluster.change_settings(**wished)
    output.record({name: getattr(now, name) for name in wished})


@settings.command("log-level", epilog="\b\nExample:\n  actorum settings log-level info\n")
@click.argument("level", type=click.Choice(LEVELS, case_sensitive=False))
@data_option
@output_option
def log_level(level: str, data: Path, output: Output) -> None:
    """Let `actorum up` and all peers log at LEVEL, on the stderr of `actorum up`."""
    from actors.remote import connect

    with connect(data) as cluster:
        cluster.set_log_level(level)
    output.record({"log_level": level.upper()})


def _change(text: str) -> tuple[str, int | bool]:
    name, sign, value = text.partition("=")
    words = {"true": True, "yes": True, "false": False, "no": False}
    if not sign or not (value in words or value.lstrip("-").isdigit()):
        raise click.UsageError(f"a change is written NAME=NUMBER or NAME=yes|no, not {text!r}")
    return name, words[value] if value in words else int(value)
