"""Figures say what the data says, are drawn of what their titles ask for, and look alike."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shlex import split
from typing import cast
from xml.etree import ElementTree

import pytest
from msgspec import json
from msgspec.structs import replace

from actors.compare import plan
from actors.compare.figures import FIGURES, Lacking, Shown
from actors.compare.figures.dots import QUESTIONS, of_cells
from actors.compare.figures.factor import FACTORS, against
from actors.compare.figures.house import COLOURS, Table
from actors.compare.figures.latency import latency
from actors.compare.figures.search import FILE, Found, Wait, bugs, deadlock, waits_of
from actors.compare.figures.stages import stages
from actors.compare.figures.timeline import through
from actors.compare.figures.turns import little, turns
from actors.compare.records import STAGES, Cell, Fault, Run
from actors.compare.results import PROCESSOR, THROUGHPUT, Results
from actors.compare.two_diagrams import arrows, simulated, two_diagrams
from tests.compare.an_experiment import cells_of, faster, results_in

pytestmark = pytest.mark.usefixtures("open_fonts")
BY_NAME = {question.name: partial(of_cells, question) for question in QUESTIONS}


def shown(figure: Shown | Lacking) -> Shown:
    assert isinstance(figure, Shown), figure
    return figure


def rows(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.heads, row, strict=True)) for row in table.rows]


# --- how they look ----------------------------------------------------------------------------------------------------


def test_a_drawing_is_whole_says_what_it_is_and_has_only_its_own_identifiers(tmp_path: Path) -> None:
    drawn = shown(latency(results_in(tmp_path, cells_of([{}], 2))))
    root = ElementTree.fromstring(drawn.svg)
    assert root.get("role") == "img"
    title, words = root[0], root[1]
    assert (title.tag.rpartition("}")[2], title.text) == ("title", drawn.title)
    assert (words.tag.rpartition("}")[2], words.text) == ("desc", drawn.alternative)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(str(each).startswith("latency-") for each in ids)
    assert "metadata" not in drawn.svg and not re.search(r"\b20\d\d-\d\d-\d\dT", drawn.svg)


def test_a_figure_has_the_colours_of_both_designs(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 2))
    for draw in (latency, turns, little, BY_NAME["costs"]):
        svg = shown(draw(results)).svg.lower()
        assert COLOURS["actors"].lower() in svg and COLOURS["locks"].lower() in svg


def test_no_global_figure_is_opened(tmp_path: Path) -> None:
    """pyplot would keep every figure, and could open windows."""
    script = "import sys, actors.compare.report\nassert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("number", range(len(FIGURES)))
def test_what_would_measure_a_figure_is_a_command_that_leaves_cells(tmp_path: Path, number: int) -> None:
    """Of an experiment that has nothing but a cell that no figure is of."""
    odd = Cell(runtime="actors", isolation="threads", control="a/a", label="A")
    lacking = FIGURES[number](results_in(tmp_path, [(odd, 1)], lambda run: replace(run, gates=())))
    assert isinstance(lacking, Lacking)
    words = split(lacking.command)
    assert words[:3] == ["actorum", "compare", "--full"]
    cells = plan.restricted(plan.full(), words[4::2])
    assert set(words[3::2]) == {"--only"} and len(cells) >= 4


# --- what they say ----------------------------------------------------------------------------------------------------


def test_latency_is_in_milliseconds_and_comes_from_the_raw_data(tmp_path: Path) -> None:
    found = rows(shown(latency(results_in(tmp_path, cells_of([{}]), faster("actors", 4.0)))).table)
    by_design = {row["design"]: cast(float, row["p50 (ms)"]) for row in found}
    assert by_design["actors"] == pytest.approx(0.25, rel=0.1)
    assert by_design["locks"] == pytest.approx(1.0, rel=0.1)


def test_a_factor_has_a_row_for_each_value_that_was_measured(tmp_path: Path) -> None:
    clients = next(factor for factor in FACTORS if factor.name == "clients")
    figure = shown(against(clients, results_in(tmp_path, cells_of([{}, {"clients": 64}]), faster("locks", 2.0))))
    assert [row["clients"] for row in rows(figure.table)] == [16] * 4 + [64] * 4
    assert figure.reading.count("Actors lower: commands under way") == 4


def test_one_value_of_a_factor_is_no_figure(tmp_path: Path) -> None:
    for factor in FACTORS:
        assert isinstance(against(factor, results_in(tmp_path / factor.name, cells_of([{}], 1))), Lacking)


@pytest.mark.parametrize("fault", ["leader killed", "follower paused"])
def test_the_moments_around_a_fault_are_counted_from_it(tmp_path: Path, fault: Fault) -> None:
    figure = shown(through(fault, results_in(tmp_path, cells_of([{}, {"fault": fault}], 4))))
    mine = [row for row in rows(figure.table) if (row["design"], row["isolation"]) == ("actors", "threads")]
    assert [row["since the fault (s)"] for row in mine] == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert [row["commits/s"] for row in mine] == pytest.approx([200, 200, 200, 200, 0, 0, 200, 200, 200, 400])


def test_runs_in_which_the_fault_came_at_another_tenth_are_laid_upon_each_other(tmp_path: Path) -> None:
    def later(run: Run) -> Run:
        if run.fault_at is None or run.repetition % 2:
            return run
        return replace(run, fault_at=run.fault_at + 0.1, timeline=(20, *run.timeline[:-1]))

    figure = shown(through("leader killed", results_in(tmp_path, cells_of([{"fault": "leader killed"}], 4), later)))
    gap = [row for row in rows(figure.table) if row["since the fault (s)"] == 0.1]
    assert [(row["lower quartile"], row["upper quartile"], row["runs"]) for row in gap] == [(0.0, 0.0, 4)] * 4


def test_the_stages_of_an_operation_are_all_there_in_their_order(tmp_path: Path) -> None:
    figure = shown(stages(results_in(tmp_path, cells_of([{}], 2))))
    assert [row["stage"] for row in rows(figure.table)] == list(STAGES) * 4
    assert "actors, threads: p50 client (1.00 ms), p99 client (3.00 ms)" in figure.reading


def test_little_says_in_how_many_runs_the_law_comes_out(tmp_path: Path) -> None:
    def lost(run: Run) -> Run:
        if run.number or run.waiting is None:
            return run
        return replace(run, waiting=replace(run.waiting, depth=run.waiting.depth * 2))

    figure = shown(little(results_in(tmp_path, cells_of([{}], 2), lost)))
    assert figure.reading.startswith("In 7 of 8 runs") and "2.00" in figure.reading
    assert rows(figure.table)[0]["ratio"] == pytest.approx(2.0)


def test_waiting_for_the_turn_is_in_microseconds_and_names_the_place(tmp_path: Path) -> None:
    found = rows(shown(turns(results_in(tmp_path, cells_of([{}], 2)))).table)
    assert [row["place"] for row in found] == ["mailbox", "lock"] * 2
    assert found[0]["waiting for it p50 (µs)"] == pytest.approx(200.0)
    assert found[0]["having it p99 (µs)"] == pytest.approx(400.0)


def test_costs_agree_with_what_was_found(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}]))
    for row, cell in zip(rows(shown(BY_NAME["costs"](results)).table), results.four().values(), strict=True):
        found = results.summary(cell, PROCESSOR)
        assert found is not None
        assert row["processor time per commit (µs)"] == pytest.approx(1e6 * found.median)
        assert row["runs"] == 6


def test_a_difference_is_in_the_sentence_of_its_figure_only_if_it_was_detected(tmp_path: Path) -> None:
    alike = shown(BY_NAME["costs"](results_in(tmp_path / "alike", cells_of([{}]))))
    other = shown(BY_NAME["costs"](results_in(tmp_path / "other", cells_of([{}]), faster("actors", 3.0))))
    assert "Actors" not in alike.reading and alike.reading.startswith("No difference detected")
    assert "Actors lower: threads, context switches per commit (-1.00" in other.reading


def test_a_disk_without_a_single_fsync_is_doubted(tmp_path: Path) -> None:
    def lost(run: Run) -> Run:
        uncounted = run.cell == replace(run.cell, runtime="actors")
        return replace(run, peers=tuple(replace(use, fsyncs=0) for use in run.peers)) if uncounted else run

    disks: list[Mapping[str, object]] = [{"storage": "sqlite"}, {}]
    counted = shown(BY_NAME["durable"](results_in(tmp_path / "counted", cells_of(disks))))
    doubted = shown(BY_NAME["durable"](results_in(tmp_path / "doubted", cells_of(disks), lost)))
    assert "Not one fsync" not in counted.reading
    assert "Not one fsync was counted of: actors, threads; actors, processes." in doubted.reading


def test_controls_are_in_no_figure_of_the_comparison(tmp_path: Path) -> None:
    variants: list[Mapping[str, object]] = [{}, {"control": "null core"}, {"control": "planted slowdown"}]
    results: Results = results_in(tmp_path, cells_of(variants, 2))
    assert len(shown(latency(results)).table.rows) == 4
    assert {run.cell.control for run in results.runs} == {"", "null core", "planted slowdown"}
    assert len(results.pairs(THROUGHPUT)) == 2


# --- mistakes ---------------------------------------------------------------------------------------------------------


def with_search(directory: Path, *found: Found) -> Results:
    results = results_in(directory, cells_of([{}], 1))
    (directory / FILE).write_bytes(json.encode(list(found)))
    return results


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        (
            "thread a holds A waits B; thread b holds B waits A",
            [Wait("a", "A", "B"), Wait("b", "B", "A")],
        ),
        (
            "apply of n1 holds the log and waits for the state; timer holds the state, waits for the log",
            [Wait("apply of n1", "the log", "the state"), Wait("timer", "the state", "the log")],
        ),
        ("nothing of that kind", []),
    ],
)
def test_a_cycle_in_words_is_read_as_who_holds_and_who_waits(words: str, waits: list[Wait]) -> None:
    assert waits_of(words) == waits


def test_mistakes_that_were_not_caught_are_counted_as_such(tmp_path: Path) -> None:
    found = [
        Found("one", "actors", 500, 7, "x"),
        Found("two", "actors", 500, None, "x"),
        Found("one", "locks", 9, 9, "x"),
    ]
    figure = shown(bugs(with_search(tmp_path, *found)))
    assert "1 of 2 mistakes in actors were caught, the last after 7 schedules" in figure.reading
    assert [row["caught after (schedules)"] for row in rows(figure.table)] == [7, None, 9]
    assert figure.svg and figure.png.startswith(b"\x89PNG")


def test_the_deadlock_of_the_naive_design_is_drawn_before_any_other(tmp_path: Path) -> None:
    ours = Found("order", "locks", 10, 2, "deadlock", "a holds A waits B; b holds B waits A")
    naive = Found("order", "naive", 10, 3, "deadlock", "c holds C waits D; d holds D waits E; e holds E waits C")
    figure = shown(deadlock(with_search(tmp_path, ours, naive)))
    assert "naive" in figure.title and len(figure.table.rows) == 3
    assert figure.svg.count("<svg") == 1


def test_without_a_search_there_is_nothing_to_draw(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 1))
    assert isinstance(bugs(results), Lacking) and isinstance(deadlock(results), Lacking)


# --- two diagrams -----------------------------------------------------------------------------------------------------


def test_both_designs_elect_and_commit_in_their_diagrams() -> None:
    figure = two_diagrams(7)
    what = [(row["design"], row["what changed"]) for row in rows(figure.table)]
    for design in ("actors", "locks"):
        assert any(name == design and "leader, term" in str(words) for name, words in what)
        assert any(name == design and "commits" in str(words) for name, words in what)
    assert figure.svg == two_diagrams(7).svg


def test_no_message_arrives_before_it_was_sent() -> None:
    for runtime in plan.RUNTIMES:
        drawn = list(arrows(simulated(runtime, 7)))
        assert len(drawn) > 10
        assert all(arrow.sent < arrow.arrived and arrow.sender != arrow.receiver for arrow in drawn)
