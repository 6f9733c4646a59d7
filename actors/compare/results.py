"""What an experiment found: runs gathered by cell, summarised, set against each other.

Made of the records of one experiment and of nothing else.  Runs that failed a gate are left out, named, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

from msgspec.structs import asdict, replace

from actors.compare.experiment import sound
from actors.compare.plan import ISOLATIONS, PLANTED, RUNTIMES
from actors.compare.records import Cell, Experiment, Isolation, Run
from actors.compare.statistics import FEWEST, Difference, Summary, difference, holm, percentiles, summary
from actors.spec import RuntimeName

_DESIGN = ("runtime", "isolation")


class Measure(NamedTuple):
    """One quantity of a run."""

    name: str
    unit: str
    of: Callable[[Results, Run], float | None]
    """In seconds, bytes, or per second; None: this run does not have it."""
    scale: float = 1.0
    """From the unit to the one in which people read it."""
    shown: str = ""
    """That one; "" is a plain number."""

    @property
    def title(self) -> str:
        """Its name with the unit that people read."""
        return f"{self.name} ({self.shown})" if self.shown else self.name


class Row(NamedTuple):
    """The four figures of one cell that the table in the terminal has."""

    cell: Cell
    throughput: Summary
    p50: Summary
    p99: Summary
    failover: Summary | None
    rejected: int


class Pair(NamedTuple):
    """The same cell in both designs."""

    actors: Cell
    locks: Cell
    difference: Difference
    """Actors less locks."""


class Control(NamedTuple):
    """What a control showed."""

    name: str
    difference: Difference
    relative: float
    """Of the difference to the second side's median."""
    is_as_it_should_be: bool | None
    """None: there are too few runs to say."""


class Results:
    """All that can be read off an experiment."""

    def __init__(self, experiment: Experiment) -> None:
        """Reads all its runs.  Raises `RecordError` if one is missing."""
        self.experiment = experiment
        self.manifest = experiment.manifest()
        self.runs, self.rejected = sound(experiment.runs())
        self._summaries: dict[tuple[Cell, str], Summary | None] = {}
        self._differences: dict[tuple[Cell, Cell, str], Difference | None] = {}

    @cached_property
    def by_cell(self) -> Mapping[Cell, list[Run]]:
        """The sound runs of each cell, in the order in which cells came first."""
        gathered: dict[Cell, list[Run]] = {}
        for run in self.runs:
            gathered.setdefault(run.cell, []).append(run)
        return gathered

    def runs_of(self, cell: Cell) -> list[Run]:
        """Those of one cell; none if it was not measured, or none was sound."""
        return self.by_cell.get(cell, [])

    @cached_property
    def _percentiles(self) -> dict[int, tuple[float, float, float, float]]:
        return {run.number: percentiles(self.experiment.latencies(run)) for run in self.runs}

    def percentiles(self, run: Run) -> tuple[float, float, float, float]:
        """p50, p90, p99, p99.9 of its latencies, in seconds."""
        return self._percentiles[run.number]

    def values(self, cell: Cell, measure: Measure) -> list[float]:
        """One for each run of `cell` that has it."""
        found = (measure.of(self, run) for run in self.runs_of(cell))
        return [value for value in found if value is not None]

    def summary(self, cell: Cell, measure: Measure) -> Summary | None:
        """Median and interval over runs; None if no run has it."""
        key = (cell, measure.name)
        if key not in self._summaries:
            values = self.values(cell, measure)
            self._summaries[key] = summary(values, self.manifest.seed) if values else None
        return self._summaries[key]

    def between(self, first: Cell, second: Cell, measure: Measure) -> Difference | None:
        """`first` less `second`; None if either has no run."""
        key = (first, second, measure.name)
        if key not in self._differences:
            ours, theirs = self.values(first, measure), self.values(second, measure)
            found = difference(ours, theirs, self.manifest.seed) if ours and theirs else None
            self._differences[key] = found
        return self._differences[key]

    def relative(self, first: Cell, second: Cell, measure: Measure) -> float | None:
        """By which part of the second's median the first differs from it."""
        between, base = self.between(first, second, measure), self.summary(second, measure)
        return between.estimate / base.median if between and base and base.median else None

    # --- what is shown first ------------------------------------------------------------------------------------------

    @cached_property
    def proper(self) -> list[Cell]:
        """The cells of the comparison itself: no controls."""
        return [cell for cell in self.by_cell if not cell.control]

    @cached_property
    def baseline(self) -> Cell:
        """The conditions of the first cell without a fault; the four cells of the table differ from it in design and
        isolation only."""
        without = (cell for cell in self.proper if cell.fault == "none")
        return next(without, next(iter(self.proper), self.manifest.plan[0].cell))

    def four(self, **factors: object) -> dict[tuple[RuntimeName, Isolation], Cell]:
        """The cells that have the baseline's conditions but for `factors`, by design and isolation."""
        return {key: cell for key, cell in four_of(self.baseline, **factors).items() if cell in self.by_cell}

    def table(self) -> list[Row]:
        """The four cells of the baseline."""
        rows: list[Row] = []
        for cell in self.four().values():
            throughput, p50, p99 = (self.summary(cell, measure) for measure in (THROUGHPUT, P50, P99))
            assert throughput is not None and p50 is not None and p99 is not None
            killed = replace(cell, fault="leader killed")
            rejected = sum(1 for run in self.rejected if run.cell in (cell, killed))
            rows.append(Row(cell, throughput, p50, p99, self.summary(killed, UNAVAILABLE), rejected))
        return rows

    def pairs(self, measure: Measure) -> list[Pair]:
        """Actors against locks in every condition that both were measured in, corrected for how many these are."""
        found: list[Pair] = []
        for cell in dict.fromkeys(replace(cell, runtime="actors") for cell in self.proper):
            twin = replace(cell, runtime="locks")
            between = self.between(cell, twin, measure)
            if between is not None:
                found.append(Pair(cell, twin, between))
        corrected = holm([pair.difference for pair in found])
        return [pair._replace(difference=each) for pair, each in zip(found, corrected, strict=True)]

    # --- controls -----------------------------------------------------------------------------------------------------

    def controls(self) -> list[Control]:
        """A/A: the same cell twice must not differ.  Planted: a slowdown that was put in must be found, and be at most
        half as large again, or half as small, as it was."""
        return [*self._same(), *self._planted()]

    def _same(self) -> Iterator[Control]:
        for cell in self.by_cell:
            if cell.control == "a/a" and cell.label == "A":
                between = self.between(cell, replace(cell, label="B"), THROUGHPUT)
                if between is not None:
                    includes_zero = between.low <= 0 <= between.high if _says_something(between) else None
                    yield Control(f"A/A, {name_of(cell)}", between, self._relative(cell, between), includes_zero)

    def _planted(self) -> Iterator[Control]:
        for cell in self.by_cell:
            if cell.control == "planted slowdown":
                plain = replace(cell, control="")
                between = self.between(cell, plain, THROUGHPUT)
                if between is not None:
                    relative = self._relative(plain, between)
                    is_found = between.high < 0 and abs(relative + PLANTED) <= PLANTED / 2
                    verdict = is_found if _says_something(between) else None
                    yield Control(f"planted, {name_of(cell)}", between, relative, verdict)

    def _relative(self, cell: Cell, between: Difference) -> float:
        base = self.summary(cell, THROUGHPUT)
        return between.estimate / base.median if base is not None and base.median else 0.0


def _says_something(between: Difference) -> bool:
    return min(between.runs) >= FEWEST


def four_of(conditions: Cell, **factors: object) -> dict[tuple[RuntimeName, Isolation], Cell]:
    """The four cells that have these conditions but for `factors`, whether they were measured or not."""
    conditions = replace(conditions, **factors)
    return {
        (runtime, isolation): replace(conditions, runtime=runtime, isolation=isolation)
        for isolation, runtime in product(ISOLATIONS, RUNTIMES)
    }


def name_of(cell: Cell) -> str:
    """The design and the isolation: "actors, threads"."""
    return f"{cell.runtime}, {cell.isolation}"


def conditions_of(cell: Cell, usual: Cell) -> str:
    """In which conditions `cell` differs from the `usual` ones, design and isolation aside; "" if in none."""
    ours, theirs = asdict(cell), asdict(usual)
    return ", ".join(
        f"{factor} {_plain(value)}"
        for factor, value in ours.items()
        if factor not in _DESIGN and value != theirs[factor]
    )


def _plain(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _per_commit(total: Callable[[Run], float]) -> Callable[[Results, Run], float | None]:
    return lambda _, run: total(run) / run.completed if run.completed and run.peers else None


def _percentile(place: int) -> Callable[[Results, Run], float | None]:
    return lambda results, run: results.percentiles(run)[place] if run.completed else None


THROUGHPUT = Measure("throughput", "commits/s", lambda _, run: run.throughput, shown="commits/s")
P50 = Measure("p50", "s", _percentile(0), 1e3, "ms")
P90 = Measure("p90", "s", _percentile(1), 1e3, "ms")
P99 = Measure("p99", "s", _percentile(2), 1e3, "ms")
P999 = Measure("p99.9", "s", _percentile(3), 1e3, "ms")
UNAVAILABLE = Measure("unavailable", "s", lambda _, run: run.unavailable, 1e3, "ms")
ELECTED = Measure("elected", "s", lambda _, run: run.elected, 1e3, "ms")
PROCESSOR = Measure(
    "processor time per commit", "s", _per_commit(lambda run: sum(use.processor for use in run.peers)), 1e6, "µs"
)
SWITCHES = Measure(
    "context switches per commit",
    "",
    _per_commit(lambda run: sum(use.voluntary + use.involuntary for use in run.peers)),
)
VOLUNTARY = Measure(
    "voluntary switches per commit", "", _per_commit(lambda run: sum(use.voluntary for use in run.peers))
)
INVOLUNTARY = Measure(
    "involuntary switches per commit", "", _per_commit(lambda run: sum(use.involuntary for use in run.peers))
)
FSYNCS = Measure("fsyncs per commit", "", _per_commit(lambda run: sum(use.fsyncs for use in run.peers)))
ENTRIES = Measure("entries per AppendEntries", "", lambda _, run: run.entries_per_append or None)
RESIDENT = Measure(
    "resident memory", "B", lambda _, run: float(sum(use.resident for use in run.peers)) or None, 2**-20, "MiB"
)
SPURIOUS = Measure("spurious elections per hour", "", lambda _, run: run.elections / run.seconds * 3600)
MEASURES: Sequence[Measure] = (
    THROUGHPUT, P50, P90, P99, P999, UNAVAILABLE, ELECTED, PROCESSOR, SWITCHES, FSYNCS, ENTRIES, RESIDENT, SPURIOUS,
)  # fmt: skip
