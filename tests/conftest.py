"""Every test cleans up after itself: no process, thread, open file or actor outlives the test that made it.

A leftover is how a suite becomes flaky: the test that leaks passes, a later one fails.  So each test is judged by
itself, against a picture of the process taken before it; what a fixture of a wider scope made is in that picture.
Things may take a moment to go, hence the bounded wait.  Only what is known and harmless is allowed, by name, below.

On systems without /proc, processes and files are not looked at; threads and actors are.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeAlias

import pytest
from pykka import ActorRegistry

PATIENCE = 5.0
"""Seconds that leftovers get to go by themselves."""
ALLOWED_CHILDREN = ("multiprocessing.resource_tracker",)
"""Parts of command lines.  The tracker is multiprocessing's own: one for the life of this process."""
ALLOWED_THREADS = ("pytest_timeout", "hypothesis")
"""Beginnings of names."""

Leftovers: TypeAlias = set[str]


def pytest_configure() -> None:
    """A shell starts what it puts in the background deaf to SIGINT, and so would be every program that a test starts
    and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _children() -> Leftovers:
    """Processes whose parent is this one; those that ended but were never waited for are among them."""
    return {_described(stat.parent) for stat in Path("/proc").glob("[0-9]*/stat") if _parent_in(stat) == os.getpid()}


def _parent_in(stat: Path) -> int:
    try:
        return int(stat.read_bytes().rpartition(b")")[2].split()[1])  # the name before it may hold spaces and brackets
    except OSError:
        return 0  # it ended while we looked


def _described(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"child process {process.name}: {command or 'ended, but never waited for'}"


def _foreign_children() -> Leftovers:
    return {child for child in _children() if not any(allowed in child for allowed in ALLOWED_CHILDREN)}


def _threads() -> Leftovers:
    return {
        f"thread {thread.name} ({thread.native_id})"
        for thread in threading.enumerate()
        if not thread.name.startswith(ALLOWED_THREADS)
    }


def _files() -> Leftovers:
    """Open file descriptors with what they stand for, less the pipe to the resource tracker."""
    descriptors = {int(name) for name in os.listdir("/proc/self/fd")} if os.path.isdir("/proc/self/fd") else set()
    tracker = getattr(resource_tracker._resource_tracker, "_fd", None)
    return {file for number in descriptors - {tracker} if (file := _open_file(number))}


def _open_file(number: int) -> str:
    try:
        return f"open file {number}: {os.readlink(f'/proc/self/fd/{number}')}"
    except OSError:
        return ""  # the descriptor with which the directory was read


def _actors() -> Leftovers:
    return {f"running actor {actor}" for actor in ActorRegistry.get_all()}


def _picture() -> Leftovers:
    return _foreign_children() | _threads() | _files() | _actors()


def _what_stays(leftovers: Callable[[], Leftovers], patience: float) -> Leftovers:
    """What is left over once nothing is, or after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (left := leftovers()) and time.monotonic() < deadline:
        gc.collect()  # a traceback that was looked at may hold a closed test's files in a cycle
        time.sleep(0.01)
    return left


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail the test after which a process, thread, open file or actor is there that was not there before."""
    before = _picture()
    yield
    left = _what_stays(lambda: _picture() - before, PATIENCE)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(sorted(left)), pytrace=False)


@pytest.fixture(scope="session")
def open_fonts() -> None:
    """The library that draws opens its fonts with the first figure and keeps them: no test leaves them behind."""
    from actors.compare.figures.house import Shown, Table, canvas

    shown = Shown("fonts", "", "", "", Table((), []), lambda: canvas(1)[0])
    assert shown.svg and shown.png
