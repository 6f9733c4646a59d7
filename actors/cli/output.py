"""What commands print, and where: data on stdout, talk on stderr.

A command takes `@output_option` and gets an `Output`: rows and records go through it and come out as an aligned table,
as one JSON document, or as one JSON object a line.  Tables are for people and may change; JSON is for programs and only
grows.

Rules of the file: stdout carries nothing but data, so `actorum ... | jq` and `actorum ... > file` always work; colours
and moving lines only on a terminal, and never with NO_COLOR; nothing here imports more than click, for every command
pays for it at its start.  Rejected: rich for plain tables (80 ms to import, and it wraps columns to the width of the
terminal, which breaks `grep`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FORMAT_KEY = "actorum.format"
"""Where the context keeps the format asked for, so that errors can be told in it too."""


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


def is_terminal(stream: TextIO) -> bool:
    """Does a person read this stream?"""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """May this stream be coloured?  See https://no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


class Output:
    """Where a command's data goes, in the format that was asked for."""

    def __init__(self, format: Format = Format.TABLE) -> None:
        self.format = format

    @property
    def is_table(self) -> bool:
        """Is this for people?"""
        return self.format is Format.TABLE

    def rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Several records of one kind.  A table has the keys of the first, in capitals, as its head."""
        match self.format:
            case Format.TABLE:
                for number, line in enumerate(table(rows)):
                    self.line(click.style(line, bold=True) if number == 0 else line)
            case Format.JSON:
                self.line(_json(list(rows), indent=2))
            case Format.JSONL:
                for row in rows:
                    self.line(_json(row))

    def record(self, record: Mapping[str, object], text: str | None = None) -> None:
        """One record; in a table it is `text`, or a line for each key."""
        match self.format:
            case Format.TABLE:
                self.line(text if text is not None else "\n".join(aligned(record)))
            case Format.JSON:
                self.line(_json(record, indent=2))
            case Format.JSONL:
                self.line(_json(record))

    def line(self, text: str, *, end: str = "\n") -> None:
        """A line of data on stdout, as it is; colours are taken out unless a terminal shows them."""
        click.echo(text + end, nl=False, color=has_colour(sys.stdout))

    def say(self, text: str) -> None:
        """Talk, on stderr: what happens, hints, warnings."""
        say(text)


def say(text: str) -> None:
    """A line on stderr."""
    click.echo(text, err=True, color=has_colour(sys.stderr))


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Aligned lines, the head first; columns of numbers to the right.

    >>> for line in table([{"node": "n1", "term": 9}, {"node": "n10", "term": 10}]): print(line)
    NODE  TERM
    n1       9
    n10     10
    """
    if not rows:
        return []
    keys = list(rows[0])
    cells = [[_cell(row.get(key)) for key in keys] for row in rows]
    lines = [[key.upper().replace("_", " ") for key in keys], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(keys))]
    to_the_right = [any(_is_number(row.get(key)) for row in rows) for key in keys]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_the_right, strict=True)
        ).rstrip()
        for line in lines
    ]


def aligned(record: Mapping[str, object]) -> list[str]:
    """One line for each key, values below each other."""
    width = max((len(key) for key in record), default=0)
    return [f"{key.replace('_', ' '):<{width}}  {_cell(value)}" for key, value in record.items()]


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _json(value: object, indent: int | None = None) -> str:
    import json  # not every command needs it

    return json.dumps(value, indent=indent, default=str, ensure_ascii=False)


def output_option(function: F) -> F:
    """Give a command `-o table|json|jsonl`; the function gets it as `output: Output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([format.value for format in Format]),
        default=Format.TABLE.value,
        show_default=True,
        is_eager=True,  # so that a complaint about any other option comes in the format asked for
        callback=_chosen,
        help="How to write the data.",
    )(function)


def _chosen(context: click.Context, parameter: click.Parameter, value: str) -> Output:
    output = Output(Format(value))
    context.meta[FORMAT_KEY] = output.format
    return output
