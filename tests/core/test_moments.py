"""A recorded run, event by event: nothing is missing or added, and what does not replay is shown all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, inspect, to_builtins
from msgspec.structs import replace

from raft_core import (
    AppendEntriesResult,
    Candidate,
    Effect,
    ElectionTimeout,
    Entry,
    Event,
    Follower,
    Leader,
    LogPersisted,
    PreCandidate,
    Proposed,
    ReadRequested,
    Received,
    RequestVote,
    RequestVoteResult,
    Server,
    Settings,
    follower,
    restore,
    step_all,
)
from raft_core.verify.moments import Beginning, Happening, Moment, as_record, moments, plain, state
from raft_core.verify.replay import Divergence, Record, Turn, replay, started, state_digest, turn

NAMES = ("n1", "n2", "n3")
AT_ONCE = Settings(pre_vote=False)

TURNS: list[list[Event]] = [
    [ElectionTimeout(5)],
    [Received("n3", RequestVoteResult(1, True))],
    [LogPersisted(1, 1), Received("n2", AppendEntriesResult(1, True, 0, 1)), Proposed(1, (b"a", b"bc"))],
    [ReadRequested((7,)), LogPersisted(3, 1)],
    [Received("n2", RequestVote(2, "n2", 3, 1))],
]
"""An election, a commit, a proposal, a read, and the end of the term."""


def recorded(server: Server, turns: Sequence[Sequence[Event]]) -> Iterator[Record]:
    yield started(server)
    for number, events in enumerate(turns, start=1):
        before = server
        server, effects = step_all(before, events)
        yield turn(number, number / 4, events, before, server, effects)


@pytest.fixture
def records() -> list[Record]:
    """Two incarnations."""
    again = restore("n1", NAMES, AT_ONCE, randomness=3, current_term=2, voted_for="n2", entries=[Entry(1, b"\xff")])
    first = restore("n1", NAMES, AT_ONCE, randomness=0)
    return [*recorded(first, TURNS), *recorded(again, [[ElectionTimeout(1)]])]


def events_of(happenings: Sequence[Happening]) -> list[Moment]:
    return [happening for happening in happenings if isinstance(happening, Moment)]


def test_every_recorded_event_is_there_once_in_its_order_and_numbered(records: list[Record]) -> None:
    found = list(moments(records))
    assert [moment.event for moment in events_of(found)] == [
        event for record in records if isinstance(record, Turn) for event in record.events
    ]
    assert [moment.number for moment in events_of(found)] == list(range(1, 10))
    assert [isinstance(happening, Beginning) for happening in found] == [True, *[False] * 8, True, False]
    places = [(moment.incarnation, moment.turn, moment.position, moment.size) for moment in events_of(found)]
    assert places[1:7] == [(1, 2, 1, 1), (1, 3, 1, 3), (1, 3, 2, 3), (1, 3, 3, 3), (1, 4, 1, 2), (1, 4, 2, 2)]
    assert places[-1] == (2, 1, 1, 1)


def test_states_follow_each_other_and_end_where_the_replay_ends(records: list[Record]) -> None:
    found = list(moments(records))
    for earlier, later in pairwise(found):
        if isinstance(later, Moment):
            end = earlier.after if isinstance(earlier, Moment) else earlier.server
            assert later.before == end
    assert events_of(found)[-1].after == replay(records).server


def test_with_the_last_event_of_a_turn_comes_what_was_carried_out(records: list[Record]) -> None:
    by_turn = {(m.incarnation, m.turn): m.carried_out for m in events_of(list(moments(records))) if m.carried_out}
    assert list(by_turn.values()) == [record.effects for record in records if isinstance(record, Turn)]
    assert all((m.carried_out is None) == (m.position < m.size) for m in events_of(list(moments(records))))


def test_a_turn_that_does_not_replay_is_shown_before_it_is_refused(records: list[Record]) -> None:
    third = records[3]
    assert isinstance(third, Turn)
    records[3] = replace(third, digest="0" * 32)
    shown: list[Happening] = []
    with pytest.raises(Divergence) as caught:
        for happening in moments(records):
            shown.append(happening)
    assert caught.value.turn == 3
    assert [moment.number for moment in events_of(shown)] == [1, 2, 3, 4, 5]


def test_a_run_without_a_start_has_no_moments(records: list[Record]) -> None:
    with pytest.raises(Divergence):
        next(moments(records[1:]))


# --- For other programs.


def test_a_line_says_what_happened_where_and_what_became_of_it(records: list[Record]) -> None:
    beginning, *rest = [as_record(happening) for happening in moments(records)]
    assert (beginning["record"], beginning["server"], beginning["incarnation"]) == ("start", "n1", 1)
    line = rest[3]
    assert (line["record"], line["number"], line["turn"], line["position"]) == ("event", 4, 3, 2)
    assert line["event"] == {
        "type": "Received",
        "sender": "n2",
        "message": {
            "type": "AppendEntriesResult",
            "term": 1,
            "success": True,
            "prev_log_index": 0,
            "match_index": 1,
            "conflict_term": 0,
            "conflict_index": 0,
            "round": 0,
        },
    }
    before, after = line["before"], line["after"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert (before["commit_index"], after["commit_index"]) == (0, 1)
    assert (after["role"]["type"], after["current_term"], after["voted_for"]) == ("leader", 1, "n1")
    assert after["log"]["last_index"] == 1
    assert after["configurations"][0]["configuration"]["voters"] == ["n1", "n2", "n3"]
    assert after["role"]["followers"][0]["match_index"] == 1
    assert line["carried_out"] is None and rest[4]["carried_out"]


def test_the_digest_in_a_line_is_that_of_the_state_after_it(records: list[Record]) -> None:
    for happening in moments(records):
        if isinstance(happening, Moment):
            assert as_record(happening)["digest"] == state_digest(happening.after)


def test_what_a_restart_found_is_in_its_line(records: list[Record]) -> None:
    again = [as_record(h) for h in moments(records) if isinstance(h, Beginning)][1]
    assert again["entries"] == [{"term": 1, "command": "/w==", "kind": "COMMAND"}]
    assert again["incarnation"] == 2


def test_every_field_of_a_server_but_its_settings_is_in_its_state() -> None:
    server = follower("n1", NAMES, terms=[1, 1], current_term=1)
    assert set(state(server)) == set(server.__struct_fields__) - {"settings"}
    for role in (Follower("n2"), PreCandidate(frozenset({"n1"})), Candidate(frozenset({"n2", "n1"})), Leader(())):
        told = state(replace(server, role=role))["role"]
        assert isinstance(told, dict)
        assert list(told) == ["type", *role.__struct_fields__]
    assert state(replace(server, role=Candidate(frozenset(NAMES))))["role"] == {
        "type": "candidate",
        "granted": ["n1", "n2", "n3"],
        "refused": [],
    }


def values(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type as msgspec describes it."""
    match info:
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.encode_name: values(field.type) for field in fields})
        case inspect.UnionType(types=types):
            return st.one_of([values(one) for one in types])
        case inspect.VarTupleType(item_type=item_type):
            return st.lists(values(item_type), max_size=3).map(tuple)
        case inspect.TupleType(item_types=item_types):
            return st.tuples(*map(values, item_types))
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.NoneType():
            return st.none()
        case _:
            return SIMPLE[type(info)]


SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    inspect.IntType: st.integers(0, 2**62),
    inspect.StrType: st.sampled_from((*NAMES, "")),
    inspect.BytesType: st.binary(max_size=4),
    inspect.BoolType: st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", [*get_args(Event), *get_args(Effect)], ids=lambda kind: kind.__name__)
def test_every_field_of_every_event_and_effect_is_told_and_can_be_written_as_json(
    kind: type[Struct], data: st.DataObject
) -> None:
    value = data.draw(values(inspect.type_info(kind)))
    told = plain(value)
    assert json.loads(json.dumps(told)) == told
    assert set(leaves(told)) >= set(leaves(named(value)))


def named(value: object) -> object:
    """All fields by name, told apart from `plain` only in that nothing but values is in there."""
    if isinstance(value, Struct):
        return {name: named(getattr(value, name)) for name in value.__struct_fields__}
    return [named(one) for one in value] if isinstance(value, tuple) else value


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    match value:
        case dict():
            for name, part in value.items():
                yield from leaves(part, f"{path}.{name}")
        case list():
            for number, part in enumerate(value):
                yield from leaves(part, f"{path}.{number}")
        case bytes():
            yield path, to_builtins(value)
        case _:
            yield path, getattr(value, "name", value) if isinstance(value, int) else value
