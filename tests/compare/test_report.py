"""The report is one page that needs nothing else, made of the raw data alone, and whoever cannot see it can read it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import json
from msgspec.structs import replace

import actors.compare
from actors.cli import app
from actors.compare import summary
from actors.compare.figures import Lacking, Shown
from actors.compare.figures.search import Found
from actors.compare.records import Gate, RecordError, Run
from actors.compare.report import Report
from actors.compare.results import THROUGHPUT, UNAVAILABLE
from tests.compare.an_experiment import EVERYTHING, FOUR, cells_of, experiment_in, faster, results_in

pytestmark = pytest.mark.usefixtures("open_fonts")
FIGURES = {
    "latency", "clients", "through-leader-killed", "through-follower-paused", "failover", "stages", "turns", "little",
    "peers", "payload", "storage", "batching", "load", "costs", "guards", "durable", "memory", "two-diagrams",
    "schedules", "deadlock",
}  # fmt: skip
CYCLE = "thread a holds A waits B; thread b holds B waits A"
SEARCHED = [
    Found("persist after send", "actors", 1000, 12, "invariants"),
    Found("persist after send", "locks", 1000, None, "nothing"),
    Found("lock order inversion", "naive", 1000, 3, "deadlock", CYCLE),
]


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, open_fonts: None) -> Path:
    """A report with everything in it."""
    directory = tmp_path_factory.mktemp("everything")
    experiment_in(directory, cells_of(EVERYTHING, 4))
    (directory / "search.json").write_bytes(json.encode(SEARCHED))
    assert actors.compare.read_report(directory).write() == directory / "index.html"
    return directory


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    found = Page((written / "index.html").read_text(encoding="utf-8"))
    assert not found.open
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, open_fonts: None) -> Report:
    """A report of the four cells, and nothing else."""
    return Report(results_in(tmp_path_factory.mktemp("small"), cells_of([{}], 4)))


# --- what is there ----------------------------------------------------------------------------------------------------


def test_every_figure_is_in_the_page_and_in_files_of_its_own(written: Path, page: Page) -> None:
    assert {attributes["id"] for attributes in page.all("figure")} == FIGURES
    for kind, folder in (("svg", "figures"), ("png", "figures"), ("csv", "tables")):
        assert {path.stem for path in (written / folder).glob(f"*.{kind}")} >= FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (written / "figures").glob("*.png"))


def test_each_run_is_in_a_table_with_its_figures(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 4))
    wrong = replace(results.runs[5], gates=(Gate("replicas are equal", False, "n2 differs"),))
    results.runs, results.rejected = [run for run in results.runs if run.number != 5], [wrong]
    heads, *lines = csv.reader(Report(results).tables["runs"].csv().splitlines())
    table = [dict(zip(heads, line, strict=True)) for line in lines]
    assert [int(line["run"]) for line in table] == list(range(16))
    assert [line["sound"] for line in table] == ["no" if number == 5 else "yes" for number in range(16)]
    assert (table[5]["throughput (commits/s)"], table[5]["p50 (ms)"]) == ("", "")
    run = results.runs[0]
    assert (table[0]["runtime"], table[0]["batching"]) == (run.cell.runtime, "on")
    assert float(table[0]["throughput (commits/s)"]) == pytest.approx(run.throughput, rel=1e-5)
    assert float(table[0]["p50 (ms)"]) == pytest.approx(results.percentiles(run)[0] * 1000, rel=1e-5)


def test_every_drawing_has_a_title_and_a_description_that_name_it(page: Page) -> None:
    drawings = page.all("svg")
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert len(drawings) == len(FIGURES)
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set((drawing["aria-labelledby"] or "").split()) <= ids
    assert len(page.all("desc")) == len(FIGURES)
    assert not page.all("img")  # none that would need a text of its own


def test_no_identifier_is_there_twice_and_none_is_referred_to_in_vain(written: Path, page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.tags if attributes.get("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    text = (written / "index.html").read_text(encoding="utf-8")
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert referred and referred <= set(ids)


def test_nothing_in_the_page_is_loaded_from_anywhere(written: Path, page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object", "embed", "source", "video")]
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "action", "formaction", "ping", "background", "poster"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "xlink:href"):
            address = attributes.get(name) or ""
            assert not re.match(r"[a-z]+:|//", address) or address == "data:,", address
            if tag == "a":
                assert (written / address).exists()
    text = (written / "index.html").read_text(encoding="utf-8")
    assert "@import" not in text and "@font-face" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_what_the_data_says_is_text_and_nothing_else(written: Path) -> None:
    assert "&lt;none&gt; &amp; &quot;none&quot;" in (written / "index.html").read_text(encoding="utf-8")


def test_it_can_be_printed(written: Path) -> None:
    assert "@media print" in (written / "index.html").read_text(encoding="utf-8")


def test_the_sections_of_the_report_are_there(page: Page) -> None:
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == [
        "summary", "four-cells", "figures", "lacking", "faults", "bugs", "code", "hypotheses", "controls", "rejected",
        "manifest",
    ]  # fmt: skip


# --- the tables -------------------------------------------------------------------------------------------------------


def test_every_table_can_be_read_and_none_of_its_rows_is_short(written: Path) -> None:
    paths = list((written / "tables").glob("*.csv"))
    assert len(paths) == len(FIGURES) + 10
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            heads, *rows = csv.reader(file)
        assert all(len(row) == len(heads) for row in rows), path
        assert rows or path.stem == "rejected", path


def test_the_tables_agree_with_what_was_found(written: Path) -> None:
    results = actors.compare.read_report(written).results
    with (written / "tables" / "four-cells.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["design"], row["isolation"]) for row in rows] == [(cell.runtime, cell.isolation) for cell in FOUR]
    for row, cell in zip(rows, FOUR, strict=True):
        found = results.summary(cell, THROUGHPUT)
        assert found is not None
        assert float(row["throughput (commits/s)"]) == found.median
        assert int(row["runs"]) == found.runs == 4


def test_the_failover_figure_has_the_times_of_the_killed_leaders(written: Path) -> None:
    results = actors.compare.read_report(written).results
    with (written / "tables" / "failover.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, cell in zip(rows, results.four(fault="leader killed").values(), strict=True):
        found = results.summary(cell, UNAVAILABLE)
        assert found is not None
        assert float(row["unavailable (ms)"]) == pytest.approx(1e3 * found.median)


# --- the raw data, all of it, and nothing else ------------------------------------------------------------------------


def test_a_redraw_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    experiment_in(tmp_path, cells_of([{}], 4))
    actors.compare.read_report(tmp_path).write()
    before = _files(tmp_path)
    actors.compare.read_report(tmp_path).write()
    assert _files(tmp_path) == before


def _files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["00003.json", "00003.f8", "00003.at.f8"])
def test_a_missing_raw_file_is_named_and_no_report_is_written(tmp_path: Path, name: str) -> None:
    experiment_in(tmp_path, cells_of([{}], 2))
    (tmp_path / "runs" / name).unlink()
    with pytest.raises(RecordError, match=re.escape(name)):
        actors.compare.read_report(tmp_path).write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "runs"]


def test_what_an_earlier_report_had_and_this_one_has_not_is_taken_away(tmp_path: Path) -> None:
    experiment_in(tmp_path, cells_of([{}], 2))
    (tmp_path / "search.json").write_bytes(json.encode(SEARCHED))
    actors.compare.read_report(tmp_path).write()
    assert (tmp_path / "figures" / "schedules.svg").exists()
    (tmp_path / "search.json").unlink()
    actors.compare.read_report(tmp_path).write()
    assert not (tmp_path / "figures" / "schedules.svg").exists()


def test_a_torn_search_file_is_named(tmp_path: Path) -> None:
    experiment_in(tmp_path, cells_of([{}], 2))
    (tmp_path / "search.json").write_text('[{"mistake": ')
    with pytest.raises(RecordError, match=r"search\.json"):
        actors.compare.read_report(tmp_path).write()


def test_the_command_line_draws_it_again_and_says_where_it_is(tmp_path: Path) -> None:
    experiment_in(tmp_path, cells_of([{}], 2))
    done = CliRunner().invoke(app, ["compare", "--from", str(tmp_path), "-o", "table"])
    assert done.exit_code == 0, done.output
    assert f"report: {tmp_path / 'index.html'}" in done.output
    assert (tmp_path / "index.html").exists()
    done = CliRunner().invoke(app, ["compare", "--from", str(tmp_path), "-o", "json"])
    assert json.decode(done.stdout)["report"] == str(tmp_path / "index.html")


# --- what it says -----------------------------------------------------------------------------------------------------


def test_nothing_is_called_faster_where_no_difference_was_detected(small: Report) -> None:
    said = summary.faster(small.results)
    assert len(said) == 1
    assert said[0].startswith("No difference detected: threads, throughput (") and said[0].count("[") == 6
    words = " ".join(shown.reading for shown in small.figures.values() if isinstance(shown, Shown))
    assert "actors higher" not in words and "actors lower" not in words and "faster" not in words


def test_a_difference_is_said_with_its_sign_and_interval(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}]), faster("actors", 2.0))
    said = summary.faster(results)
    assert re.fullmatch(r"Actors higher: threads, throughput \(\+.+ commits/s \[\+.+, \+.+\], \+\d+%\)\.", said[0])
    assert any(sentence.startswith("Actors lower: threads, p50 (-") for sentence in said)


def test_three_runs_are_too_few_to_say_anything(tmp_path: Path) -> None:
    results = results_in(tmp_path, cells_of([{}], 3), faster("actors", 2.0))
    (said,) = summary.faster(results)
    assert said.startswith("Too few runs to say (3 where at least 4 are needed): threads, throughput")


def test_what_was_not_measured_is_named_with_the_command_that_measures_it(small: Report) -> None:
    lacking = {name for name, each in small.figures.items() if isinstance(each, Lacking)}
    assert lacking == FIGURES - {"latency", "stages", "turns", "little", "costs", "guards", "two-diagrams"}
    text = small.page()
    assert all(f'id="{name}"' in text for name in lacking)
    assert "--only clients=1,16,64" in text


def test_rejected_runs_are_in_no_figure_and_are_named(tmp_path: Path) -> None:
    def broken(run: Run) -> Run:
        if run.number == 2:
            return replace(run, throughput=9e9, gates=(Gate("history is linearizable", False, "a lost <write>"),))
        return run

    experiment_in(tmp_path, cells_of([{}], 4), broken)
    report = actors.compare.read_report(tmp_path)
    text = report.page()
    assert "history is linearizable: a lost &lt;write&gt;" in text and "9 000 000 000" not in text
    assert "1 of 4 runs rejected" in text
    assert any("broke what Raft promises" in said and "1" in said for said in summary.fails_differently(report.results))


def test_a_report_of_nothing_but_rejected_runs_says_so(tmp_path: Path) -> None:
    experiment_in(tmp_path, cells_of([{}], 2), lambda run: replace(run, gates=()))
    text = actors.compare.read_report(tmp_path).page()
    assert "no gate was tried" in text and "The four cells were not measured." in text


def test_a_control_that_is_not_as_it_should_be_is_in_the_summary(tmp_path: Path) -> None:
    def differs(run: Run) -> Run:
        return replace(run, throughput=run.throughput * 2) if run.cell.label == "A" else run

    variants = [{}, {"control": "a/a", "label": "A"}, {"control": "a/a", "label": "B"}]
    said = summary.not_shown(results_in(tmp_path, cells_of(variants), differs))
    assert any(sentence.startswith("Anything at all") for sentence in said)


def test_a_machine_with_more_work_than_processors_is_named(tmp_path: Path) -> None:
    quiet = results_in(tmp_path / "quiet", cells_of([{}], 2))
    loud = results_in(tmp_path / "loud", cells_of([{}], 2), lambda run: replace(run, load_before=19.0))
    assert not any("quiet machine" in sentence for sentence in summary.not_shown(quiet))
    assert any("up to 19.0" in sentence for sentence in summary.not_shown(loud))


# --- in a notebook ----------------------------------------------------------------------------------------------------


def test_in_a_notebook_the_report_and_its_figures_show_themselves(small: Report) -> None:
    shown = small["latency"]
    assert isinstance(shown, Shown)
    assert shown._repr_svg_().startswith("<svg") and shown._repr_png_().startswith(b"\x89PNG")
    html = small._repr_html_()
    assert "<html" not in html and shown._repr_svg_() in html
    styles = re.sub(
        r"@media print \{(.*)\}\s*$", r"\1", html.partition("<style>")[2].partition("</style>")[0], flags=re.S
    )
    selectors = [part for rule in re.findall(r"([^{}]+)\{", styles) for part in rule.split(",")]
    assert all(part.strip().startswith(".actorum-report") for part in selectors)  # the notebook stays as it is
