"""Traces made by hand, of one server that a few events were put to, and `actorum check replay` called on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from actors.cli import app
from actors.storage.trace import TraceWriter
from raft_core import (
    AppendEntriesResult,
    ElectionTimeout,
    Entry,
    Event,
    LogPersisted,
    Proposed,
    ReadRequested,
    Received,
    RequestVote,
    RequestVoteResult,
    Server,
    Settings,
    restore,
    step_all,
)
from raft_core.verify.replay import Record, encode_record

ROOT = Path(__file__).parents[2]
NAMES = ("n1", "n2", "n3")
PATIENCE = 40.0

ELECTED: list[list[Event]] = [[ElectionTimeout(5)], [Received("n3", RequestVoteResult(1, True))]]
TURNS: list[list[Event]] = [
    *ELECTED,
    [LogPersisted(1, 1), Received("n2", AppendEntriesResult(1, True, 0, 1)), Proposed(1, (b"a", b"bc"))],
    [ReadRequested((7,)), LogPersisted(3, 1)],
    [Received("n2", RequestVote(2, "n2", 3, 1, leadership_transfer=True))],
]
"""Eight events: an election, a commit, a proposal, a read, the end of the term."""


class Verbatim(TraceWriter):
    """Writes encoded records as they are, too."""

    def write(self, record: Record | bytes) -> None:
        self._append(record if isinstance(record, bytes) else encode_record(record))


def server_of(name: str = "n1", **persistent: Any) -> Server:
    return restore(name, NAMES, Settings(pre_vote=False), randomness=0, **persistent)


def record(path: Path, turns: Sequence[Sequence[Event]] = TURNS, server: Server | None = None) -> Path:
    """One incarnation, behind what is there."""
    server = server or server_of()
    with closing(TraceWriter(path)) as writer:
        writer.started(server)
        for number, events in enumerate(turns):
            before = server
            server, effects = step_all(before, events)
            writer.turn(100 + number / 4, events, before, server, effects)
    return path


def write(path: Path, records: Sequence[Record | bytes]) -> Path:
    with closing(Verbatim(path)) as writer:
        for one in records:
            writer.write(one)
    return path


def two_incarnations(path: Path) -> Path:
    """A trace of n1: eight events, then two."""
    again = server_of(current_term=2, voted_for="n2", entries=[Entry(1), Entry(1, b"a"), Entry(1, b"bc")])
    return record(record(path), [[ElectionTimeout(1), ElectionTimeout(2)]], again)


def ends_of_records(path: Path) -> list[int]:
    """Where each record ends."""
    ends, content, position = [], path.read_bytes(), 0
    while position < len(content):
        position += 12 + int.from_bytes(content[position : position + 4])
        ends.append(position)
    return ends


def check(file: Path, *words: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["check", "replay", str(file), *map(str, words)])
    assert done.exit_code == code, done.output
    return done


def in_json(file: Path, *words: str | Path, code: int = 0) -> Any:
    return json.loads(check(file, *words, "-o", "json", code=code).stdout)


def lines_of(file: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in check(file, *words, "-o", "jsonl").stdout.splitlines()]


def refused(file: Path, *words: str | Path, code: int = 2) -> dict[str, Any]:
    """The error, as programs get it."""
    error = json.loads(check(file, *words, "-o", "json", code=code).stderr.splitlines()[-1])["error"]
    assert isinstance(error, dict)
    assert error["exit_code"] == code
    return error
