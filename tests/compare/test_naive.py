"""The naive lock design: it works, until a schedule shows how it does not."""

from __future__ import annotations

import re
from random import Random

from actors.compare.naive.client import COUNTS, NaiveClient
from actors.compare.naive.peer import NaivePeer
from actors.compare.search.naive import attempt_naive
from actors.lock_based.threads import OsThreads
from actors.sim.green import GreenThreads
from actors.sim.timeline import Timeline


def test_it_elects_a_leader_and_counts() -> None:
    timeline = Timeline(3)
    threads = GreenThreads(timeline)
    peers = [NaivePeer(name, threads, Random(name)) for name in ("n1", "n2", "n3")]
    for peer in peers:
        peer.others = [other for other in peers if other is not peer]
        peer.launch()
    client = NaiveClient("c1", threads, peers)
    client.launch()
    timeline.run_until(2.0)
    assert client.is_done and client.values == list(range(1, COUNTS + 1))
    assert [peer.applied for peer in peers] == [COUNTS] * 3
    threads.kill()


def test_most_schedules_without_preemptions_find_nothing() -> None:
    fine = [seed for seed in range(40) if attempt_naive(seed, bound=0).finding is None]
    assert len(fine) > 20


def test_the_search_finds_its_deadlocks_and_names_their_circles() -> None:
    circles = {finding.cycle for seed in range(100) if (finding := attempt_naive(seed).finding) and finding.cycle}
    shapes = {re.sub(r"n\d", "n", re.sub(r" \([^)]*\)", "", circle)) for circle in circles}
    between_candidates = (
        "n ticker holds n.state_lock and waits for n.state_lock, which n ticker has; "
        "n ticker holds n.state_lock and waits for n.state_lock, which n ticker has"
    )
    assert between_candidates in shapes
    assert any("client_lock and waits for n.state_lock" in shape for shape in shapes), "two orders of the same locks"


def test_a_schedule_of_it_is_its_seed() -> None:
    assert attempt_naive(7) == attempt_naive(7)


def test_its_handlers_answer_on_real_threads_too() -> None:
    peer = NaivePeer("n1", OsThreads(), Random(1))
    assert peer.request_vote(1, "n2", (0, 0))
    assert not peer.request_vote(1, "n3", (0, 0)), "one vote a term"
    assert peer.append_entries(1, [1, 1], 2)
    assert peer.applied == 2
    assert not peer.increment(lambda value: None), "another leads"
