"""The controls: the same cell twice does not differ; a slowdown that was put in is found, with its sign and size."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest
from msgspec.structs import replace

from actors.compare.experiment import begin, carry_on
from actors.compare.faults import misfortune
from actors.compare.plan import PLANTED
from actors.compare.records import Cell, Experiment
from actors.compare.results import Control, Results
from tests.compare.one_run import cell_of, made_up_run

A, B = cell_of(control="a/a", label="A"), cell_of(control="a/a", label="B")
PLAIN, PLANTED_IN = cell_of(), cell_of(control="planted slowdown")


def experiment_with(directory: Path, throughputs: dict[Cell, Sequence[float]]) -> Experiment:
    """Runs that were never carried out, with these throughputs."""
    experiment = begin(directory, "quick", [(cell, len(each)) for cell, each in throughputs.items()], seed=1, seconds=1)
    for planned in experiment.manifest().plan:
        run = made_up_run(planned, completed=1, throughput=throughputs[planned.cell][planned.repetition])
        experiment.save(run, [0.1], [0.0])
    return experiment


def around(mean: float, seed: int, count: int = 8) -> list[float]:
    randomness = Random(seed)
    return [randomness.gauss(mean, mean / 30) for _ in range(count)]


def only_control(experiment: Experiment) -> Control:
    (control,) = Results(experiment).controls()
    return control


def test_the_same_cell_twice_does_not_differ(tmp_path: Path) -> None:
    control = only_control(experiment_with(tmp_path, {A: around(20_000, 1), B: around(20_000, 2)}))
    assert control.difference.low <= 0 <= control.difference.high
    assert abs(control.relative) < 0.05
    assert control.is_as_it_should_be


def test_if_the_same_cell_twice_differs_nothing_is_to_be_trusted(tmp_path: Path) -> None:
    control = only_control(experiment_with(tmp_path, {A: around(20_000, 1), B: around(16_000, 2)}))
    assert not control.is_as_it_should_be


def test_a_fifth_less_is_found_with_its_sign_and_size(tmp_path: Path) -> None:
    planted = around(20_000 * (1 - PLANTED), 2)
    control = only_control(experiment_with(tmp_path, {PLAIN: around(20_000, 1), PLANTED_IN: planted}))
    assert control.difference.verdict == "lower"
    assert control.difference.low < -4_000 < control.difference.high < 0
    assert control.relative == pytest.approx(-PLANTED, abs=0.05)
    assert control.is_as_it_should_be


def test_a_slowdown_that_is_not_found_is_told(tmp_path: Path) -> None:
    control = only_control(experiment_with(tmp_path, {PLAIN: around(20_000, 1), PLANTED_IN: around(20_000, 2)}))
    assert not control.is_as_it_should_be


def test_a_slowdown_of_another_size_is_told(tmp_path: Path) -> None:
    planted = around(20_000 * (1 - 2 * PLANTED), 2)
    control = only_control(experiment_with(tmp_path, {PLAIN: around(20_000, 1), PLANTED_IN: planted}))
    assert control.difference.verdict == "lower"
    assert not control.is_as_it_should_be


# --- the slowdown itself ----------------------------------------------------------------------------------------------

VICTIM = """
import sys, time
from actors.compare.faults import misfortune
from actors.compare.records import Cell
cell = Cell(runtime="actors", isolation="threads", control="planted slowdown")
others = {f"n{number}": int(each) for number, each in enumerate(sys.argv[1:])}
with misfortune(cell, None, None, "n1", others, 1.0, None):
    print("begun", flush=True)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        pass
"""


@contextmanager
def victim(*others: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process, busy for a second, that lets itself and `others` be stopped now and then."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", VICTIM, *map(str, others)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        yield process


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of a run."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            yield process
        finally:
            process.kill()


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_fifth_of_the_time_everything_stands_still() -> None:
    """Looked at from outside; on a busy machine we look less often, and it goes on less often, too."""
    stood = 0.0
    with victim() as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        began = last = monotonic()
        while (now := monotonic()) - began < 0.9:
            if is_stopped(process.pid):
                stood += now - last
            last = now
            sleep(0.0002)
    assert process.returncode == 0
    assert PLANTED - 0.1 < stood / (last - began) < PLANTED + 0.1


def test_the_stopper_lets_all_go_on_when_it_ends() -> None:
    """Others of the run, too: a stopped process would never end."""
    with bystander() as other:
        with victim(other.pid) as process:
            assert process.stdout is not None and process.stdout.readline() == b"begun\n"
            deadline = monotonic() + 20
            while not is_stopped(other.pid):
                assert monotonic() < deadline
        assert process.returncode == 0
        assert not is_stopped(other.pid)


def test_nor_does_it_leave_them_stopped_when_the_run_is_killed() -> None:
    with bystander() as other:
        with victim(other.pid) as process:
            assert process.stdout is not None and process.stdout.readline() == b"begun\n"
            process.kill()
        deadline = monotonic() + 20
        running_since = monotonic()
        while monotonic() - running_since < 0.1:  # ten of its periods
            assert monotonic() < deadline
            if is_stopped(other.pid):
                running_since = monotonic()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_planted_slowdown_slows_a_real_cluster_down(tmp_path: Path) -> None:
    """Whether so few and short runs are enough for a verdict depends on the machine; the sign does not."""
    cells = [(PLAIN, 6), (PLANTED_IN, 6)]
    experiment = begin(tmp_path, "quick", cells, seed=1, seconds=0.3)
    carry_on(experiment, lambda done: None)
    runs = list(experiment.runs())
    assert all(run.is_sound for run in runs)
    plain, planted = (
        statistics.median(run.throughput for run in runs if run.cell == cell) for cell in (PLAIN, PLANTED_IN)
    )
    assert planted < plain


def test_nothing_else_happens_to_a_cell_without_a_fault() -> None:
    cell = replace(PLANTED_IN, control="")
    with misfortune(cell, None, None, "n1", {}, 1.0, Random(1)) as nothing:  # type: ignore[arg-type]
        assert nothing.outcome([], {}, 0.0) == (None, None, None)
