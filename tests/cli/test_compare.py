"""`actorum compare`: what it measures, refuses, continues and prints."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.cli import app, compare
from actors.compare import experiment as experiments
from actors.compare import search
from actors.compare.own_process import RunFailed
from actors.compare.records import Cell, Experiment, Planned
from actors.errors import ExitCode
from tests.compare.one_run import made_up_run


def nothing_found(directory: Path, schedules: int, seed: int, told: Callable[[str], None], only: object) -> None:
    """As `search.run`, without searching."""
    told(f"{schedules} schedules from {seed}")
    (directory / search.FILE).write_text("[]")


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, open_fonts: None) -> list[Planned]:
    """Runs are not carried out, but made up."""
    runs: list[Planned] = []

    def carry_out(planned: Planned, directory: Path, seconds: float) -> None:
        runs.append(planned)
        run = made_up_run(
            planned,
            completed=100,
            seconds=seconds,
            throughput=1000.0 + planned.repetition,
            timeline=(50, 50),
            unavailable=0.2 if planned.cell.fault == "leader killed" else None,
            elected=0.1 if planned.cell.fault == "leader killed" else None,
            fault_at=0.1 if planned.cell.fault == "leader killed" else None,
        )
        latencies = [0.001 * (1 + number / 100) for number in range(100)]
        Experiment(directory).save(run, latencies, [number / 1000 for number in range(100)])

    monkeypatch.setattr(experiments, "run_in_process", carry_out)
    monkeypatch.setattr(search, "run", nothing_found)
    return runs


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The default directory is in the current one."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def compared(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["compare", *words])
    assert done.exit_code == code, done.output
    return done


def refused(*words: str, code: int = ExitCode.USAGE) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(compared(*words, "-o", "json", code=code).stderr.splitlines()[-1])["error"]
    return error


# --- measured ---------------------------------------------------------------------------------------------------------


def test_without_options_it_is_quick_and_stays_in_a_directory_of_its_own(made_up: list[Planned]) -> None:
    printed = compared().stdout
    assert len(made_up) > 50
    assert Experiment(Path("report")).manifest().name == "quick"
    assert printed.startswith("host: ")
    assert printed.count("actors (one mailbox)") == printed.count("locks (one lock)") == 2


def test_schedules_are_searched_once_and_by_the_seed_of_the_experiment(
    made_up: list[Planned], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def noting(directory: Path, schedules: int, seed: int, told: Callable[[str], None], only: object) -> None:
        asked.append((schedules, seed))
        nothing_found(directory, schedules, seed, told, only)

    monkeypatch.setattr(search, "run", noting)
    compared("--seed", "5", "--repetitions", "1")
    compared("--resume")
    compared("--from", "report")
    assert asked == [(15, 5)]


def test_json_has_rows_and_sentences(made_up: list[Planned]) -> None:
    found = json.loads(compared("-o", "json").stdout)
    assert found.keys() >= {"rows", "sentences"}
    assert len(found["rows"]) == 4
    assert found["rows"][0].keys() >= {"design", "isolation", "commits/s", "p50 ms", "p99 ms", "failover ms", "safety"}
    assert any(sentence.startswith("control A/A") for sentence in found["sentences"])


def test_it_can_be_restricted(made_up: list[Planned]) -> None:
    compared("--only", "isolation=threads", "--only", "fault=none", "--only", "control=", "--repetitions", "2")
    assert [planned.cell for planned in made_up] == [
        Cell(runtime=runtime, isolation="threads") for runtime in ("actors", "locks", "locks", "actors")
    ]


def test_seconds_and_seed_are_as_asked(made_up: list[Planned]) -> None:
    compared("--seconds", "0.4", "--seed", "5", "--out", "elsewhere", "--repetitions", "1")
    manifest = Experiment(Path("elsewhere")).manifest()
    assert (manifest.seconds, manifest.seed) == (0.4, 5)


def test_the_same_seed_plans_the_same_runs(made_up: list[Planned]) -> None:
    compared("--seed", "5", "--out", "one", "--repetitions", "2")
    compared("--seed", "5", "--out", "two", "--repetitions", "2")
    assert Experiment(Path("one")).manifest().plan == Experiment(Path("two")).manifest().plan


def test_full_says_how_long_it_takes_before_it_begins(made_up: list[Planned]) -> None:
    factors = ("peers=3", "load=closed", "fault=none", "control=")
    done = compared("--full", "--repetitions", "1", *(word for factor in factors for word in ("--only", factor)))
    assert "144 runs, about 10 minutes; --only restricts them" in done.stderr
    assert len(made_up) == 144


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.1, "about 6 minutes"), (7.4, "about 7 hours"), (96.0, "about 96 hours (4 days)")],
)
def test_hours_are_told_as_people_count_them(hours: float, words: str) -> None:
    assert compare._about(hours) == words


def test_progress_says_how_much_time_is_left(made_up: list[Planned], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 10.0
        return now

    monkeypatch.setattr("actors.cli.progress.monotonic", clock)
    assert "min left" in compared().stderr


def test_a_run_that_fails_is_named_and_the_rest_can_be_continued(
    made_up: list[Planned], monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = vars(experiments)["run_in_process"]

    def failing(planned: Planned, directory: Path, seconds: float) -> None:
        if planned.number == 3:
            raise RunFailed("run 3 ended with 1: no words")
        healthy(planned, directory, seconds)

    monkeypatch.setattr(experiments, "run_in_process", failing)
    assert refused(code=ExitCode.BUG)["what"] == "run 3 ended with 1: no words"
    monkeypatch.setattr(experiments, "run_in_process", healthy)
    made_up.clear()
    compared("--resume")
    assert made_up[0].number == 3


# --- drawn again ------------------------------------------------------------------------------------------------------


def test_from_measures_nothing_and_says_the_same(made_up: list[Planned]) -> None:
    first = compared().stdout
    made_up.clear()
    assert compared("--from", "report").stdout == first
    assert made_up == []


@pytest.mark.parametrize("name", ["runs/00007.json", "runs/00007.f8", "manifest.json"])
def test_a_file_that_is_missing_is_named(made_up: list[Planned], name: str) -> None:
    compared()
    (Path("report") / name).unlink()
    error = refused("--from", "report")
    assert error["code"] == "EXPERIMENT-INCOMPLETE"
    assert name in error["what"]


def test_of_an_experiment_that_is_not_there_the_first_file_is_missing() -> None:
    assert "manifest.json" in refused("--from", "nowhere")["what"]


# --- refused ----------------------------------------------------------------------------------------------------------


def test_without_scipy_it_says_what_to_install(made_up: list[Planned], monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(compare, "find_spec", lambda name: None if name == "scipy" else there(name))
    error = refused()
    assert error["code"] == "COMPARISON-NOT-INSTALLED"
    assert error["what"] == "actorum compare needs scipy"
    assert error["fix"] == "pip install 'actorum[compare]'"
    assert not Path("report").exists()


def test_the_extra_that_it_names_brings_all_that_it_needs() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = " ".join(project["optional-dependencies"]["compare"])
    assert [name for name in compare.NEEDED if name not in extra] == ["numpy"]  # scipy needs it


@pytest.mark.parametrize("only", ["colour=red", "peers=4", "peers"])
def test_a_misspelt_restriction_measures_nothing(made_up: list[Planned], only: str) -> None:
    error = refused("--full", "--only", only)
    assert error["code"] == "UNKNOWN-FACTOR"
    assert made_up == []
    assert not Path("report").exists()


def test_an_experiment_is_never_written_over(made_up: list[Planned]) -> None:
    compared()
    assert "holds an experiment already" in refused()["what"]


def test_there_must_be_something_to_continue(made_up: list[Planned]) -> None:
    assert refused("--resume")["code"] == "EXPERIMENT-INCOMPLETE"


@pytest.mark.parametrize(
    "words",
    [("--only", "peers=3"), ("--repetitions", "3"), ("--seconds", "2"), ("--seed", "4"), ("--full",)],
    ids=lambda words: words[0],
)
def test_what_the_manifest_says_cannot_be_asked_for_again(made_up: list[Planned], words: tuple[str, ...]) -> None:
    compared()
    compared("--resume", *words, code=ExitCode.USAGE)


def test_the_plan_may_be_named_again_if_it_is_that(made_up: list[Planned]) -> None:
    compared()
    compared("--resume", "--quick")


def test_redrawing_and_measuring_exclude_each_other(made_up: list[Planned]) -> None:
    compared()
    compared("--resume", "--from", "report", code=ExitCode.USAGE)
    compared("--from", "report", "--only", "peers=3", code=ExitCode.USAGE)
