"""The scheduler: a schedule is its seed, it preempts no more than it may, and what is planted is found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.compare.search.hunting import LENGTHS, Row
from actors.compare.search.page import MARK, with_results
from actors.compare.search.programs import try_program
from actors.compare.search.running import FILE, load
from actors.compare.search.schedule import BOUND, Schedule
from actors.compare.search.surroundings import SearchOracle
from actors.compare.search.trial import DESIGNS, PEERS, Design, attempt
from actors.compare.search.waiting import Wait, Waiting, in_words
from actors.lock_based.threads import Condition, Lock, Threads
from raft_core import AppendEntries, PersistTermAndVote, RequestVote, RequestVoteResult
from raft_core.verify.invariants import Violation
from raft_core.verify.simulated_disk import SimulatedDisk

CORRECT = 50
"""Schedules that the designs as they are must pass here; the page names many more."""


class Two:
    """Two locks, taken by two threads in the orders given."""

    def __init__(self, threads: Threads, *, is_inverted: bool) -> None:
        self.first_lock = threads.lock()
        self.second_lock = threads.lock()
        orders = [(self.first_lock, self.second_lock), (self.first_lock, self.second_lock)]
        if is_inverted:
            orders[1] = (self.second_lock, self.first_lock)
        for name, order in zip("ab", orders, strict=True):
            threads.start(name, lambda order=order: self._take(*order))  # type: ignore[misc]

    def _take(self, one: Lock, other: Lock) -> None:
        with one, other:
            pass


class Post:
    """One thread waits for a letter that another brings; the look at the box is under the lock, or is not."""

    def __init__(self, threads: Threads, *, looks_before: bool) -> None:
        self.condition: Condition = threads.condition()
        self.has_come = False
        threads.start("reader", self._look_before if looks_before else self._look_inside)
        threads.start("writer", self._bring)

    def _look_before(self) -> None:
        if not self.has_come:
            with self.condition:
                self.condition.wait()

    def _look_inside(self) -> None:
        with self.condition:
            while not self.has_come:
                self.condition.wait()

    def _bring(self) -> None:
        self.has_come = True
        with self.condition:
            self.condition.notify_all()


def _first(program: Callable[[Threads], object], schedules: int, *, bound: int = BOUND) -> tuple[int, str, str] | None:
    """The first seed that finds something, what, and the circle."""
    for seed in range(schedules):
        finding = try_program(lambda threads: (program(threads), None)[1], seed, length=8, bound=bound).finding
        if finding is not None:
            return seed, finding.how, finding.detail
    return None


def test_a_planted_lock_order_inversion_is_found_and_its_circle_is_named() -> None:
    found = _first(lambda threads: Two(threads, is_inverted=True), 100)
    assert found is not None
    _, how, circle = found
    assert how == "Deadlock"
    for waits in (
        "a holds program.first_lock and waits for program.second_lock",
        "b holds program.second_lock and waits for program.first_lock",
    ):
        assert waits in circle
    assert "test_search.py:" in circle


def test_the_same_order_of_locks_is_never_a_deadlock() -> None:
    assert _first(lambda threads: Two(threads, is_inverted=False), 100) is None


def test_a_planted_lost_wake_up_is_found_and_who_waits_for_it_is_named() -> None:
    found = _first(lambda threads: Post(threads, looks_before=True), 200)
    assert found is not None
    assert found[1] == "Lost Wake-Up"
    assert found[2].startswith("reader wait")


def test_a_look_under_the_lock_loses_no_wake_up() -> None:
    assert _first(lambda threads: Post(threads, looks_before=False), 200) is None


def test_without_preemptions_two_threads_that_do_not_wait_do_not_meet() -> None:
    assert _first(lambda threads: Two(threads, is_inverted=True), 100, bound=0) is None


def test_a_thread_that_waits_on_a_condition_may_be_woken_for_nothing() -> None:
    woken: list[bool] = []

    def program(threads: Threads) -> None:
        condition = threads.condition()

        def wait() -> None:
            with condition:
                woken.append(condition.wait())

        threads.start("a", wait)

    outcomes = [try_program(program, seed, length=4) for seed in range(20)]
    assert woken and all(woken), "nobody notifies: who goes on was woken for nothing"
    assert any(outcome.finding for outcome in outcomes), "the others wait for ever"


def test_no_schedule_preempts_more_often_than_its_bound() -> None:
    for bound in (0, 1, 2):
        for seed in range(50):
            schedule = Schedule(seed, 30, bound)
            lost = sum(schedule.point("n1", "a", "goes on") > 0 for _ in range(60))
            assert lost == len(schedule.preemptions) <= bound


def test_a_schedule_lets_at_most_one_peer_die() -> None:
    deaths = set()
    for seed in range(100):
        schedule, died = Schedule(seed, 30), list[str]()
        schedule.dies = lambda peer, after, died=died: died.append(peer)  # type: ignore[misc]
        for _ in range(60):
            schedule.point("n1", "a", "goes on")
            schedule.write("n2")
        assert len(died) <= 1
        deaths.add(tuple(died))
    assert deaths == {(), ("n1",), ("n2",)}


def test_a_circle_of_three_is_found_when_it_closes_and_who_only_waits_is_not_in_it() -> None:
    waiting = Waiting()
    owners = {"a": "b", "b": "c", "c": "a", "d": "a"}

    def wait(who: str) -> None:
        waiting.begins(Wait(who, f"the lock of {owners[who]}", lambda: owners[who], "here:1", ()))

    for who in ("d", "a", "b"):
        wait(who)
        assert not waiting.cycle
    wait("c")
    assert [edge.who for edge in waiting.cycle] == ["c", "a", "b"]
    assert in_words(waiting.cycle).startswith("c waits for the lock of a (here:1), which a has; a waits")


def test_who_waits_no_more_closes_no_circle() -> None:
    waiting = Waiting()
    waiting.begins(Wait("a", "x", lambda: "b", "here:1", ()))
    waiting.ends("a")
    waiting.begins(Wait("b", "y", lambda: "a", "here:2", ()))
    assert not waiting.cycle


def test_who_leads_without_the_votes_of_a_majority_is_found() -> None:
    disks = {name: SimulatedDisk() for name in ("n1", "n2", "n3", "n4", "n5")}
    for disk in disks.values():
        disk.make_durable(PersistTermAndVote(1, "n1"))
    oracle = SearchOracle(dict(disks))
    oracle.sent("n1", "n2", RequestVote(1, "n1", 0, 0))
    oracle.sent("n2", "n1", RequestVoteResult(1, vote_granted=True))
    heartbeat = AppendEntries(1, "n1", 0, 0, (), 0)
    with pytest.raises(Violation, match="Elected By A Majority: n1 leads in term 1 with votes of \\['n1', 'n2'\\]"):
        oracle.sent("n1", "n2", heartbeat)
    oracle.sent("n3", "n1", RequestVoteResult(1, vote_granted=True))
    oracle.sent("n1", "n2", heartbeat)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_same_seed_is_the_same_run_and_another_is_another(design: Design) -> None:
    runs = [attempt(PEERS[design], seed, LENGTHS[design]) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].digest != runs[2].digest


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.timeout(120)
def test_a_correct_design_passes_all_schedules(design: Design) -> None:
    before = threading.active_count()
    answered = 0
    for seed in range(CORRECT):
        outcome = attempt(PEERS[design], seed, LENGTHS[design])
        assert outcome.finding is None, (seed, outcome.finding, outcome.preemptions)
        answered += outcome.answered
    assert answered > 10 * CORRECT, "a run in which hardly anybody was answered shows nothing"
    assert threading.active_count() == before


def test_results_are_read_as_they_were_written_and_shown_below_the_mark(tmp_path: Path) -> None:
    circle = "a waits for x (here:1), which b has"
    row = Row("some mistake", "locks", 9, 4, "Deadlock", circle, 3, "the rule", circle)
    (tmp_path / FILE).write_text(
        '[{"mistake":"some mistake","design":"locks","schedules":9,"found_after":4,"how":"Deadlock",'
        f'"cycle":"{circle}","seed":3,"rule":"the rule","detail":"{circle}"}}]'
    )
    assert load(tmp_path) == [row]
    page = with_results(f"above\n{MARK}old\n", [row])
    assert page.startswith(f"above\n{MARK}") and "old" not in page
    assert "| some mistake | the rule | 4: Deadlock |" in page
    with pytest.raises(ValueError, match="no mark"):
        with_results("a page without it", [row])
