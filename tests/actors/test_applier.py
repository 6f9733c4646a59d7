"""The applier answers each client with the replies of its own commands, in log order, and never with another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from actors.applier import (
    PIECE,
    Abandon,
    Applier,
    Apply,
    ClientId,
    Expect,
    Fingerprint,
    Follow,
    Query,
    Restore,
    TakeSnapshot,
)
from actors.codec import encode_command
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.protocol import Abandoned, Delivered, Digest, PeerMessage, QueryResult, Results
from actors.replies import encode_result
from actors.snapshot_taking import SnapshotTaker
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import (
    ApplyCommitted,
    Configured,
    Entry,
    EntryKind,
    Follower,
    Leader,
    Log,
    LogIndex,
    Role,
    Server,
    Settings,
    Snapshot,
    Term,
    configuration,
)

R = TypeVar("R")

INCR = Counter.incr.signature.encode((), {})


class Desk:
    """An applier with a counter whose session 1 is open (entry 1), and all that it says."""

    def __init__(self) -> None:
        self.said: list[tuple[ClientId, PeerMessage]] = []
        self.applied: list[LogIndex] = []
        machine = MachineHost(Counter())
        self.taken: list[Snapshot] = []
        base = Configured(0, configuration(["n1"]))
        taker = SnapshotTaker(machine, MemorySnapshots(), Settings(), None, base)
        self.gently = 0
        self.applier = Applier(
            "n1", machine, self, self.applied.append, taker, self.taken.append, gently=self._counting
        )
        self.applier.work([Apply(1, (Entry(1, OPEN_SESSION_COMMAND),))])
        self.applied.clear()
        self._sequence = 0

    def _counting(self, work: Callable[[], R]) -> R:
        self.gently += 1
        return work()

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        self.said.append((client_id, message))

    def incr(self, term: Term = 1) -> Entry:
        self._sequence += 1
        return Entry(term, encode_command(1, self._sequence, 0, "incr", INCR))

    def incrs(self, count: int, term: Term = 1) -> tuple[Entry, ...]:
        return tuple(self.incr(term) for _ in range(count))


def results(*values: int) -> tuple[bytes, ...]:
    return tuple(encode_result(value) for value in values)


NO_OP = Entry(2, b"", EntryKind.NO_OP)


def test_a_batch_is_answered_when_its_entries_are_applied() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 2, 4, term=1), Apply(2, desk.incrs(3))])
    assert desk.said == [(7, Results(40, 0, results(1, 2, 3), 4))]


def test_a_batch_is_not_answered_before_its_entries_are_applied() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 3, 3, term=1), Apply(2, desk.incrs(1))])
    assert desk.said == []


def test_a_batch_spread_over_several_applications_is_answered_in_parts_with_their_offsets() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 3, 7, term=1), Expect(8, 41, 8, 8, term=1)])
    for first, count in ((2, 2), (4, 1), (5, 4)):
        desk.applier.work([Apply(first, desk.incrs(count))])
    assert desk.said == [
        (7, Results(40, 0, results(2), 3)),
        (7, Results(40, 1, results(3), 4)),
        (7, Results(40, 2, results(4, 5, 6), 7)),
        (8, Results(41, 0, results(7), 8)),
    ]


def test_several_batches_of_one_application_each_get_their_own_replies() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 1, 2, 2, 1), Expect(8, 2, 3, 4, 1), Expect(7, 3, 6, 6, 1), Apply(2, desk.incrs(5))])
    assert desk.said == [
        (7, Results(1, 0, results(1), 2)),
        (8, Results(2, 0, results(2, 3), 4)),
        (7, Results(3, 0, results(5), 6)),
    ]


def test_entries_of_another_term_at_its_place_abandon_a_batch() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 2, 3, term=1), Apply(2, desk.incrs(2, term=2))])
    assert desk.said == [(7, Abandoned(40))]


def test_of_a_batch_that_another_leader_cut_off_only_what_survived_is_answered() -> None:
    """The new leader had the first two entries; the others it replaced by its own (Figure 3, Leader Completeness)."""
    desk = Desk()
    desk.applier.work([Expect(7, 40, 2, 6, term=1), Apply(2, (*desk.incrs(2), NO_OP, *desk.incrs(2, term=2)))])
    assert desk.said == [(7, Results(40, 0, results(1, 2), 3)), (7, Abandoned(40))]


def test_a_batch_that_was_cut_off_between_two_applications_gets_no_reply_of_others() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 2, 5, term=1), Apply(2, desk.incrs(2)), Apply(4, (NO_OP, *desk.incrs(3, 2)))])
    assert desk.said == [(7, Results(40, 0, results(1, 2), 3)), (7, Abandoned(40))]


def test_who_leads_no_more_abandons_all_who_wait_once() -> None:
    desk = Desk()
    desk.applier.work([Expect(7, 40, 2, 2, 1), Expect(8, 41, 3, 3, 1), Abandon()])
    assert desk.said == [(7, Abandoned(40)), (8, Abandoned(41))]
    desk.applier.work([Abandon(), Apply(2, desk.incrs(2))])
    assert len(desk.said) == 2


def test_a_query_sees_exactly_what_stands_before_it() -> None:
    desk = Desk()
    get = Counter.get.signature.encode((), {})
    desk.applier.work(
        [Query(7, 1, "get", get), Apply(2, desk.incrs(3)), Query(7, 2, "get", get), Apply(5, desk.incrs(1))]
    )
    assert desk.said == [(7, QueryResult(1, encode_result(0), 1)), (7, QueryResult(2, encode_result(3), 4))]


def test_a_fingerprint_tells_how_far_it_reaches() -> None:
    desk, other = Desk(), Desk()
    desk.applier.work([Apply(2, desk.incrs(2)), Fingerprint(7, 5)])
    other.applier.work([Apply(2, other.incrs(1)), Fingerprint(7, 5)])
    (_, digest), (_, earlier) = desk.said[0], other.said[0]
    assert isinstance(digest, Digest) and isinstance(earlier, Digest)
    assert (digest.server_id, digest.applied_index, digest.machine) == ("n1", 3, "counter@1")
    assert digest.digest != earlier.digest


def test_progress_is_reported_once_for_all_work_at_a_time() -> None:
    desk = Desk()
    desk.applier.work([Apply(2, desk.incrs(2)), Apply(4, desk.incrs(3))])
    assert desk.applied == [6] and desk.applier.applied_index == 6
    desk.applier.work([Query(7, 1, "get", b"")])
    assert desk.applied == [6], "nothing was applied, so there is nothing to report"


def test_a_repeated_command_gets_the_kept_reply_and_changes_nothing() -> None:
    desk = Desk()
    entry = desk.incr()
    desk.applier.work([Expect(7, 1, 2, 2, 1), Apply(2, (entry,)), Expect(8, 2, 3, 3, 1), Apply(3, (entry,))])
    assert desk.said == [(7, Results(1, 0, results(1), 2)), (8, Results(2, 0, results(1), 3))]


def test_who_follows_gets_what_was_applied_before_and_then_each_piece_once() -> None:
    desk = Desk()
    before, piece, last = desk.incrs(2), desk.incrs(1), desk.incrs(1)
    desk.applier.work([Apply(2, before), Follow(7, Apply(1, (NO_OP, *before))), Apply(4, piece)])
    assert desk.said == [(7, Delivered(1, (NO_OP, *before))), (7, Delivered(4, piece))]
    desk.applier.forget(7)
    desk.applier.work([Apply(5, last)])
    assert len(desk.said) == 2


@pytest.mark.parametrize(
    ("count", "is_late", "pieces"),
    [(PIECE, True, 0), (PIECE + 1, True, 2), (3 * PIECE, True, 3), (3 * PIECE, False, 0)],
    ids=["little", "a piece and a bit", "three pieces", "who keeps up"],
)
def test_who_catches_up_gives_way_to_others_a_piece_at_a_time(count: int, is_late: bool, pieces: int) -> None:
    desk = Desk()
    desk.applier.work([Apply(2, desk.incrs(count), is_late), Fingerprint(7, 5)])
    assert desk.gently == pieces
    told = desk.applied
    assert told[-1] == desk.applier.applied_index == 1 + count
    assert len(set(told)) == max(pieces, 1) and told == sorted(told), "how far it is, is known after each piece"
    other = Desk()
    other.applier.work([Apply(2, other.incrs(count)), Fingerprint(7, 5)])
    assert desk.said == other.said


def test_who_takes_its_state_from_a_snapshot_gives_way() -> None:
    desk = Desk()
    desk.applier.work([Apply(2, desk.incrs(3)), TakeSnapshot(7, 40)])
    assert desk.gently == 0
    desk.applier.work([Restore(desk.taken[-1])])
    assert desk.gently == 1


def server(role: Role, last_index: LogIndex, commit_index: LogIndex) -> Server:
    log = Log().append(tuple(Entry(1) for _ in range(last_index)))
    members = (Configured(0, configuration(["n1", "n2"])),)
    return Server("n1", Settings(), 1, None, log, commit_index, 0, last_index, members, 300, role)


@pytest.mark.parametrize(
    ("role", "last_index", "is_late"),
    [(Follower("n2"), 5, True), (Follower("n2"), 6, False), (Leader(()), 5, False)],
    ids=["all it has was committed before it came", "it has more", "it leads"],
)
def test_a_follower_without_anything_that_is_not_committed_is_late(
    role: Role, last_index: LogIndex, is_late: bool
) -> None:
    effect = ApplyCommitted(4, (Entry(1), Entry(1)))
    assert Apply.committed(effect, server(role, last_index, 5)) == Apply(4, effect.entries, is_late)
