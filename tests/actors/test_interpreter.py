"""The interpreter keeps the order contract of the effects, whatever the disk does, with a real core behind it.

Everything that leaves the interpreter is written into one journal, so that what came before what can be read off it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from random import Random

import pytest
from msgspec.structs import replace

from actors.applier import Abandon, Apply, ClientId, Expect, Query, Work
from actors.deadlines import NEVER, Deadlines
from actors.interpreter import GATHERING_TIME, Interpreter, Written
from actors.leases import LEASE_SHARE
from actors.protocol import PeerMessage, Refused, SubmitCommands, SubmitQuery
from actors.storage.disk import Arrival
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Applied,
    ElectionTimeout,
    Entry,
    EntryKind,
    HeartbeatTimeout,
    Message,
    PersistEffect,
    Received,
    ServerId,
    Settings,
    restore,
)
from raft_core.messages import RequestPreVote, RequestPreVoteResult, RequestVote, RequestVoteResult

NAMES = ("n1", "n2", "n3")
SETTINGS = Settings(election_timeout=300, heartbeat_interval=50)


class Bench:
    """Server n1 of three on its interpreter, with a disk that confirms at once or when it is told to."""

    def __init__(self, *, asynchronous: bool = False, names: Sequence[ServerId] = NAMES) -> None:
        self.now = 0.0
        self.asynchronous = asynchronous
        self.journal: list[object] = []
        self.writes: deque[Sequence[PersistEffect]] = deque()
        self.deadlines = Deadlines(Random(3))
        self.interpreter = Interpreter(
            restore("n1", names, SETTINGS, randomness=5),
            transport=self,
            disk=self,
            snapshots=MemorySnapshots(),
            applier=self._give,
            replies=self,
            deadlines=self.deadlines,
        )
        self.interpreter.start(self.now)

    # the ports

    def send(self, to: ServerId, message: Message) -> None:
        self.journal.append((to, message))

    def write(self, changes: Sequence[PersistEffect]) -> tuple[Arrival, ...] | None:
        self.journal.append("write")
        if self.asynchronous:
            self.writes.append(changes)
            return None
        return ()

    def _give(self, work: list[Work]) -> None:
        self.journal.extend(work)

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        self.journal.append((client_id, message))

    # what happens

    def turn(self, *messages: tuple[ServerId, Message], written: int = 0, **asked: object) -> list[object]:
        """One turn; what it left in the journal."""
        before = len(self.journal)
        requests = asked.get("asked", ())
        events = [Received(sender, message) for sender, message in messages]
        self.interpreter.serve(self.now, list(events), requests, Written(written))  # type: ignore[arg-type]
        return self.journal[before:]

    def confirm(self, count: int = 1) -> list[object]:
        """The disk is done with its oldest writes."""
        for _ in range(count):
            self.writes.popleft()
        return self.turn(written=count)

    def confirm_all(self) -> None:
        while self.writes:
            self.confirm()

    def lead(self) -> Bench:
        """Win the election of the next term."""
        self.now += 1.0
        self.turn()
        term = self.interpreter.server.current_term + 1
        self.turn(("n2", RequestPreVoteResult(term - 1, term, True)))
        self.confirm_all()
        self.turn(("n2", RequestVoteResult(term, True)))
        self.confirm_all()
        assert self.interpreter.server.role_name == "leader"
        return self

    def acknowledge(self, sender: ServerId, index: int) -> tuple[ServerId, Message]:
        term = self.interpreter.server.current_term
        return sender, AppendEntriesResult(term, True, 0, index, round=0)


def kinds(journal: list[object]) -> list[str]:
    """The journal in words: "write", the names of sent messages and of work."""
    words: list[str] = []
    for item in journal:
        shown = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        words.append(shown if isinstance(shown, str) else type(shown).__name__)
    return words


def acknowledged(journal: list[object]) -> list[int]:
    """How far each success in the journal reaches."""
    messages = [item[1] for item in journal if isinstance(item, tuple)]
    return [message.match_index for message in messages if isinstance(message, AppendEntriesResult)]


def from_leader(term: int, *entries: Entry, prev: int = 0, prev_term: int = 0, commit: int = 0) -> AppendEntries:
    return AppendEntries(term, "n2", prev, prev_term, entries, commit)


def entry(term: int, command: bytes = b"x") -> Entry:
    return Entry(term, command)


def ask(*commands: bytes, client: ClientId = 7, batch: int = 1) -> list[object]:
    return [(client, SubmitCommands(batch, commands))]


def test_a_follower_says_success_only_after_its_disk_did() -> None:
    bench = Bench(asynchronous=True)
    assert kinds(bench.turn(("n2", from_leader(1, entry(1))))) == ["write"]
    assert kinds(bench.confirm()) == ["AppendEntriesResult"]


def test_with_a_disk_that_answers_at_once_the_answer_follows_in_the_same_turn() -> None:
    bench = Bench()
    assert kinds(bench.turn(("n2", from_leader(1, entry(1))))) == ["write", "AppendEntriesResult"]


def test_a_vote_is_said_only_after_it_is_durable() -> None:
    bench = Bench(asynchronous=True)
    assert kinds(bench.turn(("n2", RequestVote(1, "n2", 0, 0)))) == ["write"]
    (said,) = bench.confirm()
    assert said == ("n2", RequestVoteResult(1, True))


def test_what_needs_no_write_still_waits_for_the_writes_before_it() -> None:
    """A refusal tells the term; it must not overtake the write that makes the term durable."""
    bench = Bench(asynchronous=True)
    bench.turn(("n2", RequestVote(5, "n2", 0, 0)))
    assert bench.turn(("n3", from_leader(4, entry(4)))) == [], "its refusal stands behind the write of term 5"
    assert kinds(bench.confirm()) == ["RequestVoteResult", "AppendEntriesResult"]


def test_each_write_lets_go_only_what_waited_for_it_in_the_order_of_issue() -> None:
    bench = Bench(asynchronous=True)
    bench.turn(("n2", from_leader(1, entry(1))))
    bench.turn(("n2", from_leader(1, entry(1), prev=1, prev_term=1)))
    bench.turn(("n2", from_leader(1, entry(1), prev=2, prev_term=1)))
    confirmed = [bench.confirm() for _ in range(3)]
    assert [acknowledged(said) for said in confirmed] == [[1], [2], [3]]


def test_several_confirmations_in_one_turn_let_go_in_order() -> None:
    bench = Bench(asynchronous=True)
    for index in range(3):
        bench.turn(("n2", from_leader(1, entry(1), prev=index, prev_term=min(index, 1))))
    said = bench.confirm(3)
    assert acknowledged(said) == [1, 2, 3]


def test_log_persisted_follows_the_write_and_names_its_last_entry() -> None:
    bench = Bench(asynchronous=True)
    bench.turn(("n2", from_leader(1, entry(1), entry(1))))
    assert bench.interpreter.server.persisted_index == 0
    bench.confirm()
    assert bench.interpreter.server.persisted_index == 2


def test_a_leader_sends_entries_before_its_own_disk_is_done() -> None:
    bench = Bench(asynchronous=True).lead()
    said = bench.turn(asked=ask(b"a"))
    assert "AppendEntries" in kinds(said) or bench.writes, "the first follower may still be probed"
    bench.confirm_all()
    bench.turn(bench.acknowledge("n2", 2), bench.acknowledge("n3", 2))
    bench.confirm_all()
    said = bench.turn(asked=ask(b"b"))
    assert sorted(kinds(said)) == ["AppendEntries", "AppendEntries", "write"]
    assert len(bench.writes) == 1, "the write is still outstanding"


def test_append_entries_do_not_wait_for_writes_of_earlier_turns() -> None:
    bench = Bench(asynchronous=True).lead()
    bench.turn(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    for command in (b"a", b"b", b"c"):
        assert kinds(bench.turn(asked=ask(command))).count("AppendEntries") == 2
    assert len(bench.writes) == 3


def test_a_leader_counts_its_own_copy_only_when_it_is_durable() -> None:
    bench = Bench(asynchronous=True, names=("n1",))
    bench.now = 1.0
    bench.turn()
    while bench.writes:
        bench.confirm()
    committed = bench.interpreter.server.commit_index
    bench.turn(asked=ask(b"a"))
    assert bench.interpreter.server.commit_index == committed
    bench.confirm()
    assert bench.interpreter.server.commit_index == committed + 1


def test_all_commands_of_a_turn_are_one_write() -> None:
    bench = Bench().lead()
    bench.turn(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    asked = [*ask(b"a", b"b"), *ask(b"c", client=8), *ask(b"d", batch=2)]
    assert kinds(bench.turn(asked=asked)).count("write") == 1


def test_who_waits_is_known_to_the_applier_before_the_entries_come() -> None:
    bench = Bench().lead()
    bench.turn(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    bench.turn(asked=ask(b"a", b"b"))
    given = bench.turn(bench.acknowledge("n2", 3))
    work = [item for item in given if isinstance(item, Expect | Apply)]
    assert work == [Expect(7, 1, 2, 3, 1), Apply(2, (entry(1, b"a"), entry(1, b"b")))]


def test_a_leader_that_is_one_no_more_abandons_what_it_accepted() -> None:
    bench = Bench().lead()
    bench.turn(asked=ask(b"a"))
    given = bench.turn(("n2", from_leader(9)))
    assert Abandon() in given
    work = [item for item in given if isinstance(item, Expect | Abandon)]
    assert work.index(Abandon()) == len(work) - 1, "whoever waited is known before it is told"


def test_a_follower_that_changes_its_leader_abandons_nothing() -> None:
    bench = Bench()
    bench.turn(("n2", from_leader(1)))
    assert Abandon() not in bench.turn(("n3", AppendEntries(2, "n3", 0, 0, (), 0)))


def test_entries_that_replace_a_leaders_own_come_with_the_notice_to_who_waited() -> None:
    """Step-down, truncation and commit in one message: the applier can tell by the terms what became of the batch."""
    bench = Bench().lead()
    bench.turn(asked=ask(b"a"))
    new = (Entry(9, b"", EntryKind.NO_OP), entry(9, b"other"))
    given = bench.turn(("n2", from_leader(9, *new, commit=2)))
    bench.now += GATHERING_TIME
    given += bench.turn()
    assert [item for item in given if isinstance(item, Expect)] == [Expect(7, 1, 2, 2, 1)]
    applied = [item for item in given if isinstance(item, Apply)]
    assert [one.entries for one in applied] == [new]


def test_a_timer_does_not_fire_after_a_leader_was_heard_in_the_same_turn() -> None:
    """The message waited while this process was held up: it counts (paper 5.2)."""
    bench = Bench()
    bench.now = 60.0
    said = bench.turn(("n2", from_leader(1)))
    assert kinds(said) == ["write", "AppendEntriesResult"]
    assert bench.interpreter.server.role_name == "follower"
    assert bench.turn() == []


def test_without_word_of_a_leader_the_timer_fires() -> None:
    bench = Bench()
    bench.now = 60.0
    assert kinds(bench.turn()) == ["RequestPreVote", "RequestPreVote"]


def test_a_message_that_is_no_leaders_does_not_hold_the_timer_up() -> None:
    bench = Bench()
    bench.now = 60.0
    said = bench.turn(("n2", RequestPreVote(1, "n2", 0, 0)))
    assert kinds(said).count("RequestPreVote") == 2


def test_role_changes_are_noted_in_order() -> None:
    bench = Bench().lead()
    bench.turn(("n2", from_leader(9)))
    roles = [(change.role, change.term) for change in bench.interpreter.role_changes]
    assert roles == [("pre-candidate", 0), ("candidate", 1), ("leader", 1), ("follower", 9)]
    assert bench.interpreter.role_changes[-1].leader_id == "n2"


def test_commands_to_a_follower_are_refused_with_the_leader_and_nothing_is_written() -> None:
    bench = Bench()
    bench.turn(("n2", from_leader(1)))
    assert bench.turn(asked=ask(b"a")) == [(7, Refused(1, False, "n2"))]


def test_a_stale_query_is_answered_by_a_follower_after_what_it_has() -> None:
    bench = Bench()
    bench.turn(("n2", from_leader(1, entry(1), commit=1)))
    query = (7, SubmitQuery(3, "get", b"", "stale"))
    given = bench.turn(asked=[query])
    assert [type(item) for item in given] == [Apply, Query]


def test_a_followers_entries_reach_its_applier_soon_though_nothing_else_happens() -> None:
    bench = Bench()
    given = bench.turn(("n2", from_leader(1, entry(1), commit=1)))
    assert bench.deadlines.next <= bench.now + GATHERING_TIME
    bench.now += GATHERING_TIME
    given += bench.turn()
    assert [item.first_index for item in given if isinstance(item, Apply)] == [1]


def test_a_linearizable_read_waits_for_a_majority_to_confirm_the_leader() -> None:
    bench = Bench().lead()
    bench.turn(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    asked = bench.turn(asked=[(7, SubmitQuery(3, "get", b"", "linearizable"))])
    assert not [item for item in asked if isinstance(item, Query)]
    messages = [item[1] for item in asked if isinstance(item, tuple)]
    round_asked = max(message.round for message in messages if isinstance(message, AppendEntries))
    answer = AppendEntriesResult(bench.interpreter.server.current_term, True, 1, 1, round=round_asked)
    given = bench.turn(("n2", answer))
    assert Query(7, 3, "get", b"") in given


def test_the_applier_reports_back_into_the_core() -> None:
    bench = Bench()
    bench.turn(("n2", from_leader(1, entry(1), commit=1)))
    bench.interpreter.serve(bench.now, [Applied(1)])
    assert bench.interpreter.server.last_applied == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_same_turns_lead_to_the_same_server_whatever_the_disk(asynchronous: bool) -> None:
    bench = Bench(asynchronous=asynchronous).lead()
    bench.turn(bench.acknowledge("n2", 1), bench.acknowledge("n3", 1))
    for command in (b"a", b"b"):
        bench.turn(asked=ask(command))
    bench.turn(bench.acknowledge("n2", 3))
    bench.confirm_all()
    server = bench.interpreter.server
    assert (server.current_term, server.commit_index, server.persisted_index, server.log.last_index) == (1, 3, 3, 3)


def test_what_was_refused_from_whom_and_both_terms_can_be_read_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.DEBUG, logger="actorum.raft"):
        bench.turn(("n2", AppendEntries(5, "n2", 0, 0, (), 0)))
        bench.turn(("n3", RequestVote(4, "n3", 0, 0)))
        bench.turn(("n2", RequestVoteResult(5, True)))
    assert [record.getMessage() for record in caplog.records] == [
        "n1 is follower in term 5; leader: n2",
        "n1 refused RequestVote of n3: its term 4, ours 5",
        "n1 ignored an event: a vote, but no election is running",
    ]


# a disk that is full or hangs


def test_a_write_that_takes_an_election_timeout_costs_the_leadership_and_a_done_one_gives_the_right_to_it_back() -> (
    None
):
    bench = Bench(asynchronous=True).lead()
    bench.turn(asked=ask(b"x"))
    began = bench.now
    bench.now = began + SETTINGS.election_timeout / 1000 - 0.001
    bench.turn(bench.acknowledge("n2", 1))
    assert bench.interpreter.server.role_name == "leader"
    bench.now = began + SETTINGS.election_timeout / 1000
    assert bench.deadlines.next <= bench.now, "it wakes up by itself"
    bench.turn()
    assert bench.interpreter.server.role_name == "follower"
    assert bench.interpreter.server.disk_is_stalled
    bench.confirm_all()
    assert not bench.interpreter.server.disk_is_stalled


def test_nobody_is_woken_for_a_write_that_is_done() -> None:
    """A deadline that stayed behind would be due again and again."""
    bench = Bench(asynchronous=True)
    bench.turn(("n2", from_leader(1, entry(1))))
    bench.turn()
    assert bench.deadlines.stall < NEVER
    bench.confirm()
    assert bench.deadlines.stall == NEVER


# leases


def test_a_lease_counts_from_the_latest_round_of_its_number_for_each_term_begins_anew() -> None:
    bench = Bench()
    for term, began in ((1, 10.0), (3, 20.0)):
        bench.interpreter.server = restore(
            "n1", ("n1",), replace(SETTINGS, lease_reads=True), randomness=5, current_term=term
        )
        bench.interpreter.handle([ElectionTimeout(0)], began)
        bench.interpreter.handle([HeartbeatTimeout()], began)
        assert bench.deadlines.lease == began + LEASE_SHARE * SETTINGS.election_timeout / 1000
