"""How `actorum check simulate` and `explore` show a schedule that breaks a rule: as a table, and as a page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from actors.cli.output import Output, say
from raft_core.verify.schedule_picture import schedule_page
from raft_core.verify.simulation import Turn
from raft_core.verify.spacetime import names_in, space_time_table

F = TypeVar("F", bound=Callable[..., Any])


def figure_option(function: F) -> F:
    """Give a command `--figure FILE`: where the page is written."""
    return click.option(
        "--figure",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Draw the schedule that breaks a rule there, as a page of HTML.",
    )(function)


def show_schedule(
    turns: Sequence[Turn],
    servers: int,
    violation: object,
    *,
    title: str,
    figure: Path | None,
    output: Output,
    is_last_to_blame: bool = True,
) -> None:
    """The table on stdout, if it is for people; the page where it is wanted."""
    names = names_in(turns, servers)
    if output.is_table:
        output.line(space_time_table(turns, names))
    if figure is not None:
        page = schedule_page(turns, names, title=title, violation=str(violation), is_last_to_blame=is_last_to_blame)
        figure.write_text(page, encoding="utf-8")
        say(f"drawn: {figure}")
