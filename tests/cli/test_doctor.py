"""`actorum doctor`: everything a report needs, whatever the machine lacks."""

from __future__ import annotations

import json
import platform
import sqlite3
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import actors
from actors.cli import app
from actors.cli.doctor import _filesystem, _probed, examined


def doctor(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_report_has_every_section_and_its_numbers_are_measured(tmp_path: Path) -> None:
    report = json.loads(doctor("-o", "json", "--data", str(tmp_path)))
    assert list(report) == ["versions", "imports", "system", "disk", "pipe", "warnings"]
    versions = report["versions"]
    assert {"actorum", "gil", "free_threading_build", "pykka", "dill", "msgspec", "click", "rich"} <= set(versions)
    assert versions["python"].endswith(platform.python_version())
    assert (versions["sqlite"], versions["sqlite_threadsafety"]) == (sqlite3.sqlite_version, sqlite3.threadsafety)
    assert report["imports"]["actors"] == actors.__file__
    assert report["imports"]["start_method"] == "spawn"
    assert {"cpus", "open_files", "pipe_user_pages_soft"} <= set(report["system"])
    for section, name in [("disk", "fdatasync_"), ("disk", "sqlite_commit_"), ("pipe", "")]:
        assert 0 < report[section][f"{name}median_ms"] <= report[section][f"{name}p99_ms"]


def test_people_get_one_block(tmp_path: Path) -> None:
    block = doctor("--data", str(tmp_path))
    assert block.startswith("[versions]\n")
    assert f"actors                {actors.__file__}\n" in block
    assert "\n\n" not in block


def test_nothing_stays_in_the_directory_that_was_measured(tmp_path: Path) -> None:
    assert examined(tmp_path)["disk"]["directory"] == str(tmp_path)  # type: ignore[index]
    assert list(tmp_path.iterdir()) == []


def test_another_package_of_our_name_on_the_path_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "actors").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    warnings = json.loads(doctor("-o", "json"))["warnings"]
    assert [warning for warning in warnings if str(tmp_path / "actors") in warning]
    assert str(tmp_path / "actors") in doctor()


def test_another_distribution_that_installs_our_package_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "stage_play-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stage-play\nVersion: 1.0\n")
    (information / "top_level.txt").write_text("actors\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    warnings = json.loads(doctor("-o", "json"))["warnings"]
    assert "the distribution stage-play also installs actors: pip uninstall stage-play" in warnings


def test_a_probe_that_cannot_be_made_says_why_and_the_rest_goes_on() -> None:
    def broken() -> dict[str, object]:
        raise PermissionError(13, "not here")

    assert _probed(broken) == {"error": "PermissionError: [Errno 13] not here"}


def test_a_file_system_that_is_no_disk_is_named() -> None:
    assert _filesystem(Path("/proc/self")) == "proc"


def test_a_directory_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["doctor", "--data", str(tmp_path / "nothing")]).exit_code == 2
