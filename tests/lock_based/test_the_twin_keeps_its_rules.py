"""The lockset checker on the real twin: clean as it is, and each of the planted mistakes is found.

In simulation, so that what is found is found each time, and in threads, where the interleavings are real.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.errors import BadFrame
from actors.lock_based import wiring
from actors.lock_based.lockset import CheckedThreads, LocksetChecker
from actors.lock_based.peer import LockedPeer
from actors.lock_based.threads import OsThreads, Threads
from actors.machines.counter import Counter
from actors.sim import SimCluster, locked
from actors.sim.green import GreenThreads
from actors.sim.locked import SimLockedPeer
from tests.lock_based.planted import PLANTED

PATIENCE = 40.0


@pytest.fixture
def checkers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LocksetChecker]]:
    """One for each peer that is started meanwhile."""
    every: list[LocksetChecker] = []

    def checked_green(green: GreenThreads) -> Threads:
        every.append(LocksetChecker(green.current))
        return CheckedThreads(green, every[-1])

    def checked_threads() -> Threads:
        every.append(LocksetChecker())
        return CheckedThreads(OsThreads(), every[-1])

    monkeypatch.setattr(locked, "threads_of", checked_green)
    monkeypatch.setattr(wiring, "OsThreads", checked_threads)
    yield every


def races(checkers: list[LocksetChecker]) -> list[str]:
    return sorted({race.field for checker in checkers for race in checker.races})


def play(counter: Counter) -> None:
    """Everything that makes threads meet: commands, queries, inspections, a kill, an election, refused frames."""
    cluster = counter.cluster
    assert [counter.incr() for _ in range(5)] == [1, 2, 3, 4, 5]
    killed = cluster.kill_leader()
    assert [call.result() for call in [counter.incr.submit() for _ in range(50)]] == list(range(6, 56))
    cluster.restart(killed)
    assert counter.get() == 55
    cluster.network.unreliable()
    assert counter.incr() == 56
    cluster.network.heal()
    cluster.wait_until_equal(PATIENCE)
    if isinstance(cluster, SimCluster):
        peer = cluster.peers.peer("n1")
        assert isinstance(peer, SimLockedPeer)
        for sender in ("n2", "n3"):
            peer.receive(sender, b"noise")
        cluster.run_for(1.0)
        assert [type(error) for error in peer.bad_frames] == [BadFrame, BadFrame]


@pytest.mark.parametrize("seed", range(10))
def test_in_every_simulated_schedule_the_twin_is_clean(seed: int, checkers: list[LocksetChecker]) -> None:
    with Counter.cluster(engine="sim", runtime="locks", seed=seed, timeout=PATIENCE) as counter:
        play(counter)
    assert len(checkers) == 4
    assert races(checkers) == [], "\n".join(str(race) for checker in checkers for race in checker.races)


def test_in_real_threads_the_twin_is_clean(checkers: list[LocksetChecker]) -> None:
    with Counter.cluster(engine="threads", runtime="locks", chaos=True, timeout=PATIENCE) as counter:
        play(counter)
    assert len(checkers) == 4
    assert races(checkers) == [], "\n".join(str(race) for checker in checkers for race in checker.races)


@pytest.mark.parametrize("mistake", PLANTED, ids=lambda kind: kind.__name__)
def test_each_planted_race_is_found_and_named_with_both_places(
    mistake: type[LockedPeer], checkers: list[LocksetChecker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locked, "LockedPeer", mistake)
    with Counter.cluster(engine="sim", runtime="locks", seed=1, timeout=PATIENCE) as counter:
        play(counter)
    assert [field for field in races(checkers) if field.startswith(PLANTED[mistake])], races(checkers)
    told = "\n".join(str(race) for checker in checkers for race in checker.races)
    assert "planted.py" in told and "peer.py" in told
