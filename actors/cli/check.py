"""`actorum check`: the tools of proof, one module each, imported when it is used.

A further tool is a module `actors/cli/check_NAME.py` with a command in it, and a line in `CHECKS`.
"""

from __future__ import annotations

import click

from actors.cli import LazyCommand, LazyCommands

CHECKS = {
    "simulate": LazyCommand("actors.cli.check_simulate:simulate", "Run simulated clusters under all that goes wrong."),
    "explore": LazyCommand("actors.cli.check_explore:explore", "Search every schedule of a small cluster."),
    "replay": LazyCommand("actors.cli.check_replay:replay", "Play a recorded run through the core again, bit for bit."),
}

EXAMPLES = """
Examples:

\b
  actorum up counter --record ./traces
  actorum check replay ./traces
  actorum check replay ./traces/n1.trace --at 42
"""


@click.group(cls=LazyCommands, lazy=CHECKS, epilog=EXAMPLES)
def check() -> None:
    """Prove it: simulate, search every schedule, replay what was recorded."""
