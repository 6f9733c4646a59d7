"""`actorum events`: what happens to the peers of a running cluster, a line for each, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

if TYPE_CHECKING:
    from actors.happenings import Happening

EXAMPLES = """
\b
Examples:
  actorum events
  actorum events --kind LeaderChanged --kind PeerUnreachable
  actorum events -o jsonl | jq .value
  actorum events --kind RoleChanged --count 1 --seconds 10     wait for an election, at most 10 s

CommitAdvanced and HeartbeatAnswered come often, so they are told only if they are named.
"""
OFTEN = ("CommitAdvanced", "HeartbeatAnswered")


@click.command(epilog=EXAMPLES)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this kind; may be given several times.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@click.option("--seconds", type=click.FloatRange(0.0), help="End after so long.")
@data_option
@output_option
def events(kinds: tuple[str, ...], count: int | None, seconds: float | None, data: Path, output: Output) -> None:
    """Watch roles, leaders, members, snapshots and silence of the peers, as they happen."""
    from actors.happenings import KINDS
    from actors.remote import connect

    deadline = None if seconds is None else monotonic() + seconds
    wanted = kinds or tuple(name for name in KINDS if name not in OFTEN)
    with connect(data) as cluster, cluster.events(*wanted) as stream:
        told = 0
        while count is None or told < count:
            happening = stream.get(None if deadline is None else max(0.0, deadline - monotonic()))
            if happening is None:  # the time is up, or the cluster has ended
                break
            told += 1
            output.record(as_record(happening), as_line(happening))
        if stream.lost:
            output.say(f"{stream.lost} were lost: they came faster than they could be written")


def as_record(happening: Happening) -> dict[str, Any]:
    """For programs."""
    from actors.cli.report import named

    return {"kind": type(happening).__name__, **named(happening)}


def as_line(happening: Happening) -> str:
    """For people: `12.345 n1 LeaderChanged: n2 -> n1, term 3`."""
    record = as_record(happening)
    kind, source, at = record.pop("kind"), record.pop("source"), record.pop("at")
    previous, value = _difference(record.pop("previous"), record.pop("value"))
    change = f"{_words(previous)} -> {_words(value)}"
    others = [f"{name} {_words(one)}" for name, one in record.items()]
    return f"{at:.3f} {source} {kind}: {', '.join([change, *others])}"


def _difference(previous: Any, value: Any) -> tuple[Any, Any]:
    """Of two records only what is not the same."""
    if not isinstance(previous, dict) or not isinstance(value, dict):
        return previous, value
    names = [name for name in value if previous.get(name) != value[name]]
    return {name: previous[name] for name in names}, {name: value[name] for name in names}


def _words(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4f}"
        case list():
            return "+".join(_words(one) for one in value) or "-"
        case dict():
            return " ".join(f"{name}={_words(one)}" for name, one in value.items())
        case _:
            return str(value)
