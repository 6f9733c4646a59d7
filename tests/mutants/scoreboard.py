"""The scoreboard: every mutant, and which instrument notices it.

    python -m tests.mutants.scoreboard [--seconds 60] [--jobs 2] [NAME ...] --write docs/reference/scoreboard.md

Each mutant is put into a copy of the project.  Then, until one notices: simulation of the core, exploration of a few
small bounds, simulation of whole peers, the tests that the mutant names, the golden scripts, the unit tests of the core
(the last two and the first two for mutants of the core alone).  What was found is kept in `results.json`, so that names
(or parts of them) on the command line renew their rows and no others; without `--write` the table is printed.  Exit
code 1 if a mutant that was tried is noticed by nobody.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec import json as records

from tests.mutants.mutants import Mutant, broken_tree, environment, mutants

BOUNDS: tuple[dict[str, Any], ...] = (
    {"terms": 2, "commands": 1, "crashes": 1, "under_way": 2},
    {"terms": 2, "commands": 1, "crashes": 0, "reads": 1, "under_way": 2, "repetitions": 1},
)
"""What exploration searches, in turn, unless a mutant has bounds of its own."""
MOST = 2_500_000
"""Situations of one search at most."""
RESULTS = Path(__file__).parent / "results.json"
SIMULATED = ("simulation", "exploration", "simulated peers")
"""Instruments that were not written for one mutant."""
BRIEFLY = 10.0
"""Seconds of simulation for what it cannot see anyway."""
PATIENCE = 600.0
"""Seconds within which a mutant must be noticed."""


class Result(Struct, frozen=True):
    """Who noticed a mutant."""

    instrument: str
    """Empty: nobody."""
    found: str
    after: str
    """How much had happened by then."""
    seconds: float
    """Of all instruments that looked: processor time of simulations and searches, real time of tests."""


class Finding(NamedTuple):
    """What one instrument says."""

    found: str
    """Empty: nothing."""
    after: str
    seconds: float


Look = Callable[[Mutant, Path], Finding]
"""An instrument looks at a broken tree."""


def _simulation(kind: str, seconds: float) -> Look:
    def look(mutant: Mutant, tree: Path) -> Finding:
        found = _asked(tree, "tests.mutants.hunt", kind, str(seconds))
        return Finding(found["caught"], f"{found['steps']:,} steps, seed {found['seed']}", found["seconds"])

    return look


def _exploration(mutant: Mutant, tree: Path) -> Finding:
    seconds = 0.0
    for bounds in (mutant.bounds,) if mutant.bounds else BOUNDS:
        found = _asked(tree, "tests.mutants.search", json.dumps(bounds), str(MOST))
        seconds += found["seconds"]
        if found["caught"]:
            after = f"{found['situations']:,} situations, {found['steps']} actions"
            return Finding(found["caught"], after, seconds)
    return Finding("", "", seconds)


def _tests(*paths: str) -> Look:
    def look(mutant: Mutant, tree: Path) -> Finding:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=30", *paths]
        began = monotonic()
        run = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True)
        return Finding("" if run.returncode == 0 else _failed(run.stdout, paths[0]), "one run", monotonic() - began)

    return look


def _failed(output: str, path: str) -> str:
    """The name of the first test that failed; a run that was broken off names none."""
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition("::")[2].partition(" - ")[0].partition("[")[0] if failed else f"{path} hangs"


def _asked(tree: Path, module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *arguments]
    run = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr}")
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def instruments(mutant: Mutant, seconds: float) -> Iterator[tuple[str, Look]]:
    """Those that look at a mutant, the general ones first."""
    if mutant.bounds:
        yield "exploration", _exploration
    if mutant.is_of_the_core:
        yield "simulation", _simulation("core", seconds)
        if not mutant.bounds:
            yield "exploration", _exploration
    yield "simulated peers", _simulation("peers", min(seconds, BRIEFLY) if mutant.tests else seconds)
    if mutant.tests:
        yield "tests", _tests(*mutant.tests)
    if mutant.is_of_the_core:
        yield "golden scripts", _tests("tests/golden")
        yield "unit tests", _tests("tests/core")


def score(mutant: Mutant, seconds: float) -> Result:
    """Let one instrument after the other look at it."""
    spent = 0.0
    with broken_tree(mutant) as tree:
        for name, look in instruments(mutant, seconds):
            finding = look(mutant, tree)
            spent += finding.seconds
            if finding.found:
                return Result(name, finding.found, finding.after, round(spent, 1))
    return Result("", "", "", round(spent, 1))


# --- the page ---------------------------------------------------------------------------------------------------------


def load() -> dict[str, Result]:
    """What is known, by the names of mutants."""
    return records.decode(RESULTS.read_bytes(), type=dict[str, Result]) if RESULTS.exists() else {}


def keep(results: dict[str, Result]) -> None:
    """Of the mutants that there are, in their order."""
    known = {mutant.name: results[mutant.name] for mutant in mutants() if mutant.name in results}
    RESULTS.write_bytes(records.format(records.encode(known), indent=1) + b"\n")


HEAD = """# Scoreboard of broken Rafts

*Written by `make mutants`; change `tests/mutants/*.toml`, not this page.*

Each row is a mistake that somebody made, put back into the core or into what runs it, and the instrument that noticed
it.  *Simulation* is that of the core (`raft_core.verify.simulation`), *exploration* the search of all schedules
(`raft_core.verify.exploration`), *simulated peers* are whole peers in virtual time, with their storages, sessions and
locks (`tests/mutants/peers.py`).  *Tests* were written for the part that is broken.  Instruments look in this order;
the first that notices counts.
"""


def page(results: dict[str, Result]) -> str:
    """The scoreboard as Markdown."""
    rows = [(mutant, results.get(mutant.name, Result("", "not tried yet", "", 0.0))) for mutant in mutants()]
    core = [row for row in rows if row[0].is_of_the_core]
    runtimes = [row for row in rows if not row[0].is_of_the_core]
    parts = [HEAD, *_totals(rows), "", "## The core", "", *_table(core), "", "## The runtimes", "", *_table(runtimes)]
    return "\n".join(parts) + "\n"


def _totals(rows: list[tuple[Mutant, Result]]) -> Iterator[str]:
    by_instrument = Counter(result.instrument or "nobody" for _, result in rows)
    general = sum(by_instrument[name] for name in SIMULATED)
    slowest, result = max(rows, key=lambda row: row[1].seconds)
    yield f"- {len(rows)} mistakes: " + ", ".join(f"{count} by {name}" for name, count in by_instrument.most_common())
    yield f"- by simulation or exploration: {general} of {len(rows)}, {100 * general / len(rows):.0f} %"
    yield f"- slowest: {slowest.name}, {result.seconds:.0f} s (the limit is {PATIENCE:.0f} s)"


def _table(rows: list[tuple[Mutant, Result]]) -> Iterator[str]:
    yield "| the mistake | the rule, and who broke it | noticed by | as | after | seconds |"
    yield "|---|---|---|---|---|---|"
    for mutant, result in rows:
        cells = (result.instrument or "**nobody**", result.found, result.after, f"{result.seconds:.0f}")
        yield f"| {mutant.name} | {mutant.rule} | {' | '.join(cell.replace('|', ',') for cell in cells)} |"


def main() -> int:
    """Try mutants, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; all mutants, if none is given")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="processor time of each simulation, for each mutant"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--missing", action="store_true", help="only those that were never noticed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the page; otherwise it is printed")
    asked = parser.parse_args()
    results = load()
    chosen = [m for m in mutants() if not asked.names or any(name in m.name for name in asked.names)]
    if asked.missing:
        chosen = [m for m in chosen if not results.get(m.name, Result("", "", "", 0.0)).instrument]
    with ThreadPoolExecutor(asked.jobs) as pool:
        for mutant, result in zip(chosen, pool.map(lambda m: score(m, asked.seconds), chosen), strict=True):
            results[mutant.name] = result
            keep(results)
            print(f"{mutant.name}: {result.instrument or 'NOBODY'}, {result.found}", file=sys.stderr, flush=True)
    if asked.write:
        asked.write.write_text(page(results))
    else:
        print(page(results))
    return 0 if all(results[mutant.name].instrument for mutant in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
