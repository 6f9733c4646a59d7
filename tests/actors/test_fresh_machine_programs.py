"""What a newcomer types in the first five minutes, as whole programs: they run, say what they should, and end clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actors.programs import COUNTER, ROOT, assert_nobody_works_in, run_program

pytestmark = pytest.mark.timeout(90)


def test_the_first_program_counts_and_survives_its_leader(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        COUNTER
        + """
if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        print(counter.incr(5), counter.get())
        counter.cluster.kill_leader()
        print(counter.incr(), counter.get())
""",
    )
    print(f"{outcome.seconds:.2f} s")
    assert (outcome.code, outcome.out, outcome.err) == (0, "5 5\n6 6\n", "")


def test_in_threads_killing_the_leader_prints_nothing_either(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        COUNTER
        + """
with Counter.cluster(nodes=3, engine="threads") as counter:
    print(counter.incr(5))
    counter.cluster.kill_leader()
    print(counter.incr())
""",
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "5\n6\n", "")


def test_a_machine_in_a_module_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "machines.py").write_text(COUNTER)
    outcome = run_program(
        tmp_path,
        """
from machines import Counter

if __name__ == "__main__":
    with Counter.cluster(nodes=1) as counter:
        print(counter.incr(3))
""",
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "3\n", "")


def test_what_was_kept_is_found_by_the_next_run(tmp_path: Path) -> None:
    source = (
        COUNTER
        + """
if __name__ == "__main__":
    with Counter.cluster(data="data") as counter:
        print(counter.incr())
"""
    )
    assert [run_program(tmp_path, source).out for _ in range(3)] == ["1\n", "2\n", "3\n"]


def test_futures_callbacks_and_await_in_one_program(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        "import asyncio\n"
        + COUNTER
        + """
async def main(counter):
    return sum(await asyncio.gather(*(counter.incr.submit() for _ in range(10))))

if __name__ == "__main__":
    with Counter.cluster() as counter:
        print([call.result() for call in [counter.incr.submit() for _ in range(5)]])
        print(asyncio.run(main(counter)))
        counter.incr.submit().add_done_callback(lambda call: print("told", call.result()))
        counter.get()
""",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"[1, 2, 3, 4, 5]\n{sum(range(6, 16))}\ntold 16\n"


def test_an_exception_in_the_block_is_the_only_thing_that_is_printed(tmp_path: Path) -> None:
    outcome = run_program(
        tmp_path,
        COUNTER + 'if __name__ == "__main__":\n    with Counter.cluster() as counter:\n        1 // counter.get()\n',
    )
    assert outcome.code == 1 and outcome.err.count("Traceback") == 1
    assert outcome.err.rstrip().endswith("ZeroDivisionError: integer division or modulo by zero")


FOREVER = (
    COUNTER
    + """
import time

if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        print(counter.incr(), flush=True)
        while True:
            time.sleep(0.01)
"""
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_program_that_is_killed_or_interrupted_leaves_no_peer_behind(tmp_path: Path, how: signal.Signals) -> None:
    program = tmp_path / "program.py"
    program.write_text(FOREVER)
    with subprocess.Popen(
        [sys.executable, program.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "1\n"
        if how is signal.SIGINT:
            os.killpg(running.pid, how)  # as a terminal does: everybody gets it
        else:
            running.kill()
        _, err = running.communicate(timeout=60)
    assert_nobody_works_in(tmp_path)
    assert err.count("Traceback") == (1 if how is signal.SIGINT else 0), err
