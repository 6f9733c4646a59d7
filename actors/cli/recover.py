"""`actorum recover`: go on without a majority, because it is gone for good, and lose what only it held."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from actors.cli.output import Output, is_terminal, output_option, say

EXAMPLES = """
\b
Examples:
  actorum recover ./demo --survivor n1 --survivor n2
  actorum recover ./demo --survivor n2 --yes-i-accept-data-loss

The cluster must be down. Try everything else before: a majority of the logs is all it needs to start by itself.
"""


@click.command(epilog=EXAMPLES)
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--survivor", "survivors", multiple=True, required=True, metavar="NAME", help="A peer whose data is there."
)
@click.option("--yes-i-accept-data-loss", "accepted", is_flag=True, help="Do not ask.")
@output_option
def recover(data: Path, survivors: tuple[str, ...], accepted: bool, output: Output) -> None:
    """Let the cluster in DATA go on with the survivors alone. LOSES DATA.

    For a cluster that is down and has lost a majority of its logs for good. The most complete log among the survivors
    becomes the log of all; whatever only the others held is lost, and they can never come back.
    """
    from msgspec.structs import asdict

    from actors.recovery import is_begun, plan_recovery
    from actors.recovery import recover as carry_out

    if not is_begun(data):
        plan = plan_recovery(data, survivors)
        say(str(plan))
        accepted = accepted or _is_agreed(" ".join(plan.lost))
    recovery = carry_out(data, survivors, accept_data_loss=accepted)
    output.record(
        asdict(recovery),
        f"recovered: {', '.join(recovery.survivors)} are the voters; {recovery.chosen} will lead first, from entry "
        f"{recovery.index} of term {recovery.term} on",
    )


def _is_agreed(lost: str) -> bool:
    """Somebody sits there and types who is given up; a program has to use the option."""
    if not is_terminal(sys.stdin):
        return False
    typed: str = click.prompt(
        f"To lose what only they held, type the names of those who are given up ({lost})", err=True
    )
    return typed.split() == lost.split()
