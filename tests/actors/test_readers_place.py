"""One thread at a time reads a client's links, and rather one that waits for an answer than the background thread."""

import threading
from collections import deque
from time import monotonic

import pytest

from actors import readers_place
from actors.calls import Call
from actors.client import Client
from actors.machines.counter import Counter
from actors.readers_place import ReadersPlace
from raft_core import Settings
from tests.chaos.support import PATIENCE, eventually

QUICK = Settings(election_timeout=200, heartbeat_interval=40)

pytestmark = pytest.mark.timeout(90)


def test_it_is_kept_a_moment_for_those_who_wait() -> None:
    place = ReadersPlace()
    with place.lock:
        assert place.is_for_attendant()
        place.take()
        assert not place.is_for_attendant()
        left = monotonic()
        place.leave()
        assert place.is_free
        assert not place.is_for_attendant() or monotonic() - left >= readers_place.GRACE
        eventually(place.is_for_attendant, "nobody came back")
        assert monotonic() - left >= readers_place.GRACE


def test_the_attendant_may_come_back_at_once_if_nobody_waits() -> None:
    place = ReadersPlace()
    with place.lock:
        place.stand_by(is_needed=True)
        place.take()
        place.leave()
        assert place.is_for_attendant()


@pytest.mark.parametrize("reads_on", [False, True])
def test_the_attendant_leaves_it_to_those_who_began_to_wait_and_wakes_them(
    reads_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a callback reads on inside its read: the answer may be among what came then."""
    monkeypatch.setattr(readers_place, "GRACE", 0.1)
    place = ReadersPlace()
    woken = threading.Event()

    def wait() -> None:
        with place.lock:
            asleep.set()
            place.sleep(PATIENCE)
        woken.set()

    asleep = threading.Event()
    waiting = threading.Thread(target=wait)
    with place.lock:
        place.stand_by(is_needed=True)
        place.take()
        if reads_on:
            place.take()
    waiting.start()
    assert asleep.wait(PATIENCE)
    with place.lock:  # free once it sleeps
        place.leave()
        assert place.is_free is not reads_on
        assert not place.is_for_attendant()
    assert woken.wait(PATIENCE)
    waiting.join(PATIENCE)


def test_who_asks_for_one_result_after_another_reads_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_place, "GRACE", PATIENCE)
    readers: list[int] = []
    with Counter.cluster(nodes=3, engine="threads", settings=QUICK, timeout=PATIENCE) as counter:
        counter.incr(1)  # from now on the background thread keeps away
        client = counter.cluster.client
        assert isinstance(client, Client)
        calls: deque[Call[int]] = deque()
        for _ in range(200):
            if len(calls) == 16:
                calls.popleft().result()
            calls.append(counter.incr.submit(1))
            calls[-1].add_done_callback(lambda _: readers.append(threading.get_ident()))
            eventually(lambda: client._place._attendant is not None, "the background thread looked whether it may read")
        for call in calls:
            call.result()
    assert set(readers) == {threading.get_ident()}
    assert len(readers) == 200


def test_what_nobody_waits_for_is_read_in_the_background_all_the_same() -> None:
    with Counter.cluster(nodes=3, engine="threads", settings=QUICK, timeout=PATIENCE) as counter:
        for _ in range(3):
            counter.incr(1)
            call = counter.incr.submit(1)
            eventually(call.done, "nobody read it")
