"""The top of the report: what is faster, what fails differently, what costs more to get right, what is not shown.

Every sentence is made from the data.  None says more than its verdict, and what the data cannot say is said, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from actors.compare.code_table import code_table
from actors.compare.figures.search import searched
from actors.compare.plan import ISOLATIONS, RUNTIMES
from actors.compare.records import Fault
from actors.compare.results import ELECTED, P50, P99, THROUGHPUT, UNAVAILABLE, Measure, Results, conditions_of
from actors.compare.words import compared


def faster(results: Results) -> list[str]:
    """The designs against each other where nothing goes wrong."""
    return list(_compared(results, (THROUGHPUT, P50, P99), {})) or ["The four cells were not measured."]


def fails_differently(results: Results) -> list[str]:
    """The same under faults, and what broke a promise."""
    said = list(_compared(results, (ELECTED, UNAVAILABLE), {"fault": "leader killed"}))
    for fault in get_args(Fault):
        if fault not in ("none", "leader killed"):
            said += _compared(results, (THROUGHPUT,), {"fault": fault})
    if not said:
        said.append("No fault was measured.")
    wrong = {runtime: sum(run.cell.runtime == runtime for run in results.rejected) for runtime in RUNTIMES}
    if any(wrong.values()):
        counts = ", ".join(f"{runtime} {count}" for runtime, count in wrong.items())
        said.append(f"Runs that broke what Raft promises, and are in no figure: {counts}.")
    else:
        said.append(f"None of {len(results.runs)} runs broke what Raft promises.")
    return said


def _compared(results: Results, measures: tuple[Measure, ...], factors: dict[str, object]) -> Iterator[str]:
    four = results.four(**factors)
    where = ", ".join(str(value) for value in factors.values())
    for isolation in ISOLATIONS:
        first, second = four.get(("actors", isolation)), four.get(("locks", isolation))
        if first is not None and second is not None:
            for measure in measures:
                words = compared(results, first, second, measure)
                if words is not None:
                    yield f"{', '.join(filter(None, (where, isolation, measure.name)))}: {words}."


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
        said.append(f"Of {len(mine)} seeded mistakes in the {design} design, a search of schedules caught {caught}.")
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
    said.append(
        f"Differences smaller than runs of one cell differ by; the cell with the fewest has {fewest} sound runs."
    )
    loads = [run.load_before for run in results.runs]
    if loads and max(loads) > float(machine.get("processors", "1")):
        said.append(
            f"What a quiet machine would show: its load was up to {max(loads):.1f} when runs began, more than it has "
            "processors."
        )
    bad = [control.name for control in results.controls() if not control.is_as_it_should_be]
    if bad:
        said.append(f"Anything at all, strictly: a control did not come out as it should ({'; '.join(bad)}).")
    if not results.controls():
        said.append("The noise floor: no control was measured.")
    usual = results.baseline
    varied = {conditions_of(cell, usual) for cell in results.proper} - {""}
    said.append("Other conditions than: the usual ones" + "".join(f"; {each}" for each in sorted(varied)) + ".")
    return said
