"""The store, the lock and the queue of a running cluster are used from a shell; the exit code says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from actors.cli import app
from actors.cli.up import MACHINES, find_machine
from actors.errors import ExitCode
from actors.replicated import Replicated

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
NO = ExitCode.CONDITION_FALSE


@contextmanager
def running(machine: str, data: Path) -> Iterator[Path]:
    """A cluster of `machine`, in a process of its own."""
    command = [sys.executable, "-m", "actors", "up", machine, "--data", str(data)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        assert "ready in" in process.stderr.readline()
        yield data
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stderr.close()


def said(data: Path, line: str, code: int = 0) -> str:
    """What a command prints, with the exit code it must have."""
    result: Result = CliRunner().invoke(app, [*line.split(), "--data", str(data)])
    assert result.exit_code == code, result.output
    return result.stdout.rstrip("\n")


def test_every_machine_has_a_short_name() -> None:
    for name in MACHINES:
        assert issubclass(find_machine(name), Replicated)


def test_the_store(tmp_path: Path) -> None:
    with running("kv", tmp_path / "kv") as data:
        assert said(data, "kv put colour red") == "1"
        assert said(data, "kv cas colour red blue") == "swapped"
        assert said(data, "kv cas colour red green", NO) == "another value"
        assert said(data, "kv get colour") == "blue"
        assert json.loads(said(data, "kv get colour -o json")) == {"value": "blue", "revision": 2}
        assert said(data, "kv get shape", NO) == ""
        said(data, "kv put colours many --ttl 600")
        assert json.loads(said(data, "kv list col -o json"))[1] == {"key": "colours", "value": "many", "revision": 3}
        assert said(data, "kv list x") == ""
        assert said(data, "kv delete colour") == "deleted"
        assert said(data, "kv delete colour", NO) == "not there"


def test_the_lock(tmp_path: Path) -> None:
    with running("lock", tmp_path / "lock") as data:
        assert said(data, "lock holder") == "free"
        assert said(data, "lock acquire ann --ttl 600") == "1"
        assert said(data, "lock acquire bob", NO) == "another holds it"
        assert said(data, "lock holder") == "ann (token 1)"
        assert said(data, "lock renew ann 1") == "renewed" and said(data, "lock renew bob 1", NO) == "lost"
        assert said(data, "lock release ann 1") == "released" and said(data, "lock release ann 1", NO) == "lost before"


def test_the_queue(tmp_path: Path) -> None:
    with running("queue", tmp_path / "queue") as data:
        assert said(data, "queue put sweep") == "1"
        assert said(data, "queue take --lease 600") == "1 1 sweep"
        assert said(data, "queue take", NO) == "no job"
        assert said(data, "queue size") == "1"
        assert said(data, "queue ack 1 1") == "done" and said(data, "queue ack 1 1", NO) == "the lease was over"
        assert said(data, "counter incr", ExitCode.USAGE) == "", "another machine's command"
