"""SIGKILL at any moment loses nothing that `write` returned from, and leaves nothing that keeps the next peer out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import pytest

from actors.storage.conformance import after, append
from actors.storage.port import StorageInUse, Stored
from actors.storage.sqlite import SqliteStorage
from raft_core.effects import PersistEffect, PersistTermAndVote
from raft_core.types import Entry

WRITER = """
import os, sys
from test_sqlite_crashes import changes_of, open_storage
storage = open_storage(sys.argv[1], sys.argv[2])
stored = storage.load()
number, last_index = stored.current_term, len(stored.entries)
while True:
    number += 1
    changes = changes_of(number, last_index)
    storage.write(changes)
    last_index = changes[-1].prev_log_index + len(changes[-1].entries)
    os.write(1, b"%d\\n" % number)
"""


def changes_of(number: int, last_index: int) -> list[PersistEffect]:
    """The write with this number, the same in parent and child: a vote, sometimes a cut, and one to seven entries."""
    prev_log_index = max(0, last_index - number % 4)
    entries = tuple(Entry(number, b"%d" % number * (number % 50)) for _ in range(1 + number % 7))
    return [PersistTermAndVote(number, f"n{number % 3}"), append(prev_log_index, entries)]


def open_storage(path: str | Path, synchronous: str) -> SqliteStorage:
    mode: Literal["full", "off"] = "full" if synchronous == "full" else "off"
    return SqliteStorage(path, cluster_id="c", server_id="n1", synchronous=mode)


def histories(stored: Stored) -> Iterator[Stored]:
    """What is stored after each write that follows `stored`."""
    while True:
        stored = after(stored, changes_of(stored.current_term + 1, len(stored.entries)))
        yield stored


def start_writer(path: Path, synchronous: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), synchronous]
    here = str(Path(__file__).parent)
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": f"{here}:{':'.join(sys.path)}"})


def output_of(writer: subprocess.Popen[bytes]) -> IO[bytes]:
    assert writer.stdout is not None
    return writer.stdout


def kill(writer: subprocess.Popen[bytes]) -> list[bytes]:
    """Kill it, and return what it had said and nobody had read."""
    writer.send_signal(signal.SIGKILL)
    unread = output_of(writer).read().splitlines(keepends=True)
    output_of(writer).close()
    writer.wait()
    return [line for line in unread if line.endswith(b"\n")]


@pytest.mark.parametrize("synchronous", ["full", "off"])
def test_what_a_killed_process_reported_is_there_after_each_of_ten_kills(tmp_path: Path, synchronous: str) -> None:
    path, expected = tmp_path / "log.db", Stored()
    for reports in (1, 2, 5, 30, 100, 3, 300, 7, 600, 50):
        writer = start_writer(path, synchronous)
        reported = [output_of(writer).readline() for _ in range(reports)]
        reported += kill(writer)
        storage = open_storage(path, synchronous)
        stored = storage.load()
        storage.close()
        assert stored.current_term >= int(reported[-1])
        expected = next(state for state in histories(expected) if state.current_term == stored.current_term)
        assert stored == expected


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    writer = start_writer(tmp_path / "log.db", "off")
    output_of(writer).readline()
    with pytest.raises(StorageInUse, match=f"process {writer.pid}"):
        open_storage(tmp_path / "log.db", "off")
    kill(writer)
    open_storage(tmp_path / "log.db", "off").close()


def test_the_same_process_is_refused_too_until_it_closes_the_first(tmp_path: Path) -> None:
    first = open_storage(tmp_path / "log.db", "off")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(StorageInUse):
        open_storage(tmp_path / "log.db", "off")
    assert len(os.listdir("/dev/fd")) == descriptors
    first.write([append(0, (Entry(1),))])
    first.close()
    second = open_storage(tmp_path / "log.db", "off")
    assert len(second.load().entries) == 1
    second.close()


def test_a_process_killed_while_it_creates_the_file_leaves_no_half_made_one(tmp_path: Path) -> None:
    """The file has its name only when complete; a leftover under the other name is thrown away."""
    (tmp_path / "log.db.new").write_bytes(b"half a database")
    storage = open_storage(tmp_path / "log.db", "full")
    assert storage.load() == Stored()
    storage.close()
    assert not (tmp_path / "log.db.new").exists()
