"""The reference run that the documentation shows: its tables agree with each other, and the page with its tables."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import median

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")


def table(name: str) -> list[dict[str, str]]:
    with (RESULTS / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


RUNS = table("runs")
USUAL = {"peers": "3", "storage": "memory", "payload": "16", "clients": "16", "batching": "on", "load": "closed"}


def usual(design: str, isolation: str, **factors: str) -> list[dict[str, str]]:
    """The runs of this cell under the usual conditions, but for `factors`."""
    wanted = USUAL | {"runtime": design, "isolation": isolation, "fault": "none", "control": ""} | factors
    return [run for run in RUNS if all(run[name] == value for name, value in wanted.items())]


def test_every_run_is_there_and_passed_its_gates() -> None:
    assert [int(run["run"]) for run in RUNS] == list(range(608))
    assert {run["sound"] for run in RUNS} == {"yes"}
    assert not table("rejected")


@pytest.mark.parametrize("row", table("four-cells"), ids=lambda row: f"{row['design']} {row['isolation']}")
@pytest.mark.parametrize("measure", ["throughput (commits/s)", "p50 (ms)", "p99 (ms)"])
def test_the_four_cells_are_the_medians_of_their_runs(row: dict[str, str], measure: str) -> None:
    runs = usual(row["design"], row["isolation"])
    assert len(runs) == int(row["runs"]) == 8
    assert median(float(run[measure]) for run in runs) == pytest.approx(float(row[measure]), rel=1e-4)


def test_the_page_has_the_figures_of_the_four_cells() -> None:
    for row in table("four-cells"):
        rate = f"{float(row['throughput (commits/s)']):,.0f}"
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| {row['design']} (") and rate in line)
        assert f"| {row['isolation']} |" in line
        assert f"| {float(row['p50 (ms)']):.2f} [" in line and f"| {float(row['p99 (ms)']):.2f} [" in line


@pytest.mark.parametrize("clients", ["1", "16"])
@pytest.mark.parametrize("isolation", ["threads", "processes"])
def test_the_sentence_of_the_main_figure_is_true(isolation: str, clients: str) -> None:
    actors, locks = (
        median(float(run["throughput (commits/s)"]) for run in usual(design, isolation, clients=clients))
        for design in ("actors", "locks")
    )
    assert 1.165 < actors / locks < 1.315
    conditions = "the usual ones" if clients == "16" else "clients 1"
    (row,) = (
        row
        for row in table("differences")
        if (row["of"], row["isolation"], row["conditions"]) == ("throughput (commits/s)", isolation, conditions)
    )
    assert row["actors are"] == "higher"
    for page in (PAGE, (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")):
        assert "17 to 31 % more" in " ".join(page.split())


def test_the_controls_came_out_as_they_should() -> None:
    controls = table("controls")
    assert [control["control"].partition(",")[0] for control in controls] == ["A/A"] * 4 + ["planted"] * 4
    for control in controls:
        low, high = float(control["low"]), float(control["high"])
        if control["control"].startswith("A/A"):
            assert low <= 0 <= high
        else:
            assert high < 0 and -0.25 < float(control["relative"].rstrip("%")) / 100 < -0.15
        assert control["relative"].replace("%", " %") in PAGE


def test_every_figure_and_table_is_named_and_none_is_missing() -> None:
    named = set(re.findall(r"\]\(((?:figures|tables)/[^)]+\.\w+)\)", PAGE))
    assert {path for path in named if not (RESULTS / path).exists()} == set()
    assert {f"figures/{path.name}" for path in (RESULTS / "figures").iterdir()} <= named
