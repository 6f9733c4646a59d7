"""A service outside of a peer: what it hands over is kept, and who follows a log that was cut knows where it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.applier import Applier, Apply, ClientId, Follow, Keep, Restore, TakeSnapshot
from actors.following import Following, HandedOver, pack
from actors.machine import Machine, MachineHost
from actors.machines.counter import Counter
from actors.outside import Outside
from actors.protocol import Administered, Delivered, KeepSnapshot, OfferCommand, Offered, PeerMessage, Restored
from actors.requests import Requests
from actors.snapshot_taking import SnapshotTaker
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import (
    Configured,
    Entry,
    EntryKind,
    Log,
    LogIndex,
    ProposalAccepted,
    Proposed,
    Server,
    Settings,
    Snapshot,
    Term,
    configuration,
    follower,
)

MEMBERS = Configured(0, configuration(["n1"]))
NO_OP = Entry(1, b"", EntryKind.NO_OP)


def command(term: Term, *names: bytes) -> tuple[Entry, ...]:
    return tuple(Entry(term, name) for name in names)


class Desk:
    """An applier before a machine, and all that it says."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.said: list[tuple[ClientId, PeerMessage]] = []
        self.taken: list[Snapshot] = []
        self.snapshots = MemorySnapshots()
        self.host = MachineHost(machine or Outside())
        taker = SnapshotTaker(self.host, self.snapshots, Settings(snapshot_entries=3), None, MEMBERS)
        self.applied: list[LogIndex] = []
        self.applier = Applier("n1", self.host, self, self.applied.append, taker, self.taken.append)

    def reply(self, client_id: ClientId, message: PeerMessage) -> None:
        self.said.append((client_id, message))

    def keep(self, index: LogIndex, state: bytes, term: Term | None = 1) -> PeerMessage:
        self.applier.work([Keep(7, index, index, term, MEMBERS, state)])
        return self.said[-1][1]


# --- What a service hands over.


def test_what_a_service_hands_over_becomes_the_snapshot_of_that_entry() -> None:
    desk = Desk()
    desk.applier.work([Apply(1, (NO_OP, *command(1, b"a", b"b")))])
    assert desk.keep(2, b"state") == Administered(2, "done", 2)
    (snapshot,) = desk.taken
    assert (snapshot.last_included_index, snapshot.last_included_term, snapshot.configured) == (2, 1, MEMBERS)
    successor = MachineHost(outside := Outside())
    successor.restore(desk.snapshots.load(snapshot))
    assert (outside.last_included_index, outside.last_included_term, outside.state) == (2, 1, b"state")
    assert successor.last_applied == 2


def test_an_older_state_than_the_latest_is_refused_and_not_kept() -> None:
    desk = Desk()
    desk.applier.work([Apply(1, command(1, b"a", b"b"))])
    desk.keep(2, b"both")
    for index in (2, 1):
        refused = desk.keep(index, b"late")
        assert isinstance(refused, Administered) and refused.outcome == "refused"
        assert "up to entry 2 already" in refused.reason
    assert len(desk.taken) == 1 and desk.snapshots.latest() == desk.taken[0]


def test_what_the_log_cannot_vouch_for_is_refused() -> None:
    refused = Desk().keep(2, b"state", term=None)
    assert isinstance(refused, Administered) and "not in the log" in refused.reason


def test_a_peer_that_applies_by_itself_takes_no_state_from_outside() -> None:
    desk = Desk(Counter())
    refused = desk.keep(1, b"another state")
    assert isinstance(refused, Administered) and "counter@1 applies the commands" in refused.reason
    assert desk.taken == []


def test_what_is_outside_cannot_be_taken_by_the_peer(caplog: pytest.LogCaptureFixture) -> None:
    """Three entries are due for a snapshot, and there is nothing of them that could be saved."""
    desk = Desk()
    desk.applier.work([Apply(1, command(1, b"a", b"b", b"c")), TakeSnapshot(7, 40)])
    (_, refused) = desk.said[-1]
    assert isinstance(refused, Administered) and "cannot take a snapshot by itself" in refused.reason
    assert desk.taken == [] and "no snapshot was taken" in caplog.text


def _asked(index: LogIndex, server: Server) -> Keep:
    _, (work,) = Requests(Desk()).events([(4, KeepSnapshot(8, index, b"state"))], server)
    assert isinstance(work, Keep)
    return work


def test_the_log_vouches_for_what_it_has_and_is_committed() -> None:
    server = follower("n1", ["n1", "n2"], current_term=3, terms=[1, 1, 3, 3], commit_index=3)
    assert _asked(2, server) == Keep(4, 8, 2, 1, Configured(0, configuration(["n1", "n2"])), b"state")
    assert _asked(3, server).last_included_term == 3
    assert _asked(4, server).last_included_term is None
    assert _asked(0, server).last_included_term == 0, "which the applier refuses: nothing is older than nothing"


# --- Following a log that was cut.


def test_who_follows_begins_with_what_was_handed_over_and_goes_on_behind_it() -> None:
    desk = Desk()
    entries = (NO_OP, *command(1, b"a", b"b"))
    desk.applier.work([Apply(1, entries)])
    desk.keep(2, b"state")
    desk.said.clear()
    desk.applier.work([Follow(7, Apply(1, entries), 0)])
    assert desk.said == [(7, Restored(2, 1, b"state")), (7, Delivered(3, entries[2:]))]


def test_who_follows_a_peer_that_applies_by_itself_is_told_where_its_log_begins() -> None:
    desk = Desk(Counter())
    desk.applier.work([Follow(7, Apply(6, command(2, b"x")), 2)])
    assert desk.said == [(7, Restored(5, 2, b"")), (7, Delivered(6, command(2, b"x")))]


def test_who_follows_is_told_of_a_snapshot_that_the_peer_was_sent() -> None:
    sender, desk = Desk(), Desk()
    sender.applier.work([Apply(1, command(1, b"a", b"b"))])
    sender.keep(2, b"state")
    (snapshot,) = sender.taken
    desk.snapshots.receive(snapshot, 0, sender.snapshots.load(snapshot))
    desk.applier.work([Follow(7, Apply(1, ())), Restore(snapshot)])
    assert desk.said[-1] == (7, Restored(2, 1, b"state"))
    assert desk.applier.applied_index == 2


# --- Which place a command has.


def _followed() -> Following:
    """No-ops at 1 and 4, so the commands 1, 2, 3 are the entries 2, 3, 5."""
    following = Following()
    following.delivered(Delivered(1, (NO_OP, *command(1, b"a", b"b"), Entry(2, b"", EntryKind.NO_OP))))
    following.delivered(Delivered(5, command(2, b"c")))
    return following


def test_positions_leave_out_what_is_no_command() -> None:
    following = _followed()
    assert (following.last_index, following.last_position) == (5, 3)
    assert [following.index_of(position) for position in range(5)] == [None, 2, 3, 5, None]
    places = {0: 4, 1: 4, 2: 3, 3: 2, 4: 2, 5: 1}  # of entry 6, behind each
    offers = [Offered(1, 6, place, 2, True, behind) for behind, place in places.items()]
    assert [following.position_of(offered) for offered in offers] == [4] * 6


def test_behind_a_snapshot_positions_go_on_from_its_own() -> None:
    following = _followed()
    handed_over = HandedOver(10, b"ten")
    assert following.restored(Restored(20, 3, pack(handed_over))) == handed_over
    following.delivered(Delivered(21, (Entry(4, b"", EntryKind.NO_OP), *command(4, b"d"))))
    assert [following.index_of(position) for position in (3, 10, 11, 12)] == [None, None, 22, None]
    assert following.position_of(Offered(1, 23, 2, 4, True, 20)) == 12
    assert following.position_of(Offered(1, 24, 2, 4, True, 22)) == 13


def test_the_place_of_an_offer_behind_a_snapshot_of_which_one_has_not_heard_cannot_be_told() -> None:
    following = _followed()
    assert following.position_of(Offered(1, 9, 1, 2, True, 8)) is None
    assert following.position_of(Offered(1, 0, 0, 2, False)) == 0


@pytest.mark.parametrize("behind", range(5))
def test_a_peer_counts_commands_behind_its_latest_snapshot_however_much_of_its_log_is_cut(behind: LogIndex) -> None:
    """The entries 1, 3 and 4 are no-ops; 5 and 6 are commands."""
    terms = [1, 1, 3, 5, 5, 5]
    for cut in range(behind + 1):
        server = follower("n1", ["n1"], current_term=5, terms=terms, commit_index=4)
        server = _with_snapshot(server, behind, server.log.compact(cut))
        desk = Desk()
        requests = Requests(desk)
        ((event,), _) = requests.events([(4, OfferCommand(8, b"x"))], server)
        assert isinstance(event, Proposed)
        assert list(requests.accepted(ProposalAccepted(event.proposal_id, 6, 6, 5), server)) == []
        commands_behind = [index for index in (2, 5, 6) if index > behind]
        assert desk.said == [(4, Offered(8, 6, len(commands_behind), 5, True, behind))]


def _with_snapshot(server: Server, index: LogIndex, log: Log) -> Server:
    snapshot = Snapshot(index, server.log.term_at(index) or 0, MEMBERS, 1, "") if index else None
    return replace(server, log=log, snapshot=snapshot)
