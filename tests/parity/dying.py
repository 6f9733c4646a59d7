"""Programs that the kernel kills while they write a file: a crash at a byte of choice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
"""


def die_writing(size: int, program: str, *arguments: str | os.PathLike[str]) -> None:
    """Run `program`, which sees `arguments` as sys.argv[2:] and is killed when a file of its grows beyond `size`."""
    command = [sys.executable, "-c", _LIMITED + program, str(size), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, check=False, env=environment)
    assert ended.returncode == -signal.SIGXFSZ, "it was to be killed"
