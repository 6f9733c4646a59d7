"""`actorum check explore`: every schedule of a small cluster, up to the given bounds."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import click
from msgspec import convert

from actors.cli.branches import Branches, branch_rows, branches_of
from actors.cli.check_schedule import figure_option, show_schedule
from actors.cli.output import Output, output_option, say
from actors.errors import SafetyViolation
from raft_core.verify.exploration import Explored
from raft_core.verify.exploration import explore as explore_bounds
from raft_core.verify.exploration_cells import cell_rows
from raft_core.verify.exploration_turns import turns_of
from raft_core.verify.situations import Bounds

EXAMPLES = """
Examples:

\b
  actorum check explore                              two terms, one command, one crash
  actorum check explore --terms 4 --commands 0 --crashes 0 --under-way 2
  actorum check explore --terms 3 --most 5000000
  actorum check explore --commands 0 --members 2 --changes 1 --swaps --snapshots 1 --under-way 2
  actorum check explore --terms 1 --branches         how much of the core do these schedules run?

Exit code: 6 if a schedule breaks a rule; the shortest one is shown.
"""


@click.command(epilog=EXAMPLES)
@click.option("--servers", type=click.IntRange(1, 5), default=3, show_default=True)
@click.option("--terms", type=click.IntRange(1), default=2, show_default=True, help="No election starts in this term.")
@click.option("--commands", type=click.IntRange(0), default=1, show_default=True, help="Commands of clients.")
@click.option("--reads", type=click.IntRange(0), default=0, show_default=True, help="Reads of clients.")
@click.option("--crashes", type=click.IntRange(0), default=1, show_default=True, help="Crashes, of all servers.")
@click.option("--heartbeats", type=click.IntRange(0), default=0, show_default=True, help="Heartbeats of idle leaders.")
@click.option("--repetitions", type=click.IntRange(0), default=0, show_default=True, help="Messages that arrive twice.")
@click.option("--members", type=click.IntRange(0), default=0, help="The cluster begins with so many.  [default: all]")
@click.option("--changes", type=click.IntRange(0), default=0, show_default=True, help="Wishes for other members.")
@click.option("--swaps", is_flag=True, help="Among them: one voter exchanged for another, in a joint phase.")
@click.option("--snapshots", type=click.IntRange(0), default=0, show_default=True, help="Snapshots that are taken.")
@click.option("--transfers", type=click.IntRange(0), default=0, show_default=True, help="Wishes for another leader.")
@click.option("--leases", type=click.IntRange(0), default=0, show_default=True, help="Leases; reads go by them, then.")
@click.option(
    "--under-way",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Messages under way at a time; what is more gets lost, in every possible way.  0: no bound.",
)
@click.option("--pre-vote/--no-pre-vote", default=False, help="With pre-votes.  [default: without]")
@click.option("--most", type=click.IntRange(1), help="Stop when this many situations were found.")
@figure_option
@click.option("--branches", is_flag=True, help="Count the branches of the core that are taken; needs `coverage`, slow.")
@output_option
def explore(most: int | None, figure: Path | None, branches: bool, output: Output, **within: int) -> None:
    """Search every schedule of a small cluster: arrivals in any order, losses, time-outs, crashes, commands, members.

    The search is breadth first, so what it finds is a shortest schedule.  It says whether the bounds were exhausted,
    and in how many situations of a server each role met each kind of event ("-": never, so nothing is known of it).
    """
    bounds = convert(within, Bounds)
    began = perf_counter()

    def told(depth: int, situations: int) -> None:
        say(f"depth {depth}: {situations:,} situations, {perf_counter() - began:.0f} s")

    def search() -> Explored:
        return explore_bounds(bounds, most, told)

    explored, taken = branches_of(search) if branches else (search(), [])
    _show(output, explored, taken, perf_counter() - began)
    if explored.violation is not None:
        turns, title = turns_of(bounds, explored.schedule), f"A shortest schedule: {len(explored.schedule)} actions"
        show_schedule(turns, bounds.servers, explored.violation, title=title, figure=figure, output=output)
        raise SafetyViolation(
            f"a schedule of {len(explored.schedule)} actions breaks a rule: {explored.violation}",
            why="a rule that must always hold does not; no shorter schedule breaks one",
            fix="follow the schedule above, action by action",
        )


def _show(output: Output, explored: Explored, taken: list[Branches], seconds: float) -> None:
    record, cells, branches = _record(explored, seconds), cell_rows(explored.cells), branch_rows(taken)
    if not output.is_table:
        output.record(record | {"cells": cells} | ({"branches": branches} if taken else {}))
        return
    output.record(record)
    for rows in (cells, branches) if taken else (cells,):
        output.line("")
        output.rows(rows)


def _record(explored: Explored, seconds: float) -> dict[str, object]:
    return {
        "bounds": str(explored.bounds),
        "situations": explored.situations,
        "depth": explored.depth,
        "exhausted": explored.is_exhausted,
        "seconds": round(seconds, 1),
        "situations_per_second": round(explored.situations / seconds),
        "different_steps": explored.steps,
        "role_and_event_cells": len(explored.cells),
        "violations": int(explored.violation is not None),
    }
