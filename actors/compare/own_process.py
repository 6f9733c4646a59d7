"""A run in a process of its own, and the end of that process, whatever happens.

What an earlier run left in memory, in the allocator or in the caches of the interpreter is in no later one.

The process begins a session of its own (`setsid`), and so a group that its peers and its stopper belong to.  So Ctrl-C
does not reach all of them at once, in whatever state they are: it reaches the experiment, which tells the run alone and
gives it `PATIENCE` to clean up.  What does not end then is ended with its group, stopped peers too.  Its files are in a
directory that the experiment makes and removes, so a run that was killed leaves none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec import json

import actors
from actors.compare.records import Planned
from actors.errors import ActorumError, ExitCode

RUN_TIMEOUT = 120.0
PATIENCE = 10.0
"""Seconds that a run gets to end after Ctrl-C."""
WORDS = 12
"""Lines of what a run said that are kept of one that failed."""


class RunFailed(ActorumError):
    """The process of a run ended without a result.  The experiment can be continued."""

    code = "RUN-FAILED"
    exit_code = ExitCode.BUG


def run_in_process(planned: Planned, directory: Path, seconds: float, module: str = "actors.compare.running") -> None:
    """Carry out `planned` in a process of its own and keep it in the experiment at `directory`.

    `module`: what the process runs.  Raises `RunFailed` with what the process said."""
    with tempfile.TemporaryDirectory(prefix="actorum-compare-", ignore_cleanup_errors=True) as files:
        command = [sys.executable, "-P", "-m", module, str(directory.resolve()), str(seconds)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(files),
        )
        try:
            code, said = _end_of(process, json.encode(planned))
        finally:
            _end_group(process)
    if code:
        words = said.decode(errors="replace").strip().splitlines()
        raise RunFailed(
            f"run {planned.number} ended with {code}: {words[-1] if words else 'no words'}",
            why="\n".join(words[-WORDS:]),
            fix="continue the experiment with --resume; if it fails again, please report it",
        )


def _environment(files: str) -> dict[str, str]:
    """Temporary files go to `files`; this very package is found, and nothing in the user's directory."""
    ours = str(Path(actors.__file__).parents[1])
    path = os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "TMPDIR": files, "PYTHONPATH": path}


def _end_of(process: subprocess.Popen[bytes], planned: bytes) -> tuple[int | str, bytes]:
    """Its exit code, or what came instead, and what it said."""
    try:
        _, said = process.communicate(planned, timeout=RUN_TIMEOUT)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"no result within {RUN_TIMEOUT:.0f} s", process.communicate()[1]
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE)
        raise


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Nobody of it is left, and nothing that it had open here."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
