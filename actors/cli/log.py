"""`actorum log`: the entries of a peer's log, without their content."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

EXAMPLES = """
\b
Examples:
  actorum log n1
  actorum log n2 --from 100 --to 120 -o jsonl
"""


@click.command(epilog=EXAMPLES)
@click.argument("peer")
@click.option("--from", "first", type=click.IntRange(1), help="First entry.  [default: 20 before the last]")
@click.option("--to", "last", type=click.IntRange(1), help="Last entry.  [default: the last]")
@data_option
@output_option
def log(peer: str, first: int | None, last: int | None, data: Path, output: Output) -> None:
    """Look at the entries of PEER's log: index, term, kind, name of the command, bytes."""
    from actors.remote import connect

    with connect(data) as cluster:
        known = cluster.log_page(peer, 1, 0)
        begin = first if first is not None else max(1, (last or known.last_index) - 19)
        rows = [
            {
                "index": entry.index,
                "term": entry.term,
                "kind": entry.kind,
                "command": entry.name or None,
                "session": entry.session or None,
                "number": entry.sequence or None,
                "bytes": entry.size,
                "committed": "yes" if entry.index <= known.commit_index else "no",
            }
            for entry in cluster.log(peer, begin, last)
        ]
    if output.is_table:
        output.line(f"LOG of {peer}: {known.first_index} to {known.last_index}, committed to {known.commit_index}")
    output.rows(rows)
