"""The guard in `tests/conftest.py` sees what it is there for: each kind of leftover is planted and must be reported.

All plants grow in one run of pytest in a process of its own, under a copy of the guard with less patience.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

PLANTED = """
import multiprocessing, os, subprocess, sys, threading
import pykka

class Idle(pykka.ThreadingActor):
    use_daemon_thread = True

kept = []

def test_leaves_a_child(): kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
def test_leaves_a_zombie(): os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
def test_leaves_a_thread(): threading.Thread(target=threading.Event().wait, name="planted", daemon=True).start()
def test_leaves_a_file(): os.open(os.devnull, os.O_RDONLY)
def test_leaves_an_actor(): Idle.start()

def test_tidy_with_a_child(): subprocess.run([sys.executable, "-c", ""], check=True)
def test_tidy_with_a_thread_that_ends_soon(): threading.Timer(0.05, list).start()
def test_tidy_with_a_file(): os.close(os.open(os.devnull, os.O_RDONLY))
def test_tidy_with_an_actor(): Idle.start().stop()
def test_tidy_with_a_spawned_process():
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    process.join()
    process.close()
"""

REPORTED = {
    "test_leaves_a_child": r"child process \d+: \S*python\S* -c input\(\)",
    "test_leaves_a_zombie": r"child process \d+: ended, but never waited for",
    "test_leaves_a_thread": r"thread planted \(\d+\)",
    "test_leaves_a_file": r"open file \d+: /dev/null",
    "test_leaves_an_actor": r"running actor Idle \(urn:",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the planted tests."""
    directory = tmp_path_factory.mktemp("planted")
    guard = CONFTEST.read_text().replace("PATIENCE = 5.0", "PATIENCE = 0.5")
    assert guard != CONFTEST.read_text()
    (directory / "conftest.py").write_text(guard)
    (directory / "test_planted.py").write_text(PLANTED)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "."]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize("test", REPORTED)
def test_a_leftover_fails_the_test_that_left_it_and_is_described(test: str, report: str) -> None:
    told = report.partition(f"ERROR at teardown of {test} ")[2].partition("\n___")[0]
    assert re.search(rf"the test left behind:\n(.*\n)*  {REPORTED[test]}", told), report


def test_those_that_clean_up_are_left_alone_and_no_leftover_is_blamed_on_a_later_test(report: str) -> None:
    blamed = set(re.findall(r"^ERROR \S+::(\w+)", report, flags=re.MULTILINE))
    assert blamed == set(REPORTED), report
    assert "10 passed, 5 errors" in report
