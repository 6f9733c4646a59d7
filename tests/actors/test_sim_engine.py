"""The deterministic engine: the same calls, the same promises, a clock that only moves when somebody waits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest

from actors.calls import Call
from actors.client import Client
from actors.errors import (
    BlockingCallInsideApply,
    CallTimeout,
    ClusterClosed,
    CommandFailed,
    NonDeterministicCommand,
    NoQuorum,
    NoSuchNode,
    OutcomeUnknown,
    WrongArguments,
    WrongVersion,
)
from actors.machines.counter import Counter
from actors.replicated import Replicated, command
from actors.sim import SimCluster
from raft_core import ServerId
from tests.architecture.imports import belongs_to, sources, uses

ROOT = Path(__file__).parents[2]


@contextmanager
def simulated(*, nodes: int = 3, seed: int = 1, timeout: float = 10.0) -> Iterator[tuple[Counter, SimCluster]]:
    with Counter.cluster(nodes=nodes, engine="sim", seed=seed, timeout=timeout) as counter:
        cluster = counter.cluster
        assert isinstance(cluster, SimCluster)
        yield counter, cluster


def down(cluster: SimCluster) -> list[ServerId]:
    return [name for name, (state, _, _) in cluster.supervisor.members().items() if state != "up"]


def kill_all_but(cluster: SimCluster, survivor: ServerId) -> None:
    for name in cluster.nodes:
        if name != survivor:
            cluster.kill(name)


def a_life(seed: int) -> str:
    """A program with a bit of everything; what came of it, in a line."""
    with simulated(seed=seed) as (counter, cluster):
        calls = [counter.incr.submit(by) for by in range(1, 20)]
        killed = cluster.kill_leader()
        results = [call.result() for call in calls]
        cluster.restart(killed)
        cluster.run_for(1.5)
        return f"{results} {killed} {counter.get()} {cluster.leader()} {cluster.status()} {cluster.trace_digest}"


# --- the same run again -----------------------------------------------------------------------------------------------


def test_the_same_seed_and_the_same_calls_give_the_same_run_to_the_byte() -> None:
    assert a_life(7) == a_life(7)


def test_another_seed_gives_another_run_with_the_same_sum() -> None:
    lives = [a_life(seed) for seed in range(5)]
    assert len({life.split()[-1] for life in lives}) == 5
    assert all(" 190 " in life for life in lives)


def test_another_process_with_another_hash_seed_has_the_same_run() -> None:
    program = "from tests.actors.test_sim_engine import a_life; print(a_life(7))"

    def printed(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", program]
        return subprocess.check_output(command, cwd=ROOT, env=environment, text=True, timeout=60).strip()

    assert [printed("1"), printed("2")] == [a_life(7)] * 2


def test_the_trace_can_be_read_and_everything_that_happens_changes_its_digest() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        leader = cluster.leader()
        assert any(line.split()[1:5] == [leader, "leader", "in", "term"] for line in cluster.trace)
        times = [float(line.split()[0]) for line in cluster.trace]
        assert times == sorted(times)
        before = cluster.trace_digest
        counter.get()
        assert cluster.trace_digest != before


def test_the_simulation_uses_no_thread_no_clock_no_process_and_no_randomness_but_the_seed() -> None:
    forbidden = ("threading", "time", "multiprocessing", "os", "socket", "selectors", "pykka", "secrets", "uuid")
    package = [source for source in sources(ROOT, "actors") if source.path.startswith("actors/sim/")]
    used = [use.name for source in package for use in uses(source)]
    assert "random.Random" in used
    assert not [name for name in used if any(belongs_to(name, module) for module in forbidden)]
    assert {name for name in used if belongs_to(name, "random")} == {"random.Random"}


# --- the same promises ------------------------------------------------------------------------------------------------


def test_a_program_works_as_with_the_other_engines() -> None:
    with simulated() as (counter, cluster):
        assert (counter.incr(5), counter.get()) == (5, 5)
        killed = cluster.kill_leader()
        assert (counter.incr(), counter.get()) == (6, 6)
        assert cluster.leader() != killed
        assert cluster.status()[killed] is None
        assert cluster.digests()[killed] is None
        cluster.restart(killed)
        assert {digest.applied_index for digest in cluster.wait_until_equal().values()} == {5}
        assert cluster.submit(lambda value: value * 7) == 42
        assert counter.get() == 42


def test_five_nodes_survive_the_loss_of_two_leaders() -> None:
    with simulated(nodes=5) as (counter, cluster):
        for value in (1, 2, 3):
            assert counter.incr() == value
            if value < 3:
                cluster.kill_leader()
        assert len(down(cluster)) == 2


def test_one_node_is_a_cluster() -> None:
    with simulated(nodes=1) as (counter, cluster):
        assert counter.incr() == 1
        cluster.kill("n1")
        cluster.restart("n1")
        assert cluster.supervisor.recovered_index("n1") >= 3
        assert counter.incr() == 2


def _something_happens(counter: Counter, cluster: SimCluster, random: Random, calls: list[Call[int]]) -> None:
    names, broken = cluster.nodes, down(cluster)
    match random.randrange(12):
        case 0 | 1 | 2 | 3:
            calls.extend(counter.incr.submit() for _ in range(random.randrange(1, 8)))
        case 4 | 5 if len(broken) < (len(names) - 1) // 2:
            cluster.kill(random.choice([name for name in names if name not in broken]))
        case 6 if len(broken) < (len(names) - 1) // 2:
            cluster.kill_leader()
        case 7 | 8 if broken:
            cluster.restart(random.choice(broken))
        case 9:
            acknowledged = sum(call.done() for call in calls)
            assert acknowledged <= counter.get() <= len(calls)
        case 10 if random.random() < 0.3:
            for name in names:
                cluster.kill(name)
            cluster.run_for(random.uniform(0, 0.5))
            for name in names:
                cluster.restart(name)
        case _:
            cluster.run_for(random.choice((0.0005, 0.003, 0.05, 0.4)))


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_no_acknowledged_increment_is_lost_or_doubled_whoever_is_killed_when(first: int) -> None:
    for seed in range(first, first + 25):
        random = Random(seed)
        calls: list[Call[int]] = []
        with simulated(nodes=random.choice((3, 5)), seed=seed, timeout=60.0) as (counter, cluster):
            for _ in range(40):
                _something_happens(counter, cluster, random, calls)
            for name in down(cluster):
                cluster.restart(name)
            assert sorted(call.result() for call in calls) == list(range(1, len(calls) + 1)), f"seed {seed}"
            assert counter.get() == len(calls), f"seed {seed}"
            digests = cluster.wait_until_equal().values()
            assert min(digest.applied_index for digest in digests) >= len(calls), f"seed {seed}"


def test_a_machine_may_be_made_inside_a_function_because_nobody_imports_it() -> None:
    class Register(Replicated):
        text: str = ""

        @command
        def write(self, text: str) -> str:
            before, self.text = self.text, text
            return before

        @command
        def refuse(self) -> None:
            raise ValueError("never")

    with Register.cluster(engine="sim") as register:
        assert [register.write("a"), register.write("b")] == ["", "a"]
        with pytest.raises(CommandFailed, match="never"):
            register.refuse()


# --- the clock --------------------------------------------------------------------------------------------------------


def test_time_stands_still_unless_somebody_waits_and_passes_exactly_as_told() -> None:
    with simulated() as (counter, cluster):
        call = counter.incr.submit()
        assert (cluster.now, call.done()) == (0.0, False)
        assert call.result() == 1
        leader, before = cluster.leader(), cluster.now
        cluster.run_for(60.0)
        assert cluster.now == before + 60.0
        status = cluster.status()[leader]
        assert status is not None
        assert (status.role, status.term) == ("leader", 1), "an idle minute deposes nobody"
        assert status.uptime > 60.0


def test_what_was_submitted_gets_on_while_something_else_is_waited_for() -> None:
    with simulated() as (counter, cluster):
        call = counter.incr.submit()
        told: list[int] = []
        call.add_done_callback(lambda done: told.append(done.result()))
        assert told == []
        cluster.run_for(5.0)
        assert (call.done(), told) == (True, [1])


def test_a_callback_may_call_and_wait() -> None:
    with simulated() as (counter, cluster):
        told: list[int] = []
        counter.incr.submit().add_done_callback(lambda _: told.append(counter.incr(10)))
        cluster.run_for(5.0)
        assert told == [11]


def test_a_callback_may_wait_for_a_call_that_was_answered_in_the_same_message() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        counter.get.submit()  # under way, so that both increments gather into one batch
        told: list[int] = []
        calls: list[Call[int]] = []
        calls.append(counter.incr.submit())
        calls.append(counter.incr.submit())
        calls[0].add_done_callback(lambda _: told.append(calls[1].result()))
        cluster.run_for(1.0)
        assert told == [3]


def test_calls_can_be_awaited_by_several_tasks() -> None:
    async def one(counter: Counter, times: int) -> list[int]:
        return [await counter.incr.submit() for _ in range(times)]

    async def program(counter: Counter) -> list[list[int]]:
        return list(await asyncio.gather(one(counter, 5), one(counter, 5)))

    def run() -> tuple[list[list[int]], str]:
        with simulated() as (counter, cluster):
            return asyncio.run(program(counter)), cluster.trace_digest

    results, digest = run()
    assert sorted([*results[0], *results[1]]) == list(range(1, 11))
    assert results[0] != [1, 2, 3, 4, 5], "the tasks take turns"
    assert run() == (results, digest)


def test_awaiting_ends_in_virtual_time_with_the_same_errors() -> None:
    async def program(counter: Counter) -> None:
        await counter.incr.using(timeout=3.0).submit()

    with simulated() as (counter, cluster):
        counter.incr()
        kill_all_but(cluster, "n1" if cluster.leader() != "n1" else "n2")
        before = cluster.now
        with pytest.raises(NoQuorum, match="not accepted"):
            asyncio.run(program(counter))
        assert cluster.now == pytest.approx(before + 3.0)


# --- the same errors --------------------------------------------------------------------------------------------------


def test_without_a_majority_a_call_that_nobody_accepts_ends_with_no_quorum_and_who_is_down() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        survivor = next(name for name in cluster.nodes if name != cluster.leader())
        kill_all_but(cluster, survivor)
        before = cluster.now
        with pytest.raises(NoQuorum, match=r"is down since 2\.0 s.*; 2 of 3 peers are needed"):
            counter.incr.using(timeout=2.0)()
        assert cluster.now == before + 2.0
        with pytest.raises(NoQuorum):
            counter.get.using(timeout=2.0)()
        kill_all_but(cluster, "nobody")
        with pytest.raises(NoQuorum):
            counter.get.using(timeout=2.0)()
        with pytest.raises(NoQuorum, match="no leader"):
            cluster.leader(timeout=2.0)


def test_a_call_that_no_leader_took_in_time_may_be_made_again() -> None:
    with simulated() as (counter, _):
        with pytest.raises(CallTimeout):
            counter.incr.using(timeout=0.1)()
        with pytest.raises(CallTimeout):
            counter.get.using(timeout=0.05)()
        assert counter.incr() == 1


def test_a_command_sent_to_a_leader_without_followers_has_an_unknown_outcome_until_they_are_back() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        kill_all_but(cluster, cluster.leader())
        call = counter.incr.submit()
        with pytest.raises(OutcomeUnknown):
            call.result(timeout=0.1)
        for name in down(cluster):
            cluster.restart(name)
        assert call.result() == 2
        assert counter.get() == 2


def test_a_closed_simulation_answers_nobody() -> None:
    with simulated() as (counter, cluster):
        call = counter.incr.submit()
    with pytest.raises(ClusterClosed, match="before incr"):
        call.result()
    for late in (
        counter.incr,
        counter.get,
        cluster.digests,
        partial(cluster.kill, "n1"),
        partial(cluster.restart, "n1"),
    ):
        with pytest.raises(ClusterClosed):
            late()


def test_there_are_no_other_nodes_and_no_links() -> None:
    with simulated() as (_, cluster):
        for method in (cluster.kill, cluster.restart, cluster.supervisor.recovered_index):
            with pytest.raises(NoSuchNode, match="n1, n2, n3"):
                method("n4")
        client = Client(timeout=1.0, health=cluster.supervisor.health)
        try:
            with pytest.raises(WrongArguments, match="threads"):
                cluster.supervisor.add_client(client)
        finally:
            client.close()


class Difficult(Replicated):
    value: int = 0

    @command
    def drive(self) -> None:
        driven[0].run_for(1.0)

    @command
    def exhaust(self) -> None:
        raise MemoryError("not caught by the machine's host: it ends the peer")


driven: list[SimCluster] = []
"""What `Difficult.drive` would drive."""


def test_a_command_cannot_let_the_time_of_its_own_simulation_pass() -> None:
    with Difficult.cluster(engine="sim") as difficult:
        assert isinstance(difficult.cluster, SimCluster)
        driven[:] = [difficult.cluster]
        with pytest.raises(BlockingCallInsideApply, match="run_for"):
            difficult.drive()


def test_what_would_end_a_peer_comes_out_where_the_simulation_is_driven() -> None:
    with Difficult.cluster(engine="sim") as difficult, pytest.raises(MemoryError, match="ends the peer"):
        difficult.exhaust()


def test_options_of_the_machine_mean_what_they_mean_elsewhere() -> None:
    class Dice(Replicated):
        value: float = 0.0

        @command
        def roll(self) -> float:
            self.value = Random().random()
            return self.value

    with Dice.cluster(engine="sim", check_determinism=True) as dice, pytest.raises(NonDeterministicCommand):
        dice.roll()
    with Counter.cluster(engine="sim", allow_code=False) as counter, pytest.raises(WrongVersion):
        counter.cluster.submit(lambda value: value + 1)
