"""The pytest plugin, seen from a project that uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
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
"""
HONEST = BANK.replace("FEE", "")
FEE_BY_CHANCE = BANK.replace("FEE", "- random.getrandbits(60)")

CHECKED = """
def test_bank(sim_cluster):
    bank = sim_cluster(Bank, nodes=3)
    bank.chaos(steps=60)
    bank.check(processes=False)
"""


def run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    if test:
        pytester.makepyfile(test)
    if not any(point.value == "actors.pytest_plugin" for point in entry_points(group="pytest11")):
        options = ("-p", "actors.pytest_plugin", *options)  # not installed: nobody but us knows of it
    return pytester.runpytest_inprocess(*options)


def entry_points_of_the_project() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = project["entry-points"]["pytest11"]
    return found


def test_pytest_finds_the_plugin_by_the_entry_point_that_the_project_declares(tmp_path: Path) -> None:
    """As an installation leaves it: a directory of metadata beside the package."""
    metadata = tmp_path / "probe-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in entry_points_of_the_project().items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    (tmp_path / "test_it.py").write_text("def test_it(sim_cluster, raft_cluster): pass\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--raft-seed=1", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_deterministic_machine_survives_any_schedule_also_calls_in_between(pytester: pytest.Pytester) -> None:
    test = """
import pytest

@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_bank(sim_cluster, nodes):
    bank = sim_cluster(Bank, nodes=nodes)
    bank.chaos(steps=60)
    bank.calm()
    total = bank.machine.total()
    bank.machine.deposit("ann", 5)
    assert bank.machine.total() == total + 5
    bank.chaos(steps=60)
    bank.check(processes=nodes == 3)
"""
    run(pytester, HONEST + test).assert_outcomes(passed=3)


def test_a_failure_shows_the_fewest_steps_a_figure_and_the_line_that_replays_it(pytester: pytest.Pytester) -> None:
    failed = run(pytester, FEE_BY_CHANCE + CHECKED)
    failed.assert_outcomes(failed=1)
    text = failed.stdout.str()
    assert re.search(r"^One Outcome: deposit\(.*\), entry 3, has two outcomes", text, flags=re.MULTILINE)
    assert re.search(r"^1 of \d+ steps are enough:$", text, flags=re.MULTILINE)
    assert re.search(r"^ +time \(s\)  client +n1 +n2 +n3 +network$", text, flags=re.MULTILINE)
    assert len(re.findall(r"^ +0\.0000  deposit\(", text, flags=re.MULTILINE)) == 1
    _is_a_page_that_needs_nothing_else(_figure(text))
    replay = re.search(r"^replay: pytest (\S+)::test_bank (--raft-seed=\d+)$", text, flags=re.MULTILINE)
    assert replay
    again = run(pytester, "", replay[2], "-p", "no:cacheprovider").stdout.str()
    assert _table(again) == _table(text)
    _figure(again).unlink()
    _figure(again).parent.rmdir()


def _table(text: str) -> list[str]:
    return re.findall(r"^ +\d+\.\d{4}  .*$", text, flags=re.MULTILINE)


def _figure(text: str) -> Path:
    page = re.search(r"^figure: file://(.*\.html)$", text, flags=re.MULTILINE)
    assert page
    return Path(page[1])


def _is_a_page_that_needs_nothing_else(page: Path) -> None:
    drawn = page.read_text()
    assert "<svg" in drawn and "One Outcome: deposit(" in drawn
    assert not re.search(r"(src|href)=|url\((?!#)|<script", drawn)


def test_a_test_that_fails_by_itself_shows_what_it_did_last(pytester: pytest.Pytester) -> None:
    test = """
def test_bank(sim_cluster):
    bank = sim_cluster(Bank)
    bank.chaos(steps=30)
    bank.calm()
    bank.machine.deposit("dora", 7)
    assert bank.machine.total() == "a lot"
"""
    text = run(pytester, HONEST + test, "--raft-seed=3").stdout.str()
    assert "what happened last" in text
    assert re.search(r"^ +\d+\.\d{4}  deposit\('dora', 7\)$", text, flags=re.MULTILINE)
    assert re.search(r"^replay: pytest .*::test_bank --raft-seed=3$", text, flags=re.MULTILINE)


def test_a_machine_that_hypothesis_drives_shows_the_same(pytester: pytest.Pytester) -> None:
    test = """
from hypothesis import Phase, settings
from actors.testing.stateful import RaftMachine

class BankMachine(RaftMachine):
    machine = Bank

TestBank = BankMachine.TestCase
TestBank.settings = settings(deadline=None, database=None, derandomize=True, phases=[Phase.generate])
"""
    failed = run(pytester, FEE_BY_CHANCE + test, "-p", "no:hypothesispytest")
    failed.assert_outcomes(failed=1)
    text = failed.stdout.str()
    assert re.search(r"The Model Agrees: deposit\(.*\) was answered -\d+, the plain object says -\d+", text)
    assert re.search(r"state\.deposit\(amount=-?\d+, name='.*'\)", text)
    assert re.search(r"^ +\d+\.\d{4} .* applies 3: deposit\(.*\)$", text, flags=re.MULTILINE)
    assert "<svg" in _figure(text).read_text()
    assert re.search(r"^replay: pytest .*::TestBank::runTest", text, flags=re.MULTILINE)


def test_the_example_finds_its_planted_mistake_and_nothing_in_the_repaired_ledger(pytester: pytest.Pytester) -> None:
    example = ROOT / "examples" / "tests" / "test_bank_ledger.py"
    options = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    run(pytester, "", str(example), "--raft-seed=1", *options).assert_outcomes(passed=2, xfailed=1)


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


def test_the_tests_in_the_how_to_find_the_mistake_and_nothing_in_what_is_repaired(pytester: pytest.Pytester) -> None:
    text = (ROOT / "docs" / "how-to" / "test-your-machine.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    done = run(pytester, "\n\n".join(blocks), "--raft-seed=1", "-k", "ledger", "-p", "no:hypothesispytest")
    done.assert_outcomes(failed=1, passed=1, deselected=2)
    assert "Everywhere Alike: share_profit(" in done.stdout.str()
