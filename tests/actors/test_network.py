"""What becomes of a message: each fault does what it says, to the links it was set for, and nothing else is touched."""

from __future__ import annotations

from math import inf, nan
from random import Random
from typing import Any

import pytest

from actors.errors import NoSuchNode, WrongArguments
from actors.network import REQUESTS, Faults, LinkCounts, LinkFaults, Network
from raft_core.messages import Message

NAMES = ("n1", "n2", "n3")


class NoRandomness(Random):
    """Fails whoever draws."""

    def random(self) -> float:
        raise AssertionError("randomness was drawn")


def fates(
    network: Network, sender: str = "n1", receiver: str = "n2", kind: str = "AppendEntries", seed: int = 1
) -> tuple[float, ...]:
    return network.fates(sender, receiver, kind, 100, Random(seed))


def many(network: Network, kind: str = "AppendEntries", count: int = 2000) -> list[tuple[float, ...]]:
    random = Random(5)
    return [network.fates("n1", "n2", kind, 100, random) for _ in range(count)]


def test_without_faults_everything_arrives_at_once_and_no_randomness_is_drawn() -> None:
    network = Network(NAMES)
    for kind in (*REQUESTS, "AppendEntriesResult"):
        assert network.fates("n1", "n2", kind, 1, NoRandomness()) == (0.0,)


def test_a_cut_is_one_way_and_can_be_mended() -> None:
    network = Network(NAMES)
    network.cut("n1", "n2")
    assert fates(network) == ()
    assert fates(network, "n2", "n1") == (0.0,)
    assert network.faults("n1", "n2").cut and not network.faults("n2", "n1").cut
    network.mend("n1", "n2")
    assert fates(network) == (0.0,)


def test_all_links_of_a_server_can_be_cut_in_one_direction() -> None:
    network = Network(NAMES)
    network.cut(sender="n1")
    assert fates(network, "n1", "n2") == fates(network, "n1", "n3") == ()
    assert fates(network, "n2", "n1") == fates(network, "n2", "n3") == (0.0,)


def test_a_link_works_only_if_both_its_servers_are_connected() -> None:
    network = Network(NAMES)
    network.disconnect("n1")
    network.disconnect("n2")
    network.connect("n1")
    assert network.is_connected("n1") and not network.is_connected("n2")
    assert fates(network, "n1", "n2") == fates(network, "n2", "n1") == ()
    assert network.faults("n1", "n2").cut
    assert fates(network, "n1", "n3") == (0.0,)
    network.connect("n2")
    assert fates(network, "n1", "n2") == (0.0,)


def test_connecting_a_server_does_not_mend_what_was_cut() -> None:
    network = Network(NAMES)
    network.cut("n1", "n2")
    network.disconnect("n1")
    network.connect("n1")
    assert fates(network) == ()


def test_a_partition_leaves_the_links_inside_its_groups() -> None:
    network = Network((*NAMES, "n4"))
    network.partition(["n1", "n2"], ["n3"])
    assert fates(network, "n1", "n2") == fates(network, "n2", "n1") == (0.0,)
    for pair in (("n1", "n3"), ("n3", "n2"), ("n4", "n1"), ("n3", "n4")):
        assert fates(network, *pair) == ()


def test_the_share_that_is_dropped_is_about_what_was_asked_for() -> None:
    network = Network(NAMES)
    network.set(requests=Faults(drop=0.3))
    lost = sum(delays == () for delays in many(network))
    assert 500 < lost < 700
    assert set(many(network, "AppendEntriesResult")) == {(0.0,)}


def test_delays_lie_in_their_range_and_let_messages_overtake() -> None:
    network = Network(NAMES)
    network.set(requests=Faults(delay=(0.01, 0.02)))
    delays = [delay for (delay,) in many(network)]
    assert all(0.01 <= delay <= 0.02 for delay in delays)
    assert delays != sorted(delays)


def test_duplicates_arrive_twice_each_at_its_own_time() -> None:
    network = Network(NAMES)
    network.set(requests=Faults(duplicate=1.0, delay=(0.0, 1.0)))
    copies = many(network, count=50)
    assert all(len(delays) == 2 for delays in copies)
    assert any(first != second for first, second in copies)


def test_two_of_three_results_are_held_back_and_requests_are_not() -> None:
    network = Network(NAMES)
    network.reorder_results(hold_back_delay=(0.2, 2.2))
    delays = [delay for (delay,) in many(network, "RequestVoteResult")]
    late = [delay for delay in delays if delay]
    assert 1250 < len(late) < 1420
    assert all(0.2 <= delay <= 2.2 for delay in late)
    assert sum(delay < 0.7 for delay in late) > len(late) / 2
    assert set(many(network)) == {(0.0,)}


def test_the_unreliable_network_is_the_labs() -> None:
    network = Network(NAMES)
    network.unreliable()
    requests, results = many(network), many(network, "AppendEntriesResult")
    assert all(0.0 <= delay <= 0.026 for delays in requests for delay in delays)
    assert 130 < sum(delays == () for delays in requests) < 280
    assert 130 < sum(delays == () for delays in results) < 280
    assert all(delays in ((), (0.0,)) for delays in results)


def test_reliable_takes_the_faults_away_and_heal_the_cuts_as_well() -> None:
    network = Network(NAMES)
    network.unreliable()
    network.cut("n1", "n2")
    network.disconnect("n3")
    network.reliable()
    assert fates(network) == () and fates(network, "n2", "n3") == ()
    assert set(network.fates("n2", "n1", "AppendEntries", 1, NoRandomness())) == {0.0}
    network.heal()
    assert fates(network) == (0.0,) and fates(network, "n2", "n3") == (0.0,)


def test_faults_of_one_link_leave_the_others_alone() -> None:
    network = Network(NAMES)
    network.set(sender="n1", receiver="n2", requests=Faults(drop=1.0))
    assert fates(network) == ()
    assert fates(network, "n1", "n3") == fates(network, "n2", "n1") == (0.0,)


def test_requests_are_counted_when_sent_and_results_when_delivered() -> None:
    network = Network(NAMES)
    network.set(requests=Faults(drop=1.0), results=Faults(drop=1.0))
    fates(network)
    fates(network, kind="AppendEntriesResult")
    network.reliable()
    fates(network, kind="AppendEntriesResult")
    fates(network, "n2", "n3", "RequestVote")
    assert network.link_counts()["n1", "n2"] == LinkCounts(1, 2, 200, 2, {"AppendEntries": 1, "AppendEntriesResult": 2})
    total = network.counts()
    assert (total.requests, total.results, total.bytes, total.lost) == (2, 2, 300, 2)


def test_what_came_late_or_twice_is_counted() -> None:
    network = Network(NAMES)
    network.set(sender="n1", requests=Faults(delay=(1.0, 2.0)))
    network.set(sender="n2", requests=Faults(duplicate=1.0))
    network.set(sender="n3", requests=Faults(duplicate=1.0, delay=(1.0, 2.0)))
    for ends in network.link_counts():
        fates(network, *ends)
    counts = network.link_counts()
    assert [(counts[ends].delayed, counts[ends].doubled) for ends in (("n1", "n2"), ("n2", "n3"), ("n3", "n1"))] == [
        (1, 0),
        (0, 1),
        (1, 1),
    ]
    assert (network.counts().delayed, network.counts().doubled) == (4, 4)
    assert network.counts().lost == 0


def test_the_state_shows_every_link_with_its_faults_and_counts() -> None:
    network = Network(NAMES)
    network.set(sender="n1", receiver="n2", results=Faults(drop=1.0))
    network.disconnect("n3")
    fates(network, kind="RequestVoteResult")
    state = network.state()
    assert (state.names, state.disconnected) == (NAMES, ("n3",))
    links = {(link.sender, link.receiver): link for link in state.links}
    assert links["n1", "n2"].faults == LinkFaults(results=Faults(drop=1.0))
    assert links["n2", "n1"].faults == LinkFaults()
    assert all(link.faults.cut == ("n3" in ends) for ends, link in links.items())
    assert links["n1", "n2"].counts == LinkCounts(0, 1, 0, 1, {"RequestVoteResult": 1})
    assert state.total() == network.counts()


def test_every_message_of_the_protocol_is_known_as_request_or_result() -> None:
    names = {kind.__name__ for kind in Message.__args__}
    assert {name for name in names if not name.endswith("Result")} == REQUESTS


@pytest.mark.parametrize(
    "nonsense",
    [
        {"drop": 1.5},
        {"drop": nan},
        {"drop": "0.1"},
        {"duplicate": -0.1},
        {"hold_back": 2},
        {"delay": (2.0, 1.0)},
        {"delay": (-1.0, 1.0)},
        {"delay": (0.0, inf)},
        {"delay": (0.0, nan)},
        {"delay": 0.026},
        {"hold_back_delay": (1.0,)},
        {"hold_back_delay": ("0", "1")},
    ],
    ids=str,
)
def test_faults_that_cannot_be_are_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(WrongArguments, match=next(iter(nonsense))):
        Faults(**nonsense)


def test_an_unknown_server_is_refused_by_name_and_changes_nothing() -> None:
    network = Network(NAMES)
    for attempt in (
        lambda: network.cut("n9", "n1"),
        lambda: network.disconnect("n9"),
        lambda: network.partition(["n1"], ["n9"]),
        lambda: network.set(receiver="n9", requests=Faults(drop=1.0)),
        lambda: network.faults("n9", "n1"),
    ):
        with pytest.raises(NoSuchNode, match="n9"):
            attempt()
    assert all(fates(network, *ends) == (0.0,) for ends in network.link_counts())


def test_who_comes_later_has_links_that_work_and_can_be_cut_like_any_other() -> None:
    network = Network(NAMES)
    network.cut("n1")
    network.admit("n1", "n9")
    assert network.names == (*NAMES, "n9")
    assert network.faults("n1", "n2").cut, "what was cut stays so"
    assert not network.faults("n1", "n9").cut
    network.cut("n9", "n1")
    network.admit("n9", "n1")
    assert network.faults("n9", "n1").cut
    assert not network.fates("n9", "n1", "AppendEntries", 10, Random(1))
    assert network.fates("n1", "n9", "AppendEntries", 10, Random(1)) == (0.0,)
