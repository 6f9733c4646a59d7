"""From the first run to the last, with breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from actors.compare import experiment as experiments
from actors.compare import own_process
from actors.compare.environment import versions
from actors.compare.experiment import begin, carry_on, expected_seconds, missing
from actors.compare.own_process import RunFailed, run_in_process
from actors.compare.records import Experiment, Manifest, Planned, RecordError
from tests.compare.one_run import SECONDS, cell_of, made_up_run

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


def begun(directory: Path, runs: int = 3, isolation: str = "threads") -> Experiment:
    return begin(directory, "quick", [(cell_of(isolation=isolation), runs)], seed=1, seconds=SECONDS)


def made_up(planned: Planned, directory: Path, seconds: float) -> None:
    """In place of a run."""
    run = made_up_run(planned, completed=2, seconds=seconds)
    Experiment(directory).save(run, [0.1, 0.1], [0.0, 0.1])


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the runs that were carried out, by making them up."""
    numbers: list[int] = []

    def note(planned: Planned, directory: Path, seconds: float) -> None:
        numbers.append(planned.number)
        made_up(planned, directory, seconds)

    monkeypatch.setattr(experiments, "run_in_process", note)
    return numbers


def told(_: int) -> None:
    pass


# --- begun, broken off, continued -------------------------------------------------------------------------------------


def test_all_planned_runs_are_carried_out_in_their_order(tmp_path: Path, carried_out: list[int]) -> None:
    counts: list[int] = []
    carry_on(begun(tmp_path), counts.append)
    assert carried_out == [0, 1, 2]
    assert counts == [1, 2, 3]


def test_after_a_break_only_the_rest_is_carried_out(tmp_path: Path, carried_out: list[int]) -> None:
    experiment = begun(tmp_path, runs=4)
    carry_on(experiment, told)
    carried_out.clear()
    for name in ("00002.json", "00002.f8", "00002.at.f8", "00003.json"):
        (tmp_path / "runs" / name).unlink()
    counts: list[int] = []
    carry_on(Experiment(tmp_path), counts.append)
    assert carried_out == [2, 3]
    assert counts == [1, 2]  # of the two that were left, which is what the time left is reckoned from
    assert len(list(experiment.runs())) == 4


@pytest.mark.parametrize("name", ["00001.f8", "00001.at.f8", "00001.json"])
@pytest.mark.parametrize("content", [None, b"", b"\0" * 7])
def test_a_run_with_a_spoiled_file_is_carried_out_again(
    tmp_path: Path, carried_out: list[int], name: str, content: bytes | None
) -> None:
    """As the error says that names the file."""
    experiment = begun(tmp_path)
    carry_on(experiment, told)
    carried_out.clear()
    path = tmp_path / "runs" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RecordError, match=name) as caught:
        for run in experiment.runs():
            experiment.latencies(run), experiment.intended(run)
    assert caught.value.fix.endswith(f"actorum compare --resume --out {tmp_path}")
    carry_on(experiment, told)
    assert carried_out == [1]


def test_files_of_others_are_no_runs(tmp_path: Path, carried_out: list[int]) -> None:
    experiment = begun(tmp_path)
    (tmp_path / "runs" / "notes.json").write_text("{}")
    (tmp_path / "runs" / "00099.json").write_text("{}")
    carry_on(experiment, told)
    assert carried_out == [0, 1, 2]


def test_runs_of_two_programs_are_never_mixed(
    tmp_path: Path, carried_out: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = begun(tmp_path)
    newer = {**versions(), "python": "CPython 9.9"}
    monkeypatch.setattr(experiments, "versions", lambda: newer)
    with pytest.raises(RecordError, match=r"python was CPython .*, is CPython 9\.9"):
        carry_on(experiment, told)
    assert carried_out == []


def test_nor_are_those_of_two_machines(tmp_path: Path, carried_out: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = begun(tmp_path)
    monkeypatch.setattr(experiments, "machine", lambda _: {**experiment.manifest().machine, "processors": "512"})
    with pytest.raises(RecordError, match=r"processors was .*, is 512"):
        missing(experiment)


def test_a_complete_experiment_may_be_read_anywhere(
    tmp_path: Path, carried_out: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = begun(tmp_path)
    carry_on(experiment, told)
    monkeypatch.setattr(experiments, "versions", dict)
    assert missing(experiment) == []


def test_a_directory_without_a_manifest_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"manifest\.json") as caught:
        carry_on(Experiment(tmp_path), told)
    assert "--resume" not in caught.value.fix


def test_the_manifest_says_what_was_planned_and_with_what(tmp_path: Path) -> None:
    manifest = begun(tmp_path).manifest()
    assert isinstance(manifest, Manifest)
    assert (manifest.name, manifest.seed, manifest.seconds, len(manifest.plan)) == ("quick", 1, SECONDS, 3)
    assert {"actorum", "python", "sqlite", "pykka", "msgspec", "numpy", "scipy"} <= manifest.versions.keys()
    assert {"processors", "model", "interpreter lock", "start method", "load before"} <= manifest.machine.keys()
    assert manifest.hypotheses


def test_more_runs_are_expected_to_take_longer(tmp_path: Path) -> None:
    plan = begun(tmp_path).manifest().plan
    assert 0 < expected_seconds(plan[:1], SECONDS) < expected_seconds(plan, SECONDS)
    assert expected_seconds(plan, 3.0) > 9.0


# --- runs that fail ---------------------------------------------------------------------------------------------------


def test_a_run_that_failed_once_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def second_time_lucky(planned: Planned, directory: Path, seconds: float) -> None:
        tries.append(planned.number)
        if tries.count(planned.number) == 1:
            raise RunFailed("once")
        made_up(planned, directory, seconds)

    monkeypatch.setattr(experiments, "run_in_process", second_time_lucky)
    experiment = begun(tmp_path, runs=2)
    carry_on(experiment, told)
    assert tries == [0, 0, 1, 1]
    assert experiment.complete() == {0, 1}


def test_one_that_fails_twice_ends_the_experiment_and_is_named_with_its_words(tmp_path: Path) -> None:
    experiment = begun(tmp_path, runs=1)
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").touch()  # so nothing can be kept there
    with pytest.raises(RunFailed, match="run 0 ended with 1: NotADirectoryError") as caught:
        carry_on(experiment, told)
    assert "Traceback" in caught.value.why or "NotADirectoryError" in caught.value.why
    assert "--resume" in caught.value.fix


def test_one_that_hangs_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_process, "RUN_TIMEOUT", 0.6)
    planned = begun(tmp_path, isolation="processes").manifest().plan[0]
    with pytest.raises(RunFailed, match="no result within 1 s"):
        run_in_process(planned, tmp_path, 30.0)
    until(lambda: not the_run(tmp_path))


# --- a break in the middle --------------------------------------------------------------------------------------------


def in_session(leader: int) -> list[int]:
    """Processes of the session that a run leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != b"Z":
            found.append(int(path.parent.name))
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def the_run(directory: Path) -> int:
    """Process id of the run that is being carried out; 0 if there is none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"actors.compare.running" in words and str(directory).encode() in words:
            return int(path.parent.name)
    return 0


@pytest.mark.parametrize("control", ["", "planted slowdown"])
def test_ctrl_c_in_the_middle_leaves_an_experiment_that_goes_on(tmp_path: Path, control: str) -> None:
    """Processes, some of them stopped at that moment: all are gone, and so are their files."""
    out, files = tmp_path / "experiment", tmp_path / "files"
    files.mkdir()
    experiment = begin(out, "quick", [(cell_of(isolation="processes", control=control), 3)], seed=1, seconds=2.0)
    program = f"""
from pathlib import Path
from actors.compare.experiment import carry_on
from actors.compare.records import Experiment
carry_on(Experiment(Path({str(out)!r})), lambda done: None)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(files)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) as process:
        until(lambda: the_run(out))
        leader = the_run(out)
        until(lambda: len(in_session(leader)) >= 4)  # its peers are there
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert b"KeyboardInterrupt" in said
    until(lambda: not in_session(leader))
    assert os.listdir(files) == []
    assert experiment.complete() == set()
    assert len(missing(experiment)) == 3


def test_nothing_is_left_of_a_run_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, files = tmp_path / "experiment", tmp_path / "files"
    files.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(files))
    monkeypatch.setenv("TMPDIR", str(files))  # where a run's files would be if nobody told it where to put them
    monkeypatch.setattr(own_process, "RUN_TIMEOUT", 2.0)
    planned = begun(out, isolation="processes").manifest().plan[0]
    with pytest.raises(RunFailed, match="no result within"):
        run_in_process(planned, out, 30.0)
    assert os.listdir(files) == []


def test_whoever_is_left_of_a_run_ends_with_it() -> None:
    """A peer that was stopped hears no Ctrl-C and notices no end of its supervisor."""
    command = ["sh", "-c", "sleep 60 & kill -STOP $!; echo ready; exit 0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.wait()
    assert in_session(process.pid)
    own_process._end_group(process)
    process.stdout.close()
    until(lambda: not in_session(process.pid))


def test_a_run_finds_this_package_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing that lies in the directory of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("random.py", "actors.py", "msgspec.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')\n")
    experiment = begun(tmp_path / "experiment", runs=1)
    carry_on(experiment, told)
    assert next(experiment.runs()).is_sound
