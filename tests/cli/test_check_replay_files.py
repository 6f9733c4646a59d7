"""What `actorum check replay` says of files that are damaged, cut short, of another version, or no traces at all."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from actors.storage.journal import JournalStorage
from actors.storage.trace import read_trace
from raft_core import (
    PersistTermAndVote,
)
from raft_core.verify.replay import Started, Turn
from tests.cli.recorded import (
    ROOT,
    TURNS,
    check,
    ends_of_records,
    in_json,
    record,
    refused,
    server_of,
    two_incarnations,
    write,
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two incarnations of n1: eight events, then two."""
    return two_incarnations(tmp_path / "traces" / "n1.trace")


# --- It is no trace, or not what was written.


def test_each_single_changed_byte_is_told_and_nothing_is_said_to_replay(trace: Path, tmp_path: Path) -> None:
    content = trace.read_bytes()
    spoilt = tmp_path / "spoilt.trace"
    seen = set()
    for position in [*range(16), *range(16, len(content), 13)]:
        changed = bytearray(content)
        changed[position] ^= 0x41
        spoilt.write_bytes(changed)
        error = refused(spoilt)
        assert "damaged at byte" in error["what"], f"byte {position}"
        seen.add(error["code"])
    assert seen == {"TRACE-DAMAGED"}


def test_what_stands_before_the_damage_can_be_looked_at(trace: Path, tmp_path: Path) -> None:
    content = trace.read_bytes()
    (tmp_path / "spoilt.trace").write_bytes(content[:-1] + b"?")
    done = check(tmp_path / "spoilt.trace", "--show", "1:", code=2)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["EVENT", "-", *map(str, range(1, 9)), "-"]
    assert done.stderr.startswith("error[TRACE-DAMAGED]")
    assert check(tmp_path / "spoilt.trace", "--at", "8").stdout
    tail = check(tmp_path / "spoilt.trace", "--show", "-2:", code=2).stdout.splitlines()
    assert [line.split()[0] for line in tail] == ["EVENT", "8", "-"]


def test_a_trace_cut_anywhere_replays_up_to_its_last_whole_turn_and_says_what_is_torn(
    trace: Path, tmp_path: Path
) -> None:
    content, ends = trace.read_bytes(), ends_of_records(trace)
    cut = tmp_path / "cut.trace"
    for length in [*range(0, len(content), 17), *ends]:
        cut.write_bytes(content[:length])
        whole = [end for end in ends if end <= length]
        if not whole:
            assert refused(cut)["code"] == "TRACE-CUT-SHORT"
            continue
        (told,) = in_json(cut)
        assert told["turns"] == max(len(whole) - 1 - (len(whole) > 6), 0)
        assert (told["whole_bytes"], told["torn_bytes"]) == (whole[-1], length - whole[-1])
        warned = check(cut).stderr.splitlines()[0]
        assert warned.startswith(f"n1: the trace ends with {length - whole[-1]} bytes") == (length > whole[-1])


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_a_file_that_is_something_else_is_called_that_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    trap, journal = tmp_path / "sprung", tmp_path / "journal"
    with closing(JournalStorage(journal, cluster_id="c", server_id="n1")) as storage:
        storage.load()
        storage.write([PersistTermAndVote(1, "n1")])
    contents = {
        "text": b"SERVER  INCARNATIONS  TURNS\n",
        "pickle": pickle.dumps(Trap(trap)),
        "noise": bytes(range(256)) * 4,
        "zeros": bytes(500),
        "journal": journal.read_bytes(),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.trace"
        path.write_bytes(content)
        for words in ([], ["--at", "1"], ["--diff", path], ["--to-test", tmp_path / "test_it.py"]):
            assert refused(path, *words)["code"] == "NOT-A-TRACE", name
    write(tmp_path / "framed.trace", [pickle.dumps(Trap(trap))])
    assert refused(tmp_path / "framed.trace")["code"] == "NOT-A-TRACE"
    assert not trap.exists()


def test_what_is_not_there_or_empty_or_holds_no_trace_says_so(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing.trace")["code"] == "NOT-A-TRACE"
    assert "--record" in refused(tmp_path)["fix"]
    (tmp_path / "n1.trace").touch()
    assert "it is empty" in refused(tmp_path)["what"]
    (tmp_path / "n2.trace").mkdir()
    (tmp_path / "n1.trace").unlink()
    assert "cannot be read: Is a directory" in refused(tmp_path)["what"]


def test_a_trace_whose_beginning_is_missing_has_nothing_to_replay_from(trace: Path, tmp_path: Path) -> None:
    content, ends = trace.read_bytes(), ends_of_records(trace)
    (tmp_path / "rest.trace").write_bytes(content[ends[0] :])
    error = refused(tmp_path / "rest.trace")
    assert (error["code"], "its first record is a turn" in error["what"]) == ("TRACE-CUT-SHORT", True)


def test_another_version_of_the_format_is_named_and_not_guessed_at(trace: Path, tmp_path: Path) -> None:
    first, *rest = read_trace(trace)
    assert isinstance(first, Started)
    later = write(tmp_path / "later.trace", [replace(first, format=3), *rest])
    error = refused(later)
    assert error["code"] == "TRACE-FORMAT-UNKNOWN"
    assert "format 3" in error["what"] and "reads format 2" in error["what"]
    of_other_fields = msgpack.encode({"type": "Started", "format": 4, "server": "n1"})
    assert "format 4" in refused(write(tmp_path / "much-later.trace", [of_other_fields]))["what"]
    unknown = write(tmp_path / "unknown.trace", [first, b"\x81\xa4type\xa5Twist"])
    error = refused(unknown)
    assert (error["code"], "record 2" in error["what"]) == ("TRACE-FORMAT-UNKNOWN", True)


# --- A writer that is killed in the middle of a record.

KILLED_WHILE_WRITING = """
import os, resource, signal, sys
from pathlib import Path
from actors.storage.trace import TraceWriter
from raft_core import ElectionTimeout, follower, step_all

path, bytes_of_the_last = Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, lambda number, frame: os.kill(os.getpid(), signal.SIGKILL))
writer, server = TraceWriter(path), follower("n1", ("n1", "n2", "n3"))
writer.started(server)
for number in range(5):
    if number == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + bytes_of_the_last, resource.RLIM_INFINITY))
    before = server
    server, effects = step_all(before, [ElectionTimeout(number)])
    writer.turn(0.0, [ElectionTimeout(number)], before, server, effects)
"""


@pytest.mark.parametrize("written", [1, 11, 12, 13, 100])
def test_a_writer_that_was_killed_in_the_middle_of_a_record_left_a_torn_end_and_no_damage(
    tmp_path: Path, written: int
) -> None:
    """The kernel takes `written` bytes of the last record and sends a signal; the process kills itself at that."""
    path = tmp_path / "n1.trace"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(path), str(written)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (told,) = in_json(path)
    assert (told["turns"], told["torn_bytes"]) == (4, written)
    assert f"n1: the trace ends with {written} bytes of a turn whose recording was cut off" in check(path).stderr
    record(path, TURNS[:1])
    (told,) = in_json(path)
    assert (told["incarnations"], told["turns"], told["torn_bytes"]) == (2, 5, 0), "the next writer goes on behind it"


def test_turns_that_are_missing_before_a_restart_are_told(trace: Path, tmp_path: Path) -> None:
    """All checksums and numbers hold: only what the server found in its storage gives it away."""
    records = list(read_trace(trace))
    assert in_json(trace)[0]["gaps"] == []
    lossy = write(tmp_path / "n1.trace", [*records[:3], *records[6:]])
    assert in_json(lossy)[0]["gaps"] == [2]
    warned = check(lossy).stderr
    assert warned.startswith("n1: turns are missing before incarnation 2")
    assert "bit for bit" in warned


def test_one_trace_that_fails_does_not_hide_the_others_and_a_divergence_is_graver_than_damage(tmp_path: Path) -> None:
    for name in ("n1", "n2", "n3"):
        record(tmp_path / f"{name}.trace", server=server_of(name))
    damaged, diverging = tmp_path / "n1.trace", tmp_path / "n2.trace"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    done = check(tmp_path, code=2)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["SERVER", "n2", "n3"]
    assert "replay bit for bit" not in done.stderr
    records = list(read_trace(diverging))
    last = records.pop()
    assert isinstance(last, Turn)
    diverging.unlink()
    write(diverging, [*records, replace(last, effects=())])
    done = check(tmp_path, code=6)
    assert done.stderr.startswith("error[TRACE-DAMAGED]") and "\nerror[REPLAY-DIVERGED]" in done.stderr
    assert [row["server"] for row in in_json(tmp_path, code=6)] == ["n3"]
