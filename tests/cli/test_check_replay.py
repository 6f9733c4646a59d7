"""`actorum check replay`: a run comes out again, or it is said where it does not; and what is in it is shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from actors.cli import app
from actors.storage.trace import read_trace
from raft_core import (
    Leader,
    Proposed,
    Server,
    replication,
)
from raft_core.verify.replay import Started, Turn, replay, state_digest
from tests.cli.recorded import (
    ELECTED,
    ROOT,
    check,
    in_json,
    lines_of,
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


# --- It comes out again.


def test_a_run_that_comes_out_again_is_told_with_its_turns_events_and_last_digest(trace: Path) -> None:
    report = replay(read_trace(trace))
    shown = check(trace)
    row = shown.stdout.splitlines()[1].split()
    assert row == ["n1", "2", "6", "10", state_digest(report.server)]
    assert shown.stderr == ("the run replays bit for bit: every state and every effect came out as it was recorded\n")
    (told,) = in_json(trace)
    assert told == {
        "server": "n1",
        "incarnations": 2,
        "turns": 6,
        "events": 10,
        "digest": state_digest(report.server),
        "whole_bytes": trace.stat().st_size,
        "torn_bytes": 0,
        "gaps": [],
    }


def test_a_directory_means_all_its_traces_in_the_order_of_their_servers(tmp_path: Path) -> None:
    for name in ("n10", "n2", "n1"):
        record(tmp_path / f"{name}.trace", server=server_of(name))
    (tmp_path / "notes.txt").write_text("not a trace")
    assert [row["server"] for row in in_json(tmp_path)] == ["n1", "n2", "n10"]
    assert "all 3 runs replay" in check(tmp_path).stderr


def test_events_of_a_directory_are_of_one_of_its_servers(trace: Path) -> None:
    assert "event 1 of n1" in check(trace.parent, "--at", "1").stdout
    record(trace.with_name("n2.trace"), server=server_of("n2"))
    for words in (["--at", "1"], ["--show", "1:"]):
        assert f"{trace} or" in check(trace.parent, *words, code=2).stderr


def test_one_thing_is_asked_for_at_a_time(trace: Path) -> None:
    assert "one at a time" in check(trace, "--at", "1", "--show", "1:2", code=2).stderr


def test_lines_are_no_wider_than_a_terminal_of_80_characters(trace: Path) -> None:
    for words in ([], ["--at", "4"], ["--at", "8"]):
        done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["check", "replay", str(trace), *words])
        assert max(map(len, done.stdout.splitlines())) <= 80, done.stdout


# --- It does not.


def test_a_digest_that_was_not_recorded_so_is_named_with_its_turn_and_events(trace: Path, tmp_path: Path) -> None:
    records = list(read_trace(trace))
    third = records[3]
    assert isinstance(third, Turn)
    records[3] = replace(third, digest="0" * 32)
    other = write(tmp_path / "other.trace", records)
    error = refused(other, code=6)
    assert error["code"] == "REPLAY-DIVERGED"
    assert error["what"] == f"{other} does not replay: turn 3 of incarnation 1 (events 3 to 5) came out otherwise"
    assert error["why"].splitlines() == [
        "digest of the state after:",
        f"         recorded: {'0' * 32}",
        f"         replayed: {third.digest}",
    ]
    assert f"actorum check replay {other} --at 5" in error["fix"]
    assert "event 5 of n1" in check(other, "--at", "5").stdout, "what this program makes of it can be looked at"
    assert refused(other, "--at", "6", code=6)["what"] == error["what"]


def test_a_core_that_decides_otherwise_is_found_at_its_first_other_state(
    trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One field of the state is changed: a follower's acknowledgement no longer counts."""

    def never_commit(server: Server) -> Server:
        assert isinstance(server.role, Leader)
        return server

    monkeypatch.setattr(replication, "_commit", never_commit)
    for words in ([], ["--show", "1:"]):
        error = refused(trace, *words, code=6)
        assert "turn 3 of incarnation 1 (events 3 to 5)" in error["what"]
        assert "digest of the state after" in error["why"]
        assert "committed up to 1" in error["why"] and "committed up to 0" in error["why"]
    done = check(trace, "-o", "jsonl", code=6)
    assert json.loads(done.stdout.splitlines()[-1])["number"] == 5, "the lines end behind the turn that differs"


def test_a_start_that_does_not_come_out_is_named(trace: Path, tmp_path: Path) -> None:
    records = list(read_trace(trace))
    again = records[6]
    assert isinstance(again, Started)
    records[6] = replace(again, current_term=9)
    for words in ([], ["--show", "9:"]):
        error = refused(write(tmp_path / f"{len(words)}.trace", records), *words, code=6)
        assert "the start of incarnation 2 came out otherwise" in error["what"]


def test_a_turn_that_is_missing_or_in_another_place_is_no_proof(trace: Path, tmp_path: Path) -> None:
    records = list(read_trace(trace))
    lost = write(tmp_path / "lost.trace", [*records[:3], *records[4:]])
    moved = write(tmp_path / "moved.trace", [*records[:3], records[4], records[3], *records[5:]])
    for path in (lost, moved):
        assert "number of the turn" in refused(path, code=6)["why"]


# --- Looking into it.


def test_events_are_listed_with_the_state_after_each_and_starts_among_them(trace: Path) -> None:
    rows = [line.split(maxsplit=7) for line in check(trace, "--show", "3:9").stdout.splitlines()]
    assert rows[0] == ["EVENT", "TURN", "TIME", "ROLE", "TERM", "LOG", "COMMIT", "WHAT"]
    assert [row[0] for row in rows[1:]] == ["3", "4", "5", "6", "7", "8", "-", "9"]
    assert rows[2][1:7] == ["3", "100.500", "leader", "1", "1", "1"]
    assert rows[2][7].startswith("from n2: AppendEntriesResult term 1, success yes, prev_log_index 0, match_index 1,")
    assert rows[3][7] == "Proposed proposal_id 1, commands 2 (3 bytes)"
    assert rows[7][7] == "n1 starts, incarnation 2"


@pytest.mark.parametrize(
    ("stretch", "numbers"),
    [
        (":2", [1, 2]),
        ("9:", [9, 10]),
        ("4:4", [4]),
        ("-3:", [9, 10]),
        ("-1:", [10]),
        (":", list(range(1, 11))),
        ("10:99", [10]),
        ("-99:", list(range(1, 11))),
    ],
)
def test_a_stretch_of_events_may_be_open_or_counted_from_the_end(trace: Path, stretch: str, numbers: list[int]) -> None:
    found = lines_of(trace, f"--show={stretch}")
    assert [line["number"] for line in found if line["record"] == "event"] == numbers


@pytest.mark.parametrize("stretch", ["5", "5:4", "a:b", "-2:5", "1-2", "", "0x1:"])
def test_what_is_no_stretch_is_a_usage_error(trace: Path, stretch: str) -> None:
    assert "--show" in check(trace, f"--show={stretch}", code=2).stderr


def test_an_event_that_is_not_there_says_how_many_there_are(trace: Path) -> None:
    for words in (["--at", "11"], ["--show", "11:"]):
        error = refused(trace, *words)
        assert (error["code"], error["why"]) == ("NO-SUCH-EVENT", "its last one is event 10")


def test_one_event_is_shown_with_what_it_changed_and_what_it_led_to(
    trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # lines are broken where the terminal ends
    shown = check(trace, "--at", "4").stdout
    assert "event 4 of n1\n  turn 3 of incarnation 1, event 2 of 3 in it, at 100.500 s\n  from n2: Append" in shown
    changed = {line.split()[1] for line in shown.splitlines() if line.startswith("*")}
    assert changed == {"commit_index", "follower"}
    assert re.search(r"^\* commit_index +0 -> 1$", shown, flags=re.MULTILINE)
    assert re.search(
        r"^\* follower n2 +next_index 1 -> 2, match_index 0 -> 1, is_probing yes -> no,", shown, re.MULTILINE
    )
    assert re.search(r"^  voted_for +n1$", shown, flags=re.MULTILINE)
    assert "  1  ApplyCommitted first_index 1, entries 1 of term 1 (0 bytes)" in shown
    assert "see event 5" in shown
    merged = check(trace, "--at", "5").stdout.partition("carried out at the end of this turn")[2]
    assert "ApplyCommitted" in merged and "AppendToLog" in merged and "ProposalAccepted" in merged


def test_a_change_of_role_shows_the_fields_of_both(trace: Path) -> None:
    shown = check(trace, "--at", "8").stdout
    assert re.search(r"^\* role +leader -> follower$", shown, flags=re.MULTILINE)
    assert re.search(r"^\* leader_id +- -> none$", shown, flags=re.MULTILINE)
    assert re.search(r"^\* follower n3 +next_index .* -> -$", shown.replace("\n" + " " * 21, " "), re.MULTILINE)


def test_every_event_can_be_shown_and_programs_get_it_whole(trace: Path) -> None:
    every = [line for line in lines_of(trace) if line["record"] == "event"]
    for number in range(1, 11):
        assert check(trace, "--at", str(number)).stdout.startswith(f"event {number} of n1\n")
        assert in_json(trace, "--at", str(number)) == every[number - 1]


def test_as_lines_a_run_is_its_starts_its_events_and_its_end(trace: Path) -> None:
    lines = lines_of(trace)
    assert [line["record"] for line in lines] == ["start", *["event"] * 8, "start", *["event"] * 2, "end"]
    for earlier, later in pairwise(lines[:-1]):
        if later["record"] == "event":
            assert later["before"] == earlier.get("after", earlier.get("state"))
    (verdict,) = in_json(trace)
    assert lines[-1] == {"record": "end", **verdict}


# --- A terminal.


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a person sees."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", "check", "replay", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment},
    )
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as screen, suppress(OSError):  # EIO: nobody writes any more
        while data := screen.read(4096):
            shown += data
    process.wait(60)
    return shown.decode()


def test_a_long_trace_is_replayed_under_a_bar_that_goes_away(tmp_path: Path) -> None:
    path = record(tmp_path / "n1.trace", [*ELECTED, *[[Proposed(n, (b"x",))] for n in range(30_000)]])
    shown = on_a_terminal(str(path), "--diff", str(path), NO_COLOR="")
    bar, _, rest = shown.partition("n1: 30002 equal events")
    assert re.search(r"replaying n1\.trace .*━.* \d+%", bar), shown[:500]
    assert bar.endswith("\x1b[2K"), "the bar's line is erased"
    assert rest.startswith(", no difference")


def test_a_list_fits_its_terminal_and_is_plain_with_no_color(trace: Path) -> None:
    shown = on_a_terminal(str(trace), "--show", "1:", COLUMNS="80", NO_COLOR="1")
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) == 80
    assert "…" in shown
    assert "\x1b[1mEVENT" in on_a_terminal(str(trace), "--show", "1:", NO_COLOR="")
