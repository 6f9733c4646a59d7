"""The top of the report: what is faster, what fails differently, what costs more to get right, what is not shown.

Every sentence is made from the data.  None says more than its verdict, and what the data cannot say is said, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from actors.compare.code_table import code_table
from actors.compare.figures.search import searched
from actors.compare.plan import RUNTIMES
from actors.compare.records import Fault
from actors.compare.results import ELECTED, P50, P99, THROUGHPUT, UNAVAILABLE, Results, conditions_of
from actors.compare.words import Said, found_between, verdicts


def faster(results: Results) -> list[str]:
    """The designs against each other where nothing goes wrong."""
    return _sentences(found_between(results, (THROUGHPUT, P50, P99))) or ["The four cells were not measured."]


def fails_differently(results: Results) -> list[str]:
    """The same under faults, and what broke a promise."""
    found = found_between(results, (ELECTED, UNAVAILABLE), "leader killed", fault="leader killed")
    for fault in get_args(Fault):
        if fault not in ("none", "leader killed"):
            found += found_between(results, (THROUGHPUT,), fault, fault=fault)
    said = _sentences(found) or ["No fault was measured."]
    wrong = Counter(run.cell.runtime for run in results.rejected)
    if wrong:
        counts = ", ".join(f"{runtime} {wrong[runtime]}" for runtime in RUNTIMES)
        said.append(f"Runs that broke what Raft promises, and are in no figure: {counts}.")
    else:
        said.append(f"None of {len(results.runs)} runs broke what Raft promises.")
    return said


def _sentences(found: Sequence[Said]) -> list[str]:
    return [f"{clause[0].upper()}{clause[1:]}." for clause in verdicts(found)]


def costs(results: Results) -> list[str]:
    """What must be right, and what finds it if it is not."""
    actors, locks = code_table()["actors"], code_table()["locks"]
    said = [
        f"Lines that must be right together: actors {actors.lines_that_must_be_right}, locks "
        f"{locks.lines_that_must_be_right} (of {actors.lines} and {locks.lines} that only this design has).",
        f"Places where a lock is taken or demanded: actors {actors.lock_sites}, locks {locks.lock_sites}; fields that "
        f"threads share: {actors.shared_fields} and {locks.shared_fields}.",
    ]
    found = searched(results)
    for design in dict.fromkeys(each.design for each in found):
        mine = [each for each in found if each.design == design]
        caught = sum(each.found_after is not None for each in mine)
        said.append(f"Seeded mistakes that a search of schedules caught, {design}: {caught} of {len(mine)}.")
    return said


def not_shown(results: Results) -> list[str]:
    """The limits of this experiment."""
    machine = results.manifest.machine
    lock = "an interpreter lock: threads of one process take turns" * (machine.get("interpreter lock") == "yes")
    said = [
        f"Anything about other machines: peers and load shared {machine.get('processors', '?')} processors, and "
        "no network was between them.",
        f"Anything about other languages: both designs are Python with {lock or 'no interpreter lock'}.",
        "Which design is better in general: each was written once, by the same hand, around the same core.",
    ]
    fewest = min((len(runs) for runs in results.by_cell.values()), default=0)
    said.append(f"Differences smaller than runs of one cell differ by; the fewest sound runs of a cell are {fewest}.")
    loads = [run.load_before for run in results.runs]
    if loads and max(loads) > float(machine.get("processors", "1")):
        said.append(
            f"What a quiet machine would show: its load was up to {max(loads):.1f} when runs began, more than it has "
            "processors."
        )
    bad = [control.name for control in results.controls() if control.is_as_it_should_be is False]
    if bad:
        said.append(f"Anything at all, strictly: a control did not come out as it should ({'; '.join(bad)}).")
    if not results.controls():
        said.append("The noise floor: no control was measured.")
    usual = results.baseline
    varied = {conditions_of(cell, usual) for cell in results.proper} - {""}
    said.append("Other conditions than: the usual ones" + "".join(f"; {each}" for each in sorted(varied)) + ".")
    return said
