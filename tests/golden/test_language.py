"""The script language itself: what it refuses, that two plays are equal, that an edited answer shows, that rewriting
writes what was played.  That each command does what it should is shown by the scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raft_core import (
    AppendEntriesResult,
    ElectionTimeout,
    Entry,
    Message,
    RequestPreVote,
    RequestVote,
    RequestVoteResult,
    Server,
    Settings,
    follower,
    received,
    restore,
    step,
)
from raft_core.verify.script import ScriptError, ScriptViolation, parse, play
from raft_core.verify.script_commands import COMMANDS
from raft_core.verify.script_safety import Durable, PropertyViolated, Witness
from tests.golden.__main__ import main
from tests.golden.golden import FOLDER, difference, scripts

ROOT = Path(__file__).resolve().parents[2]
THREE = "cluster n1 n2 n3 pre_vote=no\n"


def _answer(*commands: str) -> list[str]:
    """The answer to the last of the commands."""
    played = play("\n\n".join(f"{command}\n----" for command in commands))
    return list(parse(played)[-1].answer or ())


# --- What makes no sense is refused, with file and line.

REFUSED = [
    ("cluster", "a cluster needs servers"),
    ("cluster n1 n1", "two servers of one name"),
    ("cluster n1 speed=9", "no such setting: speed"),
    ("cluster n1 pre_vote=maybe", "pre_vote is yes or no, not 'maybe'"),
    ("cluster n1 timers=1", "timers is yes or no, not '1'"),
    ("cluster n1 max_in_flight=many", "max_in_flight is a number, not 'many'"),
    ("cluster n1 max_in_flight=1 max_in_flight=2", "max_in_flight is there twice"),
    ("timeout n1", "a script begins with: cluster NAME..."),
    (f"{THREE}cluster n4", "there is a cluster already"),
    (f"{THREE}dance n1", "unknown command: dance"),
    (f"{THREE}breaks dance n1", "unknown command: dance"),
    (f"{THREE}breaks timeout n1", "no property is broken by this"),
    (f"{THREE}timeout", "it is written: timeout NAME [randomness=N]"),
    (f"{THREE}timeout n1 n2", "it is written: timeout NAME [randomness=N]"),
    (f"{THREE}timeout n1 speed=9", "it is written: timeout NAME [randomness=N]"),
    (f"{THREE}timeout n9", "no such server: n9"),
    (f"{THREE}timeout n1 randomness=-1", "randomness is a number, not '-1'"),
    (f"{THREE}given n1 term=x", "term is a number, not 'x'"),
    (f"{THREE}given n1 term=2 log=1,2,1", "the terms of a log never fall"),
    (f"{THREE}given n1 term=2 log=1*x", "log is a number, not 'x'"),
    (f"{THREE}given n1 term=2 log=3", "the log has a higher term than the server"),
    (f"{THREE}given n1 vote=n9", "no such server: n9"),
    (f"{THREE}crash n1\ntimeout n1", "n1 is down"),
    (f"{THREE}crash n1\ncrash n1", "n1 is down"),
    (f"{THREE}restart n1", "n1 is up"),
    (f"{THREE}elect n1\nisolate n2\nelect n2", "n2 was not elected"),
    (f"{THREE}read n1 some", "count is a number, not 'some'"),
    (f"{THREE}deliver n1", "a link is written n1->n2 or n1<->n2, not 'n1'"),
    (f"{THREE}deliver n1->n9", "no such server: n9"),
    (f"{THREE}deliver n1->n1", "n1->n1 is no link"),
    (f"{THREE}deliver n1->n2", "nothing is under way on n1->n2"),
    (f"{THREE}timeout n1\nrelease n1->n2", "nothing is held on n1->n2"),
    (f"{THREE}timeout n1\ndeliver n1->n2 2", "1 under way on n1->n2, there is no number 2"),
    (f"{THREE}timeout n1\ndeliver n1->n2 0", "1 under way on n1->n2, there is no number 0"),
    (f"{THREE}timeout n1\ndeliver-together n1->*", "together they arrive at one server, not at n2 n3"),
    (f"{THREE}timeout n1\ncrash n2\ndeliver-together n1->n2", "n2 is down"),
    (f"{THREE}settle n9", "no such server: n9"),
    ("cluster n1 n2 voters=n1,n9", "no such server: n9"),
    (f"{THREE}members n1 n9", "no such server: n9"),
    (f"{THREE}transfer n1 n9", "no such server: n9"),
    (f"{THREE}persist n1", "no write of n1 is under way"),
    (f"{THREE}apply n1", "n1 has nothing to apply"),
    ("cluster n1\nslow-apply n1\ntimeout n1\napply n1 2", "n1 may apply no more than 1"),
    (
        f"{THREE}show weather",
        "cannot show 'weather'; there is: state, log, terms, messages, progress, disk, machine, members",
    ),
    (f"{THREE}show log n9", "no such server: n9"),
]


@pytest.mark.parametrize(("commands", "problem"), REFUSED, ids=[f"{c.splitlines()[-1]}: {p}" for c, p in REFUSED])
def test_a_command_that_makes_no_sense_is_refused_with_file_and_line(commands: str, problem: str) -> None:
    line = 3 + commands.count("\n")
    with pytest.raises(ScriptError) as refused:
        play(f"# A comment.\n\n{commands}\n----\n", "some.txt")
    assert str(refused.value) == f"some.txt:{line}: {problem}"


def test_a_command_without_a_separator_is_refused() -> None:
    with pytest.raises(ScriptError, match=r"some\.txt:2: a command without ---- below it: cluster n1"):
        play("# A comment.\ncluster n1\n", "some.txt")


def test_a_separator_without_a_command_is_refused() -> None:
    with pytest.raises(ScriptError, match=r"some\.txt:4: ---- without a command above it"):
        play("# A comment.\n\n# Another.\n----\nn1\n", "some.txt")


def test_a_cluster_that_never_gets_quiet_is_an_error() -> None:
    elected = f"{THREE}quietly elect n1\nheartbeat n1\n"
    doubled = "quietly duplicate n1->n2\n" * 10
    with pytest.raises(ScriptError, match="script:14: still not quiet after 1000 messages"):
        play(f"{elected}{doubled}quietly settle\n----\n")


# --- What a script may look like.


def test_comments_stay_where_they_are_and_answers_are_renewed() -> None:
    text = "# What it shows.\n\n# Why.\ncluster n1\n# and now\ntimeout n1\n----\nan old answer\n"
    assert play(text).startswith(
        "# What it shows.\n\n# Why.\ncluster n1\n# and now\ntimeout n1\n----\nn1: follower, term 0\n"
    )
    assert "old" not in play(text)


def test_a_command_that_has_nothing_to_say_says_ok() -> None:
    assert _answer(THREE + "cut n1->n2") == ["n1 n2 n3: follower, term 0"]
    assert _answer(THREE.strip(), "cut n1->n2") == ["ok"]


def test_too_many_blank_lines_are_set_right() -> None:
    assert play("cluster n1\n----\n\n\n\nshow log\n----\n\n\n") == play("cluster n1\n----\n\nshow log\n----\n")


def test_quietly_shows_only_what_is_different_afterwards() -> None:
    assert _answer(THREE.strip(), "quietly timeout n2") == ["n2: follower -> candidate, term 0 -> 1, vote none -> n2"]
    assert _answer(THREE.strip(), "quietly crash n2") == ["ok"]


def test_a_link_may_be_written_for_both_directions_and_for_all() -> None:
    talking = (THREE.strip(), "timeout n1\ntimeout n2\ntimeout n3")
    assert len(_answer(*talking, "drop n1<->n2")) == 2
    assert len(_answer(*talking, "drop *->n2")) == 2
    assert len(_answer(*talking, "drop n2<->*")) == 4
    assert len(_answer(*talking, "drop *->*")) == 6


def test_what_is_on_a_link_when_it_is_cut_is_lost_and_so_is_what_was_held_until_then() -> None:
    sent = "RequestVote term=1 last=0@0"
    assert _answer(THREE.strip(), "timeout n1", "cut n1->n2") == [f"n1 -> n2: {sent} (lost)"]
    assert _answer(THREE.strip(), "timeout n1\nhold n1->n2\ncut n1->n2\nrelease n1->n2", "deliver n1->n2") == [
        f"n1 -> n2: {sent} (lost: cut)"
    ]


def test_of_a_batch_what_comes_over_a_cut_link_is_lost() -> None:
    held = "timeout n1\ntimeout n3\nhold n1->n2\ncut n1->n2\nrelease n1->n2"
    sent = "RequestVote term=1 last=0@0"
    batch = _answer(THREE.strip(), held, "deliver-together *->n2")
    assert batch[:3] == [f"n3 -> n2: {sent}", f"n1 -> n2: {sent} (lost: cut)", "  term 0 -> 1, vote none -> n3"]
    assert _answer(THREE.strip(), held, "deliver-together n1->n2") == [f"n1 -> n2: {sent} (lost: cut)"]


def test_a_lost_server_is_shown_as_down() -> None:
    assert _answer(THREE.strip(), "crash n2", "show log n2") == ["n2: down"]
    assert _answer(THREE.strip(), "crash n2", "show progress") == ["ok"]


def test_a_disk_that_becomes_fast_does_first_what_was_under_way() -> None:
    done = _answer("cluster n1 n2 pre_vote=no", "slow-disk n1\ntimeout n1", "fast-disk n1")
    assert done == [
        "n1: its disk is done with a write",
        "  persists term=1 vote=n1 (durable)",
        "  sends n2: RequestVote term=1 last=0@0",
    ]


def test_a_late_heartbeat_timeout_and_a_link_between_followers_say_why_nothing_happens() -> None:
    assert _answer(THREE.strip(), "heartbeat n2")[1:] == ["  ignores it: only leaders send heartbeats"]
    assert _answer(THREE.strip(), "new-link n2->n3")[1:] == ["  ignores it: only leaders keep track of their peers"]


# --- The same each time.


PLAY_ALL = """import sys
from raft_core.verify.script import play
for text in sys.stdin.read().split(chr(0)):
    print(play(text))
"""


def test_two_plays_of_every_script_are_equal_whatever_the_seed_of_hashing(tmp_path: Path) -> None:
    texts = "\0".join(script.read_text(encoding="utf-8") for script in scripts())
    outputs = {_output(PLAY_ALL, texts, seed, tmp_path) for seed in ("1", "2")}
    assert len(outputs) == 1


def _output(program: str, texts: str, seed: str, directory: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, input=texts, capture_output=True, text=True, timeout=60, check=True, env=environment, cwd=directory
    )
    return done.stdout


# --- Differences and rewriting.

SCRIPT = "# One server.\n\ncluster n1\n----\nn1: follower, term 0\n\nquietly timeout n1\n----\nWRONG\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.txt").write_text(SCRIPT)
    (tmp_path / "two.txt").write_text("cluster n1\n----\nn1: follower, term 0\n")
    return tmp_path


def test_an_edited_answer_is_shown_as_a_unified_diff(folder: Path) -> None:
    header, *lines = difference(folder / "one.txt").partition("@@")[::2]
    assert header == "--- one.txt as written\n+++ one.txt as played\n"
    changed = [line for line in lines[0].splitlines() if line.startswith(("-", "+"))]
    assert changed[0] == "-WRONG"
    assert changed[1].startswith("+n1: follower -> leader, term 0 -> 1")
    assert len(changed) == 2


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.stem)
def test_a_letter_changed_in_an_answer_is_noticed(script: Path, tmp_path: Path) -> None:
    edited = tmp_path / script.name
    edited.write_text(script.read_text(encoding="utf-8").replace(" term=1 ", " term=7 ").replace("term 0", "term 5"))
    assert "as written" in difference(edited)


def test_a_missing_last_newline_is_a_difference(folder: Path) -> None:
    (folder / "two.txt").write_text("cluster n1\n----\nn1: follower, term 0")
    assert difference(folder / "two.txt")


def test_rewriting_writes_what_is_played_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    untouched = (folder / "two.txt").stat().st_mtime_ns
    assert main([], folder) == 1
    assert "-WRONG" in capsys.readouterr().out
    assert main(["--rewrite"], folder) == 0
    assert capsys.readouterr().out == "one.txt: rewritten\n"
    assert (folder / "one.txt").read_text() == play(SCRIPT)
    assert (folder / "two.txt").stat().st_mtime_ns == untouched
    assert main([], folder) == 0
    assert capsys.readouterr().out == ""


def test_only_the_named_scripts_are_looked_at(folder: Path) -> None:
    assert main(["two"], folder) == 0
    assert main(["two", "one.txt"], folder) == 1
    assert main(["--rewrite", "two"], folder) == 0
    assert (folder / "one.txt").read_text() == SCRIPT


@pytest.mark.parametrize("arguments", [[], ["--rewrite"]], ids=["compare", "rewrite"])
@pytest.mark.parametrize("name", ["broken", "missing"])
def test_a_script_that_cannot_be_played_is_reported_and_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str
) -> None:
    (folder / "broken.txt").write_text("cluster n1\ndance\n----\n")
    assert main([*arguments, name], folder) == 2
    expected = {"broken": "broken.txt:2: unknown command: dance", "missing": "missing.txt"}
    assert expected[name] in capsys.readouterr().out
    assert (folder / "broken.txt").read_text() == "cluster n1\ndance\n----\n"


# --- Safety.

TWO_LEADERS = """cluster n1 n2 n3 pre_vote=no
quietly timeout n1
quietly timeout n3
quietly deliver n1->n2
quietly deliver n2->n1
given n2 term=0 vote=none
quietly deliver n3->n2
{}deliver n2->n3
----
"""


def test_a_violated_property_ends_the_play_with_file_and_line() -> None:
    with pytest.raises(ScriptViolation) as violated:
        play(TWO_LEADERS.format(""), "some.txt")
    assert str(violated.value) == "some.txt:8: Election Safety: n1 and n3 both lead term 1"


def test_a_violated_property_is_never_written_down_unless_it_is_meant(tmp_path: Path) -> None:
    script = tmp_path / "two_leaders.txt"
    script.write_text(TWO_LEADERS.format(""))
    assert main(["--rewrite"], tmp_path) == 2
    assert script.read_text() == TWO_LEADERS.format("")
    script.write_text(TWO_LEADERS.format("breaks "))
    assert main(["--rewrite"], tmp_path) == 0
    assert script.read_text().endswith("\nVIOLATED: Election Safety: n1 and n3 both lead term 1\n")


def test_nothing_can_follow_a_command_that_breaks_a_property() -> None:
    with pytest.raises(ScriptError, match="script:11: nothing can follow a command that breaks a property"):
        play(TWO_LEADERS.format("breaks ") + "\nshow state\n----\n")


def _leader(name: str, *, term: int, terms: tuple[int, ...]) -> Server:
    entries = [Entry(one) for one in terms]
    server = restore(name, [name], Settings(), randomness=0, current_term=term - 1, entries=entries)
    return step(server, ElectionTimeout(0)).server


def _witnessed(*pictures: list[Server]) -> Callable[[], None]:
    def look() -> None:
        witness = Witness()
        for servers in pictures:
            witness.see_states({server.server_id: server for server in servers})

    return look


def _stepped(before: Server, after: Server) -> Callable[[], None]:
    return lambda: Witness().see_step(before, after)


def _said(message: Message, disk: Durable) -> Callable[[], None]:
    return lambda: Witness().see_sent("n1", "n2", message, disk)


VOTER = follower("n1", ["n2", "n3"], current_term=2, voted_for="n2", terms=(1, 1), commit_index=1)
OF_TERM_1 = follower("n2", [], current_term=2, terms=(1, 1))
OF_TERM_2 = follower("n3", [], current_term=2, terms=(2, 2))
ENTRY_2 = AppendEntriesResult(2, True, 0, 2)
VOTE = RequestVoteResult(2, vote_granted=True)

VIOLATIONS: list[tuple[Callable[[], None], str]] = [
    (_witnessed([_leader("n1", term=2, terms=())], [_leader("n2", term=2, terms=())]), "n1 and n2 both lead term 2"),
    (
        _witnessed([follower("n1", [], current_term=1, terms=(1,), commit_index=1), _leader("n2", term=3, terms=())]),
        "n2 leads term 3 without 1@1 1, which is committed",
    ),
    (
        _witnessed([follower("n1", [], terms=(1,), commit_index=1)], [follower("n2", [], terms=(2,), commit_index=1)]),
        "two entries are committed at index 1: 1@2 1 on n2, 1@1 1 before",
    ),
    (
        _witnessed([follower("n1", [], terms=(1, 3)), follower("n2", [], terms=(2, 3))]),
        "n1 and n2 agree on the term of entry 2, not on all up to it",
    ),
    (_stepped(VOTER, follower("n1", [], current_term=1)), "the term of n1 fell: 2 -> 1"),
    (_stepped(VOTER, follower("n1", [], current_term=2, voted_for="n2")), "the commit index of n1 fell: 1 -> 0"),
    (_stepped(VOTER, follower("n1", [], current_term=2, commit_index=1)), "n1 changed its vote in term 2: n2 -> none"),
    (_said(VOTE, Durable(2, None, 9)), "n1 grants n2 a vote that is not on its disk"),
    (_said(ENTRY_2, Durable(2, "n2", 1)), "n1 vouches for entry 2, which is not on its disk"),
    (_said(ENTRY_2, Durable(1, "n2", 2)), "n1 speaks of term 2, which is not on its disk"),
    (_said(RequestVote(2, "n1", 0, 0), Durable(2, "n2", 0)), "n1 asks for votes, and its own is not on its disk"),
]


@pytest.mark.parametrize(("look", "problem"), VIOLATIONS, ids=[problem for _, problem in VIOLATIONS])
def test_the_witness_sees_the_violation(look: Callable[[], None], problem: str) -> None:
    with pytest.raises(PropertyViolated) as violated:
        look()
    assert str(violated.value).endswith(problem)


def test_the_witness_has_no_objection_to_what_raft_allows() -> None:
    _witnessed([OF_TERM_1, OF_TERM_2, VOTER], [VOTER])()
    adopted = step(VOTER, received("n3", RequestVoteResult(3, vote_granted=False))).server
    _stepped(VOTER, adopted)()
    _said(RequestVoteResult(2, vote_granted=False), Durable(2, None, 0))()
    _said(RequestPreVote(3, "n1", 0, 0), Durable(2, None, 0))()
    _said(RequestVote(2, "n1", 0, 0), Durable(2, "n1", 0))()
    _said(VOTE, Durable(2, "n2", 0))()
    _said(ENTRY_2, Durable(2, None, 2))()


# --- The reference is complete, and the scripts use all of it.


def test_every_command_is_used_by_a_script_and_described_in_the_reference() -> None:
    texts = "\n".join(script.read_text(encoding="utf-8") for script in scripts(FOLDER))
    used = {word for line in texts.splitlines() for word in line.removeprefix("quietly ").split(" ")[:1]}
    assert used >= set(COMMANDS)
    reference = (ROOT / "docs/reference/script-language.md").read_text(encoding="utf-8")
    for word, command in COMMANDS.items():
        assert f"| `{word} {command.usage}` |" in reference


def test_the_examples_in_the_documents_are_what_is_played() -> None:
    for document in ("docs/reference/script-language.md", "docs/how-to/write-a-golden-script.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        shown = text.split("```text\n")[1:]
        assert shown, document
        for block in shown:
            example = block.partition("```")[0]
            assert play(example, document) == example
