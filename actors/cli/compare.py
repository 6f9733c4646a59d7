"""`actorum compare`: measure both designs, and say what differs, how surely, and what does not.

Here it is decided what is run and where the answer goes; how it is measured and drawn is in `actors.compare`.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from actors.cli.output import Output, output_option, say
from actors.errors import ActorumError, ExitCode, SafetyViolation

if TYPE_CHECKING:
    from actors.compare.records import Experiment
    from actors.compare.results import Results

EXAMPLES = """
Examples:

\b
  actorum compare                                       the quick one, into ./report
  actorum compare --star                                one factor at a time
  actorum compare --full --only peers=3 --only storage=memory,sqlite
  actorum compare --full --resume                       go on where it was broken off
  actorum compare --from report                         draw it again, from its raw data
  actorum compare -o json | jq .rows

Exit code 6: a run broke what Raft promises; its speed is not reported.
"""
IN_THE_PLAN = {"plan_name": "--quick, --star or --full", "only": "--only", "repetitions": "--repetitions"} | {
    "seconds": "--seconds",
    "seed": "--seed",
}
"""Options that say what is measured: of an experiment that is there, its manifest does."""
SCHEDULES = {"quick": 15, "star": 100, "full": 300}
"""How many are searched for each mistake, by plan."""
NEEDED = ("numpy", "scipy", "matplotlib")


class ComparisonNotInstalled(ActorumError):
    """Statistics and figures need libraries that are an extra of this one.  Nothing was done."""

    code = "COMPARISON-NOT-INSTALLED"
    exit_code = ExitCode.USAGE


@click.command(epilog=EXAMPLES)
@click.option("--quick", "plan_name", flag_value="quick", default="quick", help="About a minute and a half (default).")
@click.option("--star", "plan_name", flag_value="star", help="One factor at a time, and all controls: half an hour.")
@click.option("--full", "plan_name", flag_value="full", help="The whole grid: hours to days; see --only.")
@click.option("--only", multiple=True, metavar="FACTOR=VALUE[,...]", help="Of the grid, only these; may be repeated.")
@click.option("--repetitions", type=click.IntRange(1), help="Runs of each cell.")
@click.option("--seconds", type=click.FloatRange(0.2), help="Of each measurement.")
@click.option("--seed", type=int, default=20261121, show_default=True, help="Of everything that is drawn by lot.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory of the raw data and the report.",
)
@click.option("--resume", is_flag=True, help="Go on with the experiment in --out.")
@click.option(
    "--from",
    "source",
    type=click.Path(file_okay=False, path_type=Path),
    help="Measure nothing: draw the report of this experiment again.",
)
@output_option
def compare(
    plan_name: str,
    only: tuple[str, ...],
    repetitions: int | None,
    seconds: float | None,
    seed: int,
    out: Path,
    resume: bool,
    source: Path | None,
    output: Output,
) -> None:
    """Compare message passing with locks: the same core, codec, links and storage; only who takes turns differs."""
    _refuse_without_libraries()
    _refuse_contradictions(resume, source)
    from actors.compare.records import Experiment
    from actors.compare.results import Results

    if source is not None:
        results = Results(Experiment(source))
    else:
        experiment = _resumed(out, plan_name) if resume else _begin(out, plan_name, only, repetitions, seconds, seed)
        _measure(experiment)
        _search(experiment)
        results = Results(experiment)
    if not results.runs:
        raise _violation(results)
    _tell(results, output)


def _refuse_without_libraries() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ComparisonNotInstalled(
            f"actorum compare needs {', '.join(missing)}",
            why="they are not needed for running clusters, so they are an extra",
            fix="pip install 'actorum[compare]'",
        )


def _refuse_contradictions(resume: bool, source: Path | None) -> None:
    if not resume and source is None:
        return
    if resume and source is not None:
        raise click.UsageError("--from measures nothing, --resume does: name one of them")
    given = [text for name, text in IN_THE_PLAN.items() if _is_given(name)]
    if resume and given == [IN_THE_PLAN["plan_name"]]:
        return  # that is compared with the manifest
    if given:
        raise click.UsageError(f"the manifest of the experiment says what is measured, not {', '.join(given)}")


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _resumed(out: Path, plan_name: str) -> Experiment:
    from actors.compare.records import Experiment

    experiment = Experiment(out)
    name = experiment.manifest().name
    if _is_given("plan_name") and name != plan_name:
        raise click.UsageError(f"the experiment in {out} is --{name}, not --{plan_name}")
    return experiment


def _begin(
    out: Path, plan_name: str, only: tuple[str, ...], repetitions: int | None, seconds: float | None, seed: int
) -> Experiment:
    from actors.compare import experiment, plan

    cells = plan.PLANS[plan_name]()
    if only:
        cells = plan.restricted(cells, only)
    if repetitions is not None:
        cells = tuple((cell, repetitions) for cell, _ in cells)
    usual = experiment.SECONDS[plan_name] if seconds is None else seconds
    return experiment.begin(out, plan_name, cells, seed=seed, seconds=usual)


def _measure(experiment: Experiment) -> None:
    """All that is missing, with progress on stderr."""
    from actors.cli.progress import Progress
    from actors.compare.experiment import carry_on, expected_seconds, missing

    manifest, left = experiment.manifest(), missing(experiment)
    if manifest.name != "quick" and left:
        hours = expected_seconds(left, manifest.seconds) / 3600
        say(f"{len(left)} runs, {_about(hours)}; --only restricts them, --resume goes on after a break")
    with Progress("measuring", len(left)) as progress:
        carry_on(experiment, progress.show)


def _search(experiment: Experiment) -> None:
    """Schedules of both designs and of the naive one, with mistakes in them, unless that was done before."""
    from actors.cli.progress import Progress
    from actors.compare import search

    if (experiment.directory / search.FILE).exists():
        return
    manifest = experiment.manifest()
    schedules = SCHEDULES[manifest.name]
    only = search.QUICK if manifest.name == "quick" else ()
    with Progress("searching schedules", search.how_many(only)) as progress:
        rows: list[str] = []

        def told(row: str) -> None:
            rows.append(row)
            progress.show(len(rows))

        search.run(experiment.directory, schedules, manifest.seed, told, only)


def _about(hours: float) -> str:
    if hours < 1:
        return f"about {math.ceil(hours * 60)} minutes"
    return f"about {hours:.0f} hours" if hours < 72 else f"about {hours:.0f} hours ({hours / 24:.0f} days)"


def _tell(results: Results, output: Output) -> None:
    """The table and the sentences under it; the report beside the raw data."""
    from actors.compare.report import Report
    from actors.compare.words import host_line, rows, sentences

    found = rows(results)
    if output.is_table:
        output.line(host_line(results.manifest))
        output.rows(found)
        for sentence in sentences(results):
            output.line(sentence)
        output.line(f"report: {Report(results).write()}")
    else:
        report = str(Report(results).write())
        output.record({"rows": found, "sentences": sentences(results), "report": report})
    if results.rejected:
        raise _violation(results)


def _violation(results: Results) -> SafetyViolation:
    first = results.rejected[0]
    wrong = next((f"{gate.name}: {gate.detail}" for gate in first.gates if not gate.passed), "it has no gates")
    return SafetyViolation(
        f"{len(results.rejected)} of {len(results.manifest.plan)} runs failed a gate; run {first.number}: {wrong}",
        why="the speed of a wrong run is not reported",
        fix=f"please report it, with {results.experiment.directory}",
    )
