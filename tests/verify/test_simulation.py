"""The simulation: whole runs hold every rule, a seed is one run, and every kind of misfortune happens."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from raft_core import Leader, Server, Settings
from raft_core.verify.adversary import Adversary
from raft_core.verify.simulation import Report, Simulation, Turn, simulate

KIND = Adversary()


@pytest.mark.parametrize("servers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(8))
def test_a_cluster_under_its_adversary_breaks_no_rule(seed: int, servers: int) -> None:
    report = simulate(seed, servers, 2_000)
    assert report.violation is None, report.violation
    assert report.steps >= 2_000


def test_two_runs_of_a_seed_are_the_same_turn_for_turn() -> None:
    def run() -> tuple[Report, list[Turn]]:
        turns: list[Turn] = []
        return simulate(11, 3, 1_500, watcher=turns.append), turns

    (first, turns), (second, again) = run(), run()
    assert first == second
    assert turns == again
    assert sum(len(turn.events) for turn in turns) == first.steps


def test_another_seed_is_another_run() -> None:
    assert simulate(1, 3, 500).digest != simulate(2, 3, 500).digest


def test_watching_changes_nothing() -> None:
    assert simulate(3, 3, 500, watcher=lambda turn: None) == simulate(3, 3, 500)


def test_in_a_kind_world_one_leader_serves_for_ever() -> None:
    report = simulate(1, 3, 3_000, adversary=KIND)
    assert report.violation is None
    assert report.leaders == 1
    assert report.misfortunes == {}
    assert report.operations > 100 and report.is_decided


def test_among_a_few_seeds_every_misfortune_happens_and_every_event_meets_every_role() -> None:
    misfortunes: Counter[str] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    for seed in range(60):
        report = simulate(seed, (3, 5)[seed % 2], 2_500)
        assert report.violation is None, (seed, report.violation)
        misfortunes.update(report.misfortunes)
        cells.update(report.cells)
    kinds = "fall fall_in_the_middle all_fall isolate halve bridge one_way heal pause slow stall clock_jumps"
    others = {"short_reign", "spoiled part", "settings", "preferred"}
    answers = {kind for kind in misfortunes if kind.startswith(("Configuration", "Transfer"))}
    assert set(misfortunes) - answers == {*kinds.split(), *others}
    events = {event for _, event in cells}
    assert len(events) == 30, "all kinds of messages and of other events"
    never = {(role, event) for role in ("follower", "leader") for event in events} - set(cells)
    rare = {("leader", "SnapshotReceived"), ("leader", "SnapshotSpoiled"), ("leader", "InstallSnapshot")}
    rare |= {("follower", "SnapshotUnreadable"), ("follower", "LeaseExtended"), ("leader", "DiskRecovered")}
    rare.add(("leader", "RequestReadIndexResult"))
    assert never - rare <= {("follower", "HeartbeatTimeout"), ("leader", "LeaderContactExpired")}


def test_a_cluster_that_never_hears_of_a_majority_makes_no_progress_and_that_is_said() -> None:
    deaf = Adversary(settings=Settings(election_timeout=150, heartbeat_interval=50), slowest=5.0, loss=1.0)
    report = simulate(1, 3, 300, adversary=deaf)
    assert report.violation is None, "in peace nothing is lost any more"
    assert report.leaders >= 1


def test_servers_do_not_agree_while_one_campaigns_in_a_later_term() -> None:
    """It was told to when the faults ended: who leads is not disturbed, but replaced as it should be."""
    simulation = Simulation(1, 3)
    simulation.run(500)
    simulation.end_in_peace()
    assert simulation._agrees()
    members = [simulation.servers[name] for name in simulation.administrator.members()]
    one = next(member for member in members if member.server and not _leads(member.server))
    assert one.server is not None
    one.server = replace(one.server, current_term=one.server.current_term + 1)
    assert not simulation._agrees()


def _leads(server: Server) -> bool:
    return isinstance(server.role, Leader)
