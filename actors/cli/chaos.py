"""`actorum chaos`: make the network between a running cluster's peers misbehave, or a disk, and see what that did.

Only on clusters started with `actorum up --chaos`; but the disk of a peer can be filled on any.  A command that changes
something says so on stderr; with `-o json` it gives the whole state of the network on stdout, as `actorum chaos show`
does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actors.cli.output import Output, output_option, say
from actors.cli.shared import data_option

if TYPE_CHECKING:
    from actors.network import Faults, LinkCounts, LinkState, NetworkState
    from actors.remote_network import RemoteNetwork

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = """
Examples:

\b
  actorum up counter --chaos &
  actorum chaos disconnect n1             and later: actorum chaos connect n1
  actorum chaos partition n1,n2 n3
  actorum chaos set --drop 0.1 --delay 0-26ms --from n1
  actorum chaos unreliable
  actorum chaos disk-full n1              and later: actorum chaos disk-room n1
  actorum chaos counts -o json | jq .total.requests
  actorum chaos heal
"""


def seconds_range(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """The shortest and the longest time that "0-26ms", "0.2-2.2s" or "5ms" mean, in seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?(ms|s)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no time such as 5ms, 0-26ms or 0.2-2.2s", context, parameter)
    shortest, longest, unit = found.groups()
    units = 1000 if unit == "ms" else 1
    return float(shortest) / units, float(longest or shortest) / units


SHARE = click.FloatRange(0.0, 1.0)


@click.group(epilog=EXAMPLES)
def chaos() -> None:
    """Lose, delay, double and cut what a running cluster's peers say to each other."""


def where_and_how(function: F) -> F:
    """Give a command `--data` and `-o`."""
    return data_option(output_option(function))


# --- cuts -------------------------------------------------------------------------------------------------------------


@chaos.command()
@click.argument("sender")
@click.argument("receiver")
@where_and_how
def cut(sender: str, receiver: str, data: Path, output: Output) -> None:
    """Let nothing through from SENDER to RECEIVER; the other direction still works."""
    with _changed(data, output, f"{sender} -> {receiver} is cut") as network:
        network.cut(sender, receiver)


@chaos.command()
@click.argument("sender")
@click.argument("receiver")
@where_and_how
def mend(sender: str, receiver: str, data: Path, output: Output) -> None:
    """Undo a cut from SENDER to RECEIVER."""
    with _changed(data, output, f"{sender} -> {receiver} is mended") as network:
        network.mend(sender, receiver)


@chaos.command()
@click.argument("node")
@where_and_how
def disconnect(node: str, data: Path, output: Output) -> None:
    """Let nothing through to NODE or from it; it keeps running."""
    with _changed(data, output, f"{node} is disconnected") as network:
        network.disconnect(node)


@chaos.command()
@click.argument("node")
@where_and_how
def connect(node: str, data: Path, output: Output) -> None:
    """Undo the disconnection of NODE; a link works if both its nodes are connected and it is not cut."""
    with _changed(data, output, f"{node} is connected") as network:
        network.connect(node)


@chaos.command(epilog="\b\nExample:\n  actorum chaos partition n1,n2 n3,n4,n5\n")
@click.argument("groups", nargs=-1, required=True)
@where_and_how
def partition(groups: tuple[str, ...], data: Path, output: Output) -> None:
    """Let nodes talk inside their group only.  Each of GROUPS is a list such as n1,n2; whoever is in none is alone.

    Takes the place of whatever was cut before.
    """
    with _changed(data, output, f"only these can talk among themselves: {' | '.join(groups)}") as network:
        network.partition(*(group.split(",") for group in groups))


@chaos.command()
@where_and_how
def heal(data: Path, output: Output) -> None:
    """Take all cuts and all faults away."""
    with _changed(data, output, "everything works again") as network:
        network.heal()


# --- faults -----------------------------------------------------------------------------------------------------------


@chaos.command(name="set", epilog="\b\nExample:\n  actorum chaos set --drop 0.1 --delay 0-26ms --from n1 --to n2\n")
@click.option("--drop", type=SHARE, help="Share of messages that are lost (0 to 1).")
@click.option(
    "--delay", metavar="TIME", callback=seconds_range, help="Each message takes so much longer: 5ms, 0-26ms, 0.1-1s."
)
@click.option("--duplicate", type=SHARE, help="Share of messages that arrive twice.")
@click.option("--reorder", type=SHARE, help="Share of messages that are held back, so that later ones overtake them.")
@click.option(
    "--hold",
    metavar="TIME",
    callback=seconds_range,
    default="0.2-2.2s",
    show_default=True,
    help="For how long these are held back.",
)
@click.option("--from", "sender", metavar="NODE", help="Only links from this node.")
@click.option("--to", "receiver", metavar="NODE", help="Only links to this node.")
@click.option("--only", type=click.Choice(["requests", "results"]), help="Only messages that ask, or that answer.")
@where_and_how
def set_faults(
    drop: float | None,
    delay: tuple[float, float] | None,
    duplicate: float | None,
    reorder: float | None,
    hold: tuple[float, float],
    sender: str | None,
    receiver: str | None,
    only: str | None,
    data: Path,
    output: Output,
) -> None:
    """Give links these faults and no others; what was set for them before is forgotten."""
    from actors.network import Faults

    if drop is None and delay is None and duplicate is None and reorder is None:
        raise click.UsageError("say which fault: --drop, --delay, --duplicate or --reorder")
    faults = Faults(
        drop=drop or 0.0,
        delay=delay or (0.0, 0.0),
        duplicate=duplicate or 0.0,
        hold_back=reorder or 0.0,
        hold_back_delay=hold,
    )
    what = f"{sender or 'any'} -> {receiver or 'any'}, {only or 'all messages'}: {in_words(faults) or 'no faults'}"
    with _changed(data, output, what) as network:
        network.set(
            sender=sender,
            receiver=receiver,
            requests=None if only == "results" else faults,
            results=None if only == "requests" else faults,
        )


@chaos.command()
@where_and_how
def unreliable(data: Path, output: Output) -> None:
    """Be the lab's unreliable network: requests up to 26 ms late, 10 % of them lost, and 10 % of the results."""
    with _changed(data, output, "the network is unreliable") as network:
        network.unreliable()


@chaos.command()
@where_and_how
def reorder(data: Path, output: Output) -> None:
    """Hold back two of three results for 0.2 to 2.2 seconds (the lab's long reordering)."""
    with _changed(data, output, "two of three results are held back") as network:
        network.reorder_results()


@chaos.command()
@where_and_how
def reliable(data: Path, output: Output) -> None:
    """Take all faults away; what is cut or disconnected stays so."""
    with _changed(data, output, "no message is lost, late or doubled on a link that works") as network:
        network.reliable()


# --- disks ------------------------------------------------------------------------------------------------------------


@chaos.command(name="disk-full")
@click.argument("node")
@data_option
def disk_full(node: str, data: Path) -> None:
    """Let the disk of NODE take nothing more, until `disk-room` or its next start.

    Needs no `--chaos`: the kernel refuses all that the process writes to files.
    """
    from actors.full_disk import fill

    fill(_process_of(node, data))
    say(f"the disk of {node} is full")


@chaos.command(name="disk-room")
@click.argument("node")
@data_option
def disk_room(node: str, data: Path) -> None:
    """Undo `disk-full`: the disk of NODE takes everything again."""
    from actors.full_disk import make_room

    make_room(_process_of(node, data))
    say(f"the disk of {node} has room")


def _process_of(node: str, data: Path) -> int:
    """The process of a peer, if it has one of its own."""
    from actors.errors import NoSuchNode, WrongArguments
    from actors.remote import connect

    with connect(data) as cluster:
        processes = {found.server_id: found.status.process_id for found in cluster.status().nodes if found.status}
    if node not in processes:
        raise NoSuchNode(f"{node} does not run", why=f"these do: {', '.join(processes)}", fix="name one of them")
    if len(set(processes.values())) < len(processes):
        raise WrongArguments(
            f"the disk of {node} cannot be filled",
            why="all peers are threads of one process, which is what the kernel limits",
            fix="start the cluster with `actorum up`, which gives each peer a process",
        )
    return processes[node]


@contextmanager
def _changed(data: Path, output: Output, what: str) -> Iterator[RemoteNetwork]:
    """The network, to be changed; afterwards, what was done is told."""
    from actors.remote import connect

    with connect(data) as cluster:
        yield cluster.network
        if output.is_table:
            say(what)
        else:
            output.record(described(cluster.network.state()))


# --- looking ----------------------------------------------------------------------------------------------------------


@chaos.command()
@where_and_how
def show(data: Path, output: Output) -> None:
    """Which links are cut or have faults."""
    state = _state(data)
    if not output.is_table:
        output.record(described(state))
        return
    if state.disconnected:
        output.say(f"disconnected: {', '.join(state.disconnected)}")
    troubled = [row for row in map(_fault_row, state.links) if row["cut"] or row["requests"] or row["results"]]
    output.rows([{key: value or None for key, value in row.items()} for row in troubled])
    output.say(f"{len(state.links) - len(troubled)} of {len(state.links)} links work without faults")


@chaos.command()
@where_and_how
def counts(data: Path, output: Output) -> None:
    """How many requests, results and bytes the peers sent each other, and what became of them."""
    state = _state(data)
    if output.is_table:
        total = {"from": "all", "to": "all"} | _counted(state.total())
        output.rows([_ends(link) | _counted(link.counts) for link in state.links] + [total])
    else:
        links = [_ends(link) | _counted(link.counts) | {"by_type": link.counts.by_type} for link in state.links]
        output.record({"total": _counted(state.total()) | {"by_type": state.total().by_type}, "links": links})


def _state(data: Path) -> NetworkState:
    from actors.remote import connect

    with connect(data) as cluster:
        return cluster.network.state()


def described(state: NetworkState) -> dict[str, object]:
    """The network for programs: every link with its faults.  Times are seconds."""
    links = [
        _ends(link)
        | {
            "cut": link.faults.cut,
            "requests": as_record(link.faults.requests),
            "results": as_record(link.faults.results),
        }
        for link in state.links
    ]
    return {"nodes": list(state.names), "disconnected": list(state.disconnected), "links": links}


def as_record(faults: Faults) -> dict[str, object]:
    """All faults by name, also those that are not there."""
    return {name: getattr(faults, name) for name in faults.__struct_fields__}


def in_words(faults: Faults) -> str:
    """The faults that are there, in words; empty if there are none."""
    shares = (("drop", faults.drop), ("duplicate", faults.duplicate), ("hold back", faults.hold_back))
    parts = [f"{name} {share:.3g}" for name, share in shares if share]
    if faults.hold_back:
        parts[-1] += f" for {_milliseconds(faults.hold_back_delay)}"
    if faults.delay[1]:
        parts.append(f"delay {_milliseconds(faults.delay)}")
    return ", ".join(parts)


def _milliseconds(seconds: tuple[float, float]) -> str:
    return f"{seconds[0] * 1000:.6g}-{seconds[1] * 1000:.6g} ms"


def _ends(link: LinkState) -> dict[str, object]:
    return {"from": link.sender, "to": link.receiver}


def _fault_row(link: LinkState) -> dict[str, object]:
    faults = link.faults
    words = {"requests": in_words(faults.requests), "results": in_words(faults.results)}
    return _ends(link) | {"cut": "cut" if faults.cut else ""} | words


def _counted(counts: LinkCounts) -> dict[str, object]:
    return {key: getattr(counts, key) for key in ("requests", "results", "bytes", "lost", "delayed", "doubled")}
