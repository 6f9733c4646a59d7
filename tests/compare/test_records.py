"""What an experiment leaves behind is whole, or named as missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.compare.plan import ordered, quick
from actors.compare.records import Experiment, Gate, Manifest, RecordError
from tests.compare.one_run import made_up_run


def experiment_in(directory: Path) -> Experiment:
    manifest = Manifest(
        name="quick",
        seed=1,
        began=0.0,
        seconds=1.0,
        versions={},
        machine={},
        hypotheses=(),
        plan=ordered(quick(), 1)[:2],
    )
    experiment = Experiment(directory)
    experiment.begin(manifest)
    for planned in manifest.plan:
        run = made_up_run(planned, completed=3)
        experiment.save(run, [0.1, 0.2, 0.3], [0.0, 0.1, 0.2])
    return experiment


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path)
    first, second = experiment.runs()
    assert first.is_sound and second.number == 1
    assert list(experiment.latencies(first)) == [0.1, 0.2, 0.3]
    assert list(experiment.intended(first)) == [0.0, 0.1, 0.2]
    assert experiment.complete() == {0, 1}


def test_a_run_without_gates_is_not_sound(tmp_path: Path) -> None:
    run = next(experiment_in(tmp_path).runs())
    assert not replace(run, gates=()).is_sound
    assert not replace(run, gates=(*run.gates, Gate("trace", False))).is_sound


@pytest.mark.parametrize("name", ["00001.json", "00001.f8", "00001.at.f8"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    experiment = experiment_in(tmp_path)
    (tmp_path / "runs" / name).unlink()
    with pytest.raises(RecordError, match=name):
        for run in experiment.runs():
            experiment.latencies(run), experiment.intended(run)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 8, b"\x00" * 7])
@pytest.mark.parametrize("name", ["00000.json", "00000.f8"])
def test_a_torn_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    experiment = experiment_in(tmp_path)
    (tmp_path / "runs" / name).write_bytes(content)
    with pytest.raises(RecordError, match=name):
        for run in experiment.runs():
            experiment.latencies(run)


def test_a_run_of_another_plan_is_refused(tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path)
    run = next(experiment.runs())
    experiment.save(replace(run, seed=run.seed + 1), [0.1, 0.2, 0.3], [0.0, 0.1, 0.2])
    with pytest.raises(RecordError, match="not the run that the manifest plans"):
        list(experiment.runs())


def test_an_experiment_is_not_written_over(tmp_path: Path) -> None:
    experiment = experiment_in(tmp_path)
    with pytest.raises(RecordError, match="holds an experiment already"):
        experiment.begin(experiment.manifest())
