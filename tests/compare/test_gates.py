"""Each gate can fail, and the speed of a run that failed one is in no table."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.cli import app
from actors.compare.experiment import begin
from actors.compare.gates import gates, leaders_wrong, traces_gate
from actors.compare.load import Loader
from actors.compare.measured import ThreadProbes
from actors.compare.own_process import run_in_process
from actors.compare.probe import Led
from actors.compare.records import Gate
from actors.errors import ExitCode
from actors.protocol import Digest
from actors.storage.trace import trace_files
from tests.compare.broken_run import forgetful
from tests.compare.one_run import SECONDS, broken, cell_of, one_run


def passed(found: Sequence[Gate]) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in found}


# --- the history ------------------------------------------------------------------------------------------------------


class Told:
    """What a loader noted: results, and when each was asked for and came."""

    before = 0

    def __init__(self, results: Sequence[int], returned: Sequence[int]) -> None:
        self.invoked = array("q", [10 * number + 1 for number in range(len(results))])
        self.returned, self.results = array("q", returned), array("q", results)

    history = Loader.history


class Peers:
    """A cluster as far as gates look at it."""

    def __init__(self, *digests: tuple[int, str]) -> None:
        self._digests = [Digest(0, f"n{number}", *each, "payloads@1") for number, each in enumerate(digests, start=1)]

    def digests(self) -> dict[str, Digest | None]:
        return {digest.server_id: digest for digest in self._digests}


ALIKE = Peers((9, "a"), (9, "a"), (9, "a"))


def verdict(told: Told, peers: Peers = ALIKE, control: str = "") -> tuple[Gate, ...]:
    return gates(cell_of(control=control), peers, told, {}, ("n1", 1))  # type: ignore[arg-type]


def test_a_history_in_order_passes() -> None:
    assert passed(verdict(Told([1, 2, 3], [5, 15, 25])))["history is linearizable"]


@pytest.mark.parametrize(
    ("results", "returned"),
    [([1, 1, 2], [5, 15, 25]), ([2, 1, 3], [5, 15, 25]), ([1, 3, 4], [5, 15, 25])],
    ids=["a number twice", "the past after the future", "a number of nobody's"],
)
def test_a_history_that_is_not_linearizable_fails(results: list[int], returned: list[int]) -> None:
    gate = verdict(Told(results, returned))[0]
    assert (gate.name, gate.passed) == ("history is linearizable", False)
    assert gate.detail


def test_a_command_whose_outcome_is_unknown_may_have_counted() -> None:
    assert passed(verdict(Told([1, 0, 3], [5, 0, 25])))["history is linearizable"]


def test_a_command_that_was_refused_may_not() -> None:
    assert not passed(verdict(Told([1, 0, 3], [5, -1, 25])))["history is linearizable"]


def test_a_run_without_results_fails() -> None:
    gate = verdict(Told([0], [0]))[0]
    assert (gate.passed, gate.detail) == (False, "nothing was completed")


# --- replicas and leaders ---------------------------------------------------------------------------------------------


def test_replicas_that_differ_fail() -> None:
    found = verdict(Told([1], [5]), Peers((9, "a"), (9, "b"), (9, "a")))
    assert passed(found)["replicas are equal"] is False
    assert "replicas differ" in found[1].detail


def test_replicas_that_never_catch_up_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.demo.patience.PATIENCE", 0.02)
    found = verdict(Told([1], [5]), Peers((9, "a"), (8, "a"), (9, "a")))
    assert "not all replicas applied the same entries" in found[1].detail


def test_a_minority_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.demo.patience.PATIENCE", 0.02)
    assert not passed(verdict(Told([1], [5]), Peers((9, "a"))))["replicas are equal"]
    assert passed(verdict(Told([1], [5]), Peers((9, "a"), (9, "a"))))["replicas are equal"]


def test_two_leaders_of_one_term_fail() -> None:
    assert leaders_wrong({"n1": [Led(1.0, 3)], "n2": [Led(2.0, 3)]}, ("n1", 3)) == (
        "terms with two leaders: {3: ['n1', 'n2']}"
    )


def test_a_leader_that_was_killed_counts_too() -> None:
    assert "n1" in leaders_wrong({"n2": [Led(2.0, 3)]}, ("n1", 3))


def test_leaders_of_different_terms_pass() -> None:
    assert not leaders_wrong({"n1": [Led(1.0, 3)], "n2": [Led(2.0, 4), Led(3.0, 6)]}, ("n1", 3))


# --- traces -----------------------------------------------------------------------------------------------------------


def test_a_directory_without_traces_fails(tmp_path: Path) -> None:
    found = traces_gate(tmp_path)
    assert not found.passed and "there is no trace" in found.detail


def test_a_trace_of_another_core_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_core(monkeypatch, forgetful):
        found = traces_of_a_run(tmp_path)
    assert not found.passed
    assert ".trace: " in found.detail


def test_a_trace_of_this_core_passes_until_a_digest_in_it_is_changed(tmp_path: Path) -> None:
    assert traces_of_a_run(tmp_path).passed
    path = trace_files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = traces_gate(tmp_path)
    assert not found.passed and found.detail


@contextmanager
def own_core(monkeypatch: pytest.MonkeyPatch, step: object) -> Iterator[None]:
    """`step` decides instead of the core in all peers in threads, from their first turn on."""
    with monkeypatch.context() as patch:
        patch.setattr("actors.interpreter.step_all", step)
        yield


def traces_of_a_run(directory: Path) -> Gate:
    """The gate, over the traces of a cluster in threads, which stay in `directory`."""
    from actors import Settings
    from actors.cluster import cluster_directory, peer_specs, run_peers
    from actors.compare.load import StampingClient
    from actors.compare.measured import Measured
    from actors.compare.payloads import Payloads

    probes = ThreadProbes(Measured(directory=str(directory)))
    with cluster_directory(None, "memory", "threads") as (data, kind):
        specs = peer_specs(Payloads, 3, Settings(), data, kind, 1)
        with run_peers(specs, probes.host(), timeout=10.0, data=None) as cluster:
            client = StampingClient(timeout=10.0, health=cluster.supervisor.health)
            cluster.supervisor.add_client(client)
            Loader(client, 16).closed(4, 0.1)
            client.close()
    return traces_gate(directory)


# --- a run whose core is broken, from end to end ----------------------------------------------------------------------


def test_a_run_with_a_broken_core_is_not_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_core(monkeypatch, forgetful):
        run = one_run(tmp_path, cell_of())
    assert not run.is_sound
    assert len(broken(run)) >= 2  # the leader counts less than the others, and no trace comes out again


@pytest.mark.usefixtures("open_fonts")
def test_the_speed_of_a_run_with_a_broken_core_is_in_no_table(tmp_path: Path) -> None:
    """As users meet it: one sound cell, one that is not, and the program that was to compare them."""
    good, bad = cell_of("actors"), cell_of("locks")
    experiment = begin(tmp_path, "quick", [(good, 1), (bad, 1)], seed=1, seconds=SECONDS)
    first, second = experiment.manifest().plan
    run_in_process(first, tmp_path, SECONDS)
    run_in_process(second, tmp_path, SECONDS, module="tests.compare.broken_run")
    done = CliRunner().invoke(app, ["compare", "--from", str(tmp_path), "-o", "json"])
    assert done.exit_code == ExitCode.UNSAFE
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "SAFETY-VIOLATION"
    assert error["what"].startswith("1 of 2 runs failed a gate; run 1: ")
    rows = json.loads(done.stdout)["rows"]
    assert [row["design"] for row in rows] == ["actors (one mailbox)"]


def test_if_no_run_was_sound_there_is_no_table(tmp_path: Path) -> None:
    experiment = begin(tmp_path, "quick", [(cell_of(), 1)], seed=1, seconds=SECONDS)
    run_in_process(experiment.manifest().plan[0], tmp_path, SECONDS, module="tests.compare.broken_run")
    done = CliRunner().invoke(app, ["compare", "--from", str(tmp_path)])
    assert done.exit_code == ExitCode.UNSAFE
    assert "1 of 1 runs failed a gate" in done.stderr
    assert "actors (one mailbox)" not in done.stdout
