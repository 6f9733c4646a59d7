"""`Log` against plain tuples: every view ever made must stay what it was, whatever became of the others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from raft_core import Entry, Log


@dataclass(frozen=True)
class Model:
    """A log as a tuple, and the view that should equal it."""

    view: Log
    base: tuple[int, int]
    entries: tuple[Entry, ...]

    def terms(self) -> dict[int, int]:
        index, term = self.base
        return {index: term} | {index + 1 + position: entry.term for position, entry in enumerate(self.entries)}


steps = st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=2)), max_size=5)


def _entries(start: int, increments: list[tuple[int, bytes]]) -> tuple[Entry, ...]:
    made = []
    for increment, command in increments:
        start += increment
        made.append(Entry(start, command))
    return tuple(made)


class LogMachine(RuleBasedStateMachine):
    """Branches of branches, truncated and appended to in any order."""

    logs = Bundle("logs")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Model] = []

    def _keep(self, model: Model) -> Model:
        self.all.append(model)
        for each in self.all:
            assert tuple(each.view) == each.entries
        return model

    @rule(target=logs, base=st.sampled_from([(0, 0), (3, 1), (7, 5)]), increments=steps)
    def begin(self, base: tuple[int, int], increments: list[tuple[int, bytes]]) -> Model:
        entries = _entries(max(base[1], 1), increments)
        return self._keep(Model(Log(entries, last_included_index=base[0], last_included_term=base[1]), base, entries))

    @rule(target=logs, log=logs, increments=steps)
    def append(self, log: Model, increments: list[tuple[int, bytes]]) -> Model:
        more = _entries(max(log.view.last_term, 1), increments)
        return self._keep(Model(log.view.append(more), log.base, log.entries + more))

    @rule(target=logs, log=logs, last_index=st.integers(0, 20))
    def truncate(self, log: Model, last_index: int) -> Model:
        kept = log.entries[: max(last_index - log.base[0], 0)]
        return self._keep(Model(log.view.truncate(last_index), log.base, kept))

    @rule(log=logs)
    def answers_for_each_index(self, log: Model) -> None:
        terms = log.terms()
        assert log.view.last_index == max(terms)
        assert log.view.last_term == terms[max(terms)]
        assert len(log.view) == len(log.entries)
        for index in range(max(terms) + 3):
            assert log.view.term_at(index) == terms.get(index)

    @rule(log=logs, first=st.integers(0, 20), last=st.integers(0, 20))
    def slices(self, log: Model, first: int, last: int) -> None:
        base = log.base[0]
        expected = tuple(e for i, e in enumerate(log.entries, start=base + 1) if first <= i <= last)
        assert log.view.entries(first, last) == expected

    @rule(log=logs)
    def finds_the_ends_of_terms(self, log: Model) -> None:
        held = {index: term for index, term in log.terms().items() if index > log.base[0]}
        for index, term in held.items():
            assert log.view.first_index_of_run(index) == min(i for i, t in held.items() if t == term)
        for term in range(log.view.last_term + 2):
            assert log.view.last_index_of_term(term) == max((i for i, t in held.items() if t == term), default=None)

    @rule(one=logs, other=logs)
    def compares_by_content(self, one: Model, other: Model) -> None:
        same = (one.base, one.entries) == (other.base, other.entries)
        assert (one.view == other.view) == same
        if same:
            assert hash(one.view) == hash(other.view)


LogMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLogAgainstTuples = LogMachine.TestCase


def test_a_log_is_not_equal_to_what_is_no_log() -> None:
    """Comparison is left to the other side."""
    assert Log() != ()
    assert Log().__eq__(()) is NotImplemented


def test_logs_that_were_compacted_at_different_terms_differ() -> None:
    """The same entries, another history."""
    entries = (Entry(4, b"a"),)
    one = Log(entries, last_included_index=2, last_included_term=1)
    assert one != Log(entries, last_included_index=2, last_included_term=2)
    assert one == Log(entries, last_included_index=2, last_included_term=1)


def test_the_newest_view_appends_in_place_and_a_branch_copies() -> None:
    """O(entries appended) on the newest view: no copy of what is there (measured in benchmarks/core_cost.py)."""
    old = Log([Entry(1, b"a")])
    newest = old.append([Entry(1, b"b")])
    assert newest._buffer is old._buffer
    branch = old.append([Entry(2, b"c")])
    assert branch._buffer is not old._buffer
    assert [tuple(e.command for e in log) for log in (old, newest, branch)] == [(b"a",), (b"a", b"b"), (b"a", b"c")]


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (Log(), "Log(0 entries, terms  )"),
        (Log([Entry(1), Entry(2)]), "Log(2 entries, terms 1 2)"),
        (Log([Entry(3)], last_included_index=9, last_included_term=2), "Log(after 9/2: 1 entries, terms 3)"),
        (Log([Entry(1)] * 13), "Log(13 entries, terms ... " + " ".join("1" * 12) + ")"),
    ],
)
def test_a_log_shows_its_last_terms(log: Log, text: str) -> None:
    """As Figure 7 draws them."""
    assert repr(log) == text.replace("terms  )", "terms )")


def test_index_0_has_term_0() -> None:
    assert Log().term_at(0) == 0
    assert Log([Entry(3)]).term_at(0) == 0
    assert Log().last_index == 0 and Log().last_term == 0
    assert Log([Entry(3)]).last_index == 1


def test_terms_that_begin_are_counted_up_to_an_index() -> None:
    log = Log([Entry(term) for term in (1, 1, 3, 5, 5, 5)])
    assert [log.terms_begun(index) for index in range(7)] == [0, 1, 1, 2, 3, 3, 3]


def test_a_term_that_began_before_the_log_does_is_not_counted() -> None:
    log = Log([Entry(term) for term in (1, 1, 3, 5, 5, 5, 6)])
    assert [log.compact(4).terms_begun(index) for index in range(4, 8)] == [0, 0, 0, 1]
    assert [log.compact(3).terms_begun(index) for index in range(3, 8)] == [0, 1, 1, 1, 2]


def test_two_logs_have_entries_in_common_up_to_where_they_differ() -> None:
    log = Log([Entry(1, b"a"), Entry(1, b"b"), Entry(2, b"c")])
    longer = log.append([Entry(2, b"d")])
    branch = log.truncate(2).append([Entry(3, b"x"), Entry(3, b"y")])
    same = Log([Entry(1, b"a"), Entry(1, b"b"), Entry(2, b"c")])
    assert [log.last_common_index(other) for other in (log, longer, branch, same, Log())] == [3, 3, 2, 3, 0]
    assert branch.last_common_index(longer) == longer.last_common_index(branch) == 2
    assert longer.truncate(1).last_common_index(longer) == 1
