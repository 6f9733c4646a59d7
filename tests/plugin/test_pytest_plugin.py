"""The pytest plugin, seen from a project that uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = "pytester"
ROOT = Path(__file__).resolve().parents[2]

BANK = """
import random
from actors import Replicated, command, query

class Bank(Replicated):
    accounts: dict[str, int] = {}

    @command
    def deposit(self, name: str, amount: int) -> int:
        self.accounts[name] = self.accounts.get(name, 0) + amount FEE
        return self.accounts[name]

    @query
    def total(self) -> int:
        return sum(self.accounts.values())

def test_bank(sim_cluster):
    bank = sim_cluster(Bank, nodes=NODES)
    bank.chaos(steps=150)
    bank.check()
"""
HONEST = BANK.replace("FEE", "")
FEE_BY_CHANCE = BANK.replace("FEE", "- random.getrandbits(60)")


def run(pytester: pytest.Pytester, test: str, *options: str, nodes: int = 3) -> pytest.RunResult:
    pytester.makepyfile(test.replace("NODES", str(nodes)))
    installed = bool(list(entry_points(group="pytest11", name="actorum")))
    load = [] if installed else ["-p", "actors.pytest_plugin"]
    return pytester.runpytest_inprocess(*load, "-p", "no:cacheprovider", *options)


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_a_deterministic_machine_survives_any_schedule(pytester: pytest.Pytester, nodes: int) -> None:
    for seed in range(4):
        run(pytester, HONEST, f"--raft-seed={seed}", nodes=nodes).assert_outcomes(passed=1)


def test_a_machine_that_draws_lots_is_found_with_its_command_the_seed_and_the_line_that_replays_it(
    pytester: pytest.Pytester,
) -> None:
    failed = run(pytester, FEE_BY_CHANCE)
    failed.assert_outcomes(failed=1)
    text = failed.stdout.str()
    seed = re.search(r"seed (\d+); what happened last", text)
    violation = re.search(r"Violation: (deposit\(.*\), entry \d+, has two outcomes.*)", text)
    assert seed and violation
    assert re.search(r"^ +\d+\.\d{4}  (client|network|n\d) ", text, flags=re.MULTILINE)
    assert re.search(rf"^replay: pytest .*::test_bank --raft-seed={seed[1]}$", text, flags=re.MULTILINE)
    again = run(pytester, FEE_BY_CHANCE, f"--raft-seed={seed[1]}").stdout.str()
    assert violation[1] in again
    assert _table(again) == _table(text)


def _table(text: str) -> list[str]:
    return re.findall(r"^ +\d+\.\d{4}  .*$", text, flags=re.MULTILINE)


def test_a_cluster_on_threads_is_closed_after_the_test(pytester: pytest.Pytester) -> None:
    test = """
from actors.machines.counter import Counter

def test_counter(raft_cluster):
    assert raft_cluster(Counter, nodes=1).incr(5) == 5
"""
    run(pytester, test).assert_outcomes(passed=1)


def test_loading_the_plugin_loads_nothing_else_of_the_package() -> None:
    program = (
        "import sys, actors.pytest_plugin;"
        "print(sorted({'pykka', 'dill', 'msgspec', 'hypothesis', 'multiprocessing'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
