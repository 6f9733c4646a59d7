"""Requests of many clients become few events, and each answer of the core finds the client it belongs to."""

from __future__ import annotations

from actors.applier import Apply, ClientId, Expect, Fingerprint, Follow, Query
from actors.protocol import (
    ClientMessage,
    FollowLog,
    InspectPeer,
    OfferCommand,
    Offered,
    PeerMessage,
    Refused,
    SubmitCommands,
    SubmitQuery,
)
from actors.requests import MAX_COMMANDS_PER_PROPOSAL, Requests
from raft_core import (
    ProposalAccepted,
    ProposalRefused,
    Proposed,
    ReadReady,
    ReadRefused,
    ReadRequested,
    RefusalReason,
    follower,
)

SERVER = follower("n1", ["n1", "n2", "n3"], current_term=5, terms=[1, 1, 3, 5, 5], commit_index=4)


class Answered:
    """Collects what clients are told."""

    def __init__(self) -> None:
        self.said: list[tuple[ClientId, PeerMessage]] = []

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        self.said.append((client_id, message))


def commands(batch_id: int, *names: bytes) -> SubmitCommands:
    return SubmitCommands(batch_id, names)


def query(batch_id: int, consistency: str = "linearizable") -> SubmitQuery:
    return SubmitQuery(batch_id, "get", b"", consistency)  # type: ignore[arg-type]


def test_the_commands_of_all_clients_of_a_turn_become_one_proposal_in_the_order_they_came() -> None:
    requests = Requests(Answered())
    events, work = requests.events(
        [(1, commands(5, b"a", b"b")), (2, commands(9, b"c")), (1, commands(6, b"d"))], SERVER
    )
    assert [event.commands for event in events if isinstance(event, Proposed)] == [(b"a", b"b", b"c", b"d")]
    assert len(events) == 1 and work == []


def test_an_accepted_proposal_is_divided_among_those_who_asked() -> None:
    requests = Requests(Answered())
    events, _ = requests.events([(1, commands(5, b"a", b"b")), (2, commands(9, b"c")), (1, commands(6, b"d"))], SERVER)
    assert isinstance(events[0], Proposed)
    work = list(requests.accepted(ProposalAccepted(events[0].proposal_id, 11, 14, term=3), SERVER))
    assert work == [Expect(1, 5, 11, 12, 3), Expect(2, 9, 13, 13, 3), Expect(1, 6, 14, 14, 3)]


def test_a_refused_proposal_is_refused_to_each_of_them_with_the_leader_if_known() -> None:
    answered = Answered()
    requests = Requests(answered)
    events, _ = requests.events([(1, commands(5, b"a")), (2, commands(9, b"c"))], SERVER)
    assert isinstance(events[0], Proposed)
    requests.refused(ProposalRefused(events[0].proposal_id, RefusalReason.NOT_LEADER, "n2"), SERVER)
    assert answered.said == [(1, Refused(5, False, "n2")), (2, Refused(9, False, "n2"))]


def test_an_overload_is_refused_as_such() -> None:
    answered = Answered()
    requests = Requests(answered)
    events, _ = requests.events([(1, commands(5, b"a"))], SERVER)
    assert isinstance(events[0], Proposed)
    requests.refused(ProposalRefused(events[0].proposal_id, RefusalReason.OVERLOADED, None), SERVER)
    assert answered.said == [(1, Refused(5, True, None))]


def test_more_commands_than_one_proposal_holds_make_several_and_no_batch_is_divided() -> None:
    requests = Requests(Answered())
    size = MAX_COMMANDS_PER_PROPOSAL // 2 + 1
    asked: list[tuple[ClientId, ClientMessage]] = [(n, commands(n, *[b"%d" % n] * size)) for n in (1, 2, 3)]
    events, _ = requests.events(asked, SERVER)
    proposals = [event for event in events if isinstance(event, Proposed)]
    assert [set(proposal.commands) for proposal in proposals] == [{b"1"}, {b"2"}, {b"3"}]
    assert len({proposal.proposal_id for proposal in proposals}) == 3
    for number, proposal in enumerate(proposals, start=1):
        (expect,) = requests.accepted(ProposalAccepted(proposal.proposal_id, 1, size, term=1), SERVER)
        assert isinstance(expect, Expect) and expect.client_id == number


def test_a_batch_without_commands_is_not_proposed() -> None:
    events, work = Requests(Answered()).events([(1, commands(5))], SERVER)
    assert events == [] and work == []


def test_linearizable_queries_of_a_turn_ask_the_core_once() -> None:
    requests = Requests(Answered())
    events, work = requests.events([(1, query(5)), (2, query(6))], SERVER)
    assert len(events) == 1 and isinstance(events[0], ReadRequested) and work == []
    ready = requests.ready(ReadReady(events[0].read_ids, read_index=4))
    assert ready == [Query(1, 5, "get", b""), Query(2, 6, "get", b"")]


def test_numbers_of_reads_are_never_used_twice() -> None:
    requests = Requests(Answered())
    seen: list[int] = []
    for _ in range(3):
        events, _ = requests.events([(1, query(5)), (1, commands(6, b"x")), (2, query(7))], SERVER)
        seen += [number for event in events if isinstance(event, ReadRequested) for number in event.read_ids]
    assert len(seen) == len(set(seen)) == 6


def test_a_stale_query_needs_no_consensus() -> None:
    events, work = Requests(Answered()).events([(1, query(5, "stale"))], SERVER)
    assert events == [] and work == [Query(1, 5, "get", b"")]


def test_refused_reads_name_the_leader_to_ask_instead() -> None:
    answered = Answered()
    requests = Requests(answered)
    events, _ = requests.events([(1, query(5)), (2, query(6))], SERVER)
    assert isinstance(events[0], ReadRequested)
    requests.reads_refused(ReadRefused(events[0].read_ids, "n3"))
    assert answered.said == [(1, Refused(5, False, "n3")), (2, Refused(6, False, "n3"))]


def test_commands_come_before_the_reads_of_the_same_turn() -> None:
    events, _ = Requests(Answered()).events([(1, query(5)), (1, commands(6, b"x"))], SERVER)
    assert [type(event) for event in events] == [Proposed, ReadRequested]


def test_a_fingerprint_is_work_for_the_applier() -> None:
    events, work = Requests(Answered()).events([(4, InspectPeer(8, digest=True))], SERVER)
    assert events == [] and work == [Fingerprint(4, 8)]


def test_who_offers_a_command_is_told_its_place_at_once_and_its_place_among_the_commands() -> None:
    answered = Answered()
    requests = Requests(answered)
    events, _ = requests.events([(4, OfferCommand(8, b"x")), (5, OfferCommand(9, b"y"))], SERVER)
    assert [event.commands for event in events if isinstance(event, Proposed)] == [(b"x",), (b"y",)]
    for event, index in zip(events, (4, 5), strict=True):
        assert isinstance(event, Proposed)
        assert list(requests.accepted(ProposalAccepted(event.proposal_id, index, index, term=5), SERVER)) == []
    # Three leaders wrote a no-op each up to there: the entries 1, 3 and 4.
    assert answered.said == [(4, Offered(8, 4, 1, 5, True)), (5, Offered(9, 5, 2, 5, True))]


def test_an_offer_that_was_overwritten_at_once_has_no_place_among_the_commands() -> None:
    answered = Answered()
    requests = Requests(answered)
    (event,), _ = requests.events([(4, OfferCommand(8, b"x"))], SERVER)
    assert isinstance(event, Proposed)
    assert list(requests.accepted(ProposalAccepted(event.proposal_id, 3, 3, term=2), SERVER)) == []
    assert answered.said == [(4, Offered(8, 3, 0, 2, True))]


def test_an_offer_to_another_than_the_leader_is_answered_with_the_term() -> None:
    answered = Answered()
    requests = Requests(answered)
    (event,), _ = requests.events([(4, OfferCommand(8, b"x"))], SERVER)
    assert isinstance(event, Proposed)
    requests.refused(ProposalRefused(event.proposal_id, RefusalReason.NOT_LEADER, "n2"), SERVER)
    assert answered.said == [(4, Offered(8, 0, 0, 5, False))]


def test_who_follows_the_log_gets_all_that_was_committed_before() -> None:
    events, work = Requests(Answered()).events([(4, FollowLog(8))], SERVER)
    assert events == [] and work == [Follow(4, Apply(1, SERVER.log.entries(1, 4)))]
