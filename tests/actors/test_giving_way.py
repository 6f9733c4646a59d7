"""What a peer does to catch up gives way to those who serve, but not for ever."""

import os
import threading
from collections.abc import Iterator

import pytest

from actors import peer
from actors.giving_way import CAN_GIVE_WAY, PAUSE, POLITENESS, SLOW, Doer, GivingWay, at_once, doer_of
from actors.lock_based import peer as lock_based_peer
from actors.machines.counter import Counter
from actors.spec import RuntimeName

pytestmark = pytest.mark.skipif(not CAN_GIVE_WAY, reason="threads have no priority of their own here")


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_work_is_done_with_a_lower_priority_and_the_caller_keeps_its_own() -> None:
    own, doer = priority(), GivingWay()
    assert [doer(priority) for _ in range(3)] == [min(19, own + POLITENESS)] * 3
    assert priority() == own
    assert "actorum-giving-way" not in {thread.name for thread in threading.enumerate()}


def test_what_the_work_raises_the_caller_raises() -> None:
    def work() -> None:
        raise LookupError("not there")

    with pytest.raises(LookupError, match="not there"):
        GivingWay()(work)


def timed(*steps: float) -> Iterator[float]:
    """What a clock shows that is looked at so many seconds apart."""
    now = 0.0
    for step in steps:
        now += step
        yield now


@pytest.mark.parametrize(
    ("seconds", "used", "gives_way"),
    [(SLOW / 2, 0.0, True), (1.0, 0.25, True), (1.0, 0.15, False)],
    ids=["too short to tell", "got a quarter of a processor", "got hardly anything"],
)
def test_who_got_hardly_anything_insists_for_a_while(seconds: float, used: float, gives_way: bool) -> None:
    clock = timed(0, seconds, PAUSE - 0.1, 0.2, 0)
    processor = timed(0, used, 0, 0)
    doer = GivingWay(lambda: next(clock), lambda: next(processor))
    me = threading.current_thread()
    assert doer(threading.current_thread) is not me
    if gives_way:
        clock, processor = timed(seconds, 0), timed(0, 0)
        assert doer(threading.current_thread) is not me
        return
    assert doer(threading.current_thread) is me, "it insists"
    assert doer(threading.current_thread) is not me, "and gives way again later"


def test_only_who_is_alone_in_a_process_gives_way() -> None:
    assert doer_of(alone=False) is at_once
    assert isinstance(doer_of(alone=True), GivingWay)
    assert at_once(priority) == priority()


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_peers_of_both_runtimes_are_asked_whether_they_are_alone(
    runtime: RuntimeName, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def asking(*, alone: bool) -> Doer:
        asked.append(alone)
        return doer_of(alone=alone)

    for module in (peer, lock_based_peer):
        monkeypatch.setattr(module, "doer_of", asking)
    with Counter.cluster(nodes=3, engine="threads", runtime=runtime) as counter:
        assert counter.incr() == 1
    assert asked == [False] * 3
