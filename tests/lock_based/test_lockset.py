"""The lockset checker finds what no lock guards and leaves alone what one does, each in one fixed order of accesses."""

from __future__ import annotations

import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from actors.lock_based.locks import InstrumentedLock
from actors.lock_based.lockset import LocksetChecker, WatchedLock
from actors.lock_based.races import Race

PATIENCE = 20.0


class Stage:
    """Named threads, of which one at a time does something; and what they share."""

    def __init__(self, exit_stack: ExitStack) -> None:
        self.checker = LocksetChecker()
        self._exit_stack = exit_stack
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def lock(self, name: str = "guard") -> WatchedLock:
        return self.checker.lock(threading.Lock(), name)

    def thread(self, name: str, act: Callable[[], Any]) -> Any:
        """Let that thread act, and wait until it has."""
        if name not in self._threads:
            executor = ThreadPoolExecutor(1, initializer=lambda: setattr(threading.current_thread(), "name", name))
            self._threads[name] = self._exit_stack.enter_context(executor)
        return self._threads[name].submit(act).result(PATIENCE)

    def both(self, act: Callable[[], Any]) -> None:
        """One after the other, twice: the first access of the second ends the grace for initialisation."""
        for name in ("one", "two") * 2:
            self.thread(name, act)

    def race(self) -> Race:
        """The only one."""
        (race,) = self.checker.races
        return race


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as exit_stack:
        yield Stage(exit_stack)


class Shared:
    """What threads share."""

    def __init__(self) -> None:
        self.count = 0
        self.limit = 10
        self.items: list[int] = []
        self.table: dict[str, int] = {}

    @property
    def double(self) -> int:
        return 2 * self.count

    def total(self) -> int:
        return sum(self.items)

    def add(self, item: int) -> Shared:
        self.items.append(item)
        return self


def increment(shared: Shared) -> None:
    shared.count += 1


def guarded(lock: WatchedLock, act: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with lock:
            return act()

    return run


@pytest.fixture
def shared(stage: Stage) -> Shared:
    return stage.checker.watch(Shared(), "shared", reads=frozenset({"total", "double"}))


# --- Discipline ------------------------------------------------------------------------------------------------------


def test_a_counter_guarded_everywhere_is_clean(stage: Stage, shared: Shared) -> None:
    stage.both(guarded(stage.lock(), lambda: increment(shared)))
    assert stage.checker.races == []
    assert shared.count == 4


def test_two_threads_that_write_without_a_lock_race(stage: Stage, shared: Shared) -> None:
    for name in ("one", "two"):
        stage.thread(name, lambda: setattr(shared, "count", 1))
    race = stage.race()
    assert race.field == "shared.count"
    assert (race.earlier.thread, race.later.thread) == ("one", "two")
    assert race.earlier.is_write and race.later.is_write
    assert race.earlier.locks == race.later.locks == ()


def test_one_that_writes_with_the_lock_and_one_that_reads_without_race(stage: Stage, shared: Shared) -> None:
    write = guarded(stage.lock("peer"), lambda: setattr(shared, "count", 1))
    stage.thread("writer", write)
    stage.thread("reader", lambda: shared.count)
    stage.thread("writer", write)
    race = stage.race()
    assert (race.earlier.thread, race.earlier.is_write, race.earlier.locks) == ("reader", False, ())
    assert (race.later.thread, race.later.is_write, race.later.locks) == ("writer", True, ("peer",))


def test_two_locks_are_not_one(stage: Stage, shared: Shared) -> None:
    left, right = stage.lock("left"), stage.lock("right")
    stage.thread("one", guarded(left, lambda: increment(shared)))
    stage.thread("two", guarded(right, lambda: increment(shared)))
    stage.thread("one", guarded(left, lambda: increment(shared)))
    assert (stage.race().earlier.locks, stage.race().later.locks) == (("right",), ("left",))


def test_two_locks_of_one_name_are_still_two(stage: Stage, shared: Shared) -> None:
    left, right = stage.lock("peer"), stage.lock("peer")
    for lock in (left, right, left):
        stage.thread("one" if lock is left else "two", guarded(lock, lambda: increment(shared)))
    assert stage.race().field == "shared.count"


def test_one_lock_in_common_is_enough(stage: Stage, shared: Shared) -> None:
    common, own = stage.lock("common"), stage.lock("own")
    both = guarded(common, guarded(own, lambda: increment(shared)))
    for name, act in (("one", both), ("two", guarded(common, lambda: increment(shared))), ("one", both)):
        stage.thread(name, act)
    assert stage.checker.races == []


def test_three_threads_race_if_any_two_share_a_lock_but_not_all_three(stage: Stage, shared: Shared) -> None:
    a, b, c = stage.lock("a"), stage.lock("b"), stage.lock("c")
    for name, first, second in (("one", a, b), ("two", b, c), ("three", c, a), ("one", a, b)):
        stage.thread(name, guarded(first, guarded(second, lambda: increment(shared))))
    assert (stage.race().earlier.locks, stage.race().later.locks) == (("a", "c"), ("a", "b"))


def test_a_lock_given_up_guards_nothing_more(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()

    def too_late() -> None:
        with lock:
            pass
        increment(shared)

    stage.both(too_late)
    assert stage.race().later.locks == ()


def test_a_lock_that_was_not_got_guards_nothing(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()

    def write_anyway() -> None:
        assert not lock.acquire(blocking=False)
        increment(shared)

    stage.thread("one", guarded(lock, lambda: increment(shared)))
    with lock:
        stage.thread("two", write_anyway)
    assert (stage.race().later.thread, stage.race().later.locks) == ("two", ())


def test_a_lock_given_up_by_another_thread_guards_the_first_no_more(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()
    stage.thread("one", lock.acquire)
    stage.thread("two", lock.release)
    stage.both(lambda: increment(shared))
    assert stage.race().earlier.locks == stage.race().later.locks == ()


def test_what_is_published_and_then_only_read_needs_no_lock(stage: Stage, shared: Shared) -> None:
    stage.thread("one", lambda: setattr(shared, "limit", 20))
    for name in ("one", "two", "three", "one"):
        assert stage.thread(name, lambda: shared.limit) == 20
    assert stage.checker.races == []


def test_what_is_written_once_more_after_it_was_published_is_a_race(stage: Stage, shared: Shared) -> None:
    stage.both(lambda: shared.limit)
    stage.thread("one", lambda: setattr(shared, "limit", 20))
    assert (stage.race().earlier.thread, stage.race().later.thread) == ("two", "one")


def test_what_is_initialised_without_the_lock_and_guarded_from_then_on_is_clean(stage: Stage, shared: Shared) -> None:
    for _ in range(3):
        stage.thread("maker", lambda: increment(shared))
    stage.both(guarded(stage.lock(), lambda: increment(shared)))
    stage.thread("maker", guarded(stage.lock("another"), lambda: shared.limit))
    assert stage.checker.races == []


def test_a_thread_alone_needs_no_lock(stage: Stage, shared: Shared) -> None:
    for _ in range(3):
        stage.thread("one", lambda: increment(shared))
    assert stage.checker.races == []


def test_a_thread_that_began_after_another_ended_is_not_taken_for_it() -> None:
    """The operating system gives the identity of one that has ended to a later one, usually to the next."""
    for _ in range(20):
        checker = LocksetChecker()
        shared = checker.watch(Shared(), "shared")
        for _ in range(2):
            thread = threading.Thread(target=increment, args=(shared,))
            thread.start()
            thread.join()
        assert [race.field for race in checker.races] == ["shared.count"]


def test_fields_of_one_object_may_have_locks_of_their_own(stage: Stage, shared: Shared) -> None:
    first, second = stage.lock("first"), stage.lock("second")
    stage.both(guarded(first, lambda: increment(shared)))
    stage.both(guarded(second, lambda: setattr(shared, "limit", 1)))
    assert stage.checker.races == []


# --- Hand-over -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_said", [True, False])
def test_what_is_handed_over_belongs_to_the_next_thread_alone_but_only_if_that_is_said(
    stage: Stage, shared: Shared, is_said: bool
) -> None:

    def use() -> None:
        increment(shared)
        shared.items.append(1)

    for name in ("one", "two", "three"):
        stage.thread(name, use)
        if is_said:
            stage.checker.hand_over(shared)
    assert [race.field for race in stage.checker.races] == (
        [] if is_said else ["shared.count", "the contents of shared.items"]
    )


def test_after_a_hand_over_sharing_is_checked_again(stage: Stage, shared: Shared) -> None:
    stage.thread("one", lambda: increment(shared))
    stage.checker.hand_over(shared)
    stage.both(lambda: increment(shared))
    assert (stage.race().earlier.thread, stage.race().later.thread) == ("one", "two")


# --- Methods, properties ---------------------------------------------------------------------------------------------


def test_a_method_writes_unless_it_is_said_to_read(stage: Stage, shared: Shared) -> None:
    stage.both(shared.total)
    assert stage.checker.races == []
    stage.both(lambda: shared.add(1))
    assert stage.race().field == "shared"
    assert "calls add() (a write)" in str(stage.race())


def test_a_method_that_reads_races_with_one_that_writes(stage: Stage, shared: Shared) -> None:
    add = guarded(stage.lock(), lambda: shared.add(1))
    stage.thread("one", add)
    stage.thread("two", shared.total)
    stage.thread("one", add)
    assert (stage.race().earlier.deed, stage.race().later.deed) == ("calls total()", "calls add()")


def test_a_method_is_used_when_it_is_called_and_not_when_it_is_looked_up(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()
    for name in ("one", "two", "one"):
        later = stage.thread(name, guarded(lock, lambda: shared.add))
        stage.thread(name, partial(later, 1))
    assert stage.race().later.locks == ()


def test_what_a_method_gives_is_still_watched_if_it_is_the_object_itself(shared: Shared) -> None:
    assert shared.add(1) is shared


def test_a_property_writes_unless_it_is_said_to_read(stage: Stage, shared: Shared) -> None:
    stage.both(lambda: shared.double)
    assert stage.checker.races == []
    unlisted = stage.checker.watch(Shared(), "unlisted")
    stage.both(lambda: unlisted.double)
    assert [race.field for race in stage.checker.races] == ["unlisted"]


# --- Containers ------------------------------------------------------------------------------------------------------


def test_a_race_in_a_dictionary_is_found_though_its_attribute_is_only_read(stage: Stage, shared: Shared) -> None:
    def put() -> None:
        shared.table["x"] = 1

    stage.thread("one", put)
    stage.thread("two", lambda: shared.table.get("x"))
    stage.thread("one", put)
    race = stage.race()
    assert race.field == "the contents of shared.table"
    assert (race.earlier.deed, race.later.deed) == ("calls get()", "calls __setitem__()")


READS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "len": (lambda: [1], len),
    "item": (lambda: {"x": 1}, lambda it: it["x"]),
    "slice": (lambda: [1, 2], lambda it: it[:1]),
    "in": (lambda: {1}, lambda it: 1 in it),
    "bool": (lambda: deque([1]), bool),
    "for": (lambda: [1, 2], list),
    "reversed": (lambda: [1, 2], lambda it: list(reversed(it))),
    "equal": (lambda: [1], lambda it: it == [1]),
    "repr": (lambda: [1], repr),
    "keys": (lambda: {"x": 1}, lambda it: list(it.keys())),
    "copied": (lambda: {"x": 1}, lambda it: {**it}),
    "sum of lists": (lambda: [1], lambda it: [0] + it + [2]),  # noqa: RUF005
    "union": (lambda: {1}, lambda it: {2} | it),
    "index": (lambda: deque([1]), lambda it: it.index(1)),
    "defaultdict": (lambda: defaultdict(int, x=1), lambda it: it["x"]),
}
WRITES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "set item": (lambda: {"x": 1}, lambda it: it.__setitem__("x", 2)),
    "delete item": (lambda: [1, 2, 3, 4, 5], lambda it: it.__delitem__(0)),
    "append": (lambda: [1], lambda it: it.append(1)),
    "popleft": (lambda: deque([1, 2, 3, 4, 5]), lambda it: it.popleft()),
    "setdefault": (lambda: {"x": 1}, lambda it: it.setdefault("y", 2)),
    "discard": (lambda: {1}, lambda it: it.discard(1)),
    "in place": (lambda: {1}, lambda it: it.__ior__({2})),
    "fills in": (lambda: defaultdict(int), lambda it: it[threading.current_thread().name]),
}


@pytest.mark.parametrize("use", READS)
def test_what_only_looks_into_a_container_reads_it_and_sees_what_is_there(stage: Stage, use: str) -> None:
    make, look = READS[use]
    container = stage.checker.watch(make(), "container")
    expected = look(make())
    for name in ("one", "two", "one"):
        assert stage.thread(name, lambda: look(container)) == expected
    assert stage.checker.races == []
    stage.thread("two", lambda: container.clear())
    assert stage.race().earlier.thread == "one", "that the container was read is known"


@pytest.mark.parametrize("use", WRITES)
def test_what_changes_a_container_writes_it(stage: Stage, use: str) -> None:
    make, change = WRITES[use]
    plain = make()
    container = stage.checker.watch(plain, "container")
    stage.thread("one", lambda: change(container))
    assert plain != make(), "the change arrived"
    stage.thread("two", lambda: change(container))
    assert stage.race().field == "the contents of container"


def test_a_view_taken_with_the_lock_and_gone_through_without_is_found(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()

    def put() -> None:
        shared.table["x"] = 1

    stage.thread("one", guarded(lock, put))
    view = stage.thread("two", guarded(lock, lambda: shared.table.items()))
    assert stage.thread("two", lambda: list(view)) == [("x", 1)]
    stage.thread("one", guarded(lock, put))
    assert (stage.race().earlier.thread, stage.race().earlier.locks) == ("two", ())


def test_going_through_a_container_reads_it_at_every_step(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()
    stage.thread("one", guarded(lock, lambda: shared.items.extend([1, 2])))
    steps = stage.thread("two", lambda: iter(shared.items))
    stage.thread("two", guarded(lock, lambda: next(steps)))
    stage.thread("one", guarded(lock, lambda: shared.items.append(3)))
    assert stage.checker.races == []
    stage.thread("two", lambda: next(steps))
    assert (stage.race().later.deed, stage.race().later.locks) == ("iterates over it", ())


def test_a_container_that_another_took_the_place_of_belongs_to_who_took_it_out(stage: Stage, shared: Shared) -> None:
    """The usual way to empty a queue: swap inside the lock, work outside."""
    lock = stage.lock()

    def swap() -> list[int]:
        items, shared.items = shared.items, []
        return items

    for _ in range(2):
        stage.thread("one", guarded(lock, lambda: shared.items.append(1)))
        stage.thread("three", guarded(lock, lambda: shared.items.append(2)))
        taken = stage.thread("two", guarded(lock, swap))
        assert stage.thread("two", partial(list, taken)) == [1, 2]
        stage.thread("two", taken.clear)
    assert stage.checker.races == []
    stage.thread("one", lambda: taken.append(3))
    assert stage.race().field == "the contents of shared.items", "who keeps it does not own it"


def test_changing_a_container_in_place_does_not_make_it_leave(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()

    def extend() -> None:
        shared.items += [1]

    stage.both(guarded(lock, extend))
    stage.thread("two", lambda: shared.items.append(2))
    assert [race.field for race in stage.checker.races] == ["shared.items", "the contents of shared.items"]
    assert stage.checker.races[1].earlier.locks == ("guard",)
    assert len(shared.items) == 5


def test_the_watched_object_itself_never_gets_a_stand_in_for_a_container_of_its_own(stage: Stage) -> None:
    plain = Shared()
    shared = stage.checker.watch(plain, "shared")
    items = plain.items
    shared.items = shared.items
    assert plain.items is items


def test_a_stand_in_has_the_special_methods_of_its_object_and_no_others(shared: Shared) -> None:
    assert not callable(shared)
    with pytest.raises(TypeError):
        len(shared)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(shared.items)
    assert isinstance(shared, Shared) and isinstance(shared.items, list)
    assert not hasattr(shared, "nonsense")


def test_a_deleted_attribute_is_gone_and_that_was_a_write(stage: Stage, shared: Shared) -> None:
    stage.thread("one", lambda: shared.limit)
    stage.thread("two", lambda: delattr(shared, "limit"))
    assert not hasattr(shared, "limit")
    assert stage.race().later.is_write


# --- What is reported ------------------------------------------------------------------------------------------------


def write_here(shared: Shared) -> None:
    shared.count = 1


def write_there(shared: Shared) -> None:
    shared.count = 2


def line_of(function: Callable[..., None]) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + 1} in {function.__name__}"


def test_a_race_is_reported_with_file_and_line_of_both_sides(stage: Stage, shared: Shared) -> None:
    lock = stage.lock("peer")
    stage.thread("ticker", lambda: write_here(shared))
    stage.thread("receiver", guarded(lock, lambda: write_there(shared)))
    stage.thread("ticker", lambda: write_here(shared))
    race = stage.race()
    assert str(race.later.stack[0]) == line_of(write_here)
    assert str(race.earlier.stack[0]) == line_of(write_there)
    assert [place.function for place in race.earlier.stack[1:3]] == [
        "test_a_race_is_reported_with_file_and_line_of_both_sides.<locals>.<lambda>",
        "guarded.<locals>.run",
    ]


def test_a_race_explains_itself_in_a_few_lines(stage: Stage, shared: Shared) -> None:
    stage.thread("ticker", lambda: write_here(shared))
    stage.thread("receiver", guarded(stage.lock("peer"), lambda: write_there(shared)))
    stage.thread("ticker", lambda: write_here(shared))
    text = str(stage.race())
    assert len(text.splitlines()) <= 12
    assert text.startswith("race on shared.count: no lock guards every access\n")
    assert re.search(rf"thread ticker writes it \(a write\), holding no lock:\n    {line_of(write_here)}\n", text)
    assert re.search(rf"after thread receiver .*, holding peer:\n    {line_of(write_there)}\n", text)


def test_the_earlier_side_is_one_that_conflicts_and_not_merely_the_latest(stage: Stage, shared: Shared) -> None:
    lock = stage.lock()
    stage.thread("reader", guarded(lock, lambda: shared.count))
    stage.thread("writer", guarded(lock, lambda: write_here(shared)))
    stage.thread("another reader", guarded(lock, lambda: shared.count))
    stage.thread("careless", lambda: shared.count)
    assert (stage.race().earlier.thread, stage.race().later.thread) == ("writer", "careless")


def test_of_several_that_conflict_the_earlier_side_is_the_latest(stage: Stage, shared: Shared) -> None:
    write = guarded(stage.lock(), lambda: write_here(shared))
    for name in ("one", "two", "one"):
        stage.thread(name, write)
    stage.thread("careless", lambda: write_there(shared))
    assert stage.race().earlier.thread == "one"


def test_a_field_is_reported_once_and_another_one_as_well(stage: Stage, shared: Shared) -> None:
    stage.both(lambda: increment(shared))
    stage.both(lambda: setattr(shared, "limit", 1))
    assert [race.field for race in stage.checker.races] == ["shared.count", "shared.limit"]


def test_threads_are_who_the_given_function_says_they_are() -> None:
    """A simulation runs many threads in one of the operating system's."""
    running = ["receiver"]
    checker = LocksetChecker(current=lambda: running[0])
    shared = checker.watch(Shared(), "shared")
    write_here(shared)
    running[0] = "ticker"
    write_here(shared)
    (race,) = checker.races
    assert (race.earlier.thread, race.later.thread) == ("receiver", "ticker")


# --- With the lock of a peer -----------------------------------------------------------------------------------------


def test_the_lock_of_a_peer_is_known_by_the_plain_lock_it_is_made_of(stage: Stage, shared: Shared) -> None:
    lock = InstrumentedLock(lambda: stage.lock("peer"))

    def with_the_lock() -> None:
        with lock:
            increment(shared)

    stage.both(with_the_lock)
    assert stage.checker.races == []
    stage.thread("two", lambda: increment(shared))
    assert stage.race().earlier.locks == ("peer",)


@pytest.mark.parametrize("is_instrumented", [True, False])
def test_who_waits_for_a_condition_holds_its_lock_before_and_after_but_not_meanwhile(
    stage: Stage, shared: Shared, is_instrumented: bool
) -> None:
    plain = stage.lock("peer")
    lock: Any = InstrumentedLock(lambda: plain) if is_instrumented else plain
    condition = threading.Condition(lock)
    inside, held = threading.Event(), []

    def wait() -> None:
        with condition:
            increment(shared)
            inside.set()
            assert condition.wait(PATIENCE)
            increment(shared)

    waiting = threading.Thread(target=wait, name="waiting")
    waiting.start()
    assert inside.wait(PATIENCE)
    with condition:
        held.append(plain.holder)
        increment(shared)
        condition.notify()
    waiting.join(PATIENCE)
    assert held == [threading.current_thread()]
    assert stage.checker.races == []
    increment(shared)
    assert (stage.race().earlier.thread, stage.race().earlier.locks) == ("waiting", ("peer",))


def test_reading_an_attribute_outside_races_with_a_method_that_may_change_it() -> None:
    checker = LocksetChecker()
    lock = checker.lock(threading.Lock(), "lock")
    counter = checker.watch(Tally(), "tally")

    def change() -> None:
        with lock:
            counter.add()

    change()
    in_a_thread(change)
    assert checker.races == []
    in_a_thread(lambda: counter.total)
    assert [race.field for race in checker.races] == ["tally"]


class Tally:
    """Counts, in a method."""

    def __init__(self) -> None:
        self.total = 0

    def add(self) -> None:
        self.total += 1


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
