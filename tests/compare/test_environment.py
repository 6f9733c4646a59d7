"""What an experiment ran on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.compare.environment import LIBRARIES, interpreter_lock, machine, versions


def test_an_interpreter_with_a_lock_is_told_from_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert interpreter_lock() == "yes"  # before 3.13 there is no other
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert interpreter_lock() == "yes"  # a free-threaded build that was told to have one, or imported what needs one
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert interpreter_lock() == "no (free-threaded)"


def test_the_manifest_of_a_machine_without_the_lock_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert machine(tmp_path)["interpreter lock"] == "no (free-threaded)"


def test_everything_is_known_on_this_machine(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert all(found.values())
    assert int(found["processors"]) >= 1
    assert found["start method"] == "spawn"
    assert len(found["load before"].split()) == 3


def test_versions_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.compare.environment.LIBRARIES", (*LIBRARIES, "no-such-thing"))
    found = versions()
    assert found["no-such-thing"] == "not installed"
    assert found["python"].endswith(sys.version.split()[0])
    assert found["actorum"]
