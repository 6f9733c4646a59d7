"""The report of an experiment: one page, and each figure and table as a file of its own, beside the raw data.

    DIR/index.html          all of it, self-contained
    DIR/figures/*.svg,png   each drawing
    DIR/tables/*.csv        the data of each drawing, and the tables that have none

It is made of the raw data alone (`actors.compare.records`), in whole: a file that is missing or torn is an error, and
nothing is written then.  The same data gives the same bytes.  The two exceptions are of the code that draws: the code
table, and the two diagrams of a simulated run; both say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from actors.compare import html_page as html
from actors.compare import summary, tables
from actors.compare.figures import FIGURES, Lacking, Shown, Table
from actors.compare.figures.cells import command_for
from actors.compare.figures.search import FILE as SEARCH
from actors.compare.figures.search import bugs, deadlock
from actors.compare.records import Experiment, Run
from actors.compare.results import Results
from actors.compare.two_diagrams import two_diagrams
from actors.compare.words import host_line, rows

TITLE = "Message passing against locks"
_WHAT = (
    "Two ways to let one peer's threads take turns, in front of the same Raft core, codec, links, timers and storage: "
    "a mailbox whose owner alone has the state (actors), and one lock around the state (locks). Each in threads of one "
    "process and in processes of their own. Medians are over runs, with 95 % bootstrap intervals; a difference is "
    "called one only if its interval leaves out zero, a permutation test agrees, and it is larger than runs of one "
    "cell differ by. Of many differences some come by chance: the table of all of them is corrected for their number, "
    "a single sentence is not."
)
_KEY = "Blue is actors, orange is locks; solid lines and dots are threads, dashes and squares processes."
_AMONG_BUGS = ("schedules", "deadlock")
"""Figures that stand in a section of their own."""
_STEP = 12
"""Links to runs that stand in one cell of the fault matrix; the others are in the directory."""


class Report:
    """The report of one experiment; in a notebook it shows itself."""

    def __init__(self, results: Results) -> None:
        self.results = results

    @cached_property
    def figures(self) -> Mapping[str, Shown | Lacking]:
        """All of them by name, in the order of the report; a figure shows itself in a notebook, too."""
        drawn = [draw(self.results) for draw in (*FIGURES, bugs, deadlock)]
        return {each.name: each for each in [*drawn, two_diagrams(self.results.manifest.seed)]}

    @cached_property
    def tables(self) -> Mapping[str, Table]:
        """Those that no figure has, by name."""
        results = self.results
        return {
            "runs": tables.runs(results),
            "four-cells": tables.four_cells(results),
            "differences": tables.differences(results),
            "faults": tables.faults(results).table,
            "code": tables.code(),
            "hypotheses": tables.hypotheses(results),
            "controls": tables.controls(results),
            "null-core": tables.null_core(results),
            "rejected": tables.rejected(results),
            "manifest": tables.manifest(results),
        }

    def __getitem__(self, name: str) -> Shown | Lacking:
        return self.figures[name]

    def _repr_html_(self) -> str:
        return html.fragment(self._parts())

    def page(self) -> str:
        """The whole file."""
        return html.page(TITLE, html.fragment(self._parts()))

    def write(self) -> Path:
        """Write everything beside the raw data; where the page is.

        Raises `RecordError`, before anything is written."""
        self._read_everything()
        directory, page = self.results.experiment.directory, self.page()
        shown = [each for each in self.figures.values() if isinstance(each, Shown)]
        files = {f"tables/{name}.csv": data.csv().encode() for name, data in self.tables.items()}
        for each in shown:
            files[f"tables/{each.name}.csv"] = each.table.csv().encode()
            files[f"figures/{each.name}.svg"] = each.svg.encode()
            files[f"figures/{each.name}.png"] = each.png
        _replace(directory, files | {"index.html": page.encode()})
        return directory / "index.html"

    def _read_everything(self) -> None:
        """Also what no figure is made of: a report stands for all of its raw data."""
        for run in [*self.results.runs, *self.results.rejected]:
            self.results.experiment.latencies(run)
            self.results.experiment.intended(run)

    # --- the page -----------------------------------------------------------------------------------------------------

    def _parts(self) -> Iterator[str]:
        yield f"<h1>{TITLE}</h1>"
        yield html.paragraph(host_line(self.results.manifest), "small")
        yield html.paragraph(_WHAT)
        yield self._summary()
        yield html.section("four-cells", "The four cells", *self._four_cells())
        yield html.section("figures", "Figures", *self._drawings())
        yield html.section("lacking", "Not measured here", *self._lacking())
        yield self._faults()
        yield self._bugs()
        yield html.section("code", "The code itself", *self._code())
        yield html.section("hypotheses", "What was expected", html.table(self.tables["hypotheses"]))
        yield html.section("controls", "Controls", *self._controls())
        yield html.section("rejected", "Rejected runs", *self._rejected())
        yield html.section("manifest", "The experiment", *self._manifest())

    def _summary(self) -> str:
        parts = (
            ("What is faster, actors against locks", summary.faster),
            ("What fails differently", summary.fails_differently),
            ("What costs more to get right", summary.costs),
            ("What this does not show", summary.not_shown),
        )
        said = "".join(f"<h3>{heading}</h3>{html.bullets(say(self.results))}" for heading, say in parts)
        return f'<section id="summary" class="summary" aria-label="Summary">{said}</section>'

    def _four_cells(self) -> Iterator[str]:
        found = rows(self.results)
        if found:
            values = [tuple(str(value) if value is not None else None for value in row.values()) for row in found]
            yield html.table(Table(tuple(found[0]), list(values)), "Medians over runs with 95 % intervals")
        yield html.folded(self.tables["differences"], "actors less locks in every condition that both were measured in")

    def _drawings(self) -> Iterator[str]:
        yield html.paragraph(_KEY, "small")
        for each in self.figures.values():
            if isinstance(each, Shown) and each.name not in _AMONG_BUGS:
                yield html.figure(each)

    def _lacking(self) -> Iterator[str]:
        lacking = [each for each in self.figures.values() if isinstance(each, Lacking) and each.name not in _AMONG_BUGS]
        if not lacking:
            yield html.paragraph("Everything that this report has a figure for was measured.")
        for each in lacking:
            yield html.figure(each)

    def _faults(self) -> str:
        found = tables.faults(self.results)
        said = (
            "Medians over sound runs. The gates: the clients' history is linearizable, replicas are equal, no term had "
            "two leaders, and traces replay through the same core. A run's raw file holds what they said."
        )
        links = [list(_links(runs)) for runs in found.runs]
        return html.section("faults", "Faults", html.paragraph(said), html.table(found.table, links=links))

    def _bugs(self) -> str:
        said = (
            "The same seeded mistakes in both designs where they can be expressed, and a naive design with several "
            f"locks; the data is {SEARCH}."
        )
        parts = [html.figure(self.figures[name]) for name in _AMONG_BUGS]
        return html.section("bugs", "Mistakes, and what finds them", html.paragraph(said), *parts)

    def _code(self) -> Iterator[str]:
        yield html.paragraph(
            "Counted by a script, in the source that drew this report. These are counts, not qualities: a lock site is "
            "not a mistake, it is a place where one can be made."
        )
        yield html.table(self.tables["code"])

    def _controls(self) -> Iterator[str]:
        if self.tables["controls"].rows:
            yield html.paragraph("The same cell twice must not differ; a slowdown that was put in must be found.")
            yield html.table(self.tables["controls"])
        else:
            yield html.paragraph(
                "Neither the same cell twice nor a planted slowdown was measured: actorum compare --quick"
            )
        if any(row[2] == "null core" for row in self.tables["null-core"].rows):
            yield html.paragraph(
                "Without a core (it commits at once, tells nobody): what the runtimes cost themselves."
            )
            yield html.table(self.tables["null-core"])
        else:
            yield html.paragraph(f"The runtimes without a core were not measured: {command_for(control='null core')}")

    def _rejected(self) -> Iterator[str]:
        if self.results.rejected:
            yield html.paragraph("These runs failed a gate. The speed of a wrong run is not reported.", "bad")
            yield html.table(self.tables["rejected"])
        else:
            yield html.paragraph(f"None of {len(self.results.runs)} runs failed a gate.")

    def _manifest(self) -> Iterator[str]:
        yield html.table(self.tables["manifest"])
        yield f"<p>{html.link('tables/runs.csv', 'Each run with its figures')}.</p>"
        yield (
            f"<p>Raw data: {html.link('manifest.json', 'manifest.json')} with the plan and seeds, a file for each run "
            f"in {html.link('runs/', 'runs/')}. Tables: {html.link('tables/', 'tables/')}; drawings: "
            f"{html.link('figures/', 'figures/')}. Drawn again from them by "
            "<code>actorum compare --from DIR</code>.</p>"
        )


def _links(runs: list[Run]) -> Iterator[str]:
    for run in runs[:_STEP]:
        yield html.link(f"runs/{run.number:05}.json", str(run.number))
    if len(runs) > _STEP:
        yield f"and {len(runs) - _STEP} more"


def _replace(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, and take away what an earlier report left that this one does not have."""
    for folder, suffixes in (("figures", (".svg", ".png")), ("tables", (".csv",))):
        (directory / folder).mkdir(exist_ok=True)
        for path in (directory / folder).iterdir():
            if path.suffix in suffixes and f"{folder}/{path.name}" not in files:
                path.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def read_report(directory: str | Path) -> Report:
    """The report of the experiment in `directory`, for a notebook.  Raises `RecordError`."""
    return Report(Results(Experiment(Path(directory))))
