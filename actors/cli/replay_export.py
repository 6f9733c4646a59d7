"""A recorded run as a test file: it replays the run and asserts that nothing comes out otherwise.

A short run stands in the test itself, compressed; a longer one is copied beside it.  Either way the test needs nothing
but the library.  Nothing that is there is overwritten.
"""

from __future__ import annotations

import re
from base64 import b85encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import compress

import click

from actors.cli.replay_runs import Verdict

EMBEDDED = 6_000
"""Characters of all runs together up to which they stand in the test."""
_LINE = 100
"""Characters of a run in a line."""

_HEAD = '''\
"""A run that was recorded, replayed: {events} events of {servers}.

If this fails, the core decides otherwise than it did then: by a mistake, or because it was changed on purpose.  In that
case record the run anew, or write down here what is to happen instead.
"""
'''

_BESIDE = """\
from pathlib import Path

import pytest

from actors.storage.trace import read_trace
from raft_core.verify.replay import replay, state_digest

{expected}

@pytest.mark.parametrize("server", EXPECTED)
def test_{name}_comes_out_again(server: str) -> None:
    trace = Path(__file__).with_name(f"{stem}.{{server}}.trace")
"""

_EMBEDDED = '''\
from base64 import b85decode
from pathlib import Path
from zlib import decompress

import pytest

from actors.storage.trace import read_trace
from raft_core.verify.replay import replay, state_digest

{expected}
RUNS = {{
{runs}
}}
"""Their traces, compressed."""


@pytest.mark.parametrize("server", EXPECTED)
def test_{name}_comes_out_again(server: str, tmp_path: Path) -> None:
    trace = tmp_path / f"{{server}}.trace"
    trace.write_bytes(decompress(b85decode(RUNS[server])))
'''

_END = """\
    report = replay(read_trace(trace))
    found = report.incarnations, report.turns, report.events, state_digest(report.server)
    assert found == EXPECTED[server]
"""


def write_test(target: Path, runs: Mapping[Path, Verdict]) -> list[Path]:
    """Write `target` and what it needs; all files that were written."""
    contents = {run.server: path.read_bytes()[: run.whole_bytes] for path, run in runs.items()}
    encoded = {server: b85encode(compress(content, 9)).decode() for server, content in contents.items()}
    is_short = sum(map(len, encoded.values())) <= EMBEDDED
    copies = {} if is_short else {target.with_name(f"{target.stem}.{server}.trace"): server for server in contents}
    _refuse_what_is_there([target, *copies])
    target.parent.mkdir(parents=True, exist_ok=True)
    for copy, server in copies.items():
        copy.write_bytes(contents[server])
    target.write_text(_program(target.stem, list(runs.values()), encoded if is_short else None))
    return [target, *copies]


def _refuse_what_is_there(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.exists():
            raise click.UsageError(f"{path} is there already: name another file, or remove it")


def _program(stem: str, runs: Sequence[Verdict], encoded: Mapping[str, str] | None) -> str:
    servers = ", ".join(run.server for run in runs)
    head = _HEAD.format(events=sum(run.events for run in runs), servers=servers)
    name = re.sub(r"\W", "_", stem.removeprefix("test_"))
    body = _BESIDE if encoded is None else _EMBEDDED
    filled = body.format(expected=_expected(runs), name=name, stem=stem, runs=_literals(encoded or {}))
    return f"{head}\n{filled}{_END}"


def _expected(runs: Sequence[Verdict]) -> str:
    rows = [f'    "{run.server}": ({run.incarnations}, {run.turns}, {run.events}, "{run.digest}"),\n' for run in runs]
    what = '"""For each server: incarnations, turns, events, and the digest of its state at the end."""\n'
    return f"EXPECTED = {{\n{''.join(rows)}}}\n{what}"


def _literals(encoded: Mapping[str, str]) -> str:
    """The alphabet of base 85 has neither quotes nor backslashes."""
    runs: list[str] = []
    for server, text in encoded.items():
        lines = [f'        "{text[start : start + _LINE]}"' for start in range(0, len(text), _LINE)]
        runs.append("\n".join([f'    "{server}": (', *lines, "    ),"]))
    return "\n".join(runs)
