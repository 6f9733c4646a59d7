"""A run written down and carried out again is the same run; a violation is shrunk to what it needs, and no further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from raft_core import Event, Leader, Send, Server, Settings, Transition, step
from raft_core.events import ElectionTimeout, SnapshotSpoiled
from raft_core.verify import simulated_server
from raft_core.verify.adversary import Adversary, drawn
from raft_core.verify.counterexample import Counterexample, counterexample
from raft_core.verify.invariants import Violation
from raft_core.verify.recording import recorded
from raft_core.verify.rerun import Rerun, rerun
from raft_core.verify.schedule import Asks, Decision, Fall, Falls, Joins, RunsOut, Starts, Writes
from raft_core.verify.simulated_clients import Command, Request, SimulatedMachine
from raft_core.verify.simulation import Turn, simulate

STEPS = 1_200


def essence(turn: Turn) -> tuple[object, ...]:
    """A turn, but for the lengths of timeouts, which were drawn."""
    events = turn.events
    sends = [effect for effect in turn.effects if isinstance(effect, Send)]
    after = turn.after
    state = (after.role_name, after.current_term, after.voted_for, after.log, after.commit_index, after.persisted_index)
    return turn.at, turn.server_id, events, sends, state


def commits_alone(server: Server, event: Event) -> Transition:
    """A leader commits what is on its own disk."""
    after, effects = step(server, event)
    if isinstance(after.role, Leader) and after.persisted_index > after.commit_index:
        after = replace(after, commit_index=after.persisted_index)
    return Transition(after, effects)


def gives_up(server: Server, event: Event) -> Transition:
    """From the third term on nobody becomes a candidate."""
    after, effects = step(server, event)
    tired = after.role_name == "candidate" and after.current_term >= 3 and isinstance(event, ElectionTimeout)
    return Transition(server, ()) if tired else Transition(after, effects)


Breaks = Callable[[Callable[[Server, Event], Transition]], None]


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Breaks:
    return lambda broken: monkeypatch.setattr(simulated_server, "step", broken)


def settings(seed: int) -> Any:
    return drawn(Random(seed)).settings


@pytest.mark.parametrize("seed", range(12))
def test_what_was_written_down_is_the_same_run_when_it_is_carried_out_again(seed: int) -> None:
    servers, turns, again = (3, 5, 4)[seed % 3], list[Turn](), list[Turn]()
    report, decisions, _ = recorded(seed, servers, STEPS)
    assert report == simulate(seed, servers, STEPS, watcher=turns.append), "writing down changes nothing"
    assert rerun(decisions, servers, settings(seed), watcher=again.append) is None
    assert [essence(turn) for turn in again if not turn.happening] == [essence(turn) for turn in turns]


def test_among_those_runs_is_every_kind_of_decision_and_of_fall() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(12):
        for decision in recorded(seed, (3, 5, 4)[seed % 3], STEPS).decisions:
            kinds[type(decision).__name__] += 1
            fall = getattr(decision, "fall", None)
            kinds["in the middle"] += fall is not None and fall.after > 0
            kinds["torn"] += fall is not None and fall.writes > 0
            kinds["waits"] += getattr(decision, "waits", False)
    plain = "Arrives RunsOut IsTold Reconnects Asks Wants Writes Applies Takes Keeps SendsPart Falls Starts Joins Ticks"
    assert set(+kinds) == {*plain.split(), "Hangs", "in the middle", "torn", "waits"}


def test_parts_of_snapshots_that_were_spoiled_are_spoiled_again_and_servers_that_joined_are_there() -> None:
    small = Settings(election_timeout=150, heartbeat_interval=20, trailing_entries=0, snapshot_chunk_bytes=30)
    adversary = Adversary(
        settings=small,
        snapshot_every=3,
        spoils=0.3,
        change_every=150.0,
        think_takes=10.0,
        crashes=True,
        cuts=True,
        misfortune_every=300.0,
    )
    turns, again = list[Turn](), list[Turn]()
    report, decisions, _ = recorded(1, 3, STEPS, adversary=adversary)
    assert report == simulate(1, 3, STEPS, adversary=adversary, watcher=turns.append)
    spoils = [spoil for decision in decisions if isinstance(decision, Writes) for spoil in decision.spoils]
    assert any(spoil is not None for spoil in spoils)
    assert any(isinstance(event, SnapshotSpoiled) for turn in turns for event in turn.events)
    assert any(isinstance(decision, Joins) for decision in decisions)
    assert rerun(decisions, 3, small, watcher=again.append) is None
    assert [essence(turn) for turn in again if not turn.happening] == [essence(turn) for turn in turns]


@pytest.mark.parametrize("seed", range(8))
def test_any_part_of_a_schedule_is_a_run_that_breaks_no_rule_and_from_which_the_cluster_recovers(seed: int) -> None:
    random, servers = Random(seed), (3, 5)[seed % 2]
    _, decisions, before_peace = recorded(seed, servers, STEPS)
    for kept in (1.0, 0.99, 0.9, 0.5, 0.1):
        some = [decision for decision in decisions if random.random() < kept]
        assert rerun(some, servers, settings(seed)) is None
        some = [decision for decision in before_peace if random.random() < kept]
        assert rerun(some, servers, settings(seed), ends_in_peace=True) is None


def shrunk(seed: int, servers: int = 3) -> Counterexample:
    found = counterexample(seed, servers, STEPS)
    assert found is not None
    return found


def test_a_violation_needs_few_turns_breaks_the_same_rule_and_none_can_be_spared(breaks: Breaks) -> None:
    breaks(commits_alone)
    seed, report = next(
        (seed, report) for seed in range(50) if (report := simulate(seed, 5, STEPS)).violation and report.steps > 300
    )
    found = shrunk(seed, 5)
    assert report.violation is not None
    assert found.violation.rule == report.violation.rule
    assert len(found.turns) <= 15 < 300 < found.decided

    def rule(decisions: list[Decision]) -> str:
        violation = rerun(decisions, 5, settings(seed))
        return violation.rule if violation else ""

    kept = list(found.decisions)
    assert rule(kept) == report.violation.rule
    assert report.violation.rule not in [rule(kept[:place] + kept[place + 1 :]) for place in range(len(kept))]
    again = shrunk(seed, 5)
    assert (again.decisions, again.turns) == (found.decisions, found.turns), "the same every time"


def test_the_sound_core_breaks_nothing_by_a_schedule_that_a_broken_one_was_shrunk_to(breaks: Breaks) -> None:
    breaks(commits_alone)
    found = shrunk(0)
    breaks(step)
    assert rerun(found.decisions, 3, settings(0)) is None


def test_what_clients_saw_is_shrunk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedMachine, "read", lambda machine, key: -1)
    seed = next(seed for seed in range(20) if simulate(seed, 3, STEPS).violation)
    found = shrunk(seed)
    assert found.violation.rule == "Linearizability"
    assert len(found.turns) < 30


def test_replicas_that_differ_are_shrunk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = iter(range(10**9))
    begun = SimulatedMachine.__init__

    def differs(machine: SimulatedMachine) -> None:
        begun(machine)
        machine._states["a"] = next(lives)

    monkeypatch.setattr(SimulatedMachine, "__init__", differs)
    seed = next(s for s in range(20) if str(simulate(s, 3, STEPS).violation).startswith("State Machine Safety"))
    assert len(shrunk(seed).decisions) == 0, "they differ from the start"


def falls_over(server: Server, event: Event) -> Transition:
    """As leader of the second term or a later one."""
    after, effects = step(server, event)
    if isinstance(after.role, Leader) and after.current_term > 1:
        raise LookupError(f"nobody knows {after.server_id}")
    return Transition(after, effects)


def test_a_core_that_falls_over_is_a_finding_that_is_shrunk_and_shown(breaks: Breaks) -> None:
    breaks(falls_over)
    report = next(r for seed in range(50) if (r := simulate(seed, 3, STEPS)).violation)
    assert report.violation is not None and report.violation.rule == "LookupError"
    assert "nobody knows n" in report.violation.explanation and "in falls_over" in report.violation.explanation
    found = shrunk(report.seed)
    assert found.violation.rule == "LookupError"
    assert len(found.decisions) < 30 and found.turns[-1].events, "the turn that made it fall over comes last"
    assert found.turns[-1].after.role_name == "candidate"


def test_what_a_cluster_never_recovers_from_is_shrunk_too(breaks: Breaks) -> None:
    breaks(gives_up)
    seed = next(s for s in range(50) if str(simulate(s, 3, STEPS).violation).startswith("Progress"))
    found = shrunk(seed)
    assert (found.violation.rule, found.is_of_times) == ("Progress", True)
    assert 0 < len(found.decisions) < 20 < found.decided
    assert rerun((), 3, settings(seed), ends_in_peace=True) is None


def test_without_a_violation_there_is_nothing_to_shrink() -> None:
    assert counterexample(1, 3, 200) is None


def test_when_the_work_allowed_is_done_the_shortest_so_far_is_the_result(breaks: Breaks) -> None:
    breaks(commits_alone)
    found = counterexample(0, 3, STEPS, most_work=0)
    assert found is not None and len(found.decisions) == found.decided


def test_a_violation_in_a_write_or_in_applying_is_shown_as_what_came_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(server: simulated_server.SimulatedServer) -> None:
        raise Violation("Nothing May Be Written", server.name)

    monkeypatch.setattr(simulated_server.SimulatedServer, "_written", fails)
    found = shrunk(0)
    assert [turn.happening for turn in found.turns if turn.happening] == ["writes"] == [found.turns[-1].happening]


def test_a_schedule_that_breaks_another_rule_is_no_counterexample(breaks: Breaks) -> None:
    def fails_as_leader(server: Server, event: Event) -> Transition:
        after, effects = step(server, event)
        if isinstance(after.role, Leader):
            raise Violation("First Term" if after.current_term == 1 else "Later Term", after.server_id)
        return Transition(after, effects)

    breaks(fails_as_leader)
    seed = next(s for s in range(50) if str(simulate(s, 3, STEPS).violation).startswith("Later Term"))
    assert shrunk(seed).violation.rule == "Later Term", "although less would do for the first term"


@pytest.mark.parametrize("pre_vote", [False, True])
def test_who_falls_in_the_middle_of_a_turn_does_no_more_than_it_did(pre_vote: bool) -> None:
    sent = []
    for after in range(1, 9):
        run = Rerun(3, Settings(pre_vote=pre_vote))
        fall = Fall(after=after)
        run.carry_out([RunsOut(number=1, server_id="n1", event=ElectionTimeout(0), fall=fall)])
        sent.append(len(run.packets))
        assert run.servers["n1"].server is None
    assert sent == sorted(sent) and sent[0] == 0
    assert sent[-1] == (2 if pre_vote else 0), "a vote is asked for once the own is on disk, and that is never"


def test_what_had_not_left_when_its_sender_fell_lends_its_name_to_nothing() -> None:
    run = Rerun(3, Settings(pre_vote=False))
    run.carry_out(
        [
            RunsOut(number=1, server_id="n1", event=ElectionTimeout(0)),
            Falls(number=2, server_id="n1", fall=Fall()),
            Starts(number=3, server_id="n1"),
            RunsOut(number=4, server_id="n1", event=ElectionTimeout(0)),
            Writes(number=5, server_id="n1"),
        ]
    )
    assert set(run.packets) == {(4, "n2", 0), (4, "n3", 0)}


def put(client: int, number: int, value: int) -> Request:
    command = Command(client, number, "a", "put", (value,))
    return Request(client, number, 0, (msgpack.encode(command),), "a")


def asked(number: int, request: Request) -> Asks:
    return Asks(number=number, server_id="n1", request=request, asked=number)


def test_what_a_client_asked_before_and_what_nobody_answered_may_have_happened() -> None:
    run = Rerun(1, Settings())
    run.carry_out([asked(1, put(1, 2, 22)), asked(2, put(1, 1, 11)), asked(3, put(2, 1, 12)), asked(4, put(1, 1, 11))])
    assert run.judge()
    unknown = [operation for caller in run.callers for operation in caller.operations]
    assert sorted(operation.arguments for operation in unknown) == [(11,), (12,), (22,)]
    assert all(operation.returned is None for operation in unknown)
