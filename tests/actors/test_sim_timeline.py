"""What the simulation is made of: its timeline, ways on which nothing overtakes, and a disk that answers later."""

from __future__ import annotations

from functools import partial

from actors.interpreter import Written
from actors.sim.disk import SimDisk
from actors.sim.timeline import Delay, Timeline, Way
from actors.storage.disk import Disk
from actors.storage.memory import MemoryStorage
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import PersistTermAndVote


def test_the_digest_of_the_trace_covers_every_byte() -> None:
    one, other = Timeline(1), Timeline(1)
    one.note("n1", "says", b"plumless")
    other.note("n1", "says", b"buckeroo")
    assert one.lines == other.lines, "these two words have the same CRC-32"
    assert one.digest != other.digest


def test_a_write_is_durable_before_it_is_confirmed_and_writes_meanwhile_become_one() -> None:
    timeline, storage, confirmed = Timeline(1), MemoryStorage(), list[tuple[int, int]]()

    def told(written: Written) -> None:
        confirmed.append((written.count, storage.load().current_term))

    way = Way(timeline, Delay(0.001, 0.002), lambda: True)
    disk = SimDisk(timeline, way, Disk(storage, MemorySnapshots()), told)
    for term in (1, 2, 3):
        assert disk.write([PersistTermAndVote(term, None)]) is None
    assert (storage.load().current_term, confirmed) == (0, [])
    timeline.run_until(1.0)
    assert confirmed == [(1, 1), (2, 3)]


def test_a_write_under_way_when_its_peer_is_killed_was_never_made() -> None:
    timeline, storage, is_up = Timeline(1), MemoryStorage(), [True]
    way = Way(timeline, Delay(0.001, 0.002), lambda: is_up[0])
    disk = SimDisk(timeline, way, Disk(storage, MemorySnapshots()), lambda written: None)
    disk.write([PersistTermAndVote(1, "n1")])
    timeline.run_until(1.0)
    disk.write([PersistTermAndVote(2, "n1")])
    is_up[0] = False
    timeline.run_until(2.0)
    assert storage.load().current_term == 1


def test_nothing_overtakes_on_one_way() -> None:
    timeline, arrived = Timeline(3), list[int]()
    way = Way(timeline, Delay(0.0, 1.0), lambda: True)
    for number in range(50):
        way.put(partial(arrived.append, number))
    timeline.run_until(2.0)
    assert arrived == list(range(50))


def test_what_is_planned_for_one_time_happens_in_the_order_in_which_it_was_planned() -> None:
    timeline, happened = Timeline(1), list[str]()
    for name in ("first", "second", "third"):
        timeline.at(1.0, partial(happened.append, name))
    assert timeline.advance(0.5) is False
    assert (timeline.now, happened) == (0.5, [])
    timeline.run_until(1.0)
    assert happened == ["first", "second", "third"]


def test_the_clock_never_goes_back_even_if_something_that_happens_lets_time_pass() -> None:
    timeline, times = Timeline(1), list[float]()
    timeline.at(1.0, partial(timeline.run_until, 5.0))
    timeline.at(2.0, lambda: times.append(timeline.now))
    timeline.run_until(3.0)
    assert (times, timeline.now) == ([2.0], 5.0)
