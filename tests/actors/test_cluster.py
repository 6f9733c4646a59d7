"""A cluster of the user's machine, from `with Counter.cluster(...)` to its end: in threads, in processes, on disk."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import pytest

from actors.errors import (
    BlockingCallInsideApply,
    ClusterClosed,
    CommandFailed,
    GlobalInLambda,
    NonDeterministicCommand,
    NoQuorum,
    NoSuchNode,
    TimersTooShort,
    UnpicklableCommand,
    WrongArguments,
    WrongVersion,
)
from actors.machines.counter import Counter
from actors.machines.counters import Counters
from actors.replicated import Replicated, command, query
from actors.storage.port import CorruptStorage, StorageInUse, WrongCluster
from raft_core import Settings

PATIENCE = 30.0
QUICK = Settings(election_timeout=200, heartbeat_interval=40)
Engine = Literal["processes", "threads"]

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("each_runtime")]


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        sleep(0.005)


def in_threads(machine: type[Replicated] = Counter, **options: Any) -> Any:
    return machine.cluster(**{"engine": "threads", "settings": QUICK, "timeout": PATIENCE, **options})


class Ledger(Replicated):
    """Several fields, an exception, and a command that asks the cluster."""

    entries: list[str] = []  # noqa: RUF012
    total: int = 0

    @command
    def book(self, text: str, amount: int) -> int:
        if amount < 0:
            raise ValueError(f"no negative amounts: {amount}")
        self.entries.append(text)
        self.total += amount
        return self.total

    @command
    def ask_ourselves(self) -> int:
        return running[0].get_total()

    @command
    def submit_to_ourselves(self) -> None:
        running[0].cluster.submit(lambda ledger: ledger.entries.append("by the way"))

    @query
    def get_total(self) -> int:
        return self.total


running: list[Ledger] = []
"""Where a command that should not finds the cluster it runs in."""


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_any_odd_number_of_nodes_counts(nodes: int) -> None:
    with in_threads(nodes=nodes) as counter:
        assert [counter.incr(), counter.incr(5), counter.get()] == [1, 6, 6]
        assert counter.cluster.nodes == tuple(f"n{number}" for number in range(1, nodes + 1))
        assert counter.cluster.leader() in counter.cluster.nodes


def test_processes_count_and_survive_their_leader() -> None:
    with Counter.cluster(nodes=3, timeout=PATIENCE) as counter:
        assert counter.incr(5) == 5
        killed = counter.cluster.kill_leader()
        assert counter.incr() == 6
        assert counter.cluster.leader() != killed
        statuses = counter.cluster.status()
        assert statuses[killed] is None
        assert len({status.process_id for status in statuses.values() if status}) == 2
        counter.cluster.restart(killed)
        digests = counter.cluster.wait_until_equal(PATIENCE)
        assert len(digests) == 3 and len({digest.digest for digest in digests.values()}) == 1


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_data_is_kept_and_found_again(tmp_path: Path, engine: Engine) -> None:
    for expected in (5, 10):
        with Counter.cluster(engine=engine, data=tmp_path / "data", timeout=PATIENCE) as counter:
            assert counter.incr(5) == expected
            assert counter.cluster.data == tmp_path / "data"
    assert sorted(path.name for path in (tmp_path / "data").iterdir() if path.is_dir()) == ["n1", "n2", "n3"]


def test_what_one_engine_wrote_the_other_reads(tmp_path: Path) -> None:
    with Counter.cluster(engine="processes", nodes=1, data=tmp_path, timeout=PATIENCE) as counter:
        counter.incr(3)
    with in_threads(nodes=1, data=tmp_path) as counter:
        assert counter.get() == 3


def test_without_data_nothing_is_kept_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        with Counter.cluster(nodes=1, timeout=PATIENCE) as counter:
            assert counter.incr() == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_cluster_in_memory_survives_the_death_of_all_its_peers(engine: Engine) -> None:
    with Counter.cluster(engine=engine, timeout=PATIENCE, settings=QUICK) as counter:
        counter.incr(7)
        for name in counter.cluster.nodes:
            counter.cluster.kill(name)
        for name in counter.cluster.nodes:
            counter.cluster.restart(name)
        assert counter.get() == 7


def test_two_clusters_side_by_side_do_not_meet() -> None:
    with in_threads() as one, in_threads(Counters) as other:
        one.incr(3)
        assert other.incr("a") == 1
        assert (one.get(), other.get("a")) == (3, 1)


def test_status_says_who_leads_and_how_far_everybody_is() -> None:
    with in_threads() as counter:
        counter.incr()
        leader = counter.cluster.leader()
        counter.cluster.wait_until_equal(PATIENCE)
        statuses = counter.cluster.status(PATIENCE)
        assert {name for name, status in statuses.items() if status and status.role == "leader"} == {leader}
        assert len({status.last_index for status in statuses.values() if status}) == 1


def test_a_class_made_inside_a_function_runs_in_threads() -> None:
    class Local(Replicated):
        value: int = 0

        @command
        def add(self, by: int) -> int:
            self.value += by
            return self.value

    with in_threads(Local, nodes=1) as local:
        assert local.add(2) == 2


# --- reads ------------------------------------------------------------------------------------------------------------


def test_a_linearizable_read_sees_every_write_before_it() -> None:
    with in_threads() as counter:
        for number in range(1, 60):
            counter.incr()
            assert counter.get() == number


def test_a_stale_read_needs_no_majority_and_a_linearizable_one_does() -> None:
    with in_threads() as counter:
        counter.incr(4)
        leader = counter.cluster.leader()
        counter.cluster.wait_until_equal(PATIENCE)
        for name in counter.cluster.nodes:
            if name != leader:
                counter.cluster.kill(name)
        assert counter.get.using(consistency="stale")() == 4
        with pytest.raises(NoQuorum):
            counter.get.using(timeout=0.5)()


# --- code commands ----------------------------------------------------------------------------------------------------


def test_code_and_data_commands_change_one_state() -> None:
    with in_threads() as counter:
        assert counter.incr(5) == 5
        assert counter.cluster.submit(lambda value: value * 2) == 10
        assert counter.incr() == 11
        counter.cluster.wait_until_equal(PATIENCE)


def test_code_commands_travel_to_other_processes() -> None:
    by = 4
    with Counter.cluster(nodes=1, timeout=PATIENCE) as counter:
        assert counter.cluster.submit(lambda value: value + by) == 4


def test_a_code_command_for_a_machine_of_several_fields_gets_the_machine() -> None:
    with in_threads(Ledger) as ledger:
        ledger.book("rent", 5)
        assert ledger.cluster.submit(lambda it: it.total + len(it.entries)) == 6


def test_a_code_command_with_a_live_object_is_refused_by_name() -> None:
    lock = threading.Lock()
    with in_threads(nodes=1) as counter:
        with pytest.raises(UnpicklableCommand, match=r"variable 'lock'.*live _thread\.lock"):
            counter.cluster.submit(lambda value: value if lock else 0)
        assert counter.incr() == 1


def test_a_code_command_with_a_global_is_refused_by_name() -> None:
    with in_threads(nodes=1) as counter, pytest.raises(GlobalInLambda, match="'changeable'"):
        counter.cluster.submit(lambda value: value + len(changeable))


changeable: list[int] = []


def test_code_is_not_taken_where_the_log_outlives_the_program(tmp_path: Path) -> None:
    with in_threads(nodes=1, data=tmp_path) as counter, pytest.raises(WrongVersion, match="does not accept code"):
        counter.cluster.submit(lambda value: value + 1)


# --- commands that do what they should not ----------------------------------------------------------------------------


def test_an_exception_in_a_command_is_its_answer_and_the_cluster_lives_on() -> None:
    with in_threads(Ledger) as ledger:
        with pytest.raises(CommandFailed, match="ValueError: no negative amounts: -1"):
            ledger.book("fine", -1)
        assert ledger.book("rent", 1) == 1


@pytest.mark.parametrize("operation", ["ask_ourselves", "submit_to_ourselves"])
def test_a_blocking_call_inside_apply_fails_at_once(operation: str) -> None:
    with in_threads(Ledger) as ledger:
        running[:] = [ledger]
        began = monotonic()
        with pytest.raises(BlockingCallInsideApply, match="from inside a command"):
            getattr(ledger, operation)()
        assert monotonic() - began < PATIENCE / 2
        assert ledger.book("still alive", 1) == 1
        assert ledger.cluster.submit(lambda it: len(it.entries)) == 1, "nothing was submitted by the way"


class Dice(Replicated):
    seen: list[float] = []  # noqa: RUF012

    @command
    def throw(self) -> None:
        self.seen.append(monotonic())

    @command
    def put(self, value: float) -> int:
        self.seen.append(value)
        return len(self.seen)


def test_a_command_that_looks_at_the_clock_is_found_when_determinism_is_checked() -> None:
    with in_threads(Dice, check_determinism=True) as dice:
        with pytest.raises(NonDeterministicCommand, match="throw had two outcomes"):
            dice.throw()
        assert dice.put(3.5) == 1


# --- what cannot be started -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("election, heartbeat", [(100, 51), (100, 100), (50, 100), (0, 0), (100, 0)])
def test_timers_that_cannot_work_are_refused(election: int, heartbeat: int) -> None:
    settings = Settings(election_timeout=election, heartbeat_interval=heartbeat)
    with pytest.raises(TimersTooShort, match=f"{heartbeat} ms"), Counter.cluster(settings=settings):
        pass


@pytest.mark.parametrize("options", [{"nodes": 0}, {"nodes": "3"}, {"engine": "treads"}, {"storage": "redis"}])
def test_options_that_mean_nothing_are_refused_and_named(options: dict[str, Any]) -> None:
    (value,) = options.values()
    with pytest.raises(WrongArguments) as caught, Counter.cluster(**options):
        pass
    assert repr(value) in str(caught.value) and caught.value.fix


def test_a_directory_of_another_machine_or_size_is_refused(tmp_path: Path) -> None:
    with in_threads(data=tmp_path) as counter:
        counter.incr()
    for machine, nodes in ((Counters, 3), (Counter, 5), (Counter, 1)):
        with pytest.raises(WrongCluster), in_threads(machine, nodes=nodes, data=tmp_path):
            pass
    with in_threads(data=tmp_path) as counter:
        assert counter.get() == 1


def test_a_directory_in_use_is_refused_and_its_owner_goes_on(tmp_path: Path) -> None:
    with in_threads(nodes=1, data=tmp_path) as counter:
        with pytest.raises(StorageInUse, match="locked by process"), in_threads(nodes=1, data=tmp_path):
            pass
        assert counter.incr() == 1


def test_a_log_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    with in_threads(data=tmp_path) as counter:
        counter.incr()
    (tmp_path / "n2" / "raft.sqlite3").unlink()
    with in_threads(data=tmp_path) as counter:
        with pytest.raises(CorruptStorage, match="n2"):
            counter.cluster.restart("n2")
        assert not (tmp_path / "n2" / "raft.sqlite3").exists()


# --- after the end ----------------------------------------------------------------------------------------------------


def test_used_after_its_block_a_cluster_says_so() -> None:
    with in_threads(nodes=1) as counter:
        call = counter.incr.submit()
        call.result()
    for use in (counter.incr, counter.get, counter.incr.submit, counter.cluster.kill_leader, counter.cluster.digests):
        with pytest.raises(ClusterClosed):
            use()
    assert call.result() == 1, "an answer that is there stays there"


def test_an_exception_in_the_block_ends_the_cluster_and_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError), in_threads(nodes=1):
        _ = 1 // 0


def test_an_unknown_node_is_refused_by_name() -> None:
    with in_threads(nodes=1) as counter, pytest.raises(NoSuchNode, match="n7"):
        counter.cluster.kill("n7")


def test_without_a_majority_asking_for_the_leader_says_who_is_down() -> None:
    with in_threads() as counter:
        counter.cluster.leader()
        for name in ("n1", "n2"):
            counter.cluster.kill(name)
        eventually(lambda: not [s for s in counter.cluster.status().values() if s and s.role == "leader"], "step-down")
        with pytest.raises(NoQuorum, match="n1 is down since"):
            counter.cluster.leader(timeout=0.2)
