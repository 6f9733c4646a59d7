"""Reads that may be old, but not older than this; and reads that show no client less than it has seen.

Most of it happens in simulations: there a peer can be cut off from its leader and still be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from math import inf, nan
from typing import Any, cast

import pytest

from actors.applier import Query
from actors.calls import Call, SubmitOptions
from actors.cluster import ClusterHandle
from actors.errors import CallTimeout, WrongArguments
from actors.freshness import Freshness
from actors.machines.counter import Counter
from actors.protocol import Consistency, QueryResult, Refused, Results, SubmitQuery
from actors.replies import encode_result
from actors.requests import Requests
from actors.sim import SimCluster
from actors.sim.client import SimClient
from actors.spec import RuntimeName
from raft_core import ReadMode, ReadReady, ReadRefused, ReadRequested, follower
from tests.actors.talk import NAMES, Talk, new_call
from tests.actors.test_requests import Answered

RUNTIMES: tuple[RuntimeName, ...] = ("actors", "locks")
BOUND = 0.5
numbers = count(1)
SERVER = follower("n1", ["n1", "n2", "n3"], current_term=5, terms=[1, 1, 3, 5, 5], commit_index=4)


# --- what a peer knows of itself --------------------------------------------------------------------------------------


def bounded(batch_id: int = 5, bound: float = BOUND) -> SubmitQuery:
    return SubmitQuery(batch_id, "get", b"", "stale", bound)


def session_read(batch_id: int, seen_index: int) -> SubmitQuery:
    return SubmitQuery(batch_id, "get", b"", "session", None, seen_index)


class Peer:
    """The requests of one peer whose clock stands where it is put."""

    def __init__(self) -> None:
        self.answered = Answered()
        self.requests = Requests(self.answered)

    def asks_first(self, query: SubmitQuery, now: float) -> ReadRequested | None:
        """The question to the core, if the read is not answered at once."""
        events, work = self.requests.events([(1, query)], SERVER, now)
        if not events:
            assert work == [Query(1, query.batch_id, query.name, query.arguments)]
            return None
        assert work == []
        (asked,) = events
        assert isinstance(asked, ReadRequested)
        return asked

    def confirm(self, asked: ReadRequested) -> None:
        self.requests.ready(ReadReady(asked.read_ids, read_index=4))


def test_who_knows_nothing_yet_asks_the_leader_and_answers_then() -> None:
    peer = Peer()
    asked = peer.asks_first(bounded(), now=100.0)
    assert asked is not None and asked.mode is ReadMode.FOLLOWER
    assert peer.requests.ready(ReadReady(asked.read_ids, 4)) == [Query(1, 5, "get", b"")]


def test_what_was_confirmed_answers_until_the_bound_has_passed_since_the_asking() -> None:
    peer = Peer()
    asked = peer.asks_first(bounded(), now=100.0)
    assert asked is not None
    peer.confirm(asked)  # whenever that is
    assert peer.asks_first(bounded(), now=100.5) is None
    assert peer.asks_first(bounded(), now=100.51) is not None
    assert peer.asks_first(bounded(bound=1.0), now=100.51) is None


def test_a_question_that_nobody_answered_makes_nothing_recent() -> None:
    peer = Peer()
    assert peer.asks_first(bounded(), now=100.0) is not None
    assert peer.asks_first(bounded(6), now=100.1) is not None


def test_an_answer_to_an_older_question_takes_nothing_back() -> None:
    peer = Peer()
    older, newer = peer.asks_first(bounded(5), now=100.0), peer.asks_first(bounded(6), now=100.4)
    assert older is not None and newer is not None
    peer.confirm(newer)
    peer.confirm(older)
    assert peer.asks_first(bounded(), now=100.9) is None


@pytest.mark.parametrize(("consistency", "helps"), [("linearizable", True), ("follower", True), ("lease", False)])
def test_any_confirmed_read_tells_how_recent_the_state_is_but_a_lease(consistency: Consistency, helps: bool) -> None:
    peer = Peer()
    asked = peer.asks_first(SubmitQuery(4, "get", b"", consistency), now=100.0)
    assert asked is not None
    peer.confirm(asked)
    assert (peer.asks_first(bounded(), now=100.2) is None) is helps


def test_a_peer_without_a_leader_refuses_what_it_cannot_vouch_for() -> None:
    peer = Peer()
    asked = peer.asks_first(bounded(), now=100.0)
    assert asked is not None
    peer.requests.reads_refused(ReadRefused(asked.read_ids, "n2"))
    assert peer.answered.said == [(1, Refused(5, False, "n2"))]


def test_a_session_read_is_answered_at_once_only_where_all_that_was_seen_is_committed() -> None:
    peer = Peer()
    assert peer.asks_first(session_read(5, 0), now=1.0) is None
    assert peer.asks_first(session_read(5, 4), now=1.0) is None
    asked = peer.asks_first(session_read(5, 5), now=1.0)
    assert asked is not None and asked.mode is ReadMode.FOLLOWER


def test_a_read_without_a_bound_is_always_answered_and_the_others_never() -> None:
    freshness = Freshness()
    assert freshness.suffices(SubmitQuery(1, "get", b"", "stale"), 0, 0.0)
    others: tuple[Consistency, ...] = ("linearizable", "follower", "lease")
    for consistency in others:
        assert not freshness.suffices(SubmitQuery(1, "get", b"", consistency), 9, 0.0)


# --- what a client's session asks for ---------------------------------------------------------------------------------


def ask(talk: Talk, consistency: Consistency = "session", bound: float | None = None) -> Call[Any]:
    call = new_call(f"query {next(numbers)}")
    talk.session.query("get", b"", consistency, call, bound)
    return call


def seen_by(talk: Talk) -> int:
    """What the session names when it reads."""
    ask(talk)
    ((_, message),) = talk.out()
    assert isinstance(message, SubmitQuery)
    return message.seen_index


def test_a_session_names_the_last_entry_that_it_was_shown_by_commands_and_by_reads() -> None:
    talk = Talk()
    assert seen_by(talk) == 0
    talk.submit(2)
    ((server_id, batch_id, _),) = talk.batches()
    assert seen_by(talk) == 0, "nothing is acknowledged yet"
    talk.hear(server_id, Results(batch_id, 0, (encode_result(1), encode_result(2)), 17))
    assert seen_by(talk) == 17
    ask(talk, "stale")
    ((server_id, message),) = talk.out()
    talk.hear(server_id, QueryResult(message.batch_id, b"", 30))
    assert seen_by(talk) == 30
    ask(talk, "linearizable")
    ((server_id, message),) = talk.out()
    talk.hear(server_id, QueryResult(message.batch_id, b"", 29))
    assert seen_by(talk) == 30


@pytest.mark.parametrize(("consistency", "bound"), [("session", None), ("stale", BOUND)])
def test_everybody_is_asked_in_turn_and_after_a_refusal_the_leader(
    consistency: Consistency, bound: float | None
) -> None:
    talk = Talk(leader="n2")
    asked = set()
    for _ in NAMES:
        ask(talk, consistency, bound)
        ((server_id, message),) = talk.out()
        asked.add(server_id)
        talk.hear(server_id, Refused(message.batch_id, False, "n2"))
        talk.now += 1.0
        ((again, _),) = talk.out()
        assert again == "n2" or server_id == "n2"
    assert asked == set(NAMES)


@pytest.mark.parametrize("consistency", ["linearizable", "lease", "stale"])
def test_what_is_not_for_anybody_goes_to_the_leader(consistency: Consistency) -> None:
    talk = Talk(leader="n2")
    for _ in range(4):
        ask(talk, consistency)
        ((server_id, _),) = talk.out()
        assert server_id == "n2"


@pytest.mark.parametrize("bound", [0, 0.0, -1.0, nan, inf, 2e9, True, "1"])
def test_a_bound_is_a_number_of_seconds(bound: float) -> None:
    with pytest.raises(WrongArguments, match="is no bound"):
        SubmitOptions(None, "stale", bound)


@pytest.mark.parametrize("consistency", ["linearizable", "follower", "lease", "session"])
def test_only_a_stale_read_has_a_bound(consistency: Consistency) -> None:
    with pytest.raises(WrongArguments, match="does not go with"):
        SubmitOptions(None, consistency, 1.0)


def test_a_consistency_that_is_none_is_refused_before_anything_is_sent() -> None:
    with Counter.cluster(engine="sim") as counter, pytest.raises(WrongArguments, match="no consistency 'eventual'"):
        counter.get.using(consistency=cast(Consistency, "eventual"))


# --- clusters ---------------------------------------------------------------------------------------------------------


@contextmanager
def simulated(runtime: RuntimeName = "actors", seed: int = 1, nodes: int = 3) -> Iterator[tuple[Counter, SimCluster]]:
    with Counter.cluster(nodes=nodes, engine="sim", runtime=runtime, seed=seed, timeout=20) as counter:
        assert isinstance(counter.cluster, SimCluster)
        yield counter, counter.cluster


def followers(cluster: SimCluster) -> list[str]:
    return [name for name in ("n1", "n2", "n3") if name != cluster.leader()]


def another(cluster: SimCluster) -> Counter:
    """The counter in the hands of a second client, with a session of its own."""
    timeline = cluster._timeline
    client = SimClient(timeline, timeout=20, health=cluster.peers.health)
    client.client_id = cluster.peers.add_listener(client)
    return Counter._bound(ClusterHandle(client, cluster))


def of_each(read: Callable[[], int]) -> list[int]:
    """What each of three peers answers: they take turns."""
    return [read() for _ in range(3)]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(3))
def test_nobody_answers_a_bounded_read_from_beyond_its_bound(runtime: RuntimeName, seed: int) -> None:
    """A follower that is cut off has the old value, and goes on serving reads without a bound."""
    with simulated(runtime, seed) as (counter, cluster):
        counter.incr()
        bounded = counter.get.using(consistency="stale", max_staleness=BOUND)
        assert of_each(bounded) == [1, 1, 1]
        cut_off = followers(cluster)[0]
        cluster.network.disconnect(cut_off)
        counter.incr()
        cluster.run_for(BOUND)
        assert of_each(bounded) == [2, 2, 2]
        applied = {name: status.applied_index for name, status in cluster.status().items() if status is not None}
        assert applied[cut_off] < max(applied.values()), "or there was nothing old to answer from"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_leader_that_is_cut_off_answers_until_the_bound_and_no_longer(runtime: RuntimeName) -> None:
    with simulated(runtime, nodes=3) as (counter, cluster):
        counter.incr()
        old = cluster.leader()
        bounded = counter.get.using(consistency="stale", max_staleness=BOUND)
        assert of_each(bounded) == [1, 1, 1]
        cluster.network.disconnect(old)
        assert of_each(bounded) == [1, 1, 1], "nobody needs a majority for that"
        counter.incr()
        cluster.run_for(BOUND)
        assert of_each(bounded) == [2, 2, 2]


def test_without_a_majority_the_bound_decides_and_the_error_names_it() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        long = counter.get.using(consistency="stale", max_staleness=60.0, timeout=2.0)
        assert of_each(long) == [1, 1, 1]
        cluster.network.partition(["n1"], ["n2"], ["n3"])
        cluster.run_for(10.0)
        assert of_each(long) == [1, 1, 1]
        with pytest.raises(CallTimeout, match=r"get \(at most 0.5 s old\) was not"):
            counter.get.using(consistency="stale", max_staleness=BOUND, timeout=5.0)()
        cluster.network.heal()
        assert counter.get.using(consistency="stale", max_staleness=BOUND)() == 1


def test_reads_within_the_bound_cost_no_message_between_peers() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        bounded = counter.get.using(consistency="stale", max_staleness=30.0)
        of_each(bounded)
        before = cluster.network.counts().by_type.get("RequestReadIndex", 0)
        for _ in range(20):
            of_each(bounded)
        assert cluster.network.counts().by_type.get("RequestReadIndex", 0) == before


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(3))
def test_a_session_sees_its_own_writes_whoever_answers(runtime: RuntimeName, seed: int) -> None:
    with simulated(runtime, seed) as (counter, cluster):
        counter.incr()
        cut_off = followers(cluster)[0]
        cluster.network.disconnect(cut_off)
        for value in range(2, 6):
            assert counter.incr() == value
            assert of_each(counter.get.using(consistency="session")) == [value] * 3


def test_another_session_that_has_seen_nothing_may_be_shown_the_past_but_never_goes_back() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        other = another(cluster)
        cluster.run_for(1.0)
        cluster.network.disconnect(followers(cluster)[0])
        assert counter.incr() == 2
        seen = of_each(other.get.using(consistency="session"))
        assert seen == sorted(seen) and seen[-1] == 2
        assert of_each(other.get.using(consistency="session")) == [2, 2, 2]


def test_a_session_read_needs_no_majority() -> None:
    with simulated() as (counter, cluster):
        counter.incr()
        cluster.run_for(1.0)
        cluster.network.partition(["n1"], ["n2"], ["n3"])
        cluster.run_for(5.0)
        assert of_each(counter.get.using(consistency="session")) == [1, 1, 1]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_both_reads_with_real_threads(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="threads", runtime=runtime, timeout=60.0) as counter:
        for number in range(1, 40):
            assert counter.incr() == number
            assert counter.get.using(consistency="session")() == number
            assert 0 <= counter.get.using(consistency="stale", max_staleness=0.01)() <= number
