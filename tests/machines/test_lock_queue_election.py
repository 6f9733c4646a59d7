"""Locks, queues and elections, as plain objects: what a time limit takes away, and what tells old holders from new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.context import Context, at
from actors.machines.election import Election, Leadership
from actors.machines.lock import Holding, Lock
from actors.machines.queue import Job, Queue
from actors.machines.register import Register
from actors.machines.set import Set

# --- the lock


def test_a_lock_has_one_holder_who_may_ask_again() -> None:
    lock = Lock()
    assert lock.acquire("ann", ttl=1.0) == 1 and lock.acquire("bob", ttl=1.0) is None
    assert lock.acquire("ann", ttl=9.0) == 1 and lock.holder() == Holding("ann", 1, 9_000)


def test_tokens_grow_with_every_new_holding() -> None:
    lock = Lock()
    tokens = []
    for owner in ("ann", "bob", "ann"):
        token = lock.acquire(owner, ttl=1.0)
        assert token is not None
        assert lock.release(owner, token)
        tokens.append(token)
    assert tokens == [1, 2, 3]


def test_who_lost_the_lock_can_neither_renew_nor_release_it() -> None:
    lock = Lock()
    lock.acquire("ann", ttl=1.0)
    with at(clock=1_000):
        assert lock.holder() is None and not lock.renew("ann", 1, ttl=1.0) and not lock.release("ann", 1)
        assert lock.acquire("ann", ttl=1.0) == 2
        assert not lock.release("ann", 1) and not lock.renew("ann", 1, ttl=1.0), "that token is of an earlier holding"
        assert lock.renew("ann", 2, ttl=5.0)
    with at(clock=5_999):
        assert lock.acquire("bob", ttl=1.0) is None


def test_a_lock_says_when_it_expires_and_is_free_when_the_clock_has_passed() -> None:
    lock = Lock()
    assert lock.next_deadline() is None
    lock.acquire("ann", ttl=1.0)
    assert lock.next_deadline() == 1_000
    lock.on_clock(Context(clock=999))
    assert lock.holding is not None
    lock.on_clock(Context(clock=1_000))
    assert lock.holding is None and lock.next_deadline() is None


def test_a_time_limit_that_is_no_time_leaves_the_lock_alone() -> None:
    lock = Lock()
    with pytest.raises(ValueError, match="NaN"):
        lock.acquire("ann", ttl=float("nan"))
    assert lock.holding is None and lock.tokens == 0


# --- the queue


def test_a_queue_is_first_in_first_out() -> None:
    queue = Queue()
    for value in "abc":
        queue.put(value)
    assert [(job := queue.pop()) and job.value for _ in range(4)] == ["a", "b", "c", None]
    assert queue.size() == 0


def test_a_job_taken_is_not_there_for_others_and_done_when_acknowledged() -> None:
    queue = Queue()
    queue.put("a")
    job = queue.take(lease=1.0)
    assert job == Job(1, "a", 1) and queue.take(lease=1.0) is None and queue.peek() is None and queue.size() == 1
    assert queue.ack(1, 1) and not queue.ack(1, 1) and queue.size() == 0


def test_a_lost_job_comes_again_before_later_ones_with_a_new_attempt() -> None:
    queue = Queue()
    queue.put("a")
    queue.put("b")
    queue.take(lease=1.0)
    with at(clock=1_000):
        assert queue.take(lease=1.0) == Job(1, "a", 2)
        assert not queue.ack(1, 1) and not queue.extend(1, 1, lease=9.0) and not queue.give_back(1, 1)
        assert queue.ack(1, 2)


def test_a_lease_can_be_extended_and_given_back() -> None:
    queue = Queue()
    queue.put("a")
    queue.take(lease=1.0)
    assert queue.extend(1, 1, lease=5.0)
    with at(clock=4_999):
        assert queue.take(lease=1.0) is None
        assert queue.give_back(1, 1) and queue.peek() == Job(1, "a", 1)
        assert queue.take(lease=1.0) == Job(1, "a", 2)


def test_a_deadline_that_was_extended_does_not_free_the_job() -> None:
    queue = Queue()
    queue.put("a")
    queue.take(lease=1.0)
    queue.extend(1, 1, lease=5.0)
    assert queue.next_deadline() == 1_000
    queue.on_clock(Context(clock=1_000))
    assert queue.peek() is None and queue.next_deadline() == 5_000
    queue.on_clock(Context(clock=5_000))
    assert queue.peek() == Job(1, "a", 1) and queue.next_deadline() is None


def new(done: set[int], job: Job | None) -> set[int]:
    assert job is None or job.number not in done
    return set() if job is None else {job.number}


@given(st.lists(st.sampled_from(["put", "take", "ack", "pop", "wait", "give_back"]), max_size=60))
def test_no_job_is_ever_lost_or_done_twice(steps: list[str]) -> None:
    queue, clock, put, done = Queue(), 0, 0, set[int]()
    held: list[Job] = []
    for step in steps:
        with at(clock=clock):
            match step:
                case "put":
                    put = queue.put("x")
                case "take":
                    held += filter(None, [queue.take(lease=2.0)])
                case "pop":
                    done |= new(done, queue.pop())
                case "ack" if held:
                    job = held.pop(0)
                    done |= new(done, job if queue.ack(job.number, job.attempt) else None)
                case "give_back" if held:
                    job = held.pop(0)
                    queue.give_back(job.number, job.attempt)
                case "wait":
                    clock += 1_500
        assert set(queue.jobs) | done == set(range(1, put + 1)) and not set(queue.jobs) & done
        assert sorted([*queue.waiting, *queue.leases]) == sorted(queue.jobs)


# --- the election


def test_the_first_candidate_leads_until_it_is_silent_and_then_the_next_in_line() -> None:
    election = Election()
    assert election.leader() == Leadership(None, 0)
    election.campaign("ann", ttl=1.0)
    election.campaign("bob", ttl=9.0)
    election.campaign("eve", ttl=9.0)
    assert election.leader() == Leadership("ann", 1) and election.candidates() == ["ann", "bob", "eve"]
    with at(clock=1_000):
        assert election.leader() == Leadership("bob", 2)
        assert election.campaign("ann", ttl=9.0) == Leadership("bob", 2)
        assert election.candidates() == ["bob", "eve", "ann"], "who comes back stands at the end"


def test_a_leader_that_goes_on_campaigning_stays_in_its_term() -> None:
    election = Election()
    for clock in range(0, 10_000, 900):
        with at(clock=clock):
            assert election.campaign("ann", ttl=1.0) == Leadership("ann", 1)
            election.campaign("bob", ttl=1.0)


def test_who_resigns_is_followed_at_once_and_an_office_may_be_empty() -> None:
    election = Election()
    election.campaign("ann", ttl=1.0)
    election.campaign("bob", ttl=1.0)
    assert election.resign("ann") and not election.resign("ann")
    assert election.leader() == Leadership("bob", 2)
    election.resign("bob")
    assert election.leader() == Leadership(None, 2) and election.next_deadline() is None
    assert election.campaign("ann", ttl=1.0) == Leadership("ann", 3)


def test_the_clock_alone_changes_the_leader() -> None:
    election = Election()
    election.campaign("ann", ttl=1.0)
    election.campaign("bob", ttl=2.0)
    assert election.next_deadline() == 1_000
    election.on_clock(Context(clock=1_000))
    assert election.current == Leadership("bob", 2) and election.next_deadline() == 2_000


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "eve"]), st.integers(1, 3), st.booleans()), max_size=40))
def test_every_change_of_leader_has_a_new_term_and_who_leads_stands(steps: list[tuple[str, int, bool]]) -> None:
    election, clock, terms = Election(), 0, dict[int, str]()
    for name, seconds, resigns in steps:
        with at(clock=clock):
            if resigns:
                election.resign(name)
            else:
                election.campaign(name, ttl=seconds)
            leader, term = election.leader().leader, election.leader().term
            if leader is not None:
                assert terms.setdefault(term, leader) == leader and term == max(terms)
                assert leader in election.candidates()
            else:
                assert election.candidates() == []
        clock += 700


# --- the set and the register


def test_a_set_has_every_member_once_and_names_them_in_order() -> None:
    elements = Set()
    assert [elements.add(element) for element in ("b", 2, "a", 10, "b")] == [True, True, True, True, False]
    assert elements.members() == [2, 10, "a", "b"] and elements.size() == 4
    assert elements.contains("a") and elements.discard("a") and not elements.discard("a")
    assert not elements.contains("a")


def test_a_register_is_compared_and_set() -> None:
    register = Register()
    assert register.cas(None, "a") and not register.cas(None, "b")
    register.write("c")
    assert register.read() == "c"
