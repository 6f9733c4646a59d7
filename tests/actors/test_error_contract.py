"""The likeliest mistakes, each made by a real little program: what it is told, how it ends, and how soon.

Line 1 names the code and this case, then come why and fix.  Measured times are printed; the bounds asserted are
generous, for the machine may be busy.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from actors.cluster import Cluster
from actors.errors import ActorumError, error_from_json
from tests.actors.programs import COUNTER, Outcome, run_program

SOON = 10.0
"""Seconds within which a program that cannot run must have failed; it should be about one."""

pytestmark = pytest.mark.timeout(90)


def expect_error(outcome: Outcome, code: str, *words: str) -> None:
    """The program ended with this error, said once, with why and fix, and nobody else said anything."""
    print(f"{code} after {outcome.seconds:.2f} s")
    text = outcome.last_error
    assert outcome.code == 1, outcome
    assert text.startswith(f"error[{code}]: "), outcome.err
    assert "\n  why: " in text and "\n  fix: " in text, text
    for word in words:
        assert word in text, text
    assert outcome.err.count("error[") == 1, f"said once, by the program itself:\n{outcome.err}"
    assert outcome.err.count("Traceback") <= 1, f"the children keep silent:\n{outcome.err}"


def caught(source: str) -> str:
    """A program that makes a counter's cluster in threads and prints the errors that `source` raises in its block."""
    return f"""
from actors.errors import ActorumError
from raft_core import Settings
{COUNTER}
if __name__ == "__main__":
    with Counter.cluster(engine="threads", nodes=3, timeout=20.0) as counter:
        try:
{source}
        except ActorumError as error:
            print(error)
"""


# --- the program cannot be run as a cluster ---------------------------------------------------------------------------


def test_a_program_without_a_main_guard_fails_soon_and_says_why(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path, COUNTER + 'with Counter.cluster(nodes=3) as counter:\n    print("never", counter.incr())\n'
    )
    expect_error(outcome, "NO-MAIN-GUARD", 'if __name__ == "__main__":', "imports the program")
    assert outcome.seconds < SOON and "never" not in outcome.out


def test_a_program_without_a_main_guard_leaves_no_files_behind(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        "import tempfile; tempfile.tempdir = '.'\n" + COUNTER + "with Counter.cluster(nodes=3): pass\n",
    )
    expect_error(outcome, "NO-MAIN-GUARD")
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_an_unguarded_cluster_in_threads_is_no_mistake(tmp_path: Path) -> None:
    outcome = run_program(tmp_path, COUNTER + 'with Counter.cluster(engine="threads") as c:\n    print(c.incr(5))\n')
    assert (outcome.code, outcome.out, outcome.err) == (0, "5\n", "")


def test_a_program_from_standard_input_is_told_to_become_a_file(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path, COUNTER + 'if __name__ == "__main__":\n    Counter.cluster().__enter__()\n', stdin=True
    )
    expect_error(outcome, "PROGRAM-FROM-STDIN", "save the program as a file", 'engine="threads"')
    assert outcome.seconds < SOON


def test_the_advice_for_a_program_from_standard_input_works(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path, COUNTER + 'with Counter.cluster(engine="threads") as counter: print(counter.incr(2))\n', stdin=True
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "2\n", "")


def test_a_class_inside_a_function_is_told_where_to_stand(tmp_path: Path) -> None:
    inside = "\n".join(f"    {line}" for line in COUNTER.splitlines())
    source = f'def main():\n{inside}\n    with Counter.cluster(): pass\n\nif __name__ == "__main__":\n    main()\n'
    outcome = run_program(tmp_path, source)
    expect_error(outcome, "COMMAND-IN-MAIN", "main.<locals>.Counter", "top level of a module")
    assert outcome.seconds < SOON


def test_a_class_under_the_main_guard_is_told_where_to_stand(tmp_path: Path) -> None:
    inside = "\n".join(f"    {line}" for line in COUNTER.splitlines())
    outcome = run_program(tmp_path, f'if __name__ == "__main__":\n{inside}\n    with Counter.cluster(): pass\n')
    expect_error(outcome, "COMMAND-IN-MAIN", "under the __main__ guard")
    assert outcome.seconds < SOON


def test_timers_that_cannot_work_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        f"""
from raft_core import Settings
{COUNTER}
if __name__ == "__main__":
    with Counter.cluster(settings=Settings(election_timeout=60, heartbeat_interval=50)): pass
""",
    )
    expect_error(outcome, "TIMERS-TOO-SHORT", "50 ms", "60 ms", "Settings(election_timeout=300")
    assert outcome.seconds < SOON


# --- data directories -------------------------------------------------------------------------------------------------

ON_DISK = f"""
from actors.machines.counters import Counters
{COUNTER}
if __name__ == "__main__":
    with Counter.cluster(nodes=1, data="data") as counter:
        print(counter.incr())
"""


def test_a_data_directory_in_use_names_it_and_who_has_it(tmp_path: Path) -> None:
    outcome = run_program(tmp_path, ON_DISK + '        with Counter.cluster(nodes=1, data="data"): pass\n')
    expect_error(outcome, "STORAGE-IN-USE", "data/n1/", "locked by process")
    assert outcome.out == "1\n"


def test_a_data_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    outcome = run_program(tmp_path, ON_DISK + '    with Counters.cluster(nodes=1, data="data"): pass\n')
    expect_error(outcome, "WRONG-CLUSTER", "counter", "counters")


def test_a_data_directory_of_fewer_nodes_is_refused(tmp_path: Path) -> None:
    outcome = run_program(tmp_path, ON_DISK + '    with Counter.cluster(nodes=3, data="data"): pass\n')
    expect_error(outcome, "WRONG-CLUSTER", "n1, n2, n3")


def test_a_corrupt_record_is_named_with_the_reason_why_it_is_not_repaired(tmp_path: Path) -> None:
    assert run_program(tmp_path, ON_DISK).out == "1\n"
    database = sqlite3.connect(tmp_path / "data" / "n1" / "raft.sqlite3")
    database.execute("UPDATE blocks SET entries = zeroblob(length(entries))")
    database.commit()
    database.close()
    outcome = run_program(tmp_path, ON_DISK)
    expect_error(outcome, "STORAGE-CORRUPT", "raft.sqlite3", "checksum", "Repair is not safe")
    assert outcome.seconds < SOON


# --- commands that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        (
            "import threading; lock = threading.Lock(); counter.cluster.submit(lambda v, lock=lock: v)",
            "UNPICKLABLE-COMMAND",
            ("'lock'", "live _thread.lock"),
        ),
        (
            "log = open('log.txt', 'w'); counter.cluster.submit(lambda v, log=log: v)",
            "UNPICKLABLE-COMMAND",
            ("'log'", "TextIOWrapper"),
        ),
        ("counter.cluster.submit(lambda v: v + len(counter.__dict__))", "UNPICKLABLE-COMMAND", ("counter",)),
        ("counter.cluster.submit(lambda v: v + steps)", "GLOBAL-IN-LAMBDA", ("'steps'",)),
        ("counter.incr('five')", "WRONG-ARGUMENTS", ("incr",)),
        ("counter.incr(1, 2)", "WRONG-ARGUMENTS", ("incr",)),
        ("counter.incr(times=3)", "WRONG-ARGUMENTS", ("times",)),
        ("counter.value", "UNKNOWN-COMMAND", ("Counter.value", "@query")),
        ("counter.value = 3", "UNKNOWN-COMMAND", ("Counter.value", "@command")),
        ("counter.cluster.kill('n9')", "NO-SUCH-NODE", ("n9", "n1, n2, n3")),
        ("Counter().cluster.leader()", "CLUSTER-CLOSED", ("plain object",)),
    ],
)
def test_a_call_that_is_wrong_says_what_is_wrong_and_harms_nothing(
    tmp_path: Path, source: str, code: str, words: tuple[str, ...]
) -> None:
    outcome = run_program(tmp_path, caught(f"            {source}") + "        print(counter.incr(7))\n")
    assert outcome.err == "", outcome.err
    assert outcome.out.startswith(f"error[{code}]: ") and outcome.out.endswith("\n7\n"), outcome.out
    assert all(word in outcome.out for word in words), outcome.out
    assert "\n  why: " in outcome.out and "\n  fix: " in outcome.out, outcome.out


def test_a_command_that_draws_by_lot_is_found_in_debug_mode(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        """
import random
from actors.replicated import Replicated, command

class Dice(Replicated):
    seen: list[float] = []

    @command
    def throw(self) -> None:
        self.seen.append(random.random())

if __name__ == "__main__":
    with Dice.cluster(nodes=1, check_determinism=True) as dice:
        dice.throw()
""",
    )
    expect_error(outcome, "NON-DETERMINISTIC-COMMAND", "throw", "as arguments")


def test_a_blocking_call_inside_apply_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    source = f"""
from actors.replicated import Replicated, command
{COUNTER}
class Nested(Replicated):
    @command
    def both(self) -> int:
        return other.incr()

if __name__ == "__main__":
    with Counter.cluster(engine="threads") as other, Nested.cluster(engine="threads") as nested:
        nested.both()
"""
    outcome = run_program(tmp_path, source)
    expect_error(outcome, "BLOCKING-CALL-INSIDE-APPLY", "incr", "pass its result as an argument")
    assert outcome.seconds < SOON


# --- not now, and not known -------------------------------------------------------------------------------------------


def test_without_a_majority_a_call_names_who_is_down_and_since_when(tmp_path: Path) -> None:
    source = f"""
{COUNTER}
if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        counter.incr()
        for name in counter.cluster.nodes:
            counter.cluster.kill(name)
        counter.incr.using(timeout=0.5)()
"""
    outcome = run_program(tmp_path, source)
    expect_error(outcome, "NO-QUORUM", "2 of 3 peers are needed", "safe to retry")
    assert len(re.findall(r"n\d is down since \d+\.\d s", outcome.last_error)) == 3


def test_a_lost_answer_is_unknown_and_says_what_to_do(tmp_path: Path) -> None:
    source = f"""
import os, signal
{COUNTER}
if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        counter.incr()
        leader = counter.cluster.leader()
        others = [status.process_id for name, status in counter.cluster.status().items() if name != leader]
        for process_id in others:
            os.kill(process_id, signal.SIGSTOP)
        try:
            counter.incr.using(timeout=0.5)()
        finally:
            for process_id in others:
                os.kill(process_id, signal.SIGCONT)
"""
    outcome = run_program(tmp_path, source)
    expect_error(outcome, "OUTCOME-UNKNOWN", "may still take effect", "submits nothing new")


def test_a_cluster_used_after_its_end_says_so(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        COUNTER + 'with Counter.cluster(engine="threads", nodes=1) as counter: pass\ncounter.incr()\n',
    )
    expect_error(outcome, "CLUSTER-CLOSED", "`with` block")


def test_every_error_of_a_peer_has_a_class_that_a_program_can_catch() -> None:
    """The codes that a start can end with are those of classes that starting a cluster imports."""
    assert Cluster.__module__ == "actors.cluster"
    for code in ("NO-MAIN-GUARD", "STORAGE-IN-USE", "WRONG-CLUSTER", "STORAGE-CORRUPT", "COMMAND-IN-MAIN"):
        error = error_from_json({"code": code, "what": "x"})
        assert type(error) is not ActorumError and error.code == code
