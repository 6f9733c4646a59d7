"""What an experiment ran on: without it, its figures are of nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("pykka", "msgspec", "numpy", "scipy", "matplotlib")


def versions() -> dict[str, str]:
    """Of everything that could matter; of this program with its commit, if it runs from a repository."""
    return {
        "actorum": _own_version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in LIBRARIES},
    }


def machine(data: Path) -> dict[str, str]:
    """Of this computer, as far as it says; `data` is where logs are kept."""
    return {
        "processors": str(os.cpu_count()),
        "model": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "interpreter lock": interpreter_lock(),
        "start method": "spawn",  # see `hosts.ProcessHost`
        "file system": _file_system(data),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def interpreter_lock() -> str:
    """Whether threads of one process take turns for the interpreter (PEP 703)."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    if is_enabled is None or is_enabled():
        return "yes"
    return "no (free-threaded)"


def _own_version() -> str:
    here = Path(__file__).resolve().parents[2]
    number = _version("actorum")
    if not (here / ".git").exists():
        return number
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number} ({done.stdout.strip()})" if done.returncode == 0 else number


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _line(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _file_system(place: Path) -> str:
    """The type of the file system that holds `place`: the longest mount point above it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    resolved = place.resolve()
    above = [(point, kind) for point, kind in mounts if resolved.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"
