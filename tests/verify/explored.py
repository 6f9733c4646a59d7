"""Bounds that were searched to their end, kept with what the search counted, so that a change of the core shows.

    python -m tests.verify.explored                   search again what took at most five seconds, and compare
    python -m tests.verify.explored --seconds 3600    ... an hour
    python -m tests.verify.explored --rewrite [NAME]  write down what is found now, and the page of the documentation

`explored.toml` holds them; a new one is written there as a name and bounds, and `--rewrite NAME` does the rest.  How
many situations there are within given bounds is a property of the core: a change that was not meant to change what
servers do to each other leaves every number as it is.  If numbers change, find out why before they are rewritten.

Each search has a process of its own, so the memory is its own; seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time

import msgspec
from msgspec.structs import asdict, replace

from raft_core.verify.exploration import explore
from raft_core.verify.situations import Bounds

KEPT = Path(__file__).with_name("explored.toml")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "explored.md"
MATTERS = ("situations", "depth", "steps", "cells")
"""What must come out again; time and memory are those of a machine."""


class Exhausted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds, and what the search of all there is within them counted; zeros until it was searched."""

    name: str
    bounds: Bounds
    situations: int = 0
    depth: int = 0
    steps: int = 0
    cells: int = 0
    seconds: float = 0.0
    megabytes: int = 0


def kept(file: Path = KEPT) -> list[Exhausted]:
    """All of them, as they stand in the file."""
    return msgspec.convert(tomllib.loads(file.read_text())["exhausted"], list[Exhausted])


def search(entry: Exhausted) -> Exhausted:
    """The same, with what is found now.  Raises if a rule is broken."""
    began = process_time()
    explored = explore(entry.bounds)
    if explored.violation is not None:
        raise explored.violation
    return replace(
        entry,
        situations=explored.situations,
        depth=explored.depth,
        steps=explored.steps,
        cells=len(explored.cells),
        seconds=round(process_time() - began, 1),
        megabytes=getrusage(RUSAGE_SELF).ru_maxrss // 1024,
    )


def difference(before: Exhausted, now: Exhausted) -> str:
    """What is not as it is kept; empty if all is."""
    pairs = [(name, getattr(before, name), getattr(now, name)) for name in MATTERS]
    return ", ".join(f"{name} {old:,} -> {new:,}" for name, old, new in pairs if old != new)


def as_toml(entries: Sequence[Exhausted]) -> str:
    """The file."""
    head = KEPT.read_text().partition("\n\n")[0]
    return head + "\n" + "".join(map(_section, entries))


def _section(entry: Exhausted) -> str:
    bounds = ", ".join(f"{name} = {str(value).lower()}" for name, value in _chosen(entry.bounds).items())
    numbers = "".join(f"{name} = {getattr(entry, name)}\n" for name in (*MATTERS, "seconds", "megabytes"))
    return f'\n[[exhausted]]\nname = "{entry.name}"\nbounds = {{ {bounds} }}\n{numbers}'


def _chosen(bounds: Bounds) -> dict[str, object]:
    """What is not as in most searches here."""
    usual = asdict(Bounds(terms=0, commands=-1, crashes=-1))
    return {name: value for name, value in asdict(bounds).items() if value != usual[name]}


def as_page(entries: Sequence[Exhausted]) -> str:
    """The page of the documentation."""
    rows = [
        f"| {e.name} | `{', '.join(f'{name}={value}' for name, value in _chosen(e.bounds).items())}` "
        f"| {e.situations:,} | {e.depth} | {e.steps:,} | {e.cells} | {e.seconds:,} | {e.megabytes:,} |"
        for e in sorted(entries, key=lambda entry: entry.situations)
    ]
    return "\n".join([HEAD, *rows, ""])


HEAD = """<!-- Written by `python -m tests.verify.explored --rewrite`; do not edit. -->

# Bounds that were exhausted

Within each of these bounds *every* schedule was tried, and none breaks a rule
([how](../explanation/verification.md#the-search)). A situation is one of the whole cluster, messages under way
included; two that differ by the names of servers are one. The depth is the number of actions of the longest schedule
that is needed; steps are calls of the core; cells are pairs of a role and a kind of event that met. What a bound means,
and those that are not named: `raft_core.verify.situations.Bounds`. Three servers unless it says otherwise;
`under_way=2`: two messages are under way at a time, and of more that are sent some get lost, in every possible way.

The tests search the small ones again, and compare. Seconds and megabytes are those of one core of a small machine.

| | bounds | situations | depth | steps | cells | seconds | MB |
|---|---|---:|---:|---:|---:|---:|---:|"""


def main(arguments: Sequence[str]) -> int:
    """1 if something is not as it is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.verify.explored", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=5.0, help="leave out what took longer, unless it is named")
    parser.add_argument("--rewrite", action="store_true", help="write down what is found")
    options = parser.parse_args(arguments)
    entries, differs = kept(), False
    for place, entry in enumerate(entries):
        if entry.name in options.names if options.names else entry.seconds <= options.seconds:
            found = _in_a_process_of_its_own(entry)
            print(
                f"{entry.name}: {found.situations:,} situations, {found.seconds} s, {found.megabytes:,} MB", flush=True
            )
            print(f"    {difference(entry, found) or 'as kept'}", flush=True)
            differs = differs or bool(difference(entry, found))
            entries[place] = found
            if options.rewrite:
                KEPT.write_text(as_toml(entries))
                PAGE.write_text(as_page(entries))
    return int(differs and not options.rewrite)


def _in_a_process_of_its_own(entry: Exhausted) -> Exhausted:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(search, entry).result()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
