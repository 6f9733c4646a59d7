"""`actorum doctor`: what somebody must know who is to understand a report from this machine, as one block.

Versions, where the code was imported from, and how long the two things take that every commit waits for: a write that
has reached the disk, and a hop from one process to another.  The disk is measured where logs would go by default, in
the working directory, for /tmp is often memory and never waits.

It changes nothing that stays, and a probe that cannot be made says why instead of ending the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from time import perf_counter
from typing import Any

import click

import actors
import raft_core
from actors.cli import PROGRAM
from actors.cli import version as own_version
from actors.cli.output import Output, aligned, output_option

PROBES = 200
PROBE_BYTES = 512
ECHO = "import os\nwhile data := os.read(0, 64): os.write(1, data)"
"""The other process of the hop probe."""

EXAMPLES = """
Examples:

\b
  actorum doctor
  actorum doctor --data /var/lib/actorum      is that disk fast enough?
  actorum doctor -o json | jq .disk
"""

Section = dict[str, object]


@click.command(epilog=EXAMPLES)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default="the working directory",
    help="Directory whose disk is measured; nothing stays there.",
)
@output_option
def doctor(data: Path, output: Output) -> None:
    """Versions, paths and disk speed: a block for bug reports."""
    report = examined(data)
    output.record(report, text=_block(report))


def examined(data: Path) -> dict[str, object]:
    """Everything, by section.  Durations are milliseconds, as their names say."""
    return {
        "versions": _versions(),
        "imports": _imports(),
        "system": _system(),
        "disk": _disk(data),
        "pipe": _probed(lambda: _durations(_hops())),
        "warnings": _warnings(),
    }


def _block(report: Mapping[str, object]) -> str:
    lines: list[str] = []
    for name, section in report.items():
        if isinstance(section, Mapping):
            lines += [f"[{name}]", *aligned(section)]
        elif section:
            lines += [f"[{name}]", *(f"! {line}" for line in _list_of(section))]
    return "\n".join(lines)


def _list_of(section: object) -> list[object]:
    return section if isinstance(section, list) else [section]


# --- What there is.


def _versions() -> Section:
    libraries = {name: _version(name) for name in ("pykka", "dill", "msgspec", "click", "rich")}
    return {
        "actorum": own_version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": "on" if _has_gil() else "off",
        "free_threading_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        **libraries,
        "sqlite": sqlite3.sqlite_version,
        "sqlite_threadsafety": sqlite3.threadsafety,
    }


def _has_gil() -> bool:
    ask: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)  # Python 3.13
    return True if ask is None else ask()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _imports() -> Section:
    return {
        "actors": actors.__file__,
        "raft_core": raft_core.__file__,
        "executable": sys.executable,
        "start_method": "spawn",
        "default_start_method": multiprocessing.get_start_method(allow_none=True) or _default_start_method(),
    }


def _default_start_method() -> str:
    return multiprocessing.get_all_start_methods()[0]


def _system() -> Section:
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "cpus_usable": _usable_cpus(),
        "open_files": files,
        "open_files_hard": most_files,
        "pipe_user_pages_soft": _number_in(Path("/proc/sys/fs/pipe-user-pages-soft")),
        "pipe_max_size": _number_in(Path("/proc/sys/fs/pipe-max-size")),
    }


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


# --- What may be wrong.


def _warnings() -> list[str]:
    return [*_other_distributions(), *_other_places()]


def _other_distributions() -> Iterator[str]:
    """Two distributions with one top-level package overwrite each other's files."""
    for package in ("actors", "raft_core"):
        for distribution in sorted(set(packages_distributions().get(package, ())) - {PROGRAM}):
            yield f"the distribution {distribution} also installs {package}: pip uninstall {distribution}"


def _other_places() -> Iterator[str]:
    """Another package of the same name on the path is imported as soon as the path's order changes."""
    for module in (actors, raft_core):
        ours = Path(str(module.__file__)).resolve().parent
        for place in dict.fromkeys(sys.path):
            for found in (Path(place, module.__name__), Path(place, f"{module.__name__}.py")):
                if found.exists() and found.resolve() != ours:
                    yield f"another {module.__name__} is on the path: {found} (in use: {ours})"


# --- How fast it is.


def _disk(data: Path) -> Section:
    with _scratch(data) as directory:
        syncs = _probed(lambda: _durations(_syncs(directory / "probe")))
        commits = _probed(lambda: _durations(_commits(directory / "probe.sqlite3")))
        return {
            "directory": str(directory.parent),
            "filesystem": _filesystem(directory),
            **{f"fdatasync_{name}": value for name, value in syncs.items()},
            **{f"sqlite_commit_{name}": value for name, value in commits.items()},
        }


@contextmanager
def _scratch(data: Path) -> Iterator[Path]:
    """A directory that is gone afterwards: in `data`, or where temporary files go if nothing may be written there."""
    parent = data.resolve() if os.access(data, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".actorum-doctor-", dir=parent) as directory:
        yield Path(directory)


def _probed(probe: Callable[[], Section]) -> Section:
    try:
        return probe()
    except (OSError, sqlite3.Error, subprocess.SubprocessError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _durations(seconds: Iterator[float]) -> Section:
    ordered = sorted(seconds)
    return {
        "median_ms": round(ordered[len(ordered) // 2] * 1000, 4),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 4),
    }


def _syncs(path: Path) -> Iterator[float]:
    sync = getattr(os, "fdatasync", os.fsync)
    with path.open("wb", buffering=0) as file:
        for _ in range(PROBES):
            began = perf_counter()
            file.write(bytes(PROBE_BYTES))
            sync(file.fileno())
            yield perf_counter() - began


def _commits(path: Path) -> Iterator[float]:
    """As `storage.sqlite` commits: write-ahead log, and every transaction waits for the disk."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"):
            connection.execute(statement)
        connection.execute("CREATE TABLE probe (data BLOB)")
        for _ in range(PROBES):
            began = perf_counter()
            connection.execute("INSERT INTO probe VALUES (?)", (bytes(PROBE_BYTES),))
            yield perf_counter() - began


def _hops() -> Iterator[float]:
    """One way between two processes, as half of a round trip over pipes."""
    command = [sys.executable, "-c", ECHO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        for number in range(PROBES + 1):
            began = perf_counter()
            echo.stdin.write(b"!")
            echo.stdout.read(1)
            if number:  # the first one waits for the process to start
                yield (perf_counter() - began) / 2


def _filesystem(path: Path) -> str | None:
    """Type of the file system that holds `path`: on a tmpfs, nothing ever waits for a disk."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    holding: list[Any] = [(len(at), kind) for _, at, kind, *_ in mounts if path.is_relative_to(at)]
    return str(max(holding)[1]) if holding else None
