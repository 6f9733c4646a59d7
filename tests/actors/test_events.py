"""Watching a running cluster, whoever takes turns and wherever the peers are: what happens is told, in order, and who
listens hurts nobody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

import pytest

from actors.cluster import Cluster
from actors.errors import ClusterClosed, WrongArguments
from actors.happenings import (
    CommitAdvanced,
    ElectionThreshold,
    Happening,
    HeartbeatAnswered,
    LeaderChanged,
    MemberAdded,
    MembersChanged,
    PeerReachable,
    PeerUnreachable,
    RoleChanged,
    SettingsChanged,
    SnapshotTaken,
    TermChanged,
    TransferFinished,
)
from actors.machines.counter import Counter
from actors.protocol import Happenings
from actors.watching import EventStream, Listening, Watch
from raft_core import Settings

PATIENCE = 30.0
QUICK = Settings(election_timeout=200, heartbeat_interval=40)
ENGINES = ("threads", "sim")
H = TypeVar("H", bound=Happening)

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("each_runtime")]


@contextmanager
def running(engine: Any, **options: Any) -> Iterator[tuple[Counter, Cluster]]:
    with Counter.cluster(engine=engine, settings=QUICK, timeout=PATIENCE, **options) as counter:
        counter.incr()
        yield counter, counter.cluster


def the_next(stream: EventStream, kind: type[H], fits: Callable[[H], bool] = lambda found: True) -> H:
    deadline = monotonic() + PATIENCE
    while (happening := stream.get(PATIENCE)) is not None:
        if isinstance(happening, kind) and fits(happening):
            return happening
        assert monotonic() < deadline
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_change_of_leader_is_told_with_what_was_before(engine: str) -> None:
    with running(engine) as (counter, cluster), cluster.events() as stream:
        was = cluster.kill_leader()
        assert the_next(stream, LeaderChanged, lambda h: h.value not in (None, was)).previous in (None, was)
        with cluster.events(CommitAdvanced) as commits:
            counter.incr()
            told = the_next(commits, CommitAdvanced)
            assert told.value > told.previous


@pytest.mark.parametrize("engine", ENGINES)
def test_what_one_peer_tells_is_in_order_and_without_a_gap(engine: str) -> None:
    with running(engine) as (counter, cluster), cluster.events(CommitAdvanced) as stream:
        for _ in range(20):
            counter.incr()
        end = cluster.wait_until_equal()["n1"].applied_index
        told: list[tuple[int, int]] = []
        while not told or told[-1][1] < end:
            happening = the_next(stream, CommitAdvanced, lambda h: h.source == "n1")
            told.append((happening.previous, happening.value))
        assert all(before[1] == after[0] for before, after in pairwise(told))
        assert stream.lost == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_peer_that_falls_silent_and_one_that_comes_back(engine: str) -> None:
    with running(engine) as (_, cluster), cluster.events(PeerUnreachable, PeerReachable) as stream:
        follower = next(name for name in cluster.nodes if name != cluster.leader())
        cluster.kill(follower)
        silent = the_next(stream, PeerUnreachable, lambda h: h.member == follower)
        assert silent.value >= QUICK.election_timeout / 1000
        cluster.restart(follower)
        assert the_next(stream, PeerReachable, lambda h: h.member == follower).value >= silent.value


@pytest.mark.parametrize("engine", ENGINES)
def test_heartbeats_are_timed_and_a_timer_that_has_nearly_run_out_is_told(engine: str) -> None:
    with running(engine) as (_, cluster), cluster.events(HeartbeatAnswered, ElectionThreshold) as stream:
        first = the_next(stream, HeartbeatAnswered)
        again = the_next(stream, HeartbeatAnswered, lambda h: (h.source, h.member) == (first.source, first.member))
        assert 0 < again.value < PATIENCE
        assert again.previous == first.value
        cluster.kill_leader()
        threshold = the_next(stream, ElectionThreshold)
        assert threshold.value >= 0.8 * threshold.timeout - 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_members_snapshots_transfers_and_settings_are_told(engine: str) -> None:
    with running(engine) as (_, cluster), cluster.events() as stream:
        target = next(name for name in cluster.nodes if name != cluster.leader())
        cluster.transfer_leadership(target)
        assert the_next(stream, TransferFinished).value == "handed over"
        cluster.snapshot(target)
        assert the_next(stream, SnapshotTaken, lambda h: h.source == target).previous == 0
        cluster.change_settings(trailing_entries=7)
        assert the_next(stream, SettingsChanged).value.trailing_entries == 7
        cluster.add("n4")
        assert the_next(stream, MemberAdded).member == "n4"
        assert "n4" in the_next(stream, MembersChanged, lambda h: "n4" in h.value.voters).value.voters


@pytest.mark.parametrize("engine", ENGINES)
def test_a_listener_that_raises_is_logged_and_is_called_again(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Happening] = []
    twice = threading.Event()

    def listener(happening: Happening) -> None:
        called.append(happening)
        if len(called) > 1:
            twice.set()
        raise ValueError("a listener of no use")

    with running(engine) as (counter, cluster), caplog.at_level(logging.ERROR, "actorum.events"):
        listening = cluster.listen(listener, kinds=[CommitAdvanced])
        deadline = monotonic() + PATIENCE
        while not twice.is_set():
            counter.incr()
            assert monotonic() < deadline
        listening.stop()
        so_far = len(called)
        assert counter.incr() > 1
        assert len(called) == so_far
    assert "a listener of no use" in caplog.text
    assert {type(one) for one in called} == {CommitAdvanced}


def test_a_listener_may_ask_the_cluster_and_may_end_itself() -> None:
    seen: list[str] = []
    ended = threading.Event()
    listening: SimpleQueue[Listening] = SimpleQueue()  # it may be called before `listen` returns

    with running("threads") as (counter, cluster):

        def listener(happening: Happening) -> None:
            seen.append(cluster.leader())
            listening.get(timeout=PATIENCE).stop()
            ended.set()

        listening.put(cluster.listen(listener, kinds=[CommitAdvanced]))
        counter.incr()
        assert ended.wait(PATIENCE)
        assert seen == [cluster.leader()]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_that_nobody_reads_keeps_the_latest_and_counts_the_rest(engine: str) -> None:
    with running(engine) as (counter, cluster):
        wide, narrow = cluster.events(CommitAdvanced), cluster.events(CommitAdvanced, capacity=2)
        for _ in range(10):
            counter.incr()
        last = cluster.wait_until_equal()["n1"].applied_index
        everything = [the_next(wide, CommitAdvanced)]
        while {h.source for h in everything if h.value == last} != {"n1", "n2", "n3"}:
            everything.append(the_next(wide, CommitAdvanced))
        kept = [narrow.get(PATIENCE), narrow.get(PATIENCE)]
        assert kept == everything[-2:]
        assert narrow.lost == len(everything) - 2
        wide.close()
        narrow.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_end_of_the_cluster_is_the_end_of_its_streams(engine: str) -> None:
    with running(engine) as (_, cluster):
        stream = cluster.events(RoleChanged)
    assert stream.get(PATIENCE) is None
    with pytest.raises(ClusterClosed):
        cluster.events(RoleChanged)


def test_a_kind_that_does_not_exist_is_refused_by_name() -> None:
    with running("sim") as (_, cluster):
        with pytest.raises(WrongArguments, match="Eclipse"):
            cluster.events("Eclipse")
        with pytest.raises(WrongArguments):
            cluster.events(capacity=0)


def test_nothing_is_told_when_nobody_listens_any_more() -> None:
    """A stream that is closed takes its kinds with it: the peers look at their turns no longer."""
    with running("sim") as (counter, cluster):
        cluster.events(CommitAdvanced, TermChanged).close()
        counter.incr()
        peers = [cluster.peers.peer(name) for name in cluster.nodes]  # type: ignore[attr-defined]
        interpreters = [peer.interpreter for peer in peers if hasattr(peer, "interpreter")]
        interpreters += [peer.real._shared.interpreter for peer in peers if hasattr(peer, "real")]
        assert len(interpreters) == 3
        assert not any(one._observer.is_on for one in interpreters)


def test_a_watcher_that_goes_away_is_forgotten() -> None:
    """Without a word: its links end, as those of a program that was killed."""
    with running("threads") as (_, cluster):
        cluster.events(CommitAdvanced)
        assert {cluster.report(name).details.watchers for name in cluster.nodes} == {1}
        cluster.stop_watching()

        def is_forgotten() -> bool:
            return all(cluster.report(name).details.watchers == 0 for name in cluster.nodes)

        assert cluster._poll(is_forgotten, PATIENCE)


def test_watching_a_simulation_is_as_repeatable_as_the_simulation() -> None:
    def run() -> tuple[str, list[Happening]]:
        told: list[Happening] = []
        with running("sim", seed=5) as (counter, cluster):
            cluster.listen(told.append)
            cluster.kill_leader()
            counter.incr()
            return cluster.trace_digest, told  # type: ignore[attr-defined]

    assert run() == run()


def test_what_was_lost_on_the_way_is_seen_by_the_numbers() -> None:
    class Wire:
        def send(self, server_id: str, message: object) -> None:
            pass

        def call(self, function: Callable[[], None]) -> None:
            function()

    watch = Watch()
    watch.connect(Wire())
    watch.attached("n1")
    stream = watch.stream([TermChanged])
    one = TermChanged(source="n1", at=0.0, previous=0, value=1)
    watch.heard("n1", Happenings(1, 1, ()))
    watch.heard("n1", Happenings(1, 1, (one,)))
    assert stream.lost == 0
    watch.heard("n1", Happenings(1, 5, (one,)))
    assert stream.lost == 3
    watch.gone("n1")
    watch.attached("n1")
    watch.heard("n1", Happenings(1, 1, (one,)))
    assert stream.lost == 3
    stream.close()


def test_peers_in_processes_tell_as_well(tmp_path: Path) -> None:
    with running("processes", data=tmp_path) as (_, cluster), cluster.events(RoleChanged, PeerUnreachable) as stream:
        was = cluster.kill_leader()
        assert the_next(stream, RoleChanged, lambda h: h.value == "leader").source != was
        assert the_next(stream, PeerUnreachable).member == was
        cluster.restart(was)
        cluster.transfer_leadership(was)
        assert the_next(stream, RoleChanged, lambda h: h.source == was and h.value == "leader").previous == "candidate"
