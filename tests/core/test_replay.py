"""A recorded run replays to the same states and effects; whatever is not as it was recorded is found, at its turn.

The runs are those of three servers that talk to each other, and of one server that hears anything at all.  What events
and effects there are is read off the unions, so a new kind is tested from the day it exists.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect, msgpack
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Applied,
    ApplyCommitted,
    Candidate,
    Configured,
    Effect,
    ElectionTimeout,
    Entry,
    EntryKind,
    Event,
    Follower,
    HeartbeatTimeout,
    Leader,
    LeaderContactExpired,
    Log,
    LogPersisted,
    Message,
    PeerRestarted,
    PreCandidate,
    Proposed,
    ReadRequested,
    Received,
    RequestPreVoteResult,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    configuration,
    follower,
    replication,
    restore,
    step_all,
)
from raft_core.quorum import quorum_value
from raft_core.verify.replay import (
    FORMAT,
    Divergence,
    Outline,
    Record,
    Started,
    Turn,
    decode_record,
    encode_record,
    outline,
    replay,
    started,
    state_digest,
    turn,
)

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("n1", "n2", "n3")
QUICK = settings(max_examples=60, deadline=None)


# --- Runs.


class Recorded:
    """A server whose every turn is recorded, in the encoded form."""

    def __init__(self, server: Server) -> None:
        self.encoded: list[bytes] = []
        self.start(server)

    def start(self, server: Server) -> None:
        self.server = server
        self.number = 0
        self.encoded.append(encode_record(started(server)))

    def take(self, *events: Event) -> tuple[Effect, ...]:
        before = self.server
        self.server, effects = step_all(before, events)
        self.number += 1
        self.encoded.append(encode_record(turn(self.number, 0.5 * self.number, events, before, self.server, effects)))
        return effects

    @property
    def records(self) -> list[Record]:
        return [decode_record(encoded) for encoded in self.encoded]


class Talk:
    """Three servers that speak with each other; what happens next, `random` decides."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.peers = {name: Recorded(restore(name, NAMES, Settings(), randomness=7)) for name in NAMES}
        self.inboxes: dict[str, deque[Event]] = {name: deque() for name in NAMES}
        self.roles_seen: set[str] = set()

    def run(self, turns: int) -> Talk:
        for number in range(turns):
            name = self.random.choice(NAMES)
            if self.random.random() < 0.02:
                self.restart(name)
            self.roles_seen.add(self.peers[name].server.role_name)
            self.carry_out(name, self.peers[name].take(*self.happenings(name, number)))
        return self

    def happenings(self, name: str, number: int) -> Iterator[Event]:
        """A few events from the inbox; if it is empty, something by itself."""
        inbox = self.inboxes[name]
        if not inbox:
            by_itself: list[Event] = [
                HeartbeatTimeout(),
                LeaderContactExpired(),
                Proposed(number, (b"%d" % number,)),
                ReadRequested((number,)),
                ElectionTimeout(self.random.getrandbits(32)),
            ]
            yield self.random.choice(by_itself)
        for _ in range(min(len(inbox), self.random.randint(1, 4))):
            yield inbox.popleft()

    def carry_out(self, name: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send() if self.random.random() < 0.95:
                    self.inboxes[effect.to].append(Received(name, effect.message))
                case AppendToLog():
                    last_index = effect.prev_log_index + len(effect.entries)
                    self.inboxes[name].append(LogPersisted(last_index, effect.current_term))
                case ApplyCommitted():
                    self.inboxes[name].append(Applied(effect.first_index + len(effect.entries) - 1))
                case _:
                    pass

    def restart(self, name: str) -> None:
        old = self.peers[name].server
        self.inboxes[name].clear()
        kept = {"current_term": old.current_term, "voted_for": old.voted_for, "entries": tuple(old.log)}
        randomness = self.random.getrandbits(32)
        self.peers[name].start(restore(name, NAMES, old.settings, randomness=randomness, **kept))  # type: ignore[arg-type]
        for other in set(NAMES) - {name}:
            self.inboxes[other].append(PeerRestarted(name))


@pytest.fixture(scope="module")
def talk() -> Talk:
    return Talk(Random(4)).run(400)


@pytest.fixture
def led() -> Recorded:
    """n1 led, committed and applied something; each turn of it changed something."""
    peer = Recorded(follower("n1", NAMES, current_term=1, terms=[1, 1], settings=Settings(pre_vote=False)))
    peer.take(ElectionTimeout(5))
    peer.take(Received("n3", RequestVoteResult(2, True)))
    peer.take(LogPersisted(3, 2), Received("n2", AppendEntriesResult(2, True, 2, 3)))
    peer.take(Proposed(1, (b"a", b"b")))
    peer.take(LogPersisted(5, 2), Received("n3", AppendEntriesResult(2, True, 2, 5)))
    peer.take(Applied(5))
    assert peer.server.last_applied == 5
    return peer


def test_what_a_group_of_servers_did_replays(talk: Talk) -> None:
    assert talk.roles_seen == {"follower", "pre-candidate", "candidate", "leader"}
    for peer in talk.peers.values():
        report = replay(peer.records)
        turns = [record for record in peer.records if isinstance(record, Turn)]
        assert report.turns == len(turns) > 50
        assert report.events == sum(len(record.events) for record in turns) > len(turns)
        assert report.server == peer.server
    assert max(peer.server.commit_index for peer in talk.peers.values()) > 5


@QUICK
@given(st.integers(0, 2**32))
def test_whatever_the_group_does_replays(seed: int) -> None:
    for peer in Talk(Random(seed)).run(60).peers.values():
        assert replay(peer.records).server == peer.server


# --- What is not as it was recorded.


def tampered(records: Sequence[Record], position: int, **changes: Any) -> list[Record]:
    return [*records[:position], replace(records[position], **changes), *records[position + 1 :]]


def divergence(records: Sequence[Record]) -> Divergence:
    with pytest.raises(Divergence) as caught:
        replay(records)
    return caught.value


OTHER = Outline("candidate", 99, "n2", 0, 0)
TAMPERINGS: dict[str, Callable[[Turn], dict[str, Any]]] = {
    "another digest": lambda record: {"digest": record.digest[::-1] + "x"},
    "no events": lambda record: {"events": ()},
    "one event less": lambda record: {"events": record.events[:-1]},
    "one effect more": lambda record: {"effects": (*record.effects, record.effects[-1] if record.effects else "more")},
    "one effect less": lambda record: {"effects": record.effects[:-1] or ("another",)},
    "another state before": lambda record: {"before": OTHER},
    "another state after": lambda record: {"after": OTHER},
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_with_any_turn_is_found_at_that_turn(led: Recorded, tampering: str) -> None:
    for position in range(1, len(led.records)):
        record = led.records[position]
        assert isinstance(record, Turn)
        found = divergence(tampered(led.records, position, **TAMPERINGS[tampering](record)))
        assert (found.incarnation, found.turn) == (1, position)


def test_another_command_in_an_event_is_found_at_its_turn(led: Recorded) -> None:
    found = divergence(tampered(led.records, 4, events=(Proposed(1, (b"a", b"c")),)))
    assert found.turn == 4
    assert "effect 1" in str(found) and "command=b'c'" in str(found), found


def test_another_vote_in_an_event_is_found_at_its_turn(led: Recorded) -> None:
    found = divergence(tampered(led.records, 2, events=(Received("n3", RequestVoteResult(2, False)),)))
    assert found.turn == 2
    assert "recorded: leader in term 2" in str(found) and "replayed: candidate in term 2" in str(found), found


def test_another_entry_than_the_one_that_was_stored_is_found_although_the_lengths_agree(led: Recorded) -> None:
    """The digest takes the log's boundaries only; its content is in the effects."""
    written = led.records[4]
    assert isinstance(written, Turn)
    effects = [
        replace(effect, entries=(Entry(2, b"x"), Entry(2, b"b"))) if isinstance(effect, AppendToLog) else effect
        for effect in written.effects
    ]
    assert tuple(effects) != written.effects
    found = divergence(tampered(led.records, 4, effects=tuple(effects)))
    assert (found.turn, len(found.differences)) == (4, 1)


def test_a_turn_that_is_missing_or_there_twice_is_found(led: Recorded) -> None:
    records = led.records
    assert "number of the turn" in str(divergence([*records[:3], *records[4:]]))
    assert "number of the turn" in str(divergence([*records[:3], *records[2:]]))


def test_a_trace_without_a_start_proves_nothing(led: Recorded) -> None:
    assert "start" in str(divergence([]))
    assert "start" in str(divergence(led.records[1:]))


@pytest.mark.parametrize(
    "change",
    [
        {"current_term": 2},
        {"voted_for": "n2"},
        {"election_timeout": 301},
        {"entries": (Entry(1, b"1"),)},
        {"configured": Configured(0, configuration(["n1", "n2"]))},
        {"settings": Settings()},
        {"server_id": "n2"},
    ],
)
def test_another_start_is_found_before_the_first_turn(led: Recorded, change: dict[str, Any]) -> None:
    found = divergence(tampered(led.records, 0, **change))
    assert (found.incarnation, found.turn) == (1, 0)


def test_a_divergence_says_what_was_recorded_and_what_came_out(led: Recorded) -> None:
    record = led.records[5]
    assert isinstance(record, Turn)
    text = str(divergence(tampered(led.records, 5, after=replace(record.after, commit_index=4))))
    assert text.splitlines() == [
        "turn 5 of incarnation 1 does not replay",
        f"  events: {record.events!r}",
        "  state after:",
        "    recorded: leader in term 2, voted for n1, log up to 5, committed up to 4",
        "    replayed: leader in term 2, voted for n1, log up to 5, committed up to 5",
    ]


# --- A core with another rule.


def commit_of_any_term(server: Server) -> Server:
    """Figure 2, "Leaders" 4, without its last condition: what Figure 8 warns of."""
    assert isinstance(server.role, Leader)
    index = quorum_value([server.persisted_index, *[progress.match_index for progress in server.role.followers]])
    return replace(server, commit_index=max(index, server.commit_index))


def test_a_core_that_commits_entries_of_older_terms_is_found_where_it_first_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Recorded(follower("n1", NAMES, current_term=1, terms=[1, 1], settings=Settings(pre_vote=False)))
    peer.take(ElectionTimeout(5))
    peer.take(Received("n3", RequestVoteResult(2, True)))
    peer.take(HeartbeatTimeout())
    peer.take(Received("n2", AppendEntriesResult(2, True, 2, 2)))
    assert replay(peer.records).turns == 4
    monkeypatch.setattr(replication, "_commit", commit_of_any_term)
    found = divergence(peer.records)
    assert found.turn == 4
    assert "committed up to 0" in str(found) and "committed up to 2" in str(found)
    assert "effect 1" in str(found) and "leader_commit=2" in str(found)


def test_a_core_with_another_majority_diverges(monkeypatch: pytest.MonkeyPatch, talk: Talk) -> None:
    monkeypatch.setattr(replication, "quorum_reached", lambda members, reached: max(reached.values()))
    assert sum(diverges(peer.records) for peer in talk.peers.values()) > 0


def diverges(records: Sequence[Record]) -> bool:
    try:
        replay(records)
    except Divergence:
        return True
    return False


# --- Restarts.


def test_a_restart_begins_a_new_incarnation_in_the_same_trace(led: Recorded) -> None:
    led.start(
        restore("n1", NAMES, led.server.settings, randomness=9, current_term=2, voted_for="n1", entries=led.server.log)
    )
    led.take(ElectionTimeout(1))
    report = replay(led.records)
    assert (report.incarnations, report.turns, report.server.current_term) == (2, 7, 3)
    found = divergence(tampered(led.records, 8, digest="another"))
    assert (found.incarnation, found.turn) == (2, 1)
    assert "turn 1 of incarnation 2" in str(found)


def test_a_trace_is_of_one_server(led: Recorded) -> None:
    led.start(restore("n2", NAMES, led.server.settings, randomness=9))
    assert "n2" in str(divergence(led.records))


# --- The digest.


def leader_with_everything() -> Server:
    peer = Recorded(follower("n1", NAMES, current_term=1, terms=[1, 1], settings=Settings(pre_vote=False)))
    peer.take(ElectionTimeout(5))
    peer.take(Received("n3", RequestVoteResult(2, True)), ReadRequested((7,)))
    return peer.server


ANOTHER: dict[type, Callable[[Any], Any]] = {
    int: lambda value: value + 1,
    bool: lambda value: not value,
    str: lambda value: value + "x",
    type(None): lambda _: "n9",
    tuple: lambda value: value[1:] if value else (1,),
    frozenset: lambda value: value | {"n9"},
    Log: lambda value: value.append((Entry(9),)),
    Settings: lambda value: replace(value, heartbeat_interval=1),
    Leader: lambda _: Follower(),
    Follower: lambda _: Follower("n9"),
}


def variants(value: msgspec.Struct) -> Iterator[Any]:
    """`value` with each of its fields changed, one at a time."""
    for field in value.__struct_fields__:
        yield replace(value, **{field: ANOTHER[type(getattr(value, field))](getattr(value, field))})


def test_every_field_of_a_server_and_of_its_role_is_in_the_digest() -> None:
    leader = leader_with_everything()
    assert isinstance(leader.role, Leader)
    roles = [leader.role, Follower("n2"), PreCandidate(frozenset({"n1"})), Candidate(frozenset({"n1"}))]
    servers = [leader, *variants(leader)]
    for role in roles:
        servers.extend(replace(leader, role=other) for other in (role, *variants(role)))
    for progress in variants(leader.role.followers[0]):
        servers.append(replace(leader, role=replace(leader.role, followers=(progress, *leader.role.followers[1:]))))
    different = {repr(server): server for server in servers}.values()
    assert len(different) > len(leader.__struct_fields__) + 15
    assert len({state_digest(server) for server in different}) == len(different)


class Sealed(Log):
    """A log that lets nobody see its entries."""

    def __iter__(self) -> Iterator[Entry]:
        raise AssertionError("the entries were read")

    def entries(self, first: int, last: int) -> tuple[Entry, ...]:
        raise AssertionError("the entries were read")


def test_the_digest_does_not_read_the_entries() -> None:
    server = follower("n1", NAMES, terms=[1, 1, 2])
    sealed = replace(server, log=Sealed(list(server.log)))
    assert state_digest(sealed) == state_digest(server)


def test_every_boundary_of_the_log_is_in_the_digest() -> None:
    entry = Entry(3)
    logs = [
        Log([entry]),
        Log([entry, entry]),
        Log([Entry(2)]),
        Log([entry], last_included_index=1),
        Log([entry], last_included_index=1, last_included_term=2),
    ]
    server = follower("n1", NAMES)
    assert len({state_digest(replace(server, log=log)) for log in logs}) == len(logs)


PRINT_A_DIGEST = """
from raft_core import Candidate, follower
from msgspec.structs import replace
from raft_core.verify.replay import state_digest
voters = [f"n{i}" for i in range(40)]
print(state_digest(replace(follower("n1", voters), role=Candidate(frozenset(voters), frozenset(voters[::2])))))
"""


def test_the_digest_is_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_A_DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 32


# --- The format: whatever can happen can be written and read.


def values(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type as msgspec describes it: small ones more often, up to 63 bits."""
    match info:
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.encode_name: values(field.type) for field in fields})
        case inspect.UnionType(types=types):
            return st.one_of([values(one) for one in types])
        case inspect.VarTupleType(item_type=item_type):
            return st.lists(values(item_type), max_size=3).map(tuple)
        case inspect.TupleType(item_types=item_types):
            return st.tuples(*map(values, item_types))
        case inspect.IntType():
            return st.integers(0, 5) | st.integers(0, 2**62)
        case inspect.StrType():
            return st.sampled_from((*NAMES, "", "stranger"))
        case inspect.BytesType():
            return st.binary(max_size=4)
        case inspect.BoolType():
            return st.booleans()
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.NoneType():
            return st.none()
        case _:
            raise AssertionError(f"no values of {info} are known here")


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    return values(inspect.type_info(kind))


def name_of(kind: type) -> str:
    return kind.__name__


def turn_with(*, events: tuple[Event, ...] = (), effects: tuple[Effect, ...] = ()) -> Turn:
    state = outline(follower("n1", NAMES))
    return Turn(number=1, time=1.5, events=events, before=state, after=state, digest="", effects=effects)


def comes_back(record: Record) -> bool:
    """Equal, and of the same types all the way down."""
    again = decode_record(encode_record(record))
    return again == record and repr(again) == repr(record)


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("kind", get_args(Event), ids=name_of)
def test_every_event_survives_recording(kind: type[Event], data: st.DataObject) -> None:
    assert comes_back(turn_with(events=(data.draw(values_of(kind)),)))


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("kind", get_args(Effect), ids=name_of)
def test_every_effect_survives_recording(kind: type[Effect], data: st.DataObject) -> None:
    assert comes_back(turn_with(effects=(data.draw(values_of(kind)),)))


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("kind", get_args(Message), ids=name_of)
def test_every_message_survives_recording(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(values_of(kind))
    assert comes_back(turn_with(events=(Received("n2", message),), effects=(Send("n3", message),)))


def test_a_start_survives_recording() -> None:
    entries = [Entry(1, b"\xff\x00", EntryKind.COMMAND), Entry(2, b"", EntryKind.NO_OP)]
    for vote in (None, "n2"):
        server = restore("n1", NAMES, Settings(), randomness=77, current_term=2, voted_for=vote, entries=entries)
        record = started(server)
        assert comes_back(record)
        assert replay([record]).server == server


def no_entry_is_newer_than_its_message(event: Event) -> Event:
    """No leader could have made one; what `step` does then is nobody's business."""
    if not isinstance(event, Received) or not isinstance(event.message, AppendEntries):
        return event
    message = event.message
    entries = tuple([replace(entry, term=min(entry.term, message.term)) for entry in message.entries])
    return replace(event, message=replace(message, entries=entries))


ANY_EVENT = values_of(Event).map(no_entry_is_newer_than_its_message)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(ANY_EVENT, max_size=4), max_size=12), st.booleans())
def test_whatever_a_server_hears_replays(turns: list[list[Event]], pre_vote: bool) -> None:
    server = follower("n1", NAMES, terms=[1, 2], current_term=2, settings=Settings(pre_vote=pre_vote))
    peer = Recorded(server)
    for events in turns:
        peer.take(*events)
    report = replay(peer.records)
    assert (report.turns, report.server) == (len(turns), peer.server)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: fields["events"][0].update(sender=3),
        lambda fields: fields["events"][0].update(type="Eavesdropped"),
        lambda fields: fields["events"][0]["message"].__setitem__(1, "2"),
        lambda fields: fields["events"][0]["message"].__setitem__(1, -1),
        lambda fields: fields["events"][0]["message"].pop(),
        lambda fields: fields.pop("digest"),
        lambda fields: fields["after"].update(current_term=None),
        lambda fields: fields.update(type="Twist"),
    ],
)
def test_a_record_is_checked_field_by_field_when_it_is_read(spoil: Callable[[dict[str, Any]], Any]) -> None:
    event = Received("n2", RequestPreVoteResult(2, 3, vote_granted=True))
    fields = msgpack.decode(encode_record(turn_with(events=(event,))))
    assert isinstance(decode_record(msgpack.encode(fields)), Turn)
    spoil(fields)
    with pytest.raises(msgspec.ValidationError):
        decode_record(msgpack.encode(fields))


def test_a_field_of_a_later_version_is_skipped() -> None:
    fields = msgpack.decode(encode_record(turn_with()))
    assert decode_record(msgpack.encode(fields | {"weather": "fine"})) == turn_with()


def test_a_start_of_another_format_is_refused() -> None:
    record = started(follower("n1", NAMES))
    assert isinstance(decode_record(encode_record(record)), Started)
    with pytest.raises(msgspec.ValidationError, match=f"format {FORMAT + 1}"):
        decode_record(encode_record(replace(record, format=FORMAT + 1)))
