"""Counters, and why their histories need no search.

A counter that is only ever incremented passes every value at most once, upwards.  A result then is a place: incr(by)
-> v stands from v - by to v, get() -> v stands at v, and reads of one value stand in the order of their invocations.
Nothing is left open but which operations of unknown outcome fill the gaps between known values.  So a thousand
operations in flight, hopeless for a search that tries candidates, cost one sort and one sweep (20,000 increments: a
tenth of a second).

The three steps, each on what the one before left over, so that the violation reported is the lowest one:

1. No two known operations may pass the same value (a lost update, a double apply, a read of half an increment).
2. None may stand above one that was invoked only after it had returned (a stale read, a reordering).
3. Each gap must be filled exactly by operations of unknown outcome, each used once and invoked before anything above
   it returned.  Deadlines only grow upwards and equal increments are interchangeable, so among equals the earliest
   goes first.  How many of each size are used up says how far one has come; only that is remembered.  With increments
   of one size, the common case, there is no choice at all.

Steps 1 to 3 are necessary because the places are forced, and sufficient because together they *are* an order: both
verdicts are exact.  Where places are not forced (an increment by 0 or less, a value that is no integer) or step 3 has
too many ways, the shortcut says `None` and the general search decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from raft_core.verify.history import Linearizable, NotLinearizable, Obstacle, Operation, State, unknown_call

_MOST_FILLINGS = 50_000
"""Partial fillings tried before the shortcut steps aside; it takes many different unknown increments to get there."""


class CounterModel(Struct, frozen=True):
    """`incr(by=1)`, which returns the new value, and `get()`."""

    initial: int = 0

    def apply(self, state: State, name: str, arguments: tuple[Any, ...]) -> tuple[State, Any]:
        """The state after the call, and its result."""
        match name, arguments:
            case "get", ():
                return state, state
            case "incr", ():
                return state + 1, state + 1
            case "incr", (by,):
                return state + by, state + by
        raise unknown_call(self, name, arguments)

    def only_observes(self, name: str, result: Any) -> bool:
        """Reads."""
        return name == "get"

    def loosened(self, operation: Operation) -> Operation | None:
        """A read does nothing."""
        return None if operation.name == "get" else replace(operation, result=None, returned=None)

    def decide(self, operations: Sequence[Operation]) -> Linearizable | NotLinearizable | None:
        """The verdict without a search; `None` where places are not forced."""
        if not all(map(_is_upward, operations)):
            return None
        places = sorted((_place(op) for op in operations if op.returned is not None), key=_upwards)
        places, problem = _cut_where_values_overlap(places, self.initial)
        places, problem = _cut_where_time_runs_back(places, problem)
        return _with_gaps_filled(places, _spare(operations), self.initial, problem)


class _Place(Struct, frozen=True):
    """Where the result of a known operation puts it: from one value to another, the same one for a read."""

    before: int
    after: int
    returned: int
    operation: Operation


class _Gap(Struct, frozen=True):
    """Values that no known result accounts for, just below the place at `position`."""

    position: int
    low: int
    high: int
    deadline: int
    """Whoever fills the gap precedes all that stands above, so was invoked before any of that returned."""


class _Filling(Struct, frozen=True):
    """How far the gaps have been filled: `value` within the gap `number`, with so many of each amount used up."""

    number: int
    value: int
    used: tuple[int, ...]
    path: Any
    """Linked list, newest first, of (position of the gap, operation)."""


_Problem: TypeAlias = tuple[str, Obstacle] | None


def _amount(operation: Operation) -> Any:
    if operation.name == "get":
        return 0
    return operation.arguments[0] if operation.arguments else 1


def _is_upward(operation: Operation) -> bool:
    match operation.name, operation.arguments:
        case "get", ():
            sound = True
        case "incr", () | (_,):
            sound = type(_amount(operation)) is int and _amount(operation) > 0
        case _:
            sound = False
    return sound and (operation.returned is None or type(operation.result) is int)


def _place(operation: Operation) -> _Place:
    assert operation.returned is not None
    return _Place(operation.result - _amount(operation), operation.result, operation.returned, operation)


def _upwards(place: _Place) -> tuple[int, bool, int]:
    return place.before, place.after > place.before, place.operation.invoked


def _spare(operations: Sequence[Operation]) -> dict[int, list[Operation]]:
    """Increments of unknown outcome by amount, the earliest first.  A read of unknown outcome explains nothing."""
    spare: dict[int, list[Operation]] = {}
    for operation in sorted(operations, key=attrgetter("invoked")):
        if operation.returned is None and operation.name == "incr":
            spare.setdefault(_amount(operation), []).append(operation)
    return spare


def _cut_where_values_overlap(places: list[_Place], initial: int) -> tuple[list[_Place], _Problem]:
    """Step 1: keep what stands below the first place whose values have been passed."""
    value = initial
    for position, place in enumerate(places):
        if place.before < value:
            passed = f"{places[position - 1].operation} took it there" if position else "it began there"
            why = f"needs the value {place.before}, but the counter stands at {value}: {passed}"
            return places[:position], ("two operations claim the same values", Obstacle(place.operation, why))
        value = place.after
    return places, None


def _cut_where_time_runs_back(places: list[_Place], problem: _Problem) -> tuple[list[_Place], _Problem]:
    """Step 2: keep what stands below the lowest place that something above it overtook in real time."""
    end, earliest = len(places), None
    for position in range(len(places) - 1, -1, -1):
        place = places[position]
        if earliest is not None and earliest.returned < place.operation.invoked:
            why = f"stands below {earliest.operation}, which had returned before this was invoked"
            end, problem = position, ("real time contradicts the values", Obstacle(place.operation, why))
        if earliest is None or place.returned < earliest.returned:
            earliest = place
    return places[:end], problem


def _with_gaps_filled(
    places: list[_Place], spare: dict[int, list[Operation]], initial: int, problem: _Problem
) -> Linearizable | NotLinearizable | None:
    """Step 3, and the verdict."""
    gaps = _gaps(places, initial)
    furthest = _fill(gaps, spare)
    if furthest is None:
        return NotLinearizable(problem[0], (), (problem[1],)) if problem else None
    if furthest.number < len(gaps):
        gap = gaps[furthest.number]
        lowest = places[gap.position].operation
        why = f"needs the value {gap.high}, but the counter stands at {gap.low} and nobody took it there in time"
        problem, places = ("a value that nobody produced", Obstacle(lowest, why)), places[: gap.position]
    order = _interleaved(places, furthest)
    return NotLinearizable(problem[0], order, (problem[1],)) if problem else Linearizable(order)


def _gaps(places: list[_Place], initial: int) -> list[_Gap]:
    gaps: list[_Gap] = []
    deadline = places[-1].returned if places else 0
    for position in range(len(places) - 1, -1, -1):
        place = places[position]
        deadline = min(deadline, place.returned)
        low = places[position - 1].after if position else initial
        if low < place.before:
            gaps.append(_Gap(position, low, place.before, deadline))
    return gaps[::-1]


def _fill(gaps: list[_Gap], spare: dict[int, list[Operation]]) -> _Filling | None:
    """The filling that got furthest, all the way if there is one; `None` if there are too many ways to try."""
    furthest = _Filling(0, gaps[0].low if gaps else 0, (0,) * len(spare), None)
    stack, seen = [furthest], {furthest.used}
    while stack and furthest.number < len(gaps):
        for filling in _filled_further(stack.pop(), gaps, spare):
            if filling.used not in seen:
                seen.add(filling.used)
                stack.append(filling)
                furthest = max(furthest, filling, key=attrgetter("number"))
        if len(seen) > _MOST_FILLINGS:
            return None
    return furthest


def _filled_further(here: _Filling, gaps: list[_Gap], spare: dict[int, list[Operation]]) -> Iterator[_Filling]:
    """One more operation of each amount that fits into the gap and was invoked in time."""
    gap = gaps[here.number]
    left = sum(amount * (len(spare[amount]) - used) for amount, used in zip(spare, here.used, strict=True))
    if here.value + left < gap.high:
        return
    for choice, (amount, operations) in enumerate(spare.items()):
        count, value = here.used[choice], here.value + amount
        if value > gap.high or count == len(operations) or operations[count].invoked > gap.deadline:
            continue
        number = here.number + (value == gap.high)
        if value == gap.high and number < len(gaps):
            value = gaps[number].low
        used = (*here.used[:choice], count + 1, *here.used[choice + 1 :])
        yield _Filling(number, value, used, ((gap.position, operations[count]), here.path))


def _interleaved(places: list[_Place], filling: _Filling) -> tuple[Operation, ...]:
    """The places from below, with the fillings of each gap in front of the place above it."""
    fillings: dict[int, list[Operation]] = {}
    path = filling.path
    while path is not None:
        (position, operation), path = path
        fillings.setdefault(position, []).append(operation)
    order: list[Operation] = []
    for position, place in enumerate(places):
        order += fillings.get(position, [])
        order.append(place.operation)
    return tuple(order)
