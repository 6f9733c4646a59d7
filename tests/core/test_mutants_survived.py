"""What a tool that makes small changes all over the core found held by no test, or by random ones alone.

Each test here fails for at least one such change (`make mutation-score`, docs/explanation/mutation-score.md).
"""

from __future__ import annotations

import pytest

from raft_core import Entry
from raft_core.log import Log

TERMS = (2, 2, 4, 4, 4, 7)


def log(*terms: int, after: tuple[int, int] = (0, 0)) -> Log:
    """A log of entries of these terms."""
    entries = [Entry(term, b"%d" % place) for place, term in enumerate(terms)]
    return Log(entries, last_included_index=after[0], last_included_term=after[1])


@pytest.mark.parametrize(("index", "first"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3), (6, 6)])
@pytest.mark.parametrize("base", [0, 10])
def test_a_run_of_one_term_begins_where_the_term_does(index: int, first: int, base: int) -> None:
    assert log(*TERMS, after=(base, min(base, 1))).first_index_of_run(base + index) == base + first


@pytest.mark.parametrize(
    ("term", "last"), [(0, None), (1, None), (2, 2), (3, None), (4, 5), (5, None), (7, 6), (8, None)]
)
@pytest.mark.parametrize("base", [0, 10])
def test_a_term_ends_at_its_last_entry_if_it_has_one(term: int, last: int | None, base: int) -> None:
    expected = None if last is None else base + last
    assert log(*TERMS, after=(base, min(base, 1))).last_index_of_term(term) == expected


def test_a_shorter_view_does_not_see_the_terms_behind_its_end() -> None:
    shorter = log(*TERMS).truncate(4)
    assert (shorter.last_index_of_term(7), shorter.last_index_of_term(4)) == (None, 4)


def test_a_log_that_was_built_apart_and_is_longer_has_all_of_the_shorter_one() -> None:
    assert log(2, 2).last_common_index(log(2, 2, 4)) == 2


def test_logs_that_end_differently_have_different_hashes() -> None:
    assert len({hash(log(2, 2)), hash(log(2)), hash(log(2, 4)), hash(log(2, 2, after=(10, 1)))}) == 4
