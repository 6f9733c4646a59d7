"""Simulated clusters whose members change, whose logs are cut, whose leaders hand over: the rules hold all the same."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from msgspec.structs import replace

from raft_core import (
    ConfigurationProposed,
    Event,
    InstallSnapshot,
    Leader,
    Server,
    Settings,
    TransferRequested,
    Transition,
    membership,
    step,
)
from raft_core import election as election_module
from raft_core.configuration import Configuration, Configured, Snapshot
from raft_core.effects import ReceiveSnapshotChunk
from raft_core.verify import simulated_server
from raft_core.verify.adversary import Adversary
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulation import Report, Simulation, Turn, simulate
from raft_core.verify.snapshot_rules import SnapshotRules
from raft_core.verify.violation import Violation

BUSY = Adversary(
    settings=Settings(election_timeout=150, snapshot_chunk_bytes=16, trailing_entries=3, max_promotion_lag=50),
    loss=0.02,
    repetition=0.05,
    slowest=20.0,
    misfortune_every=600.0,
    crashes=True,
    tears=True,
    cuts=True,
    snapshot_every=5,
    spoils=0.05,
    change_every=150.0,
    transfer_every=400.0,
)
"""Everything at once."""


@pytest.mark.parametrize("seed", range(12))
def test_a_cluster_whose_members_change_all_the_time_breaks_no_rule(seed: int) -> None:
    report = simulate(seed, (3, 5, 1)[seed % 3], 2_500, adversary=BUSY)
    assert report.violation is None, report.violation
    assert report.is_decided


@pytest.mark.parametrize(
    ("seed", "servers", "steps"),
    [
        (4, 2, 3_000),
        (25, 5, 3_000),
        (47, 1, 3_000),
        (163, 5, 3_000),
        (173, 1, 3_000),
        (455, 1, 6_000),
        (565, 5, 6_000),
        (10_175, 5, 4_000),
        (10_468, 3, 4_000),
    ],
)
def test_seeds_that_once_found_something_find_nothing_any_more(seed: int, servers: int, steps: int) -> None:
    """In turn: a sole voter spoke before its term was on its disk; three snapshots arrived before the first was used;
    a leader that nobody knew of; a log that conflicts with a snapshot; those who left disturb; a learner far
    behind; many snapshots at once; another leader in a term that was never on disk; a
    leader that handed over and led no more in one turn."""
    report = simulate(seed, servers, steps)
    assert report.violation is None, report.violation


def test_two_busy_runs_of_a_seed_are_the_same_turn_for_turn() -> None:
    def run() -> tuple[Report, list[Turn]]:
        turns: list[Turn] = []
        return simulate(7, 3, 2_000, adversary=BUSY, watcher=turns.append), turns

    (first, turns), (second, again) = run(), run()
    assert first == second
    assert turns == again


def test_in_a_few_busy_runs_everything_happens() -> None:
    counts: Counter[str] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    for seed in range(20):
        report = simulate(seed, (3, 5)[seed % 2], 2_500, adversary=BUSY)
        assert report.violation is None, (seed, report.violation)
        counts.update(report.misfortunes)
        cells.update(report.cells)
    answers = {what for what in counts if what.startswith(("Configuration", "Transfer"))}
    assert len(answers) >= 12, answers
    assert counts["ConfigurationAccepted"] > 20 and counts["TransferEnded"] > 10 and counts["spoiled part"] > 0
    events = {event for _, event in cells}
    assert events >= {"SnapshotTaken", "SnapshotReceived", "SnapshotSpoiled", "TimeoutNow"}
    assert events >= {"InstallSnapshot", "InstallSnapshotResult", "ConfigurationProposed", "TransferRequested"}


def test_new_servers_take_over_completely() -> None:
    """At the end none of those that began need be a member; what the clients saw is linearizable all the same."""
    seen: list[set[str]] = []
    for seed in range(12, 27):
        simulation = Simulation(seed, 3, adversary=replace(BUSY, change_every=60.0, misfortune_every=0.0))
        simulation.run(3_000)
        simulation.end_in_peace()
        assert simulation.judge()
        seen.append(set(simulation.administrator.members()))
    assert any(not members & {"n1", "n2", "n3"} for members in seen), seen


def test_snapshots_travel_in_parts_and_are_installed_by_servers_that_start_empty() -> None:
    parts: list[InstallSnapshot] = []

    def watch(turn: Turn) -> None:
        for event in turn.events:
            message = getattr(event, "message", None)
            if isinstance(message, InstallSnapshot):
                parts.append(message)

    report = simulate(3, 3, 4_000, adversary=BUSY, watcher=watch)
    assert report.violation is None
    assert {part.offset for part in parts} >= {0, 16, 32}


# --- the new rules can break ------------------------------------------------------------------------------------------


def _until_broken(seeds: int, adversary: Adversary, servers: tuple[int, ...] = (3, 4)) -> str:
    for seed in range(seeds):
        report = simulate(seed, servers[seed % len(servers)], 2_500, adversary=adversary)
        if report.violation is not None:
            return report.violation.rule
    return ""


def test_a_change_before_an_entry_of_the_own_term_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "has_committed_in_its_term", lambda server: True)
    assert _until_broken(20, BUSY) == "Own Term First"


def test_a_leader_that_leaves_a_joint_phase_as_it_is_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def settles_nothing(before: Server, after: Server) -> Transition:
        return Transition(after, ())

    monkeypatch.setattr(sys.modules["raft_core.step"], "settle_configuration", settles_nothing)
    assert _until_broken(20, BUSY) == "Joint Phase Ends"


def test_parts_of_two_snapshots_are_not_put_together() -> None:
    founding = Configured(0, Configuration(("n1",)))
    one, other = Snapshot(3, 1, founding, 9, "a"), Snapshot(4, 1, founding, 9, "b")
    rules = SnapshotRules()
    rules.part("n1", ReceiveSnapshotChunk(one, 0, b"abc"))
    rules.part("n1", ReceiveSnapshotChunk(one, 3, b"def"))
    rules.part("n1", ReceiveSnapshotChunk(other, 0, b"abc"))
    for part in (ReceiveSnapshotChunk(one, 6, b"ghi"), ReceiveSnapshotChunk(other, 3, b"d")):
        with pytest.raises(Violation, match="Parts Of One Snapshot"):
            rules.part("n2", part)
    rules.part("n1", ReceiveSnapshotChunk(other, 3, b"defghi"))
    with pytest.raises(Violation, match="Parts Of One Snapshot"):
        rules.part("n1", ReceiveSnapshotChunk(other, 3, b"defghi"))


def test_a_leader_that_forgets_a_wish_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(server: Server, event: Event) -> Transition:
        after, effects = step(server, event)
        if isinstance(event, ConfigurationProposed) and isinstance(server.role, Leader):
            return Transition(server, ())
        return Transition(after, effects)

    monkeypatch.setattr(simulated_server, "step", forgets)
    assert _until_broken(20, BUSY) == "One Answer"


def test_those_who_left_disturb_where_nobody_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["raft_core.step"], "protects_its_leader", lambda server, request: False)
    unprotected = replace(BUSY, settings=replace(BUSY.settings, pre_vote=False))
    assert _until_broken(30, unprotected) in ("Stability", "Progress")


def test_members_that_cannot_be_led_without_who_left_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thesis 4.2.2: who is removed by an entry that may not be committed has to campaign."""

    def only_voters(server: Server) -> bool:
        return server.configuration.has_voter(server.server_id)

    monkeypatch.setattr(election_module, "may_campaign", only_voters)
    assert _until_broken(200, BUSY, (2,)) == "Progress"


def test_an_entry_that_was_committed_stays_in_the_log_or_in_a_snapshot() -> None:
    """The oracle believes a disk that has a snapshot; so a snapshot is held to what was committed at its index."""
    simulation = Simulation(5, 3, adversary=BUSY)
    simulation.run(3_000)
    assert any(server.disk.covered > 0 for server in simulation.servers.values())
    assert all(server.disk.last_included_index <= server.disk.covered for server in simulation.servers.values())
    assert len(simulation.oracle.committed) > 50


@pytest.mark.parametrize("seed", range(5))
def test_in_a_kind_world_leadership_is_handed_over_within_one_term(seed: int) -> None:
    """Although the voters protect their leader (thesis 4.2.3): it asked for the election itself."""
    simulation = Simulation(seed, 5, adversary=Adversary())
    simulation.run(500)
    leader = next(server for server in simulation.servers.values() if isinstance(_state(server).role, Leader))
    term, target = _state(leader).current_term, next(name for name in simulation.names if name != leader.name)
    leader.wish(TransferRequested(simulation.next_number(), target))
    simulation.go_on(simulation.steps + 300)
    successor = _state(simulation.servers[target])
    assert isinstance(successor.role, Leader) and successor.current_term == term + 1


def _state(server: SimulatedServer) -> Server:
    assert server.server is not None
    return server.server
