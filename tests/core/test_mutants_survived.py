"""What a tool that makes small changes all over the core found held by no test, or by random ones alone.

Each test here fails for at least one such change (`make mutation-score`, docs/explanation/mutation-score.md).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Entry,
    Follower,
    HeartbeatTimeout,
    Leader,
    LogPersisted,
    Progress,
    ReadReady,
    ReadRequested,
    RequestVote,
    Send,
    Server,
    Settings,
    coalesce,
    received,
    step,
)
from raft_core.log import Log

Build = Callable[..., Server]
Requests = Callable[..., list[AppendEntries]]
ProgressOf = Callable[[Server, str], Progress]
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


def test_logs_that_were_built_apart_are_compared_entry_by_entry() -> None:
    assert log(2, 4) == log(2, 4)
    assert log(2, 4) != log(1, 4), "as long, and the same last term"


def test_logs_that_end_differently_have_different_hashes() -> None:
    assert len({hash(log(2, 2)), hash(log(2)), hash(log(2, 4)), hash(log(2, 2, after=(10, 1)))}) == 4


def test_a_request_and_an_answer_to_the_same_peer_are_two_messages() -> None:
    """A leader that was deposed in the middle of a batch sends both: neither may replace the other."""
    request = Send("n2", AppendEntries(1, "n1", 0, 0, (Entry(1, b"a"),), 0))
    answer = Send("n2", AppendEntriesResult(2, True, 0, 1))
    assert coalesce([request, answer], Settings()) == (request, answer)
    assert coalesce([answer, request], Settings()) == (answer, request)


def test_requests_become_one_up_to_the_bound_and_not_beyond() -> None:
    one, two = (AppendEntries(1, "n1", index, min(index, 1), (Entry(1, b"a"),), 0) for index in (0, 1))
    both = AppendEntries(1, "n1", 0, 0, (Entry(1, b"a"), Entry(1, b"a")), 0)
    sends = [Send("n2", one), Send("n2", two)]
    assert coalesce(sends, Settings(max_entries_per_message=2)) == (Send("n2", both),)
    assert coalesce(sends, Settings(max_entries_per_message=1)) == tuple(sends)


def test_an_answer_that_is_repeated_is_given_once() -> None:
    answer = Send("n2", AppendEntriesResult(1, True, 0, 3, round=2))
    assert coalesce([answer, answer], Settings()) == (answer,)


def streaming(leader: Server, progress: Progress) -> Server:
    """The leader, if it knew this of a follower."""
    assert isinstance(leader.role, Leader)
    followers = tuple(progress if known.server_id == progress.server_id else known for known in leader.role.followers)
    return replace(leader, role=replace(leader.role, followers=followers))


@pytest.fixture
def leader(elect: Build) -> Server:
    """A leader of six entries; n2 is known to have three of them, the fourth and fifth are on their way."""
    return streaming(elect(3, terms=(1, 1, 1, 1, 1), term=2), Progress("n2", 6, 3, is_probing=False, in_flight=(5,)))


def refused(server: Server, prev_log_index: int, conflict_index: int) -> Server:
    answer = AppendEntriesResult(server.current_term, False, prev_log_index, 0, 0, conflict_index)
    return step(server, received("n2", answer)).server


def test_a_refusal_of_what_was_never_sent_changes_nothing(leader: Server, progress_of: ProgressOf) -> None:
    """The entry before the next one is the last that a request can have named."""
    assert not progress_of(refused(leader, 6, 4), "n2").is_probing
    assert progress_of(refused(leader, 5, 4), "n2").is_probing


def test_nobody_backs_up_behind_what_is_known_to_match(leader: Server, progress_of: ProgressOf) -> None:
    """Figure 2, "Volatile state on leaders": the next index is greater than the match index."""
    assert progress_of(refused(leader, 5, 1), "n2").next_index == 4


@pytest.mark.parametrize(
    ("known", "match_index"),
    [
        (Progress("n2", 5, 0), 1),  # it probed at 4, and hears of a heartbeat that was answered long ago
        (Progress("n2", 4, 3, is_probing=False), 5),  # it began anew behind a link that was replaced; this came before
    ],
)
def test_whatever_a_success_vouches_for_the_next_request_stands_right_behind_it(
    known: Progress, match_index: int, elect: Build, requests: Requests
) -> None:
    leader = streaming(elect(3, terms=(1, 1, 1, 1, 1), term=2), known)
    answer = AppendEntriesResult(2, True, 0, match_index)
    effects = step(leader, received("n2", answer)).effects
    assert [request.prev_log_index for request in requests(effects, "n2")] == [match_index]


def test_followers_at_the_same_place_get_the_very_same_message(elect: Build, requests: Requests) -> None:
    """It is put into bytes once, however many followers there are."""
    effects = step(elect(3), HeartbeatTimeout()).effects
    (first,), (second,) = requests(effects, "n2"), requests(effects, "n3")
    assert first is second


def test_a_leader_that_has_answered_its_early_reads_can_step_down(elect: Build) -> None:
    leader = step(elect(3), ReadRequested((7,))).server
    leader = step(leader, LogPersisted(1, 1)).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 0, 1))).server
    leader, effects = step(leader, received("n2", AppendEntriesResult(1, True, 1, 1, round=1)))
    assert ReadReady((7,), 1) in effects
    assert isinstance(leader.role, Leader) and leader.role.early_reads == ()
    assert step(leader, received("n3", RequestVote(2, "n3", 9, 1, leadership_transfer=True))).server.role == Follower()
